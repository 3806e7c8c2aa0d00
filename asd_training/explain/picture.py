# SPDX-License-Identifier: Apache-2.0
"""One picture of what the method does in one keyframe.

The teacher's first three principal components of the features are shown as red, green and blue:
where teacher and student have the same colour, their features agree in these components.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from torch import Tensor

from asd_perception.bev_grid import BevGrid
from asd_perception.geometry import Array, box_corners
from asd_perception.palette import BACKGROUND, CLASS_COLOURS, LIDAR, TRUTH, hex_colour
from asd_training.explain.explanation import SHOWN_SCORE, Explanation

SHOWN_REACH = 42.0
"""Half the side in m of the square that is drawn from above."""


def draw(shown: Explanation, cameras: Any, grid: BevGrid) -> Figure:
    """The picture. cameras (height, width, 3): the rig's images."""
    figure = Figure(figsize=(16, 16.6), layout="constrained")
    rows = figure.add_gridspec(4, 4, height_ratios=(1.0, 1, 1, 1))
    axes = figure.add_subplot(rows[0, :3])
    axes.imshow(cameras, aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"the cameras, and what the student finds (score ≥ {SHOWN_SCORE:g})")

    panel = _Panels(figure, grid, shown.boxes)
    assert shown.student.simulated_points is not None
    points = shown.student.simulated_points[0].numpy()
    lidar = shown.batch.points.numpy()
    axes = panel.empty(rows[0, 3], "simulated points (confidence) over LiDAR (grey)")
    axes.scatter(lidar[:, 1], lidar[:, 0], s=1, color=hex_colour(LIDAR), linewidths=0)
    drawn = axes.scatter(
        *(points[:, 1], points[:, 0]), s=4, c=points[:, 3], cmap="plasma", vmin=0, vmax=1,
        linewidths=0,
    )  # fmt: skip
    panel.scale(drawn, axes)

    for row, alignment in ((1, shown.cross_modal), (2, shown.multi_modal)):
        place = "cross-modal" if row == 1 else "multi-modal"
        colours = in_common_colours(alignment.teacher, alignment.student)
        for column, whose in enumerate(("teacher", "student")):
            title = f"{whose}: {alignment.names[column]}"
            panel.image(rows[row, column], colours[column], title)
        axes, image = panel.map(
            rows[row, 2],
            alignment.asked.discrepancy[0],
            f"{place} discrepancy d (0 equal, 2 uncorrelated)",
            "magma",
            2.0,
        )
        panel.scale(image, axes, ticks={0: "0", 1: "1", 2: "2"})
        top = len(alignment.levels) - 1
        axes, image = panel.map(
            rows[row, 3],
            alignment.asked.granularity[0],
            f"{place} granularity: smoothed by",
            "viridis",
            top,
        )
        panel.scale(image, axes, ticks=dict(enumerate(alignment.levels)))

    assert shown.student.gate is not None and shown.student.evidence is not None
    axes, image = panel.map(rows[3, 0], shown.student.gate[0, 0], "fusion gate g", "cividis", 1.0)
    panel.scale(image, axes)
    axes, image = panel.map(
        rows[3, 1], shown.student.evidence[0, 0], "evidence of simulated points", "cividis", 1.0
    )
    panel.scale(image, axes)
    peaks = shown.teacher.head.heatmap[0].sigmoid().amax(dim=0)
    axes, _ = panel.map(
        rows[3, 2], peaks, "teacher's heatmap; objects by its quality q", "Greys_r", 1.0, False
    )
    _boxes_by_quality(panel, axes, shown.boxes, shown.quality)
    peaks = shown.student.head.heatmap[0].sigmoid().amax(dim=0)
    axes, _ = panel.map(
        rows[3, 3], peaks, "student's heatmap, detections (colours), truth", "Greys_r", 1.0
    )
    for box, label in zip(shown.found.boxes, shown.found.labels, strict=True):
        _outline(axes, box[None].astype(float), hex_colour(CLASS_COLOURS[label]), 1.4)
    return figure


def in_common_colours(teacher: Tensor, student: Tensor) -> list[Array]:
    """Standardised features (C, Y, X) as RGB (Y, X, 3) in [0, 1].

    The axes of colour are the teacher's first three principal components, for both.
    """
    flat = teacher.flatten(1)
    _, components = torch.linalg.eigh(flat @ flat.T)
    axes = components[:, -3:].flip(1)  # (C, 3), largest variance first
    scale = (axes.T @ flat).abs().quantile(0.99, dim=1).clamp(min=1e-6)
    return [
        (0.5 + 0.5 * torch.einsum("ck,cyx->yxk", axes, maps) / scale).clamp(0, 1).double().numpy()
        for maps in (teacher, student)
    ]


class _Panels:
    """Maps of the scene from above, forward up, left to the left, with the annotated boxes."""

    def __init__(self, figure: Figure, grid: BevGrid, boxes: Array) -> None:
        self.figure, self.grid, self.boxes = figure, grid, boxes

    def empty(self, place: Any, title: str, truth: bool = True) -> Axes:
        axes = self.figure.add_subplot(place)
        axes.set(xlim=(SHOWN_REACH, -SHOWN_REACH), ylim=(-SHOWN_REACH, SHOWN_REACH), aspect="equal")
        axes.set_facecolor(hex_colour(BACKGROUND))
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=11)
        if truth:
            _outline(axes, self.boxes, hex_colour(TRUTH), 0.9)
        axes.plot([0, 0], [-1, 3], color="white", linewidth=2)  # the vehicle, heading up
        return axes

    def image(self, place: Any, maps: Array, title: str, truth: bool = True, **how: Any) -> Any:
        """maps (Y, X) or (Y, X, 3), rows along +y."""
        axes = self.empty(place, title, truth)
        half = self.grid.half_extent
        swapped = np.swapaxes(maps, 0, 1)  # rows along +x
        drawn = axes.imshow(swapped, origin="lower", extent=(-half, half, -half, half), **how)
        axes.set(xlim=(SHOWN_REACH, -SHOWN_REACH), ylim=(-SHOWN_REACH, SHOWN_REACH))
        return axes, drawn

    def map(
        self, place: Any, maps: Tensor, title: str, colours: str, top: float, truth: bool = True
    ) -> Any:
        """maps (Y, X) from 0 to `top`."""
        how = {"cmap": colours, "vmin": 0.0, "vmax": top}
        return self.image(place, maps.double().numpy(), title, truth, **how)

    def scale(self, drawn: Any, axes: Axes, ticks: dict[int, str] | None = None) -> None:
        """What the colours of a panel stand for."""
        bar = self.figure.colorbar(drawn, ax=axes, orientation="horizontal", pad=0.02, aspect=40)
        outline: Any = bar.outline  # matplotlib's stubs give it another type
        outline.set_visible(False)
        bar.ax.tick_params(labelsize=8)
        if ticks:
            bar.set_ticks(list(ticks), labels=list(ticks.values()))


def _boxes_by_quality(panel: _Panels, axes: Axes, boxes: Array, quality: Array) -> None:
    colours = colormaps["RdYlGn"]
    for box, value in zip(boxes, quality, strict=True):
        _outline(axes, box[None], colours(float(value)), 1.6)
    panel.scale(ScalarMappable(BoundaryNorm(np.linspace(0, 1, 11), colours.N), colours), axes)


def _outline(axes: Axes, boxes: Array, colour: Any, width: float) -> None:
    """The footprints of boxes (M, 7)."""
    for corners in box_corners(boxes)[:, [0, 1, 5, 4, 0], :2]:
        axes.plot(corners[:, 1], corners[:, 0], color=colour, linewidth=width)
