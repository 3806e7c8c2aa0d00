# SPDX-License-Identifier: Apache-2.0
"""The evaluation report: one HTML file with everything inside.

It needs no server, no network and no script; curves are inline SVG, pictures JPEG in base64.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from nuscenes import NuScenes
from tqdm import tqdm

from asd_perception import __version__
from asd_perception.constants import CLASSES
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.palette import hex_colour
from asd_training.data.nuscenes import camera_frame, ego_boxes, lidar_points, read_images
from asd_training.evaluation.error_analysis import (
    RANGES,
    ErrorAnalysis,
    FoundErrors,
    FrameScore,
    extreme_frames,
)
from asd_training.evaluation.metrics_file import Setting, class_numbers
from asd_training.evaluation.pictures import Image, bev_picture, cameras_picture, encode_picture
from asd_training.evaluation.report.charts import distance_chart, line_key, precision_recall_chart
from asd_training.evaluation.scoring import TP_ERRORS, Evaluation

FRAMES_SHOWN = 3  # best, and as many worst
_STYLE = (Path(__file__).parent / "report.css").read_text()


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
    title = f"{setting.source} on {setting.split}"
    present = [name for name in CLASSES if evaluation.metrics.ground_truth[name]]
    body = "\n".join(
        [
            f"<header><h1>Evaluation of {escape(title)}</h1></header><main>",
            _headline(evaluation, analysis),
            _setting_section(setting, evaluation),
            _class_section(evaluation, analysis),
            _curve_section(evaluation, present),
            _distance_section(analysis, present),
            _error_section(analysis, present),
            _confusion_section(analysis),
            _frame_section(nusc, evaluation, analysis),
            f"</main><footer>asd_perception {escape(__version__)}</footer>",
        ]
    )
    with atomic_file(path) as temporary:
        temporary.write_text(
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
            f"<body>{body}</body></html>\n",
            encoding="utf-8",
        )


# The sections


def _headline(evaluation: Evaluation, analysis: ErrorAnalysis) -> str:
    metrics = evaluation.metrics
    tiles = {
        "mAP": _number(metrics.mean_ap, 4),
        "mAP, classes present": _number(metrics.mean_ap_present, 4),
        "NDS": _number(metrics.nds, 4),
        **{f"m{name}": _number(metrics.tp_errors[key]) for name, key in TP_ERRORS.items()},
        "keyframes": str(metrics.samples),
        "score threshold of the best F1": f"{_number(analysis.threshold)} "
        f"<small>(F1 {_number(analysis.f1)})</small>",
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    return f'<section aria-label="Summary"><dl class="tiles">{cells}</dl></section>'


def _setting_section(setting: Setting, evaluation: Evaluation) -> str:
    provenance = setting.provenance or {}
    data, versions = (
        value if isinstance(value, dict) else {}
        for value in (provenance.get("data"), provenance.get("versions"))
    )
    trained = [
        f"{data.get('version', 'unknown')}",
        *(
            f"{data[key]} {unit}"
            for key, unit in (("train_scenes", "scenes"), ("train_keyframes", "keyframes"))
            if key in data
        ),
    ]
    rows = {"Model" if setting.provenance is not None else "Submission": setting.source}
    if setting.provenance is not None:
        rows["Method"] = str(provenance.get("method", "unknown"))
        rows["Training data"] = ", ".join(trained)
        rows["Training commit"] = str(versions.get("commit") or "unknown")
        rows["Training date"] = str(provenance.get("date", "unknown"))
    rows["Dataset"] = f"{setting.dataset}, version {setting.version}"
    rows["Split"] = (
        f"{setting.split}: {setting.scenes} scenes, {evaluation.metrics.samples} keyframes"
    )
    rows["Evaluated"] = setting.date
    rows["Command"] = setting.command
    table = "".join(
        f'<tr><th scope="row">{name}</th><td>{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    more = ""
    if provenance:
        text = yaml.safe_dump(provenance, sort_keys=False, allow_unicode=True)
        more = f"<details><summary>All of the model's provenance</summary><pre>{escape(text)}</pre>"
        more += "</details>"
    return _section("What was evaluated", f'<table class="facts">{table}</table>{more}')


def _class_section(evaluation: Evaluation, analysis: ErrorAnalysis) -> str:
    details = evaluation.details
    distances = details.cfg.dist_ths
    head = ["class", "objects", "detections", *(f"AP {d:g} m" for d in distances), "AP"]
    head += [*TP_ERRORS, "best F1", "at score"]
    rows = []
    for label, name in enumerate(CLASSES):
        numbers = class_numbers(evaluation, name)
        cells = [str(numbers["ground_truth"]), str(numbers["detections"])]
        values = [*numbers["ap"].values(), numbers["mean_ap"], *numbers["errors"].values()]
        values += [analysis.class_f1[label], analysis.class_threshold[label]]
        absent = not numbers["ground_truth"]
        cells += ["–" if absent else _number(value) for value in values]
        rows.append([_swatch(name), *cells])
    means = [np.mean([details.get_label_ap(name, d) for name in CLASSES]) for d in distances]
    totals = [evaluation.metrics.ground_truth.values(), (len(evaluation.detections.all),)]
    mean = ["all classes", *(str(sum(counts)) for counts in totals)]
    mean += [_number(value) for value in (*means, evaluation.metrics.mean_ap)]
    mean += [_number(evaluation.metrics.tp_errors[key]) for key in TP_ERRORS.values()]
    mean += [_number(analysis.f1), _number(analysis.threshold)]
    note = (
        "Official metrics (nuscenes-devkit, detection_cvpr_2019). AP by distance between centres "
        "on the ground, and its mean. True positive errors at 2 m: ATE in m, ASE 1 − IoU, AOE in "
        "rad, AVE in m/s, AAE 1 − accuracy. Objects and detections are those that count: in range "
        "of their class (50, 40 or 30 m), annotations with at least one LiDAR or radar point. "
        "The last row has the official means, in which a class without objects counts as AP 0 and "
        "error 1. The F1 columns are "
        "this report's: the best F1 at 2 m over all score thresholds, and the score where it is "
        "reached; in the last row, one threshold for all classes together."
    )
    return _section("Per class", _table(head, rows, note, mean))


def _curve_section(evaluation: Evaluation, present: Sequence[str]) -> str:
    distances = evaluation.details.cfg.dist_ths
    charts = []
    for name in present:
        curves = {distance: evaluation.curves[(name, distance)] for distance in distances}
        aps = {d: f"{evaluation.details.get_label_ap(name, d):.2f}" for d in distances}
        spoken = ", ".join(f"{ap} at {distance:g} m" for distance, ap in aps.items())
        label = f"Precision over recall, {name}: AP {spoken}"
        caption = f"AP {' · '.join(aps.values())}"
        charts.append(_figure(precision_recall_chart(curves, name, label), name, caption))
    note = (
        "The devkit's curves by match distance, drawn up to the highest recall that is reached; "
        "below each the AP at 0.5, 1, 2 and 4 m. "
        "Classes without objects have no curve."
    )
    grid = f'<div class="key">{line_key()}</div><div class="charts">{"".join(charts)}</div>'
    return _section("Precision and recall", f"<p>{note}</p>{grid}")


def _distance_section(analysis: ErrorAnalysis, present: Sequence[str]) -> str:
    bins = [f"{near}–{far} m" for near, far in pairwise(RANGES)]
    charts, rows = [], []
    for name in present:
        label = CLASSES.index(name)
        found, objects = analysis.found[label], analysis.objects[label]
        shares = [f / n if n else float("nan") for f, n in zip(found, objects, strict=True)]
        cells = []
        for share, f, n in zip(shares, found, objects, strict=True):
            cells.append(f"{_number(share, 2)} <small>({f}/{n})</small>" if n else "–")
        threshold = _number(analysis.class_threshold[label])
        rows.append([_swatch(name), threshold, *cells])
        caption = f"found/objects, score ≥ {threshold}"
        picture = distance_chart(
            RANGES, found, objects, name, f"Recall by distance, {name}: {caption}"
        )
        charts.append(_figure(picture, name, caption))
    note = (
        "Recall: the share of the objects of a class, by their distance from the ego origin on the "
        "ground (the near edge belongs to a bin), that are found. An object is found if a "
        "detection of its class with at least the class's score of the best F1 matches it: from "
        "the best score down, each detection takes the nearest free object whose centre is less "
        "than 2 m away, as in the devkit. Pedestrians and cycles are scored to 40 m, cones and "
        "barriers to 30 m."
    )
    table = _table(["class", "score ≥", *bins], rows, note)
    return _section("Recall by distance", f'<div class="charts">{"".join(charts)}</div>{table}')


def _error_section(analysis: ErrorAnalysis, present: Sequence[str]) -> str:
    rows = []
    for name in present:
        error: FoundErrors = analysis.errors[CLASSES.index(name)]
        pairs = (error.radial, error.tangential, _degrees(error.yaw), error.velocity)
        cells = [
            _number(m, 2) if math.isnan(m) else f"{_number(m, 2)} <small>({_number(p, 2)})</small>"
            for m, p in pairs
        ]
        bias = "–" if math.isnan(error.bias) else f"{error.bias:+.2f}"
        rows.append([_swatch(name), str(error.count), bias, *cells])
    head = [
        "class",
        "found",
        "radial bias, m",
        "radial, m",
        "tangential, m",
        "yaw, °",
        "velocity, m/s",
    ]
    note = (
        "Errors of the objects found above: the median, and in brackets the 90th percentile. "
        "Radial is along the line from the ego origin to the object, tangential across it; the "
        "bias is the signed median, positive where detections lie too far away."
    )
    return _section("Errors of the found objects", _table(head, rows, note))


def _confusion_section(analysis: ErrorAnalysis) -> str:
    rows = []
    for label, name in enumerate([*CLASSES, None]):
        counts = analysis.confusion[label]
        total = counts.sum()
        cells = [
            f'<span class="share" style="--share:{count / total:.3f}">{count}</span>'
            if count
            else '<span class="none">·</span>'
            for count in counts.tolist()
        ]
        if name is None:
            cells[-1] = ""
        rows.append([_swatch(name) if name else "no object near", *cells])
    note = (
        "Rows: annotated objects; columns: the class of the nearest detection of any class less "
        "than 2 m from the object's centre. Last row: detections that have no object within 2 m. "
        f"Only detections that score at least {_number(analysis.threshold)}, where the F1 over "
        "all classes together is best."
    )
    head = ["object", *(name.replace("_", " ") for name in CLASSES), "no detection"]
    return _section("Confusion", _table(head, rows, note))


def _frame_section(nusc: NuScenes, evaluation: Evaluation, analysis: ErrorAnalysis) -> str:
    worst, best = extreme_frames(analysis.frames, FRAMES_SHOWN)
    parts = [
        "<p>Frames are ranked by their F1 at 2 m over all classes, 2 · right / (objects + "
        f"detections), of the detections that score at least {_number(analysis.threshold)} (where "
        "the F1 over all frames and classes is best). A frame with neither an object nor a "
        "detection is not ranked. Green: annotated objects that count; class colours: detections; "
        "grey: LiDAR; rings: 10 m; forward is up.</p>"
    ]
    progress = tqdm(total=len(worst) + len(best), desc="drawing", unit="frame")
    for title, frames in (("Worst frames", worst), ("Best frames", best)):
        if frames:
            parts.append(f"<h3>{title}</h3>")
        for frame in frames:
            parts.append(_frame_figure(nusc, evaluation, frame, analysis.threshold))
            progress.update()
    progress.close()
    return _section("Worst and best frames", "".join(parts))


def _frame_figure(
    nusc: NuScenes, evaluation: Evaluation, score: FrameScore, threshold: float
) -> str:
    sample = nusc.get("sample", score.token)
    scene = nusc.get("scene", sample["scene_token"])["name"]
    counts = f"{score.objects} objects, {score.detections} detections, {score.right} right"
    caption = (
        f"<b>F1 {_number(score.f1)}</b>: {counts}. Scene {escape(scene)}, "
        f"sample <code>{escape(score.token)}</code>"
    )
    try:
        cameras, bev = _pictures(nusc, evaluation, sample, threshold)
    except UserError as error:
        reason = f"<p>No picture: {escape(str(error))}</p>"
        return f"<figure>{reason}<figcaption>{caption}</figcaption></figure>"
    return (
        '<figure class="frame"><div class="cameras" tabindex="0" role="region" '
        f'aria-label="Camera images of {escape(scene)}">'
        f"{_jpeg(cameras, f'Six camera images with the detected boxes. {counts}.')}</div>"
        f"{_jpeg(bev, f'The scene from above: objects green, detections coloured. {counts}.')}"
        f"<figcaption>{caption}</figcaption></figure>"
    )


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
    lidar = lidar_points(nusc, sample, frame.global_from_ego)
    cameras = cameras_picture(read_images(frame), frame.rig, boxes, labels)
    return cameras, bev_picture(boxes, labels, truth, lidar, side=600)


# Pieces of HTML


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], note: str, foot: Sequence[str] = ()
) -> str:
    """A table whose cells are HTML; the first column names the row."""

    def lines(items: Iterable[Sequence[str]]) -> Iterator[str]:
        for name, *cells in items:
            values = "".join(f"<td>{cell}</td>" for cell in cells)
            yield f'<tr><th scope="row">{name}</th>{values}</tr>'

    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    end = f"<tfoot>{''.join(lines([foot]))}</tfoot>" if foot else ""
    return (
        f'<p>{note}</p><div class="scroll" tabindex="0" role="region" aria-label="Table">'
        f"<table><thead><tr>{columns}</tr></thead><tbody>{''.join(lines(rows))}</tbody>{end}"
        "</table></div>"
    )


def _swatch(name: str) -> str:
    return f'<i class="swatch" style="background:{hex_colour(name)}"></i>{name.replace("_", " ")}'


def _number(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _degrees(values: tuple[float, float]) -> tuple[float, float]:
    return math.degrees(values[0]), math.degrees(values[1])


def _jpeg(image: Image, alt: str) -> str:
    data = base64.b64encode(encode_picture(image, ".jpg")).decode()
    height, width = image.shape[:2]
    size = f'width="{width}" height="{height}"'
    return f'<img alt="{escape(alt)}" {size} src="data:image/jpeg;base64,{data}">'


def _figure(picture: str, name: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{_swatch(name)}<br>{caption}</figcaption></figure>"
