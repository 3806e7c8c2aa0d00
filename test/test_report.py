# SPDX-License-Identifier: Apache-2.0
"""Promise: the report is one file that opens anywhere, and its numbers are the evaluator's."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from submissions import noisy_truth, validation_samples

from asd_perception.constants import CLASSES
from asd_perception.palette import DARK_PAGE, LIGHT_PAGE, hex_colour
from asd_training.data.nuscenes import open_dataset
from asd_training.evaluation import report as report_folder
from asd_training.evaluation.bootstrap import intervals
from asd_training.evaluation.error_analysis import analyse
from asd_training.evaluation.metrics_file import Setting, write_metrics
from asd_training.evaluation.report.report import write_report
from asd_training.evaluation.scoring import evaluate

STYLE = Path(report_folder.__file__).with_name("report.css")
PROVENANCE = {"method": "distilled", "note": "</pre><script>"}
SETTING = Setting(
    "runs/<b>/model", PROVENANCE, "data", "v1.0", "val", 1, "asd-train evaluate", "today"
)


@pytest.fixture(scope="module")
def nusc(synthetic_root):
    return open_dataset(synthetic_root)


@pytest.fixture(scope="module")
def samples(nusc):
    return validation_samples(nusc)


def write(nusc, submission, path):
    evaluation = evaluate(nusc, submission)
    analysis = analyse(evaluation)
    write_report(path, nusc, SETTING, evaluation, analysis)
    errors = intervals(evaluation, analysis)
    write_metrics(path.with_suffix(".json"), SETTING, evaluation, analysis, errors)
    return evaluation, analysis, path.read_text()


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture(scope="module")
def report(nusc, samples, tmp_path_factory):
    """The path of a report, and what it is about: the second frame is perfect, the third empty."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    evaluation, analysis, _ = write(nusc, noisy_truth(nusc, samples, perfect=[1], empty=[2]), path)
    return path, evaluation, analysis


def test_the_report_says_what_the_evaluator_says(report, samples):
    path, evaluation, analysis = report
    page = Page(path.read_text())
    metrics, details = evaluation.metrics, evaluation.details
    assert f"NDS{metrics.nds:.4f}" in page.text and f"mAP{metrics.mean_ap:.4f}" in page.text
    counted = [name for name in CLASSES if metrics.ground_truth[name]]
    assert len(counted) > 3
    for name in counted:
        cells = page.row(name.replace("_", " "), 15)
        assert cells[0] == str(metrics.ground_truth[name])
        for cell, distance in zip(cells[2:6], (0.5, 1.0, 2.0, 4.0), strict=True):
            assert cell == f"{details.get_label_ap(name, distance):.3f}"
        assert cells[6] == f"{metrics.class_ap[name]:.3f}"
        assert cells[7] == f"{details.get_label_tp(name, 'trans_err'):.3f}"
    for name in set(CLASSES) - set(counted):
        assert set(page.row(name.replace("_", " "), 15)[2:]) == {"–"}
    mean = page.row("all classes", 15)
    assert mean[6] == f"{metrics.mean_ap:.3f}"
    assert mean[7] == f"{metrics.tp_errors['trans_err']:.3f}"

    numbers = json.loads(path.with_suffix(".json").read_text(), parse_constant=refuse)
    assert numbers["nds"] == metrics.nds and numbers["split"] == "val"
    assert numbers["classes"]["car"]["ap"]["2.0"] == details.get_label_ap("car", 2.0)
    assert numbers["classes"]["traffic_cone"]["errors"]["vel_err"] is None

    assert page.text.index("Worst frames") < page.text.index(samples[2]["token"])
    order = [page.text.index(samples[i]["token"]) for i in (2, 1)]
    assert order[0] < page.text.index("Best frames") < order[1]
    assert len(analysis.frames) == 3


def test_the_report_is_one_well_formed_file_that_fetches_nothing(report):
    text = report[0].read_text()
    page = Page(text)
    assert page.open == []
    tags = {tag for tag, _ in page.tags}
    assert {"svg", "img", "table", "h1", "figcaption"} <= tags
    assert not tags & {"script", "link", "iframe", "object"}
    assert "http:" not in text and "https:" not in text and "@import" not in text
    targets = [
        value for _, attrs in page.tags for key, value in attrs.items()
        if key in ("src", "href", "xlink:href")
    ]  # fmt: skip
    assert all(target.startswith(("data:image/jpeg;base64,", "#")) for target in targets)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", text)) <= set(ids)
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("aria-label") for tag, attrs in page.tags if tag == "svg")
    assert "&lt;b&gt;" in text and "<b>/model" not in text
    assert PROVENANCE["note"] in page.text  # as text: no tag script above
    assert "prefers-color-scheme" in text
    style = text[text.index("<style>") : text.index("</style>")]
    bound = set(re.findall(r"(--\w+):", text))
    assert set(re.findall(r"var\((--\w+)\)", style)) <= bound
    for page_colours in (LIGHT_PAGE, DARK_PAGE):
        for name, colour in page_colours.items():
            assert f"--{name}: {hex_colour(colour)};" in style


def test_the_colours_of_the_report_are_those_of_the_palette():
    style = STYLE.read_text()
    assert not re.findall(r"#[0-9a-f]{3,8}\b", style)


def test_a_submission_without_a_box_still_has_a_report(nusc, samples, tmp_path):
    submission = {sample["token"]: [] for sample in samples}
    _, analysis, text = write(nusc, submission, tmp_path / "report.html")
    assert np.isnan(analysis.threshold) and analysis.found.sum() == 0
    page = Page(text)
    assert "mAP0.0000" in page.text and not re.search(r"\bnan\b", page.text)


def test_a_picture_that_cannot_be_drawn_is_named(nusc, samples, tmp_path, monkeypatch):
    """The numbers are not lost for the sake of a picture."""
    monkeypatch.setattr(nusc, "dataroot", str(tmp_path))
    _, _, text = write(nusc, noisy_truth(nusc, samples), tmp_path / "report.html")
    assert "LIDAR_TOP" in text and "is missing; the dataset is incomplete" in text
    assert Page(text).open == []


def test_one_real_keyframe_has_a_report(keyframe_root, tmp_path):
    """Its annotations have no velocity, and five of the classes no object."""
    real = open_dataset(keyframe_root)
    evaluation, _, text = write(real, noisy_truth(real, real.sample[:1]), tmp_path / "report.html")
    page = Page(text)
    assert page.open == [] and "Worst frames" in page.text and "Best frames" not in page.text
    assert sum(evaluation.metrics.ground_truth.values()) == 33
    assert not re.search(r"\bnan\b", page.text)


def test_an_unknown_velocity_is_neither_right_nor_a_crash(nusc, samples, tmp_path):
    """All unknown: the devkit's error is 1, the worst that counts; a number would claim one."""
    unknown = noisy_truth(nusc, samples, perfect=range(3), velocity=np.nan)
    evaluation = evaluate(nusc, unknown)
    analysis = analyse(evaluation)
    errors = intervals(evaluation, analysis)
    write_metrics(tmp_path / "metrics.json", SETTING, evaluation, analysis, errors)
    numbers = json.loads((tmp_path / "metrics.json").read_text(), parse_constant=refuse)
    assert numbers["classes"]["car"]["errors"]["vel_err"] == 1.0
    assert numbers["classes"]["car"]["found_errors"]["velocity"] == [None, None]
    assert numbers["class_ap"]["car"] == pytest.approx(1.0)
