# SPDX-License-Identifier: Apache-2.0
"""One picture of what the method does in one keyframe.

Features are shown in the colours of the teacher's three main components: where teacher and student
have the same colour, the adapted student says what the teacher says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
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
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.files import atomic_file, check_output_file
from asd_perception.geometry import Array, box_corners
from asd_perception.network.center_head import decode, decode_boxes
from asd_perception.network.student import Student, StudentOutput
from asd_perception.palette import hex_colour
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.detector import detections_of
from asd_training.config.distillation import DistillConfig
from asd_training.config.read import read_config
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import read_images
from asd_training.data.samples import KeyframeDataset, SampleContents, TrainingSample, collate
from asd_training.evaluation.pictures import cameras_picture
from asd_training.export.source import load_source
from asd_training.losses.adaptive_smooth import AdaptiveSmooth
from asd_training.losses.distillation import DistillationObjective
from asd_training.losses.features import object_mask, standardised_pair
from asd_training.losses.response import response_quality
from asd_training.models.pretrained import load_pickle
from asd_training.models.teacher import TeacherOutput
from asd_training.training.frozen_teacher import FrozenTeacher, load_teacher
from asd_training.training.run_folder import LAST

SHOWN_SCORE = 0.2
"""Detections of at least this score are drawn."""

SHOWN_REACH = 42.0
"""Half the side in m of the square that is drawn from above."""


@dataclass(frozen=True)
class Alignment:
    """One place of feature distillation: the teacher's and the adapted student's standardised
    features (C, Y, X), and what the adaptive-smooth loss makes of them."""

    teacher: Tensor
    student: Tensor
    asked: AdaptiveSmooth


@dataclass(frozen=True)
class Explanation:
    """All that the picture shows of one keyframe; tensors without a batch axis but for outputs.

    quality (M) in [0, 1], boxes (M, 7): of the annotated objects.
    """

    batch: TrainingSample
    teacher: TeacherOutput
    student: StudentOutput
    cross_modal: Alignment
    multi_modal: Alignment
    boxes: Array
    quality: Array
    found: Detections


def explain_keyframe(
    run: Path,
    teacher_model: Path | None,
    data: Path,
    version: str | None,
    split: str,
    number: int,
    output: Path,
) -> None:
    """Look at one keyframe with both networks, and draw it.

    run: of a student. teacher_model: model directory, if the run had no teacher. number: of the
    keyframe in the split. output: the picture, *.png. Raises UserError.
    """
    check_output_file(output)
    if output.suffix != ".png":
        raise UserError(f"{output}: the picture's name must end in .png")
    student, _ = load_source(run)
    if student.config.fusion == "camera_only":
        raise UserError(f"{run} is a camera_only student; it has no fusion to explain")
    config = read_config(StudentRun, run / "config.yaml").distillation
    if teacher_model:
        config = dataclasses.replace(config, teacher=str(teacher_model))
    if config.teacher is None:
        raise UserError(f"{run} had no teacher; give a model directory with --teacher")
    # Shown in both places, whether or not the run was taught there.
    config = dataclasses.replace(config, cross_modal="adaptive", multi_modal="adaptive")
    teacher = load_teacher(config, student.config)
    objective = trained_adapters(run, config, student, teacher)

    index = KeyframeIndex.open(data, version)
    keyframes = index.split(split)
    if not 0 <= number < len(keyframes):
        raise UserError(
            f"--keyframe is {number}; the split {split} has {len(keyframes)}, from 0 on"
        )
    keyframe = int(keyframes[number])
    dataset = KeyframeDataset(
        index, student.config, SampleContents(sweeps=teacher.network.config.sweeps)
    )
    explanation = explain(student, teacher, objective, collate([dataset[keyframe]]))
    frame = index.frame(keyframe)
    found = explanation.found
    cameras = cameras_picture(read_images(frame), frame.rig, found.boxes, found.labels)
    figure = draw(explanation, cameras, student.config.bev, config.levels)
    with atomic_file(output) as path:
        figure.savefig(path, dpi=100, facecolor="white")


def trained_adapters(
    run: Path, config: DistillConfig, student: Student, teacher: FrozenTeacher
) -> DistillationObjective:
    """The objective with the adapters of the run's checkpoint; identities where it has none.

    Raises UserError where an identity cannot be, since the channels differ.
    """
    ours, theirs = student.config.bev_channels, teacher.network.config.network.bev_channels
    objective = DistillationObjective(config, student.config.bev, ours, theirs)
    prefix = "distillation.adapters."
    saved = {}
    if (run / LAST).is_file():
        saved = load_pickle(run / LAST)["state_dict"]
    for name, adapter in objective.adapters.items():
        weight = saved.get(f"{prefix}{name}.weight")
        if weight is not None and weight.shape == adapter.weight.shape:
            adapter.load_state_dict({"weight": weight})
        elif ours != theirs:
            raise UserError(
                f"{run} holds no {name} adapter from {ours} to {theirs} channels; "
                "give a run that was distilled by this teacher"
            )
    return objective.eval()


@torch.no_grad()
def explain(
    student: Student,
    teacher: FrozenTeacher,
    objective: DistillationObjective,
    batch: TrainingSample,
) -> Explanation:
    """What both networks say of a batch of one keyframe, and what distillation asks there."""
    answer = teacher(batch)
    output = student(batch.images, batch.intrinsics, batch.ego_from_camera)
    config, grid, objects = objective.config, student.config.bev, batch.objects
    mask = object_mask(objects, config.background_floor)

    def alignment(name: str, theirs: Tensor, ours: Tensor) -> Alignment:
        adapted = objective.adapters[name](ours)
        asked = objective.adaptive_smooth(theirs, adapted, mask)
        teacher_maps, student_maps, _ = standardised_pair(theirs, adapted)
        return Alignment(teacher_maps[0], student_maps[0], asked)

    assert output.point_bev is not None
    cells = objects.cells[0][objects.valid[0]]
    encoded = objects.boxes[0][objects.valid[0]]
    decoded = decode(output.head, grid, student.config.max_objects)
    return Explanation(
        batch=batch,
        teacher=answer,
        student=output,
        cross_modal=alignment("cross_modal", answer.lidar_bev, output.point_bev),
        multi_modal=alignment("multi_modal", answer.fused_bev, output.fused_bev),
        boxes=decode_boxes(cells // grid.size, cells % grid.size, encoded, grid).double().numpy(),
        quality=response_quality(answer.head, objects, grid, config.alpha)[0][
            objects.valid
        ].numpy(),
        found=detections_of(decoded, 0, SHOWN_SCORE),
    )


def draw(shown: Explanation, cameras: Any, grid: BevGrid, levels: tuple[float, ...]) -> Figure:
    """The picture. cameras (height, width, 3): the six images. levels: sigma_k in cells."""
    figure = Figure(figsize=(16, 16.6), layout="constrained")
    rows = figure.add_gridspec(4, 4, height_ratios=(1.0, 1, 1, 1))
    axes = figure.add_subplot(rows[0, :3])
    axes.imshow(cameras, aspect="equal")
    axes.set_axis_off()
    axes.set_title(f"six cameras, and what the student finds (score ≥ {SHOWN_SCORE:g})")

    panel = _Panels(figure, grid, shown.boxes)
    assert shown.student.simulated_points is not None
    points = shown.student.simulated_points[0].numpy()
    lidar = shown.batch.points.numpy()
    axes = panel.empty(rows[0, 3], "simulated points (confidence) over LiDAR (grey)")
    axes.scatter(lidar[:, 1], lidar[:, 0], s=1, c="#a4a9b3", linewidths=0)
    drawn = axes.scatter(
        *(points[:, 1], points[:, 0]), s=4, c=points[:, 3], cmap="plasma", vmin=0, vmax=1,
        linewidths=0,
    )  # fmt: skip
    panel.scale(drawn, axes)

    for row, alignment, names in (
        (1, shown.cross_modal, ("teacher: LiDAR features", "student: simulated points' features")),
        (2, shown.multi_modal, ("teacher: fused features", "student: fused features")),
    ):
        place = "cross-modal" if row == 1 else "multi-modal"
        for column, (maps, name) in enumerate(
            zip(in_common_colours(alignment.teacher, alignment.student), names, strict=True)
        ):
            panel.image(rows[row, column], maps, name)
        axes, image = panel.map(
            rows[row, 2],
            alignment.asked.discrepancy[0],
            f"{place} discrepancy d (0 equal, 2 uncorrelated)",
            "magma",
            2.0,
        )
        panel.scale(image, axes, ticks={0: "0", 1: "1", 2: "2"})
        top = len(levels) - 1
        axes, image = panel.map(
            rows[row, 3],
            alignment.asked.granularity[0],
            f"{place} granularity g, as σ in cells",
            "viridis",
            top,
        )
        panel.scale(image, axes, ticks={k: f"{sigma:g}" for k, sigma in enumerate(levels)})

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
        _outline(axes, box[None].astype(float), hex_colour(CLASSES[label]), 1.4)
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
        axes.set_facecolor("#18191c")
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=11)
        if truth:
            _outline(axes, self.boxes, "#3cc85a", 0.9)
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
        outline: Any = bar.outline  # matplotlib's stubs take it for something else
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
