# SPDX-License-Identifier: Apache-2.0
"""The demo: from nothing to scored detections of the real node.

Unseen synthetic scenes are ray-traced, converted to rosbag2 files and replayed over DDS to the
detector process; what it published is recorded and scored by the official nuScenes evaluator,
side by side with the same model run offline on the same frames.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nuscenes import NuScenes
from tqdm import tqdm

from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.detector import Detector
from asd_training.bags.bag_files import open_bag, read_topic
from asd_training.bags.convert import convert_scene
from asd_training.bags.evaluate import Coverage, detections_of_bag, submission_of_bag
from asd_training.bags.live.replay import replay_to_detector
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    lidar_points,
    open_dataset,
    read_images,
    scene_samples,
)
from asd_training.evaluation.detection import detect_samples
from asd_training.evaluation.pictures import frame_picture, save_picture, save_video
from asd_training.evaluation.scoring import Metrics, score
from asd_training.synthetic.generate import check_arguments, synthesize

SEED = 2026
"""Seed of the demo's scenes; no shipped model may have been trained with it."""

SCORE_THRESHOLD = 0.02
"""Of the node and the offline run alike: low, since AP counts the whole curve."""

MAX_DIFFERENCE = 0.002
"""Of mAP between what the node published and the offline run on the same frames."""


MAX_MISSED = 0.1
"""Share of the frames that the node may drop, on a machine that is busy with other work."""

EXPECTED_CLASSES = ("car", "pedestrian", "barrier")
MIN_AP = 0.03
"""AP that the shipped student must reach in each expected class.

Chance, its detections laid over frames of other scenes, was measured: at most 0.007.
"""


def run_demo(output: Path, model: Path, scenes: int, keyframes: int, scale: float) -> None:
    """The whole chain, step by step.

    output: folder, the demo's own. scenes: how many, of `keyframes` at 2 Hz each. scale: of
    1600x900 images. Raises UserError.
    """
    check_arguments({"test": scenes}, keyframes, SEED, scale, None)
    _check_unseen(model)
    _claim(output)
    data, results = output / "data", output / "results"
    bags, published = output / "bags", output / "published"

    with _step("ray-trace scenes that no model was trained on"):
        _forget_other_data(data, (scenes, keyframes, scale, SEED))
        synthesize(data, {"test": scenes}, keyframes, SEED, scale, False, None)
    nusc = open_dataset(data)
    names = [scene["name"] for scene in nusc.scene]
    samples = [sample for scene in names for sample in scene_samples(nusc, scene)]
    for folder in (bags, published, results):
        shutil.rmtree(folder, ignore_errors=True)

    with _step("convert them to rosbag2"):
        for scene in names:
            convert_scene(nusc, scene, bags / scene)

    with _step("replay them to the detector node over DDS, and record what it publishes"):
        log = output / "detector.log"
        played = [bags / scene for scene in names]
        replay_to_detector(played, published, model, SCORE_THRESHOLD, log)

    with _step("score what the node published, and the same frames offline"):
        online_boxes, coverage = submission_of_bag(published, nusc, scenes=names)
        published_objects = detections_of_bag(published, nusc)
        answered = [sample for sample in samples if sample["token"] in published_objects]
        online_boxes = {sample["token"]: online_boxes[sample["token"]] for sample in answered}
        detector = Detector.from_pretrained(model)
        offline_boxes = detect_samples(detector, nusc, answered, SCORE_THRESHOLD)
        online = score(nusc, online_boxes, results / "online_submission.json")
        offline = score(nusc, offline_boxes, results / "offline_submission.json")

    with _step("draw what the node published"):
        _draw(nusc, answered, published_objects, output)

    latency = _last_status(published, "latency")
    document = {
        "coverage": dataclasses.asdict(coverage),
        "online": dataclasses.asdict(online),
        "offline": dataclasses.asdict(offline),
        "latency": latency,
    }
    with atomic_file(results / "demo.json") as path:
        path.write_text(json.dumps(document, indent=2) + "\n")
    print(_table(online, offline, coverage, latency), end="\n\n")
    for what, name in (
        ("picture", "picture.jpg"),
        ("video", "video.webm"),
        ("figures", "results/demo.json"),
        ("node's log", "detector.log"),
    ):
        print(f"{what + ':':<12}{output / name}")
    missed = coverage.expected - coverage.detected
    if missed > MAX_MISSED * coverage.expected:
        raise UserError(f"the node missed {missed} frames; is the machine busy? Try again")
    difference = online.mean_ap - offline.mean_ap
    incomplete = int(_last_status(published, "frames").get("frames with missing cameras", 0))
    if abs(difference) > MAX_DIFFERENCE and incomplete:
        raise UserError(
            f"images of {incomplete} frames came too late; is the machine busy? Try again"
        )
    if abs(difference) > MAX_DIFFERENCE:
        raise UserError(
            f"the node's mAP is {difference:+.4f} from the offline run's; that is a defect"
        )
    blind = [name for name in EXPECTED_CLASSES if online.class_ap[name] < MIN_AP]
    if blind and model == TINY:
        raise UserError(f"the node hardly sees {', '.join(blind)} (AP below {MIN_AP})")


def _check_unseen(model: Path) -> None:
    """Raises UserError if the model was trained on scenes of the demo's seed."""
    data = model_directory.read_document(model).get("provenance", {}).get("data") or {}
    if (data.get("synthesis") or {}).get("seed") == SEED:
        raise UserError(f"{model} was trained on the demo's own scenes (seed {SEED})")


def _claim(output: Path) -> None:
    """Mark the output folder as the demo's own. Raises UserError if it holds anything else."""
    mark = output / ".asd-demo"
    if output.is_dir() and any(output.iterdir()) and not mark.is_file():
        raise UserError(f"{output} holds other files; choose another folder for the demo's output")
    output.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _forget_other_data(data: Path, required: tuple[int, int, float, int]) -> None:
    """Delete the demo's own scenes of an earlier call that had other arguments."""
    path = data / "synthesis.json"
    if path.is_file():
        settings = json.loads(path.read_text())
        found = (
            settings["scenes"]["test"],
            *(settings[k] for k in ("keyframes", "scale", "seed")),
        )
        if found != required:
            shutil.rmtree(data)


def _draw(
    nusc: NuScenes,
    samples: list[dict[str, Any]],
    detections: dict[str, Detections],
    output: Path,
) -> None:
    pictures = []
    for sample in tqdm(samples, desc="drawing", unit="frame"):
        frame = camera_frame(nusc, sample)
        pictures.append(
            frame_picture(
                read_images(frame),
                frame.rig,
                detections[sample["token"]],
                annotated_objects(nusc, sample, frame.global_from_ego).boxes,
                lidar_points(nusc, sample, frame.global_from_ego),
                frame.up,
            )
        )
    save_picture(pictures[len(pictures) // 4], output / "picture.jpg")
    save_video(pictures, output / "video.webm", rate=2.0)


def _last_status(published: Path, name: str) -> dict[str, str]:
    """The values of one of the node's statuses, in its last message on /diagnostics."""
    with open_bag(published) as reader:
        messages = read_topic(reader, "/diagnostics", "diagnostic_msgs/msg/DiagnosticArray")
        for _, message in reversed(list(messages)):
            for status in message.status:
                if status.name.endswith(f": {name}") and status.values:
                    return {item.key: item.value for item in status.values}
    return {}


def _table(online: Metrics, offline: Metrics, coverage: Coverage, latency: dict[str, str]) -> str:
    rows = [
        ("frames sent", str(coverage.expected), ""),
        ("frames detected", str(coverage.detected), str(offline.samples)),
        ("mAP (ten classes)", f"{online.mean_ap:.4f}", f"{offline.mean_ap:.4f}"),
        (
            "mAP (present)",
            f"{online.mean_ap_present:.4f}",
            f"{offline.mean_ap_present:.4f}",
        ),
        ("NDS", f"{online.nds:.4f}", f"{offline.nds:.4f}"),
    ]
    rows += [
        (
            f"AP {name} ({count})",
            f"{online.class_ap[name]:.3f}",
            f"{offline.class_ap[name]:.3f}",
        )
        for name, count in online.ground_truth.items()
        if count
    ]
    rows.append(("mAP, node - offline", f"{online.mean_ap - offline.mean_ap:+.4f}", ""))
    lines = [f"{'':<32}{'node':>10}{'offline':>10}"]
    lines += [f"{label:<32}{first:>10}{second:>10}" for label, first, second in rows]
    lines += ["latency of the node"] + [f"  {stage}: {value}" for stage, value in latency.items()]
    return "\n".join(lines)


@contextmanager
def _step(title: str) -> Iterator[None]:
    print(f"\n== {title}", flush=True)
    start = time.monotonic()
    yield
    print(f"   {time.monotonic() - start:.0f} s", flush=True)
