# SPDX-License-Identifier: Apache-2.0
"""The views of RViz and Foxglove that fit a node, made of one template each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShownTopics:
    """What there is to see of one node, by the topics' full names; overlays by their cameras."""

    markers: str
    simulated_points: str
    diagnostics: str
    overlays: Mapping[str, str]


def rviz_view(shown: ShownTopics, base_frame: str, compressed: bool) -> str:
    """A file for `rviz2 -d`; compressed: whether it shows the JPEG overlays, or the raw ones."""
    view = yaml.safe_load((_FOLDER / "detector.rviz").read_text())
    manager = view["Visualization Manager"]
    manager["Global Options"]["Fixed Frame"] = base_frame
    displays = {display["Name"]: display for display in manager["Displays"]}
    displays["Objects"]["Topic"]["Value"] = shown.markers
    displays["Simulated points"]["Topic"]["Value"] = shown.simulated_points
    image = displays.pop("CAMERA")
    for camera, topic in shown.overlays.items():
        display = displays[f"camera {camera}"] = deepcopy(image)
        display["Name"] = camera
        display["Topic"]["Value"] = f"{topic}/compressed" if compressed else topic
    manager["Displays"] = list(displays.values())
    return yaml.safe_dump(view, sort_keys=False)


def foxglove_layout(shown: ShownTopics, base_frame: str) -> str:
    """A file for Foxglove's "import from file"; the JPEG overlays, which it decodes by itself."""
    layout = json.loads((_FOLDER / "foxglove_layout.json").read_text())
    panels = layout["configById"]
    scene = panels["3D!scene"]
    scene["followTf"] = base_frame
    markers, points = scene["topics"].pop("MARKERS"), scene["topics"].pop("SIMULATED_POINTS")
    scene["topics"] |= {shown.markers: markers, shown.simulated_points: points}
    panels["DiagnosticSummary!summary"]["topicToRender"] = shown.diagnostics
    image = panels.pop("Image!CAMERA")
    cameras = []
    for number, topic in enumerate(shown.overlays.values()):
        cameras.append(f"Image!camera_{number}")
        panel = panels[cameras[-1]] = deepcopy(image)
        panel["imageMode"]["imageTopic"] = f"{topic}/compressed"
    in_row = -(-len(cameras) // 2) if len(cameras) > 2 else len(cameras)
    rows = [cameras[i : i + in_row] for i in range(0, len(cameras), in_row)]
    images = _split("column", [_split("row", row) for row in rows])
    layout["layout"]["first"] = images
    return json.dumps(layout, indent=1)


def _split(direction: str, parts: Sequence[Any]) -> Any:
    """Parts of one size side by side, as Foxglove has them: by two and two."""
    if len(parts) == 1:
        return parts[0]
    rest = _split(direction, parts[1:])
    share = 100 / len(parts)
    return {"direction": direction, "first": parts[0], "second": rest, "splitPercentage": share}
