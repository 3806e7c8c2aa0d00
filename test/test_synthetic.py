# SPDX-License-Identifier: Apache-2.0
"""Promise: synthetic scenes are true nuScenes data, exact in geometry, the same every time."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from nuscenes import NuScenes
from nuscenes.eval.detection.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval
from nuscenes.eval.detection.utils import category_to_detection_name
from nuscenes.utils.data_classes import Box, LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box
from shapely.affinity import rotate, translate
from shapely.geometry import box as rectangle

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.geometry import camera_angles, project
from asd_training.commands.asd_train import main
from asd_training.synthetic.generate import synthesize
from asd_training.synthetic.nuscenes_writer import VERSION
from asd_training.synthetic.scene import SceneJob
from asd_training.synthetic.sensors import rig
from asd_training.synthetic.sensors.camera import Camera
from asd_training.synthetic.sensors.edges import smooth_edges
from asd_training.synthetic.sensors.lens import Lens
from asd_training.synthetic.street.road import random_road
from asd_training.synthetic.world.actors import Actor, Motion, SpeedProfile, make_actor
from asd_training.synthetic.world.models import SIZES
from asd_training.synthetic.world.population import populate
from asd_training.synthetic.world.world import World
from asd_training.tables.rows import token

REPOSITORY = Path(__file__).parent.parent
KEYFRAMES, SEED, SCALE = 3, 77, 0.2  # as the fixture synthetic_root has them
JOB = SceneJob("synthetic_train", 0, SEED, KEYFRAMES, SCALE, sweeps=False)


@pytest.fixture(scope="module")
def root(synthetic_root) -> Path:
    """One train and one val scene, recorded by two processes."""
    parameters = json.loads((synthetic_root / "synthesis.json").read_text())
    assert (parameters["keyframes"], parameters["seed"], parameters["scale"]) == (
        KEYFRAMES, SEED, SCALE
    )  # fmt: skip
    return synthetic_root


@pytest.fixture(scope="module")
def nusc(root) -> NuScenes:
    return NuScenes(VERSION, str(root), verbose=False)


@pytest.fixture(scope="module")
def world() -> World:
    """The world of the train scene."""
    return World(JOB.random_stream(0), (KEYFRAMES - 1) / 2)


def actor_numbers(nusc: NuScenes, world: World) -> dict[str, int]:
    """Number in `world` of each instance of the train scene."""
    key = (SEED, "synthetic_train", 0, "instance")
    numbers = {token(*key, i): i for i in range(len(world.actors))}
    return {row["token"]: numbers[row["token"]] for row in nusc.instance if row["token"] in numbers}


def files_of(root: Path) -> dict[str, bytes]:
    """What the generator wrote; other tests of the session leave their index in the same folder."""
    paths = sorted(
        path for path in root.rglob("*") if path.is_file() and path.parent != root / ".asd_index"
    )
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


# --- Tables


def test_every_link_between_the_tables_holds(nusc, root):
    for annotation in nusc.sample_annotation:
        nusc.get("instance", annotation["instance_token"])
        nusc.get("visibility", annotation["visibility_token"])
        attributes = [nusc.get("attribute", t)["name"] for t in annotation["attribute_tokens"]]
        group = annotation["category_name"].split(".")[0]
        assert len(attributes) == (0 if group == "movable_object" else 1)
        if annotation["next"]:
            following = nusc.get("sample_annotation", annotation["next"])
            assert following["prev"] == annotation["token"]
            assert following["instance_token"] == annotation["instance_token"]
    for instance in nusc.instance:
        chain, at = [], instance["first_annotation_token"]
        while at:
            chain.append(at)
            at = nusc.get("sample_annotation", at)["next"]
        assert chain[-1] == instance["last_annotation_token"]
        assert len(chain) == instance["nbr_annotations"]
    for data in nusc.sample_data:
        assert (root / data["filename"]).is_file()
        assert nusc.get("ego_pose", data["ego_pose_token"])["timestamp"] == data["timestamp"]
        nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
    for sample in nusc.sample:
        assert set(sample["data"]) == {*CAMERAS, "LIDAR_TOP"}
        assert (
            nusc.get("sample_data", sample["data"]["LIDAR_TOP"])["timestamp"] == sample["timestamp"]
        )
    for scene in nusc.scene:
        assert nusc.get("log", scene["log_token"])["map_token"]
        assert scene["nbr_samples"] == KEYFRAMES
    assert len({row["token"] for table in nusc.table_names for row in getattr(nusc, table)}) == sum(
        len(getattr(nusc, table)) for table in nusc.table_names if table != "sample_data"
    )  # the tokens are unique, but that an ego pose shares its sample_data's, as in nuScenes


def test_ego_drives_on_the_drivable_surface_of_the_map(nusc):
    for sample in nusc.sample:
        pose = nusc.get(
            "ego_pose", nusc.get("sample_data", sample["data"]["CAM_BACK"])["ego_pose_token"]
        )
        log = nusc.get("log", nusc.get("scene", sample["scene_token"])["log_token"])
        mask = nusc.get("map", log["map_token"])["mask"]
        x, y, _ = pose["translation"]
        assert mask.is_on_mask(x, y).all()
        assert not mask.is_on_mask(x, y + 3000.0).any()


def test_splits_are_disjoint_and_complete(nusc, root):
    splits = json.loads((root / VERSION / "splits.json").read_text())
    assert set(splits) == {"synthetic_train", "synthetic_val", "synthetic_test"}
    named = [name for names in splits.values() for name in names]
    assert sorted(named) == sorted(scene["name"] for scene in nusc.scene)
    assert len(named) == len(set(named))
    streets = {nusc.get("log", scene["log_token"])["location"] for scene in nusc.scene}
    images = [
        (root / nusc.get("sample_data", sample["data"]["CAM_FRONT"])["filename"]).read_bytes()
        for sample in nusc.sample
    ]
    assert len(streets) == len(nusc.scene) and len(images) == len(set(images))


# --- Geometry


def test_stored_point_counts_are_the_devkits(nusc):
    counted = 0
    for sample in nusc.sample:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        points = LidarPointCloud.from_file(path).points[:3]
        for box in boxes:
            stored = nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            assert stored >= 1
            assert points_in_box(box, points).sum() == stored
            counted += stored
    assert counted > 1000


def test_lidar_has_32_rings_at_their_elevations(nusc):
    path = nusc.get_sample_data_path(nusc.sample[0]["data"]["LIDAR_TOP"])
    x, y, z, intensity, ring = np.fromfile(path, np.float32).reshape(-1, 5).T
    elevation = np.degrees(np.arctan2(z, np.hypot(x, y)))
    expected = np.linspace(-30.67, 10.67, 32)
    assert set(ring) <= set(range(32)) and len(set(ring)) >= 24
    np.testing.assert_allclose(elevation, expected[ring.astype(int)], atol=0.01)
    assert intensity.min() > 0.0 and intensity.max() <= 255.0
    assert np.linalg.norm([x, y, z], axis=0).max() < 100.5


@pytest.mark.parametrize("name", CLASSES)
def test_meshes_fill_their_boxes_and_sizes_follow_nuscenes(name):
    rng = np.random.default_rng(3)
    road = random_road(rng, (-100.0, 100.0))
    sizes = []
    for _ in range(40):
        actor = make_actor(rng, name, Motion(road, 0.0, 0.0, 0.0))
        width, length, height = actor.size
        sizes.append(actor.size)
        half = np.array([length, width, height]) / 2
        corner = np.abs(actor.mesh.triangles).max(axis=(0, 1))
        assert (corner < half).all() and (corner > 0.9 * half).all()
        assert len(np.unique(actor.mesh.albedo, axis=0)) > 1 or name == "barrier"
    mean, deviation = (np.array(value) for value in SIZES[name])
    if name not in ("pedestrian", "bicycle", "motorcycle"):  # children and riders differ
        assert (np.abs(np.mean(sizes, axis=0) - mean) < 0.75 * deviation).all()


def test_images_show_the_objects_where_the_devkit_projects_their_boxes(nusc, world):
    """Pixels whose ray meets an object lie in its projected box, and fill it from side to side."""
    numbers = actor_numbers(nusc, world)
    scale, compared = 0.25, 0
    sample = nusc.sample[1]
    assert JOB.rig != rig.NUSCENES_RIG
    for camera in JOB.rig[1:]:
        data = nusc.get("sample_data", sample["data"][camera.channel])
        pose = nusc.get("ego_pose", data["ego_pose_token"])
        calibration = nusc.get("calibrated_sensor", data["calibrated_sensor_token"])
        delay = (data["timestamp"] - sample["timestamp"]) * 1e-6
        seconds = (data["timestamp"] - JOB.start) * 1e-6
        global_from_camera = world.ego_pose(seconds) @ camera.ego_from_sensor
        rays = rig.camera_rays(camera, scale) @ global_from_camera[:3, :3].T
        width, height = rig.image_size(camera, scale)
        triangle, _ = world.at(seconds).cast(
            global_from_camera[:3, 3], rays.astype(np.float32), 300.0
        )
        owners = np.where(triangle < 0, -1, world.owners[triangle]).reshape(height, width)
        for annotation_token in sample["anns"]:
            annotation = nusc.get("sample_annotation", annotation_token)
            velocity = nusc.box_velocity(annotation_token)
            box: Box = nusc.get_box(annotation_token)
            if annotation["visibility_token"] != "4" or np.isnan(velocity).any():
                continue
            box.translate(velocity * delay)  # the world goes on between the sensors' stamps
            for record in (pose, calibration):
                box.translate(-np.array(record["translation"]))
                box.rotate(type(box.orientation)(record["rotation"]).inverse)
            corners = box.corners()
            pixels, depth = project(corners.T, rig.intrinsics(camera, scale))
            inside = (pixels >= 2.0) & (pixels <= [width - 3.0, height - 3.0])
            v, u = np.nonzero(owners == numbers[annotation["instance_token"]])
            if depth.min() < 1.0 or not inside.all() or len(u) < 60:
                continue
            low, high = pixels.min(axis=0), pixels.max(axis=0)
            assert u.min() >= low[0] - 1 and u.max() <= high[0] + 1
            assert v.min() >= low[1] - 1 and v.max() <= high[1] + 1
            assert np.ptp(u) + 1 > 0.4 * (high[0] - low[0])
            compared += 1
    assert compared >= 5


def test_rays_go_through_the_centres_of_the_scaled_pixels():
    full, quarter = (rig.intrinsics(rig.CAMERA_SENSORS[1], s) for s in (1.0, 0.25))
    point = np.array([[1.7, -0.4, 9.0]])
    np.testing.assert_allclose(
        project(point, quarter)[0], 0.25 * (project(point, full)[0] + 0.5) - 0.5
    )
    for camera in rig.CAMERA_SENSORS:
        pixels, _ = project(rig.camera_rays(camera, 0.05), rig.intrinsics(camera, 0.05))
        v, u = np.mgrid[0:45, 0:80]
        np.testing.assert_allclose(pixels, np.stack([u.ravel(), v.ravel()], axis=1), atol=1e-3)


@pytest.mark.parametrize("camera", [rig.CAMERA_SENSORS[1], rig.CAMERA_SENSORS[4]])
def test_the_straightened_image_of_any_lens_is_the_pinholes(camera):
    """Light that comes from where the pinhole shows pixel u arrives at pixel u."""
    scale, size = 0.2, (320, 180)
    u_and_v = np.mgrid[0:180, 0:320][::-1].astype(float)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        lens = Lens(camera, scale, fringe=0.0, rng=rng, rain=0.0)
        pixels, _ = project(lens.rays, rig.intrinsics(camera, scale))
        strays = np.abs(pixels - u_and_v.reshape(2, -1).T).max()
        assert 0.1 < strays < 25.0  # it is bent
        for place, side, seen in zip(u_and_v, size, pixels.T, strict=True):
            values = np.clip(np.rint(255.0 * seen / side), 0, 255).astype(np.uint8)
            bent = np.repeat(values.reshape(180, 320, 1), 3, axis=2)
            if lens.has_drops:
                continue
            found = lens.straighten(bent)[..., 1] * (side / 255.0)
            assert np.abs(found - place).max() < 0.02 * side  # also along the edges
            assert np.abs(found - place).mean() < 0.6


def test_edges_come_nearer_to_what_whole_pixels_average():
    """A white disc: with one ray a pixel, it has stairs; with 64, none."""

    def disc(rays: int) -> np.ndarray:
        places = (np.arange(80 * rays) + 0.5) / rays
        inside = np.hypot(places - 41.3, places[:, None] - 38.9) < 25.4
        values = inside.reshape(80, rays, 80, rays).mean(axis=(1, 3))
        return np.repeat(values[..., None], 3, axis=2).astype(np.float32)

    stairs, truth = disc(1), disc(8)
    smooth = stairs.copy()
    smooth_edges(smooth, exposure=1.0)
    assert np.abs(smooth - truth).sum() < 0.6 * np.abs(stairs - truth).sum()
    far = np.abs(np.hypot(*(np.mgrid[0:80, 0:80] - 40.0)) - 25.4) > 5.0
    assert (smooth[far] == stairs[far]).all()


def test_a_camera_adapts_to_the_light_and_a_dark_scene_stays_darker():
    """A street of one contrast under a thousandth of the light of noon."""
    rng = np.random.default_rng(4)
    street = np.exp(rng.normal(-1.2, 0.8, (45, 80, 1))).astype(np.float32).repeat(3, axis=2)
    street = cv2.GaussianBlur(street, (0, 0), 2.0)
    for seed in range(5):
        camera = Camera(
            rig.CAMERA_SENSORS[1], 0.05, *map(np.random.default_rng, (seed, 100 + seed)), 0.0
        )
        day, night = (
            camera.develop(street * light, np.random.default_rng(1)).astype(float)
            for light in (np.float32(1.0), np.float32(0.001))
        )
        assert 60.0 < day.mean() < 170.0
        assert 0.2 * day.mean() < night.mean() < 0.9 * day.mean()
        noise = [np.abs(np.diff(image, axis=1)).mean() for image in (day, night)]
        assert noise[1] > 1.2 * noise[0]
        image = cv2.imdecode(np.frombuffer(camera.encode(day.astype(np.uint8)), np.uint8), 1)
        assert image.shape == (45, 80, 3) and np.abs(image[..., ::-1] - day).mean() < 8.0


def test_rigs_differ_between_scenes_but_the_test_split_keeps_nuscenes(nusc):
    jobs = [SceneJob("synthetic_train", i, SEED, 1, SCALE, False) for i in range(60)]
    rigs = [job.rig for job in jobs]
    assert all(job.rig == rig for job, rig in zip(jobs, rigs, strict=True))
    assert all({s.channel for s in rig} <= {*CAMERAS, "LIDAR_TOP"} for rig in rigs)
    assert {len(rig) - 1 for rig in rigs} == {4, 5, 6}
    assert len({rig[1].size for rig in rigs}) >= 4
    heights = [camera.translation[2] for rig in rigs for camera in rig[1:]]
    assert 1.15 < min(heights) < 1.3 and 2.0 < max(heights) < 2.35
    focal = [c.pinhole[0] / c.size[0] for rig in rigs for c in rig if c.channel == "CAM_FRONT"]
    assert min(focal) < 0.65 and max(focal) > 0.88
    pitches = [camera_angles(c.ego_from_sensor)[1] for rig in rigs for c in rig[1:]]
    assert np.degrees(np.ptp(pitches)) > 4.0
    assert SceneJob("synthetic_test", 0, SEED, 1, SCALE, False).rig == rig.NUSCENES_RIG
    for scene, job in zip(nusc.scene, (JOB, replace(JOB, split="synthetic_val")), strict=True):
        data = nusc.get("sample", scene["first_sample_token"])["data"]
        for sensor in job.rig:
            record = nusc.get("sample_data", data[sensor.channel])
            row = nusc.get("calibrated_sensor", record["calibrated_sensor_token"])
            assert row["translation"] == list(sensor.translation)
            assert nusc.get("sensor", row["sensor_token"])["channel"] == sensor.channel
            if sensor.pinhole:
                assert (record["width"], record["height"]) == rig.image_size(sensor, SCALE)
                assert row["camera_intrinsic"] == rig.intrinsics(sensor, SCALE).tolist()


# --- Motion


def test_devkit_velocities_are_the_true_motion(nusc, world):
    numbers = actor_numbers(nusc, world)
    moving = 0
    for annotation in nusc.sample_annotation:
        if annotation["instance_token"] not in numbers:
            continue
        measured = nusc.box_velocity(annotation["token"])
        actor = world.actors[numbers[annotation["instance_token"]]]
        if np.isnan(measured).any() or len(actor.motion.profile.times) > 1:
            continue  # seen once; or its speed changes between keyframes
        stamp = nusc.get("sample", annotation["sample_token"])["timestamp"]
        seconds = (stamp - JOB.start) * 1e-6
        before, after = actor.motion.poses(np.array([seconds - 0.01, seconds + 0.01]))
        true = (after - before)[:2] / 0.02
        np.testing.assert_allclose(measured[:2], true, atol=0.15)
        moving += np.linalg.norm(true) > 0.5
    assert moving >= 5


@pytest.fixture(scope="module")
def streets() -> list[tuple[Motion, list[Actor]]]:
    """The ego vehicle and all objects of a few random streets, for 6 s."""
    result = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        street, actors = populate(rng, random_road(rng, (-130.0, 200.0)), 6.0)
        result.append((street.ego, actors))
    return result


def test_nothing_drives_through_anything(streets):
    for _, actors in streets:
        for seconds in (0.0, 1.9, 6.0):
            shapes, places = [], np.array([actor.motion.poses(seconds)[:2] for actor in actors])
            for actor in actors:
                x, y, yaw = actor.motion.poses(seconds)
                width, length, _ = actor.size
                outline = rectangle(-length / 2, -width / 2, length / 2, width / 2)
                shapes.append(translate(rotate(outline, yaw, (0, 0), use_radians=True), x, y))
            for i, shape in enumerate(shapes):
                for j in np.flatnonzero(np.hypot(*(places - places[i]).T) < 16.0):
                    assert j <= i or shape.intersection(shapes[j]).area < 1e-3


def test_streets_hold_all_ten_classes_each_often_enough_to_be_learnt(streets):
    found = []
    for ego, actors in streets:
        places = np.array([actor.motion.poses(3.0)[:2] for actor in actors])
        near = np.hypot(*(places - ego.poses(3.0)[:2]).T) < 50.0
        found.append({actor.name for actor, close in zip(actors, near, strict=True) if close})
    assert np.mean([len(names) for names in found]) > 6.5
    for name in CLASSES:
        assert np.mean([name in names for names in found]) >= 1 / 3


def test_traffic_on_the_left_is_traffic_on_the_right_in_a_mirror():
    rng = np.random.default_rng(5)
    right = replace(random_road(rng, (-100.0, 100.0)), curvature=0.0, hand=1.0)
    left = replace(right, hand=-1.0)
    times = np.linspace(0.0, 3.0, 4)
    for d, course in ((-2.0, 0.0), (2.0, np.pi), (-12.0, np.pi / 2)):
        poses = [
            Motion(road, 20.0, d, course, SpeedProfile.constant(5.0)).poses(times)
            for road in (right, left)
        ]
        ahead = np.array([np.cos(right.heading), np.sin(right.heading)])
        across = np.array([-ahead[1], ahead[0]])
        seen = [(pose[:, :2] - right.start) @ np.stack([ahead, across], axis=1) for pose in poses]
        np.testing.assert_allclose(seen[0] * [1.0, -1.0], seen[1], atol=1e-9)
        turned = [pose[:, 2] - right.heading for pose in poses]
        np.testing.assert_allclose(np.sin(turned[0]), -np.sin(turned[1]), atol=1e-9)
        for road, pose in zip((right, left), poses, strict=True):
            _, back = road.to_road(pose[:, 0], pose[:, 1])
            np.testing.assert_allclose(back, d + np.sin(course) * 5.0 * times, atol=1e-3)


# --- Evaluation


def test_ground_truth_scores_full_marks_in_the_official_evaluation(nusc, root, tmp_path):
    results = {}
    scene = nusc.get("scene", nusc.field2token("scene", "name", JOB.name)[0])
    samples = [sample for sample in nusc.sample if sample["scene_token"] == scene["token"]]
    for sample in samples:
        results[sample["token"]] = []
        for annotation_token in sample["anns"]:
            row = nusc.get("sample_annotation", annotation_token)
            attribute = [nusc.get("attribute", t)["name"] for t in row["attribute_tokens"]]
            detection = {
                "sample_token": sample["token"],
                "translation": row["translation"],
                "size": row["size"],
                "rotation": row["rotation"],
                "velocity": np.nan_to_num(nusc.box_velocity(annotation_token)[:2]).tolist(),
                "detection_name": category_to_detection_name(row["category_name"]),
                "detection_score": 1.0,
                "attribute_name": attribute[0] if attribute else "",
            }
            results[sample["token"]].append(detection)
    meta = {
        f"use_{name}": name == "camera" for name in ("camera", "lidar", "radar", "map", "external")
    }
    file = tmp_path / "ground_truth.json"
    file.write_text(json.dumps({"meta": meta, "results": results}))
    evaluation = DetectionEval(
        nusc, config_factory("detection_cvpr_2019"), str(file), "synthetic_train",
        str(tmp_path / "evaluation"), verbose=False,
    )  # fmt: skip
    metrics, _ = evaluation.evaluate()
    present = {box.detection_name for box in evaluation.gt_boxes.all}
    assert len(present) >= 7
    for name in present:
        for precision in metrics.serialize()["label_aps"][name].values():
            assert precision == pytest.approx(1.0)
    for error in ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"):
        assert metrics.tp_errors[error] < 1e-6 or len(present) < len(CLASSES)


# --- Sweeps


def test_sweeps_run_at_12_and_20_hz_and_meet_the_keyframes(tmp_path):
    synthesize(tmp_path / "data", {"val": 1}, 2, 1, 0.03, sweeps=True, workers=1)
    nusc = NuScenes(VERSION, str(tmp_path / "data"), verbose=False)
    first, second = nusc.sample
    assert second["timestamp"] - first["timestamp"] == 500_000
    for channel, count in (*((name, 6) for name in CAMERAS), ("LIDAR_TOP", 10)):
        rows = [nusc.get("sample_data", first["data"][channel])]
        while rows[-1]["next"]:
            rows.append(nusc.get("sample_data", rows[-1]["next"]))
            assert rows[-1]["prev"] == rows[-2]["token"]
        assert [row["is_key_frame"] for row in rows] == [True, *[False] * (count - 1), True]
        assert rows[-1]["token"] == second["data"][channel]
        assert {row["sample_token"] for row in rows[1:]} == {second["token"]}
        steps = np.diff([row["timestamp"] for row in rows])
        assert (np.abs(steps - 500_000 / count) <= 1).all()
        assert all(row["filename"].startswith("sweeps/") for row in rows[1:-1])


# --- Reproduction, interruption, bad input


def command(out: Path, *arguments: str) -> list[str]:
    program = "from asd_training.commands.asd_train import main; main()"
    return [sys.executable, "-c", program, "synthesize", str(out), *arguments]


ARGUMENTS = (
    "--train", "1", "--val", "1", "--keyframes", str(KEYFRAMES), "--seed", str(SEED),
    "--scale", str(SCALE), "--workers", "1",
)  # fmt: skip


def test_a_killed_run_goes_on_and_ends_byte_for_byte_as_any_other(root, tmp_path, capsys):
    out = tmp_path / "data"
    process = subprocess.Popen(
        command(out, *ARGUMENTS), cwd=REPOSITORY, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120.0
    while not list(out.glob("synthesis_parts/[!.]*.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    part = next(out.glob("synthesis_parts/[!.]*.json"))
    written = part.stat().st_mtime_ns
    assert not (out / VERSION).exists()

    synthesize(out, {"train": 1, "val": 1}, KEYFRAMES, SEED, SCALE, sweeps=False, workers=1)
    assert files_of(out) == files_of(root)  # that one was recorded by two processes

    kept = list((out / "samples").rglob(f"{part.stem}__*"))  # the scene that was finished
    assert len(kept) == 7 * KEYFRAMES
    assert all(file.stat().st_mtime_ns <= written for file in kept)
    synthesize(out, {"train": 1, "val": 1}, KEYFRAMES, SEED, SCALE, sweeps=False, workers=1)
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize(
    "stop", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_a_stopped_run_leaves_no_worker_process_behind(tmp_path, stop):
    out = tmp_path / "data"
    arguments = ("--train", "2", "--val", "0", "--keyframes", "100", "--workers", "2")
    with subprocess.Popen(
        command(out, *arguments), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120.0
        while not list(out.glob("samples/*/*")):  # the workers are at work
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(stop)
        said = process.communicate(timeout=60)[1]
    if stop == signal.SIGTERM:
        assert process.returncode == 130
        assert said.endswith("\nasd-train synthesize: interrupted\n")
        assert "Traceback" not in said
    deadline = time.monotonic() + 60.0
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.02)
    assert not (out / VERSION).exists()


def test_shards_together_are_the_whole(root, tmp_path, capsys):
    """Recorded on two machines, copied together, and finished there."""
    parameters = json.loads((root / "synthesis.json").read_text())
    scenes, keyframes, seed, scale = (
        parameters[key] for key in ("scenes", "keyframes", "seed", "scale")
    )
    together = tmp_path / "together"
    for number in (1, 2):
        out = tmp_path / str(number)
        arguments = scenes, keyframes, seed, scale, parameters["sweeps"], 1
        synthesize(out, *arguments, shard=(number, 2))
        assert f"shard {number}/2 is recorded" in capsys.readouterr().out
        assert not (out / VERSION).exists()
        shutil.copytree(out, together, dirs_exist_ok=True)
    synthesize(together, *arguments)
    assert files_of(together) == files_of(root)
    with pytest.raises(UserError, match="--shard 3/2"):
        synthesize(tmp_path / "wrong", *arguments, shard=(3, 2))


def test_another_seed_gives_another_street(nusc, root, tmp_path):
    synthesize(tmp_path / "data", {"train": 1}, 1, SEED + 1, SCALE, sweeps=False, workers=1)
    other = NuScenes(VERSION, str(tmp_path / "data"), verbose=False)
    a, b = (
        cv2.imread(data.get_sample_data_path(data.sample[0]["data"]["CAM_FRONT"]))
        for data in (nusc, other)
    )
    assert a.shape == b.shape and np.abs(a.astype(float) - b).mean() > 10.0
    assert not {row["token"] for row in nusc.sample} & {row["token"] for row in other.sample}


# --- Preview


def test_a_preview_is_one_picture_without_gaps(tmp_path, monkeypatch, capfd):
    """Of rigs with six and four cameras, each of another size."""
    plain, boxed = tmp_path / "plain.png", tmp_path / "boxed.jpg"
    options = ("--scale", "0.05", "--seed", "10", "--workers", "1")
    run_command(monkeypatch, plain, "--preview", "3", *options)
    run_command(monkeypatch, boxed, "--preview", "3", "--boxes", *options)
    output = capfd.readouterr()
    assert "plain.png: 3 keyframes" in output.out and "3/3" in output.err
    sheet, with_boxes = (cv2.imread(str(file)) for file in (plain, boxed))
    assert sheet.shape == with_boxes.shape and sheet.shape[1] == 2400
    assert not (cv2.blur(sheet, (40, 40)).max(axis=2) == 0).any()
    assert (np.abs(sheet.astype(int) - with_boxes).max(axis=2) > 100).mean() > 0.01
    assert sorted(tmp_path.iterdir()) == [boxed, plain]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a.jpg", "--preview", "0"), "--preview 0"),
        (("a.jpg", "--preview", "101"), "--preview 101"),
        (("a.gif", "--preview", "1"), "name it .jpg or .png"),
        (("a.jpg", "--preview", "1", "--scale", "2"), "--scale 2"),
        (("a.jpg", "--preview", "1", "--keyframes", "3"), "--keyframes"),
        (("data", "--boxes"), "give --preview N"),
        (("file/a.jpg", "--preview", "1"), "file"),
    ],
)
def test_a_wrong_preview_is_told_in_one_line(tmp_path, monkeypatch, capfd, arguments, told):
    (tmp_path / "file").touch()
    run_command(monkeypatch, tmp_path / arguments[0], *arguments[1:], status=2)
    said = capfd.readouterr().err.strip()
    assert told in said and "\n" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def run_command(monkeypatch, out: Path, *arguments: str, status: int = 0) -> None:
    monkeypatch.setattr(sys, "argv", ["asd-train", "synthesize", str(out), *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code or 0) == status


def test_wrong_requests_are_told_in_one_line(root, tmp_path):
    arguments = dict(keyframes=KEYFRAMES, seed=SEED, scale=SCALE, sweeps=False, workers=1)
    with pytest.raises(UserError, match="seed was 77, is now 6"):
        synthesize(root, {"train": 1, "val": 1}, **{**arguments, "seed": 6})
    with pytest.raises(UserError, match="something else"):
        synthesize(REPOSITORY, {"train": 1}, **arguments)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        synthesize(tmp_path / "file" / "data", {"train": 1}, **arguments)
    for wrong in ({"scale": 0.0}, {"keyframes": 0}, {"workers": 0}, {"seed": -1}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            synthesize(tmp_path / "data", {"train": 1}, **{**arguments, **wrong})
    with pytest.raises(UserError, match="at least one scene"):
        synthesize(tmp_path / "data", {}, **arguments)
    assert not (tmp_path / "data").exists()


def test_a_full_disk_is_told_in_one_line_and_leaves_no_tables(tmp_path):
    """The kernel refuses files above 40 kB, as a full disk would: the LiDAR points do not fit."""
    small = ("--train", "1", "--val", "0", "--keyframes", "1", "--scale", "0.05")
    result = subprocess.run(
        command(tmp_path / "data", *small),
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
    )  # fmt: skip
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert "cannot write the data set" in last and "File too large" in last
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "data" / VERSION).exists()
