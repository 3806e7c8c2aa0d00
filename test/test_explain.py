# SPDX-License-Identifier: Apache-2.0
"""Promise: `asd-train explain` shows what distillation computes, each thing in its place."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
import yaml
from small import SMALL

from asd_perception.bev_grid import BevGrid
from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.student import Student
from asd_training.commands.train import explain as command
from asd_training.config.distillation import DistillConfig
from asd_training.config.run import StudentRun
from asd_training.config.teacher import TeacherConfig
from asd_training.explain import explanation, picture
from asd_training.models.teacher import Teacher
from asd_training.training.frozen_teacher import load_teacher

CHANNELS = SMALL.bev_channels


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    torch.manual_seed(5)
    config = TeacherConfig("lidar", sweeps=1, network=SMALL)
    path = tmp_path_factory.mktemp("explain") / "teacher"
    model_directory.save_network(path, "teacher", Teacher(config), config, {})
    return path


def a_run(folder: Path, distillation: DistillConfig, adapter: torch.Tensor | None = None) -> Path:
    """A student's run folder: model, configuration and, of the checkpoint, an adapter."""
    model_directory.save(folder / "model", Student(SMALL), {})
    config = StudentRun(student=SMALL, distillation=distillation)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(config)))
    if adapter is not None:
        weights = {"distillation.adapters.cross_modal.weight": adapter}
        torch.save({"state_dict": weights}, folder / "last.ckpt")
    return folder


def asd_train(*arguments: object) -> None:
    """`asd-train explain` in this process: starting another takes seconds."""
    import argparse

    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args([*map(str, arguments)]))


def test_a_run_becomes_a_picture(synthetic_root, teacher, tmp_path):
    """In one place as if taught by the difference, in the other as it was, by the target."""
    adapter = torch.randn(CHANNELS, CHANNELS, 1, 1)
    config = DistillConfig(teacher=str(teacher), cross_modal="l2", multi_modal="adaptive_ray")
    run = a_run(tmp_path / "run", config, adapter)
    asd_train(run, synthetic_root, tmp_path / "out.png", "--keyframe", 1)
    drawn = matplotlib.image.imread(tmp_path / "out.png")
    assert drawn.shape[0] > 1000 and drawn.shape[1] > 1000
    assert len(np.unique((255 * drawn[::4, ::4, :3]).astype(int).reshape(-1, 3), axis=0)) > 500


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.jpg"], "must end in .png"),
        (["out.png"], "had no teacher; give a model directory with --teacher"),
        (["out.png", "--teacher", "TEACHER", "--keyframe", "99"], "has 3, from 0 on"),
    ],
)
def test_what_is_wrong_is_named(synthetic_root, teacher, tmp_path, arguments, message):
    run = a_run(tmp_path / "run", DistillConfig())
    words = [str(teacher) if word == "TEACHER" else word for word in arguments]
    with pytest.raises(UserError, match=message):
        asd_train(run, synthetic_root, tmp_path / words[0], *words[1:])


def test_equal_features_have_equal_colours_and_the_adapter_is_the_runs(teacher, tmp_path):
    maps = torch.randn(8, 16, 16, generator=torch.Generator().manual_seed(0))
    ours, theirs = picture.in_common_colours(maps, maps)
    assert np.array_equal(ours, theirs)
    assert not np.array_equal(*picture.in_common_colours(maps, -maps))

    adapter = torch.randn(CHANNELS, CHANNELS, 1, 1)
    config = DistillConfig(teacher=str(teacher), cross_modal="adaptive", multi_modal="adaptive")
    run = a_run(tmp_path / "run", config, adapter)
    frozen = load_teacher(config, SMALL)
    objective = explanation.trained_adapters(run, config, Student(SMALL), frozen)
    assert torch.equal(objective.adapters["cross_modal"].weight, adapter)
    identity = objective.adapters["multi_modal"].weight[..., 0, 0]
    assert torch.equal(identity, torch.eye(CHANNELS))


def test_features_compared_as_they_are_need_no_adapter(synthetic_root, teacher, tmp_path):
    config = DistillConfig(teacher=str(teacher), cross_modal="l2", adapters=False)
    run = a_run(tmp_path / "run", config)
    objective = explanation.trained_adapters(
        run, config, Student(SMALL), load_teacher(config, SMALL)
    )
    maps = torch.randn(1, 8, 4, 4)
    assert torch.equal(objective.adapters["cross_modal"](maps), maps)
    asd_train(run, synthetic_root, tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 1000


def test_maps_stand_as_the_boxes_do():
    """A cell at x = 10 m, y = 20 m is drawn where a box there is."""
    from matplotlib.figure import Figure

    grid = BevGrid()
    maps = np.zeros((grid.size, grid.size))
    row, column = (int((value + grid.half_extent) / grid.cell) for value in (20.0, 10.0))
    maps[row, column] = 1.0  # rows along +y, columns along +x
    figure = Figure(figsize=(4, 4))
    figure.set_layout_engine("none")
    panels = picture._Panels(figure, grid, np.zeros((0, 7)))
    place = figure.add_gridspec(1, 1, left=0, right=1, bottom=0, top=1)[0]
    axes, _ = panels.image(place, maps, "", cmap="Greys_r", interpolation="nearest")
    for line in axes.lines:
        line.remove()
    axes.set_title("")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., 0]
    found = np.argwhere(pixels > 200)
    v, u = found[(found > 8).all(axis=1) & (found < 390).all(axis=1)].mean(axis=0)
    expected_u, expected_v = axes.transData.transform((20.0, 10.0))  # y to the right axis, x up
    assert abs(u - expected_u) < 6 and abs((pixels.shape[0] - v) - expected_v) < 6
    assert u < 200 and v < 200  # left of the vehicle, and ahead
