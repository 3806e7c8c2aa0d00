# SPDX-License-Identifier: Apache-2.0
"""Promise: an exported student is the trained one, and ONNX is written only if it answers alike."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import os

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from small import SMALL

from asd_perception.configuration import from_dict, to_dict
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.center_head import Decoded
from asd_perception.network.config import BACKBONES, StudentConfig
from asd_perception.network.student import Student
from asd_perception.network.view_transform import depth_bin_centres
from asd_perception.runtime.detector import Detector
from asd_perception.runtime.onnx import PARTS, OnnxPart
from asd_training.commands.train import export as export_command
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import camera_frame, open_dataset, read_images
from asd_training.export.model import write_model
from asd_training.export.onnx_file import INPUTS, DecodingStudent, onnx_answer, to_onnx, write_onnx
from asd_training.export.parity import check, check_parity, compare, unsteady_points
from asd_training.export.source import _log_until, load_checkpoint, load_source
from asd_training.training.run import train
from asd_training.training.run_folder import begin
from asd_training.training.student import StudentTraining

RUN = StudentRun(
    steps=10,
    batch_size=1,
    loader_workers=0,
    student=SMALL,
    precision="32-true",
    train_split="synthetic_train",
    val_split="synthetic_val",
)


@pytest.fixture(scope="module")
def run(synthetic_root, tmp_path_factory):
    """An unfinished run: what Lightning leaves after some steps of `asd-train student`."""
    run = tmp_path_factory.mktemp("run")
    index = KeyframeIndex.open(synthetic_root)
    begin(run, RUN, index)
    torch.manual_seed(0)
    train(StudentTraining(RUN, index), run, resume=False)
    return run


@pytest.fixture(scope="module")
def model():
    """A student whose every map answers to its inputs, as after training."""
    torch.manual_seed(0)
    student = Student(SMALL).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return DecodingStudent(student).eval()


@pytest.fixture(scope="module")
def frames(model, synthetic_root):
    nusc = open_dataset(synthetic_root)
    frame = camera_frame(nusc, nusc.sample[0])
    *inputs, _ = Detector(model.student).inputs(read_images(frame), frame.rig)
    noise = torch.randint(0, 256, inputs[0].shape, dtype=torch.uint8)
    return {"drawn street": inputs, "random images": (noise, *inputs[1:])}


@pytest.fixture(scope="module")
def program(model, frames):
    return to_onnx(model, frames["random images"], {"command": "test"})


def export(*arguments):
    """`asd-train export` in this process."""
    parser = argparse.ArgumentParser()
    export_command.configure(parser)
    export_command.run(parser.parse_args(list(map(str, arguments))))


def test_a_checkpoint_becomes_a_model_directory(asd_train, run, tmp_path):
    done = asd_train("export", run, tmp_path / "model")
    assert done.returncode == 0, done.stderr
    student = model_directory.load(tmp_path / "model")
    trained = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, trained[f"average.module.{name}"]), name
    provenance = model_directory.read_document(tmp_path / "model")["provenance"]
    assert provenance["steps"] == 10
    assert provenance["training"]["batch_size"] == 1
    assert provenance["data"]["train_keyframes"] == 3
    assert provenance["log"]["loss"] > 0
    for name in PARTS:  # what the node runs on a CPU
        assert isinstance(
            getattr(Detector.from_pretrained(tmp_path / "model").backend.student, name), OnnxPart
        )


def test_a_checkpoint_of_the_middle_knows_nothing_of_the_end(tmp_path):
    """And a run that was resumed has two logs."""
    for version, rows in ((0, ["9,3.0,", "19,2.0,", "29,9.0,"]), (1, ["19,,0.5", "29,1.0,"])):
        log = tmp_path / f"log/version_{version}/metrics.csv"
        log.parent.mkdir(parents=True)
        log.write_text("\n".join(["step,loss,val/mean_ap", *rows]))
        os.utime(log, (version, version))
    assert _log_until(tmp_path, 20) == {"step": 19.0, "loss": 2.0, "val/mean_ap": 0.5}
    assert _log_until(tmp_path, 30)["loss"] == 1.0


def test_a_finished_run_gives_its_scored_model(model, run):
    provenance = {"validation": {"mean_ap": 0.5}}
    model_directory.save(run / "model", model.student, provenance, ["front", "rear"])
    for source in (run, run / "model"):
        found = load_source(source)
        assert found.provenance == provenance
        assert found.cameras == ["front", "rear"]
        assert torch.equal(found.student.head.boxes.weight, model.student.head.boxes.weight)


@pytest.mark.slow
def test_onnx_has_as_many_cameras_as_the_training_or_as_are_asked_for(model, tmp_path):
    names = ["left", "front", "right"]
    model_directory.save(tmp_path / "model", model.student, {}, names)
    for options, cameras in (((), 3), (("--cameras", "1"), 1)):
        file = tmp_path / f"{cameras}.onnx"
        export(tmp_path / "model", file, *options)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        shapes = {item.name: item.shape for item in session.get_inputs()}
        assert shapes["images"] == [1, cameras, 3, 32, 96]
        assert shapes["ego_from_camera"] == [1, cameras, 4, 4]
        described = yaml.safe_load(session.get_modelmeta().custom_metadata_map["config.yaml"])
        assert described["cameras"] == names


def test_a_rig_of_nine_cameras_is_refused(model, tmp_path):
    model_directory.save(tmp_path / "model", model.student, {})
    with pytest.raises(UserError, match="a rig has 1 to 8 cameras, not 9"):
        export(tmp_path / "model", tmp_path / "nine.onnx", "--cameras", "9")
    assert not (tmp_path / "nine.onnx").exists()


def test_onnx_is_written_where_it_answers_as_pytorch(program, model, frames, tmp_path, capsys):
    file = tmp_path / "student.onnx"
    write_onnx(program, model, file, frames, tolerance=0.01)
    printed = capsys.readouterr().out
    assert "parity holds within 0.01" in printed
    assert all(name in printed for name in frames)
    assert [path.name for path in tmp_path.iterdir()] == ["student.onnx"]

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(INPUTS)
    assert session.get_inputs()[0].shape == [1, 6, 3, 32, 96]
    assert session.get_inputs()[0].type == "tensor(uint8)"
    assert [o.name for o in session.get_outputs()] == list(Decoded._fields)
    described = yaml.safe_load(session.get_modelmeta().custom_metadata_map["config.yaml"])
    assert described["classes"] == list(CLASSES)
    assert from_dict(StudentConfig, described["student"]) == SMALL

    parity = check_parity(model, onnx_answer(file), frames)
    assert min(p.compared for p in parity.values()) > 5  # it has compared something


def test_onnx_of_another_student_is_not_written(program, model, frames, tmp_path):
    other = DecodingStudent(Student(SMALL).eval())
    for student, tolerance in ((model, 0.0), (other, 0.01)):
        with pytest.raises(UserError, match="is not written: ONNX Runtime differs from PyTorch by"):
            write_onnx(program, student, tmp_path / "student.onnx", frames, tolerance)
        assert list(tmp_path.iterdir()) == []


def objects(count: int = 4) -> Decoded:
    rng = np.random.default_rng(0)
    return Decoded(
        boxes=rng.uniform(-3, 3, (count, 7)),
        scores=np.linspace(0.9, 0.1, count),
        labels=np.arange(count) % 2,
        velocities=rng.normal(size=(count, 2)),
        attributes=np.zeros(count, np.int64),
    )


def test_the_order_of_equal_scores_is_no_difference_but_all_else_is():
    expected = objects()._replace(scores=np.array([0.9, 0.9, 0.4, 0.1]))
    swapped = Decoded(*(array[[1, 0, 2, 3]] for array in expected))
    assert compare(expected, swapped).worst == 0
    turned = expected.boxes + [0, 0, 0, 0, 0, 0, 2 * np.pi]
    assert compare(expected, expected._replace(boxes=turned)).worst < 1e-9
    for field, value in (
        ("scores", expected.scores + 0.05),
        ("scores", np.zeros(4)),  # so different that no object is sure to be in both lists
        ("boxes", expected.boxes + 0.05),
        ("velocities", expected.velocities * np.nan),
        ("labels", np.full(4, 7)),
        ("attributes", np.array([0, 3, 0, 0])),
    ):
        assert compare(expected, expected._replace(**{field: value})).worst > 0.04, field


def test_one_simulated_point_that_jumps_is_no_other_model():
    random = np.random.default_rng(0)
    scores = np.sort(random.uniform(0.1, 0.9, 200))[::-1]
    expected = Decoded(
        random.uniform(-50, 50, (200, 7)),
        scores,
        np.zeros(200, int),
        random.normal(size=(200, 2)),
        np.zeros(200, int),
    )
    tie = expected.boxes[10, :2] + 1
    near = np.linalg.norm(expected.boxes[:, :2] - tie, axis=1) < 9
    boxes, labels = expected.boxes.copy(), np.where(near, 1, 0)
    boxes[near] += 0.05
    found = expected._replace(boxes=boxes, labels=labels)
    parity = compare(expected, found, unsteady=tie[None])
    assert parity.worst < 1e-9
    assert near.sum() <= parity.left_out < 20
    assert compare(expected, found).worst > 0.04
    boxes[~near] += 0.05
    assert compare(expected, found, unsteady=tie[None]).worst > 0.04


def test_points_whose_depth_is_a_tie_are_known(model, frames):
    """Both places at which a point with two equally likely bins may lie, and no other point."""
    student, frame = copy.deepcopy(model.student), frames["drawn street"]
    assert len(unsteady_points(student, frame)) <= 4
    layer, centres = student.point_simulator.head.depth, depth_bin_centres(SMALL.depth, "cpu")
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.bias[[1, 6]] = 20.0
        points = student(*frame).simulated_points[0]
    found = unsteady_points(student, frame)
    assert len(found) == 2 * len(points)
    cameras = np.asarray(frame[2][0, :, :2, 3]).repeat(len(points) // 6, axis=0)
    near, far = found[: len(points)] - cameras, found[len(points) :] - cameras
    ratio = np.linalg.norm(far, axis=1) / np.linalg.norm(near, axis=1)
    expected = float(centres[6] / centres[1])
    np.testing.assert_allclose(np.maximum(ratio, 1 / ratio), expected, rtol=1e-3)


def test_what_cannot_be_exported_is_told_in_one_line(run, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes()[:1000])
    with pytest.raises(UserError, match="last.ckpt cannot be read as a file of tensors") as error:
        load_source(broken)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="is no run with a checkpoint"):
        load_source(tmp_path / "nowhere")
    torch.save({"weights": 1}, broken / "last.ckpt")
    with pytest.raises(UserError, match="is no checkpoint of `asd-train student`"):
        load_source(broken)


def test_a_checkpoint_without_its_own_configuration_is_told(run, tmp_path):
    (tmp_path / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"config.yaml: No such file"):
        load_checkpoint(tmp_path / "last.ckpt")
    config = dataclasses.replace(SMALL, head_channels=16)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"student": to_dict(config)}))
    with pytest.raises(UserError, match=r"does not fit its config.yaml: head.*has shape"):
        load_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_every_named_backbone_exports(name, frames, tmp_path):
    torch.manual_seed(0)
    net = Student(dataclasses.replace(SMALL, backbone=BACKBONES[name])).eval()
    torch.nn.init.normal_(net.head.heatmap.weight, std=0.1)  # else every cell scores the same
    model = DecodingStudent(net).eval()
    program = to_onnx(model, frames["random images"], {})
    write_onnx(program, model, tmp_path / "student.onnx", frames, tolerance=0.01)

    write_model(net, {}, tmp_path / "model", frames, tolerance=0.01)
    images = frames["random images"][0]
    backend = Detector.from_pretrained(tmp_path / "model").backend
    together = backend.student.image_encoder(images)[0]
    arrays = images[0].permute(0, 2, 3, 1).numpy()
    one_by_one = torch.stack([backend.encode(array) for array in arrays])
    torch.testing.assert_close(one_by_one, together, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["camera_only", "symmetric"])
def test_every_fusion_becomes_a_model_directory(fusion, frames, tmp_path):
    torch.manual_seed(0)
    net = Student(dataclasses.replace(SMALL, fusion=fusion)).eval()
    torch.nn.init.normal_(net.head.heatmap.weight, std=0.1)
    write_model(net, {}, tmp_path / "model", frames, tolerance=0.01)
    assert Detector.from_pretrained(tmp_path / "model").config == net.config


@pytest.mark.slow
def test_a_model_directory_whose_graphs_answer_otherwise_is_not_written(model, frames, tmp_path):
    with pytest.raises(UserError, match="is not written: ONNX Runtime differs from PyTorch by"):
        write_model(model.student, {}, tmp_path / "model", frames, tolerance=0.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trained", [True, False])
def test_parity_without_an_object_to_compare_is_a_warning(model, frames, tmp_path, capsys, trained):
    answering = model if trained else DecodingStudent(Student(SMALL).eval()).eval()
    with torch.inference_mode():
        results = check_parity(answering, lambda frame: answering(*frame), frames)
    check(results, tmp_path / "model", tolerance=0.01)
    assert ("no object was compared" in capsys.readouterr().err) == (not trained)


@pytest.mark.slow
def test_a_student_that_finds_nothing_is_not_written(frames, tmp_path):
    untrained = DecodingStudent(Student(SMALL).eval()).eval()  # every cell scores the same
    program = to_onnx(untrained, frames["random images"], {})
    with pytest.raises(UserError, match="there are no objects to compare; train the student first"):
        write_onnx(program, untrained, tmp_path / "student.onnx", frames, tolerance=0.01)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_shipped_model_exports_from_the_command_line(asd_train, tmp_path):
    done = asd_train("export", TINY, tmp_path / "tiny.onnx")
    assert done.returncode == 0, done.stderr
    assert "parity holds" in done.stdout
    assert (tmp_path / "tiny.onnx").stat().st_size < 12e6
