# SPDX-License-Identifier: Apache-2.0
"""Promise: a run keeps what it scored after how many samples and at what cost, each point once,
however often it is stopped; and curves can be drawn."""

import dataclasses
import json
import multiprocessing
import shutil
import time

import cv2
import pytest
import safetensors.torch
import torch
import yaml
from commands import asd_train_here
from lightning.pytorch import Trainer
from small import SMALL

from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.evaluation.learning_curve import (
    CurvePoint,
    add_point,
    draw_curves,
    read_curve,
)
from asd_training.losses.detection import detection_losses
from asd_training.training.curve import CostMeter, CurveRecorder
from asd_training.training.student import StudentTraining

RUN = StudentRun(
    steps=6,
    batch_size=1,
    warmup_steps=0,
    ema_decay=0.5,
    checkpoint_every=3,
    curve_from=2,
    student=SMALL,
)


def point(samples, mean_ap=0.1):
    costs = {"loader": 360.0 * samples, "step": 3240.0 * samples}
    return CurvePoint(samples, samples // 2, mean_ap, 0.2, 1.3, 0.4, costs)


@pytest.fixture
def asd_train(monkeypatch, capfd):
    """Runs the command; its exit status and what it said."""

    def call(*arguments):
        status, out, err = asd_train_here(monkeypatch, capfd, *arguments)
        return status, out + err

    return call


def test_a_point_replaces_those_that_are_not_before_it(tmp_path):
    for samples in (2, 4, 8):
        add_point(tmp_path, "val", point(samples))
    add_point(tmp_path, "val", point(4, mean_ap=0.3))
    assert read_curve(tmp_path) == [point(2), point(4, mean_ap=0.3)]
    assert json.loads((tmp_path / "curve.json").read_text())["split"] == "val"
    assert point(2).core_hours == pytest.approx(2)
    assert [path.name for path in tmp_path.iterdir()] == ["curve.json"]


@pytest.mark.parametrize(
    ("batch", "accumulate", "processes", "start", "due"),
    [
        (4, 1, 1, 3000, [750, 1500, 3000]),
        (4, 2, 1, 3000, [375, 750, 1500, 3000]),
        (8, 1, 8, 3000, [47, 94, 188, 375, 750, 1500, 3000]),
        (4, 1, 1, 16000, []),
        (4, 1, 1, 0, []),
        (64, 1, 1, 10, [1, 2, 3, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560]),
    ],
)
def test_points_are_due_at_each_doubling(tmp_path, batch, accumulate, processes, start, due):
    config = StudentRun(steps=4000, batch_size=batch, accumulate=accumulate, curve_from=start)
    recorder = CurveRecorder(tmp_path, config, processes, CostMeter())
    assert [step for step in range(4001) if recorder.is_due(step)] == due
    assert recorder.has_points_on_the_way == bool(due)


@pytest.mark.slow
def test_a_run_stopped_and_resumed_has_the_curve_of_one_that_was_not(
    synthetic_root, tmp_path, asd_train, monkeypatch
):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(to_dict(RUN)))
    start = ("--config", tmp_path / "small.yaml")
    code, said = asd_train("student", synthetic_root, tmp_path / "whole", *start)
    assert code == 0, said
    assert "cost: " in said
    assert " core-seconds per sample (prepare " in said
    whole = read_curve(tmp_path / "whole")
    assert [(point.samples, point.steps) for point in whole] == [(2, 2), (4, 4), (6, 6)]
    assert len({point.heatmap_loss for point in whole}) == 3
    assert all(0 <= point.mean_ap <= 1 and point.box_loss > 0 for point in whole)
    costs = [point.core_seconds for point in whole]
    assert 0 < costs[0]["step"] <= costs[1]["step"] <= costs[2]["step"]

    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert metrics["validation"]["mean_ap"] == whole[-1].mean_ap
    assert metrics["validation"]["heatmap_loss"] == whole[-1].heatmap_loss
    cost = metrics["core_seconds_per_sample"]
    assert cost["step"] * 6 == pytest.approx(costs[-1]["step"], abs=0.06)

    step = StudentTraining.training_step
    with monkeypatch.context() as broken:

        def stop_behind_the_second_point(self, batch, number):
            if self.global_step == 4:
                raise UserError("stopped")
            return step(self, batch, number)

        broken.setattr(StudentTraining, "training_step", stop_behind_the_second_point)
        code, said = asd_train("student", synthetic_root, tmp_path / "run", *start)
        assert (code, "stopped" in said) == (2, True)
    assert len(read_curve(tmp_path / "run")) == 2
    assert asd_train("student", synthetic_root, tmp_path / "run", "--resume")[0] == 0
    resumed = read_curve(tmp_path / "run")  # from step 3: the point at 4 is made again
    assert [without_cost(point) for point in resumed] == [without_cost(point) for point in whole]
    costs = [point.core_seconds["step"] for point in resumed]
    assert costs == sorted(costs)

    # Nothing of this changes what is trained.
    none = ("--set", "curve_from=0")
    assert asd_train("student", synthetic_root, tmp_path / "none", *start, *none)[0] == 0
    assert len(read_curve(tmp_path / "none")) == 1
    weights = [
        safetensors.torch.load_file(tmp_path / run / "model" / "model.safetensors")
        for run in ("whole", "run", "none")
    ]
    for name, tensor in weights[0].items():
        for other in weights[1:]:
            torch.testing.assert_close(other[name], tensor, rtol=0, atol=0, msg=name)


def without_cost(point):
    return dataclasses.replace(point, core_seconds={})


def test_the_losses_are_those_of_the_objective_over_the_whole_split(synthetic_root, tmp_path):
    index = KeyframeIndex.open(synthetic_root)
    torch.manual_seed(0)
    module = StudentTraining(RUN, index).eval()
    dataset = KeyframeDataset(index, SMALL, SampleContents().for_validation())
    keyframes = index.split("synthetic_val")
    with torch.no_grad():
        for i in keyframes:  # in batches of one
            module.validation_step(collate([dataset[int(i)]]), 0)
        batch = collate([dataset[int(i)] for i in keyframes])
        expected = detection_losses(module.heads(module.average.module, batch), batch.objects)
    heatmap, boxes, count = module._losses
    assert count == batch.objects.valid.sum()
    assert heatmap / count == pytest.approx(float(expected["heatmap"]), rel=1e-4)
    assert boxes / count == pytest.approx(float(expected["boxes"]), rel=1e-4)


def test_a_validation_image_that_cannot_be_read_is_told_before_the_first_step(
    synthetic_root, tmp_path, asd_train
):
    root = shutil.copytree(synthetic_root, tmp_path / "data")
    index = KeyframeIndex.open(root)
    for keyframe in index.split("synthetic_val"):
        index.frame(int(keyframe)).image_paths[0].write_bytes(b"")
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(to_dict(RUN)))
    code, said = asd_train("student", root, tmp_path / "run", "--config", tmp_path / "small.yaml")
    assert code == 2
    assert "go on with --resume" in said or "--resume" in said
    assert not (tmp_path / "run" / "last.ckpt").exists()


def _burn(done, end):
    while time.process_time() < 0.5:
        pass
    done.set()
    end.wait()


def test_the_loaders_processes_count_once_while_they_live_and_after():
    fork = multiprocessing.get_context("fork")
    done, end, meter = fork.Event(), fork.Event(), CostMeter()
    meter.skip()
    process = fork.Process(target=_burn, args=(done, end))
    process.start()
    assert done.wait(120)
    meter.count("step")
    alive = meter.core_seconds["loader"]
    assert 0.4 < alive < 1.5
    end.set()
    process.join()
    meter.count("step")
    assert meter.core_seconds["loader"] == pytest.approx(alive, abs=0.2)
    assert meter.state_dict() == meter.core_seconds
    assert meter.core_seconds["prepare"] == 0


def test_what_comes_before_the_first_step_is_preparation_but_its_validation_is_not(synthetic_root):
    def burn():
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass

    class Burning(StudentTraining):
        def on_fit_start(self):
            burn()

        def train_dataloader(self):
            burn()
            return super().train_dataloader()

        def validation_step(self, batch, number):
            burn()

        def on_validation_epoch_end(self):
            pass

    config = dataclasses.replace(RUN, steps=1, loader_workers=0)
    module, meter = Burning(config, KeyframeIndex.open(synthetic_root)), CostMeter()
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        num_sanity_val_steps=1,
        val_check_interval=2,
        check_val_every_n_epoch=None,
        logger=False,
        callbacks=[meter],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    meter.load_state_dict({"loader": 0.0, "step": 0.0})  # of a checkpoint without this part
    trainer.fit(module)
    assert 1.0 <= meter.core_seconds["prepare"] < 1.4
    assert meter.core_seconds["step"] > 0


def test_curves_are_drawn_over_samples_and_core_hours(tmp_path, asd_train):
    for run, mean_ap in (("one", 0.1), ("two", 0.2)):
        (tmp_path / run).mkdir()
        for samples in (2, 4, 8):
            add_point(tmp_path / run, "val", point(samples, mean_ap * samples))
    figure = draw_curves({run: read_curve(tmp_path / run) for run in ("one", "two")})
    panels = [axes for axes in figure.axes if axes.lines]
    assert len(panels) == 8
    assert {axes.get_title() for axes in panels} >= {"mAP", "NDS"}
    drawn = panels[0].lines[1].get_xydata()
    assert drawn.tolist() == [[2, 0.4], [4, 0.8], [8, 1.6]]
    assert panels[4].lines[0].get_xdata().tolist() == [2, 4, 8]  # hours

    picture = tmp_path / "curves.png"
    code, said = asd_train("curves", tmp_path / "one", tmp_path / "two", "--output", picture)
    assert code == 0, said
    assert cv2.imread(str(picture)).std() > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no learning curve"),
        ("{", "is no learning curve"),
        ('{"points": [{"samples": 1}]}', "is no learning curve"),
    ],
)
def test_a_run_without_a_curve_is_named(tmp_path, asd_train, content, message):
    run = tmp_path / "run"
    run.mkdir()
    if content is not None:
        (run / "curve.json").write_text(content)
    code, said = asd_train("curves", run, "--output", tmp_path / "curves.png")
    assert code == 2
    assert "Traceback" not in said
    assert f"{run}" in said
    assert message in said
    assert not (tmp_path / "curves.png").exists()
    code, said = asd_train("curves", run, "--output", tmp_path / "curves.txt")
    assert (code, "the picture is a *.png or *.svg" in said) == (2, True)
