# SPDX-License-Identifier: Apache-2.0
"""The evaluation report: one HTML file with everything inside.

This module gathers the values; report.html.j2 is the page, report.css its look. Charts are inline
SVG, pictures JPEG in base64.
"""

from __future__ import annotations

import base64
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nuscenes import NuScenes
from tqdm import tqdm

from asd_perception import __version__
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.palette import DARK_PAGE, LIGHT_PAGE, SERIES, class_colour, hex_colour
from asd_perception.viewing.boxes import Image
from asd_training.data.nuscenes import camera_frame, ego_boxes, lidar_points, read_images
from asd_training.evaluation.calibration import Reliability, Scored
from asd_training.evaluation.error_analysis import (
    RANGES,
    ErrorAnalysis,
    FrameScore,
    extreme_frames,
)
from asd_training.evaluation.metrics_file import Setting, class_numbers
from asd_training.evaluation.pictures import bev_picture, cameras_picture, encode_picture
from asd_training.evaluation.report.charts import (
    distance_chart,
    line_key,
    precision_recall_chart,
    reliability_chart,
)
from asd_training.evaluation.scoring import TP_ERRORS, Evaluation

FRAMES_SHOWN = 3  # best, and as many worst


def write_report(
    path: str | Path,
    nusc: NuScenes,
    setting: Setting,
    evaluation: Evaluation,
    analysis: ErrorAnalysis,
) -> None:
    """Write the report, one self-contained HTML file, atomically.

    A frame whose images cannot be read is named in the report with the reason.
    """
    provenance = ""
    if setting.provenance:
        provenance = yaml.safe_dump(setting.provenance, sort_keys=False, allow_unicode=True)
    page = _environment().get_template("report.html.j2")
    text = page.render(
        version=__version__,
        accent=hex_colour(SERIES[0]),
        light_page=LIGHT_PAGE,
        dark_page=DARK_PAGE,
        setting=setting,
        facts=_facts(setting, evaluation.metrics.samples),
        provenance=provenance,
        metrics=evaluation.metrics,
        analysis=analysis,
        tp_errors=TP_ERRORS,
        distances=evaluation.details.cfg.dist_ths,
        ranges=[f"{near}–{far} m" for near, far in pairwise(RANGES)],
        classes=[_class_values(evaluation, analysis, name) for name in CLASSES],
        all_classes=_all_classes(evaluation, analysis),
        line_key=line_key(),
        reliability=_reliability(evaluation),
        confusion=analysis.confusion.tolist(),
        frame_groups=_frame_groups(nusc, evaluation, analysis),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, signed=_signed, degrees=math.degrees, hex=hex_colour)
    environment.tests["nan"] = math.isnan
    return environment


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{round(value, 2) + 0.0:+.2f}"  # + 0.0: never "-0.00"


def _facts(setting: Setting, samples: int) -> dict[str, str]:
    """What was evaluated, on what, and how, by the heading of each row."""
    provenance = setting.provenance or {}
    data, versions = (
        value if isinstance(value, dict) else {}
        for value in (provenance.get("data"), provenance.get("versions"))
    )
    facts = {"Model" if setting.provenance is not None else "Submission": setting.source}
    if setting.provenance is not None:
        counts = [
            f"{unit}: {data[key]}"
            for key, unit in (("train_scenes", "scenes"), ("train_keyframes", "keyframes"))
            if key in data
        ]
        facts["Method"] = str(provenance.get("method", "unknown"))
        facts["Training data"] = ", ".join([str(data.get("version", "unknown")), *counts])
        facts["Training commit"] = str(versions.get("commit") or "unknown")
        facts["Training date"] = str(provenance.get("date", "unknown"))
    facts["Dataset"] = f"{setting.dataset}, version {setting.version}"
    facts["Split"] = f"{setting.split} (scenes: {setting.scenes}, keyframes: {samples})"
    facts["Evaluated"] = setting.date
    facts["Command"] = setting.command
    return facts


def _class_values(evaluation: Evaluation, analysis: ErrorAnalysis, name: str) -> dict[str, Any]:
    """What the page shows of one class.

    scores: the last columns of the table of metrics, NaN for a class without objects; such a class
    has no charts.
    """
    label = CLASSES.index(name)
    numbers = class_numbers(evaluation, name)
    threshold = float(analysis.class_threshold[label])
    found, objects = analysis.found[label], analysis.objects[label]
    scores = [*numbers["ap"].values(), numbers["mean_ap"], *numbers["errors"].values()]
    scores += [analysis.class_f1[label], threshold]
    values = {
        "name": name.replace("_", " "),
        "colour": class_colour(name),
        "ground_truth": numbers["ground_truth"],
        "detections": numbers["detections"],
        "ap": numbers["ap"],
        "scores": scores if numbers["ground_truth"] else [math.nan] * len(scores),
        "threshold": threshold,
        "found_by_distance": list(zip(found.tolist(), objects.tolist(), strict=True)),
        "errors": analysis.errors[label],
    }
    if numbers["ground_truth"]:
        curves = {d: evaluation.curves[(name, d)] for d in evaluation.details.cfg.dist_ths}
        spoken = ", ".join(f"{ap:.2f} at {float(d):g} m" for d, ap in numbers["ap"].items())
        values["curves"] = precision_recall_chart(
            curves, name, f"Precision over recall, {name}: AP {spoken}"
        )
        values["recall"] = distance_chart(
            RANGES,
            found,
            objects,
            name,
            f"Recall by distance, {name}: found/objects, score ≥ {_number(threshold)}",
        )
    return values


def _reliability(evaluation: Evaluation) -> dict[str, Any]:
    """How far scores are probabilities, over all classes together."""
    scored = Scored.of(evaluation)
    found = Reliability.of(scored.scores, scored.right)
    bins = zip(found.score, found.right, found.count, strict=True)
    spoken = f"Reliability: mean error {_number(found.error)}"
    return {
        "chart": reliability_chart(found.score, found.right, found.count, spoken),
        "error": found.error,
        "bins": [(float(score), float(right), int(count)) for score, right, count in bins],
    }


def _all_classes(evaluation: Evaluation, analysis: ErrorAnalysis) -> dict[str, list[Any]]:
    """The last row of the table of metrics."""
    metrics, details = evaluation.metrics, evaluation.details
    return {
        "counts": [sum(metrics.ground_truth.values()), len(evaluation.detections.all)],
        "scores": [
            *(
                np.mean([details.get_label_ap(name, distance) for name in CLASSES])
                for distance in details.cfg.dist_ths
            ),
            metrics.mean_ap,
            *(metrics.tp_errors[key] for key in TP_ERRORS.values()),
            analysis.f1,
            analysis.threshold,
        ],
    }


def _frame_groups(
    nusc: NuScenes, evaluation: Evaluation, analysis: ErrorAnalysis
) -> dict[str, list[dict[str, Any]]]:
    """The frames that are shown with their pictures, by heading."""
    worst, best = extreme_frames(analysis.frames, FRAMES_SHOWN)
    with tqdm(total=len(worst) + len(best), desc="drawing", unit="frame") as progress:

        def drawn(scores: list[FrameScore]) -> list[dict[str, Any]]:
            frames = []
            for score in scores:
                frames.append(_frame(nusc, evaluation, score, analysis.threshold))
                progress.update()
            return frames

        return {"Worst frames": drawn(worst), "Best frames": drawn(best)}


def _frame(
    nusc: NuScenes, evaluation: Evaluation, score: FrameScore, threshold: float
) -> dict[str, Any]:
    """One frame with its pictures, or in `unreadable` the reason why it has none."""
    sample = nusc.get("sample", score.token)
    frame = {
        "score": score,
        "scene": nusc.get("scene", sample["scene_token"])["name"],
        "unreadable": "",
    }
    try:
        cameras, bev = _pictures(nusc, evaluation, sample, threshold)
    except UserError as error:
        return {**frame, "unreadable": str(error)}
    return {**frame, "cameras": _embedded(cameras), "bev": _embedded(bev)}


def _pictures(
    nusc: NuScenes, evaluation: Evaluation, sample: dict[str, Any], threshold: float
) -> tuple[Image, Image]:
    frame = camera_frame(nusc, sample)
    shown = [
        box for box in evaluation.detections[sample["token"]] if box.detection_score >= threshold
    ]
    boxes = ego_boxes(shown, frame.global_from_ego)
    labels = np.array([CLASSES.index(box.detection_name) for box in shown], dtype=np.int64)
    truth = ego_boxes(evaluation.truth[sample["token"]], frame.global_from_ego)
    lidar = np.zeros((0, 4))
    if "LIDAR_TOP" in sample["data"]:
        lidar = lidar_points(nusc, sample, frame.global_from_ego)
    cameras = cameras_picture(read_images(frame), frame.rig, boxes, labels, frame.up)
    return cameras, bev_picture(boxes, labels, truth, lidar, side=600)


def _embedded(image: Image) -> dict[str, Any]:
    """An image as a data URL, and its size in pixels."""
    data = base64.b64encode(encode_picture(image, ".jpg")).decode()
    height, width = image.shape[:2]
    return {"source": f"data:image/jpeg;base64,{data}", "width": width, "height": height}
