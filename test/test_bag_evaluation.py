# SPDX-License-Identifier: Apache-2.0
"""Promise: what the node published is scored by the official evaluator, keyframe by keyframe."""

import json
import shutil
import sys

import numpy as np
import pytest
from rclpy.serialization import serialize_message
from std_msgs.msg import Header

from asd_perception.errors import UserError
from asd_perception.ros.messages.geometry import time_from_ns
from asd_perception.ros.messages.published.detections import detections_to_msg
from asd_perception.ros.messages.published.objects import objects_to_cloud
from asd_perception.runtime.detections import Detections
from asd_training.bags.bag_files import create_bag
from asd_training.bags.evaluate import Coverage, evaluate_bag, submission_of_bag
from asd_training.bags.scene import EgoTrack
from asd_training.commands.asd_bag import main
from asd_training.data.nuscenes import annotated_objects, camera_frame, open_dataset, scene_samples


@pytest.fixture(scope="module")
def driven(synthetic_root):
    """Two scenes of three keyframes each."""
    return open_dataset(synthetic_root)


@pytest.fixture(scope="module")
def samples(driven):
    """The keyframes of the first scene."""
    return scene_samples(driven, driven.scene[0]["name"])


@pytest.fixture(scope="module", params=["synthetic", "real"])
def nusc(request):
    if request.param == "synthetic":
        return request.getfixturevalue("driven")
    return open_dataset(request.getfixturevalue("keyframe_root"))


def detect_the_truth(nusc, sample, global_from_ego=None):
    """The annotations of a keyframe that the evaluator keeps, as detections."""
    if global_from_ego is None:
        global_from_ego = camera_frame(nusc, sample).global_from_ego
    truth = annotated_objects(nusc, sample, global_from_ego)
    seen = truth.observed
    return Detections(
        truth.boxes[seen],
        np.ones(seen.sum()),
        truth.labels[seen],
        truth.velocities[seen],
        truth.attributes[seen],
    )


def write_detections(path, frames, frame_id="base_link", clouds=True):
    """A bag as `asd-bag record` makes it, of (stamp in ns, Detections) in the order received."""
    with create_bag(path) as writer:
        writer.add_topic("/detector/detections", "vision_msgs/msg/Detection3DArray")
        writer.add_topic("/detector/objects", "sensor_msgs/msg/PointCloud2")
        for received, (stamp, detections) in enumerate(frames):
            header = Header(stamp=time_from_ns(stamp), frame_id=frame_id)
            message = detections_to_msg(detections, header)
            writer.write("/detector/detections", received, serialize_message(message))
            if clouds:
                cloud = objects_to_cloud(detections, header)
                writer.write("/detector/objects", received, serialize_message(cloud))
    return path


def reference_ns(nusc, sample):
    return camera_frame(nusc, sample).stamp_us * 1000


def truth_frames(nusc, samples):
    return [(reference_ns(nusc, item), detect_the_truth(nusc, item)) for item in samples]


def positions_of(boxes):
    return np.array([box["translation"] for box in boxes])


def test_published_truth_scores_one_in_each_class_present(nusc, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(nusc, nusc.sample))
    metrics, coverage = evaluate_bag(bag, nusc, output=tmp_path / "results")
    assert coverage == Coverage(len(nusc.sample), len(nusc.sample), 0, 0)
    present = [name for name, count in metrics.ground_truth.items() if count]
    assert len(present) >= 5
    for name in present:
        assert metrics.class_ap[name] == pytest.approx(1.0), name
    results = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert results["mean_ap"] == metrics.mean_ap
    submission = json.loads((tmp_path / "results" / "submission.json").read_text())["results"]
    assert set(submission) == {sample["token"] for sample in nusc.sample}


def test_a_keyframe_without_a_message_counts_as_empty(driven, samples, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(driven, samples[1:]))
    submission, coverage = submission_of_bag(bag, driven)
    assert coverage == Coverage(expected=3, detected=2, inexact=0, without_velocity=0)
    assert submission[samples[0]["token"]] == []
    assert all(submission[sample["token"]] for sample in samples[1:])


def test_only_the_scenes_that_the_bag_covers_are_expected(driven, tmp_path):
    scene = driven.scene[-1]
    sample = driven.get("sample", scene["first_sample_token"])
    bag = write_detections(tmp_path / "bag", truth_frames(driven, [sample]))
    submission, coverage = submission_of_bag(bag, driven)
    assert coverage.expected == scene["nbr_samples"] < len(driven.sample)
    scenes = {driven.get("sample", token)["scene_token"] for token in submission}
    assert scenes == {scene["token"]}


def test_a_near_stamp_is_matched_with_the_ego_pose_of_its_own_time(driven, samples, tmp_path):
    sample = samples[0]
    stamp = reference_ns(driven, sample) + 30_000_000
    pose = EgoTrack.of_records(driven, driven.sample_data).pose_at(stamp / 1000)
    exact = camera_frame(driven, sample).global_from_ego
    assert np.linalg.norm((pose - exact)[:3, 3]) > 0.05  # the vehicle drives
    bag = write_detections(tmp_path / "bag", [(stamp, detect_the_truth(driven, sample, pose))])
    submission, coverage = submission_of_bag(bag, driven)
    assert (coverage.detected, coverage.inexact) == (1, 1)
    truth = [
        driven.get("sample_annotation", token)["translation"]
        for token in sample["anns"]
        if driven.get("sample_annotation", token)["num_lidar_pts"]
    ]
    assert np.allclose(positions_of(submission[sample["token"]]), truth, atol=1e-4)


@pytest.mark.parametrize("order", [1, -1])
def test_a_keyframe_takes_the_nearest_message_only(driven, samples, tmp_path, order):
    sample = samples[0]
    stamp, truth = truth_frames(driven, [sample])[0]
    other = Detections(*(value[:1] for value in vars(truth).values() if value is not None))
    frames = [(stamp - 20_000_000, other), (stamp, truth), (stamp + 5_000_000, other)]
    bag = write_detections(tmp_path / "bag", frames[::order])
    submission, coverage = submission_of_bag(bag, driven)
    assert len(submission[sample["token"]]) == len(truth) > 1
    assert (coverage.detected, coverage.inexact) == (1, 0)


def test_without_an_objects_cloud_velocity_is_unknown(driven, samples, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(driven, samples), clouds=False)
    submission, coverage = submission_of_bag(bag, driven)
    assert coverage.without_velocity == 3
    boxes = [box for boxes in submission.values() for box in boxes]
    assert np.isnan([box["velocity"] for box in boxes]).all()
    assert {box["attribute_name"] for box in boxes} == {""}


# -- bad input ---------------------------------------------------------------------------------


def run_command(monkeypatch, capfd, *arguments):
    """Exit status of asd-bag and what it wrote to stderr."""
    monkeypatch.setattr(sys, "argv", ["asd-bag", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code, capfd.readouterr().err


@pytest.fixture
def broken_root(synthetic_root, tmp_path):
    """A copy of the dataset, to break."""
    root = tmp_path / "data"
    shutil.copytree(synthetic_root, root)
    return root


def image_of(root):
    return next((root / "samples" / "CAM_BACK").iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "v1.0-synthetic" / "ego_pose.json").unlink(), "ego_pose.json is mis"),
        (lambda root: (root / "v1.0-synthetic" / "sample.json").write_text("[{"), "not valid JSON"),
        (lambda root: image_of(root).unlink(), ".jpg is missing"),
        (lambda root: image_of(root).write_bytes(b""), ".jpg is empty"),
        (lambda root: shutil.rmtree(root), "is no folder"),
    ],
)
def test_a_broken_dataset_is_told_in_one_line(
    broken_root, tmp_path, monkeypatch, capfd, damage, message
):
    scene = open_dataset(broken_root).scene[0]["name"]
    damage(broken_root)
    output = tmp_path / "out" / "bag"
    status, error = run_command(
        monkeypatch, capfd, "convert", broken_root, output, "--scene", scene
    )
    assert status == 2
    assert error.startswith("asd-bag convert: error: ") and error.count("\n") == 1
    assert message in error
    assert not output.parent.exists() or not list(output.parent.iterdir())


def test_an_unknown_scene_is_told_with_those_there_are(
    synthetic_root, tmp_path, monkeypatch, capfd
):
    status, error = run_command(
        monkeypatch, capfd, "convert", synthetic_root, tmp_path / "bag", "--scene", "scene-0061"
    )
    assert status == 2
    assert (
        "has no scene 'scene-0061'; it has synthetic_train-77-0000, synthetic_val-77-0000" in error
    )
    assert not list(tmp_path.iterdir())


def test_an_output_that_cannot_be_made_is_told(
    synthetic_root, driven, tmp_path, monkeypatch, capfd
):
    (tmp_path / "file").write_text("in the way")
    scene = driven.scene[0]["name"]
    status, error = run_command(
        monkeypatch, capfd, "convert", synthetic_root, tmp_path / "file" / "bag", "--scene", scene
    )
    assert status == 2
    assert f"{tmp_path / 'file'}" in error and error.count("\n") == 1


def truncate(bag):
    with next(bag.glob("*.mcap")).open("r+b") as file:
        file.truncate(file.seek(0, 2) * 2 // 3)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "is damaged or truncated"),
        (lambda bag: next(bag.glob("*.mcap")).write_bytes(b""), "is damaged or truncated"),
        (lambda bag: next(bag.glob("*.mcap")).unlink(), "is incomplete: it lacks bag.mcap"),
        (shutil.rmtree, "does not exist"),
    ],
)
def test_a_broken_bag_is_told_in_one_line(
    synthetic_root, driven, tmp_path, monkeypatch, capfd, damage, message
):
    bag = write_detections(tmp_path / "bag", truth_frames(driven, driven.sample))
    damage(bag)
    output = tmp_path / "results"
    status, error = run_command(
        monkeypatch, capfd, "evaluate", bag, synthetic_root, "--output", output
    )
    assert status == 2
    assert error.startswith("asd-bag evaluate: error: ") and error.count("\n") == 1
    assert message in error
    assert not output.exists()


def test_every_byte_of_a_bag_may_be_wrong(driven, tmp_path):
    """Damage anywhere ends in a UserError or in a submission, never in another exception."""
    bag = write_detections(tmp_path / "bag", truth_frames(driven, driven.sample))
    file = next(bag.glob("*.mcap"))
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for start in rng.integers(0, len(content), 30):
        damaged = bytearray(content)
        damaged[start : start + 8] = rng.bytes(8)
        file.write_bytes(damaged[: len(content)])
        try:
            submission_of_bag(bag, driven)
        except UserError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("shift_ns", "options", "message"),
    [
        (60_000_000, {}, "none of the 6 messages on /detector/detections has the stamp of a key"),
        (0, {"frame_id": "map"}, "the frame is 'map', not 'base_link'"),
    ],
)
def test_detections_that_cannot_be_scored_are_refused(driven, tmp_path, shift_ns, options, message):
    frames = [(stamp + shift_ns, found) for stamp, found in truth_frames(driven, driven.sample)]
    bag = write_detections(tmp_path / "bag", frames, **options)
    with pytest.raises(UserError, match=message):
        submission_of_bag(bag, driven)


def test_a_topic_that_is_absent_or_of_another_type_is_refused(driven, tmp_path):
    bag = write_detections(tmp_path / "bag", truth_frames(driven, driven.sample))
    with pytest.raises(UserError, match="has no topic /detections; it has /detector/detections"):
        submission_of_bag(bag, driven, topic="/detections")
    with pytest.raises(UserError, match="carries sensor_msgs/msg/PointCloud2, not vision_msgs/"):
        submission_of_bag(bag, driven, topic="/detector/objects")
