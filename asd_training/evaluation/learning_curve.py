# SPDX-License-Identifier: Apache-2.0
"""The learning curve of a run: RUN/curve.json, and a picture of several.

A point is what the averaged weights score on the whole validation split after some samples.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.palette import GRID, SERIES, hex_colour

CURVE = "curve.json"


@dataclass(frozen=True)
class CurvePoint:
    """samples: that the run has seen, each pass over the data anew. heatmap_loss, box_loss: those
    of training (losses/detection.py) over all objects of the split. core_seconds: processor time
    of all processes until then, by part of the training; validations do not count.
    """

    samples: int
    steps: int
    mean_ap: float
    nds: float
    heatmap_loss: float
    box_loss: float
    core_seconds: dict[str, float]

    @property
    def core_hours(self) -> float:
        """The processor time of all parts."""
        return sum(self.core_seconds.values()) / 3600


def add_point(run: Path, split: str, point: CurvePoint) -> None:
    """Add a point to a run's curve, in place of those that are not before it: these are of steps
    that are taken again since the run was resumed."""
    file = run / CURVE
    points = read_curve(run) if file.is_file() else []
    points = [other for other in points if other.samples < point.samples] + [point]
    content = {"split": split, "points": [asdict(point) for point in points]}
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def read_curve(run: Path) -> list[CurvePoint]:
    """The points of a run's curve, by samples. Raises UserError if the run has none."""
    file = run / CURVE
    if not file.is_file():
        raise UserError(
            f"{run} has no learning curve: there is no {file}, which a run of asd-train student or "
            "teacher writes at its first point"
        )
    try:
        return [CurvePoint(**point) for point in json.loads(file.read_text())["points"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is no learning curve ({' '.join(str(error).split())})") from error


def draw_curves(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """mAP, NDS and both losses of several runs, by name, over samples and over core-hours."""
    figure = Figure(figsize=(16, 7.6), layout="constrained")
    panels = figure.subplots(2, 4)
    for row, (over, label) in enumerate((("samples", "samples"), ("core_hours", "core-hours"))):
        for axes, (key, title) in zip(panels[row], _QUANTITIES.items(), strict=True):
            for number, (name, points) in enumerate(curves.items()):
                axes.plot(
                    [getattr(point, over) for point in points],
                    [getattr(point, key) for point in points],
                    marker="o",
                    markersize=4,
                    color=hex_colour(SERIES[number % len(SERIES)]),
                    linestyle=_STYLES[number // len(SERIES) % len(_STYLES)],
                    label=name,
                )
            axes.set_xscale("log")
            axes.set_xlabel(label)
            axes.set_title(title, fontsize=10)
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color=hex_colour(GRID), linewidth=0.8)
            axes.set_axisbelow(True)
            axes.tick_params(labelsize=9)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


_QUANTITIES = {
    "mean_ap": "mAP",
    "nds": "NDS",
    "heatmap_loss": "heatmap loss on validation",
    "box_loss": "box loss on validation",
}
_STYLES = ("-", "--", ":", "-.")
