# SPDX-License-Identifier: Apache-2.0
"""The report of an ablation: tables and plots from its JSON results, and from nothing else.

`asd-train ablation-report RESULTS FILE`. In a Markdown file that exists, only the part between the
ablation's two marks is replaced, so that text and other ablations stand beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from asd_perception.configuration import from_dict
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.palette import GRID, INK, PALE_SERIES, SERIES, hex_colour
from asd_training.ablation.robustness_report import robustness_figure, robustness_table
from asd_training.config.ablation import Ablation

DEFINITION = "ablation.json"
"""Name of the file that says what was compared; one JSON file per run lies beside it."""

Results = dict[str, dict[int, dict[str, Any]]]
"""A run's result per row and seed."""


@dataclass(frozen=True)
class Paired:
    """Differences of two rows over their common seeds: mean, standard deviation (NaN for one
    seed), two-sided p of the paired t-test (NaN where it is not defined), number of seeds."""

    mean: float
    sd: float
    p: float
    seeds: int

    def __str__(self) -> str:
        spread = f" ± {self.sd:.3f}" if self.seeds > 1 else ""
        return f"{self.mean:+.3f}{spread} ({_p(self.p)})"


def write_report(results: Path, file: Path) -> None:
    """Tables into `file`, plots into the folder beside it that has its name."""
    ablation, runs = read_results(results)
    folder = file.with_suffix("")
    parts = [f"## {ablation.title}"]
    if not any(runs.values()):
        parts.append("No run has finished yet.")
    else:
        plot = folder / f"{ablation.name}.png"
        _save(rows_figure(ablation, runs), plot)
        parts += [
            setting_text(ablation, runs, read_teachers(results)),
            rows_table(ablation, runs),
            missing_text(ablation, runs),
            pairs_table(ablation, runs),
            _picture(plot, file, "mAP and NDS per row, one dot per seed"),
        ]
    curves = read_robustness(results)
    if curves:
        plot = folder / f"{ablation.name}-robustness.png"
        titles = {row.name: row.title for row in ablation.rows}
        _save(robustness_figure(curves, titles), plot)
        parts += [
            "### With corrupted simulated points",
            robustness_table(curves, titles),
            _picture(plot, file, "mAP over the share of wrong points, and over their displacement"),
        ]
    _replace_block(file, ablation.name, "\n\n".join(part for part in parts if part))


def read_results(folder: Path) -> tuple[Ablation, Results]:
    """What was compared, and the finished runs. Raises UserError."""
    ablation = from_dict(Ablation, _read(folder / DEFINITION))
    runs: Results = {row.name: {} for row in ablation.rows}
    for row in ablation.rows:
        for seed in ablation.seeds:
            file = folder / f"{row.name}-{seed}.json"
            if file.exists():
                result = _read(file)
                if "validation" not in result:
                    raise UserError(f"{file} has no validation; was its val_split empty?")
                runs[row.name][seed] = result
    return ablation, runs


def read_teachers(folder: Path) -> list[dict[str, Any]]:
    """The results of the teachers."""
    return [_read(file) for file in sorted(folder.glob("teacher-*.json"))]


def read_robustness(folder: Path) -> list[dict[str, Any]]:
    """The results of `asd-train robustness`."""
    return [_read(file) for file in sorted((folder / "robustness").glob("*.json"))]


def _read(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} cannot be read as a result of asd-train ablate: {error}"
        ) from error


def paired(ours: dict[int, float], theirs: dict[int, float]) -> Paired | None:
    """Our values minus theirs, seed by seed; None without a common seed."""
    seeds = sorted(ours.keys() & theirs.keys())
    if not seeds:
        return None
    difference = np.array([ours[seed] - theirs[seed] for seed in seeds])
    if len(seeds) == 1:
        return Paired(float(difference[0]), np.nan, np.nan, 1)
    spread = float(difference.std(ddof=1))
    # Without spread, as between a row and itself, the t-test is not defined.
    p = float(stats.ttest_1samp(difference, 0.0).pvalue) if spread > 1e-9 else np.nan
    return Paired(float(difference.mean()), spread, p, len(seeds))


def by_seed(runs: dict[int, dict[str, Any]], key: str) -> dict[int, float]:
    """Per seed, "mean_ap" or "nds"."""
    return {seed: result["validation"][key] for seed, result in runs.items()}


def rows_table(ablation: Ablation, runs: Results) -> str:
    """One line per row: its figures, and its differences from baseline and control."""
    lines = [
        "| row | mAP | NDS | mATE (m) | ΔmAP to baseline | ΔNDS to baseline | ΔmAP to control "
        "| parameters | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in ablation.rows:
        mine = runs[row.name]
        if not mine:
            continue
        errors = [result["validation"]["tp_errors"]["trans_err"] for result in mine.values()]
        mark = {ablation.baseline: " (baseline)", ablation.control: " (control)"}
        lines.append(
            f"| {row.title}{mark.get(row.name, '')} "
            f"| {mean_sd(by_seed(mine, 'mean_ap'))} | {mean_sd(by_seed(mine, 'nds'))} "
            f"| {np.mean(errors):.3f} "
            f"| {_difference(runs, row.name, ablation.baseline, 'mean_ap')} "
            f"| {_difference(runs, row.name, ablation.baseline, 'nds')} "
            f"| {_difference(runs, row.name, ablation.control, 'mean_ap')} "
            f"| {next(iter(mine.values()))['parameters'] / 1e6:.2f} M | {len(mine)} |"
        )
    return "\n".join(lines)


def pairs_table(ablation: Ablation, runs: Results) -> str:
    """One line per further pair of rows."""
    if not ablation.compare:
        return ""
    titles = {row.name: row.title for row in ablation.rows}
    lines = ["| row | against | ΔmAP | ΔNDS | seeds |", "| --- | --- | --- | --- | --- |"]
    for ours, theirs in ablation.compare:
        if common := len(runs[ours].keys() & runs[theirs].keys()):
            lines.append(
                f"| {titles[ours]} | {titles[theirs]} "
                f"| {_difference(runs, ours, theirs, 'mean_ap')} "
                f"| {_difference(runs, ours, theirs, 'nds')} | {common} |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def missing_text(ablation: Ablation, runs: Results) -> str:
    """Names the rows that are in no table because none of their runs has finished."""
    missing = [row.title for row in ablation.rows if not runs[row.name]]
    return f"No runs here: {'; '.join(missing)}." if missing else ""


def setting_text(ablation: Ablation, runs: Results, teachers: list[dict[str, Any]]) -> str:
    """Data, length, machine and versions of the runs; where runs differ, all values as a list."""
    results = [result for row in runs.values() for result in row.values()]

    def distinct(value: Callable[[dict[str, Any]], Any]) -> str:
        return ", ".join(dict.fromkeys(str(value(result)) for result in results))

    minutes = [result["minutes"] for result in results]
    lines = [
        f"{distinct(lambda r: r['data']['train_keyframes'])} training keyframes, "
        f"{distinct(lambda r: r['validation']['samples'])} validation keyframes "
        f"({distinct(lambda r: r['validation']['split'])}), "
        f"{distinct(lambda r: r['training']['steps'])} steps of "
        f"{distinct(lambda r: r['training']['batch_size'])} frames; "
        f"{len(results)} runs of {min(minutes):.0f}–{max(minutes):.0f} minutes on "
        f"{distinct(lambda r: r['device'])} ({distinct(lambda r: r['machine'])}), "
        f"{min(r['date'] for r in results)} to {max(r['date'] for r in results)}, commit "
        f"{distinct(lambda r: r['versions']['commit'])}, torch "
        f"{distinct(lambda r: r['versions']['torch'])}.",
    ]
    lines += [
        f"Teacher `{teacher['teacher']}`: mAP {teacher['validation']['mean_ap']:.3f}, "
        f"NDS {teacher['validation']['nds']:.3f} after {teacher['training']['steps']} steps."
        for teacher in teachers
    ]
    lines.append(
        "Official nuScenes metrics, mean ± standard deviation over seeds. "
        "Differences are taken seed by seed; p is that of a two-sided paired t-test."
    )
    return "\n".join(lines)


def rows_figure(ablation: Ablation, runs: Results) -> Figure:
    """mAP and NDS per row, and the difference of its mAP from the control's."""
    rows = [row for row in ablation.rows if runs[row.name]]
    figure = Figure(figsize=(11, 0.9 + 0.42 * len(rows)), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    for axes, key, label in ((left, "mean_ap", "mAP"), (middle, "nds", "NDS")):
        for place, row in enumerate(rows):
            values = list(by_seed(runs[row.name], key).values())
            _dots(axes, place, values)
        axes.set_xlabel(label)
    for place, row in enumerate(rows):
        ours, theirs = (by_seed(runs[name], "mean_ap") for name in (row.name, ablation.control))
        values = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
        if row.name != ablation.control and values:
            _dots(right, place, values)
    right.axvline(0, color=hex_colour(INK), linewidth=0.8)
    right.set_xlabel("ΔmAP to the control, 95 % interval")
    left.set_yticks(range(len(rows)), [row.title for row in rows])
    left.invert_yaxis()
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color=hex_colour(GRID), linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=9)
    return figure


def _dots(axes: Any, place: int, values: list[float]) -> None:
    """One dot per seed, their mean as a bar, and its 95 % interval (Student's t)."""
    pale, strong = hex_colour(PALE_SERIES), hex_colour(SERIES[0])
    axes.plot(values, [place] * len(values), "o", color=pale, markersize=6, zorder=2)
    reach = 0.0
    if len(values) > 1:
        reach = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    mean = float(np.mean(values))
    axes.errorbar(mean, place, xerr=reach, color=strong, marker="|", markersize=14, zorder=3)


def mean_sd(values: dict[int, float]) -> str:
    """Mean ± sample standard deviation; without the latter for a single seed."""
    numbers = list(values.values())
    spread = f" ± {np.std(numbers, ddof=1):.3f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):.3f}{spread}"


def _difference(runs: Results, ours: str, theirs: str, key: str) -> str:
    difference = paired(by_seed(runs[ours], key), by_seed(runs[theirs], key))
    return "–" if ours == theirs or difference is None else str(difference)


def _p(value: float) -> str:
    if np.isnan(value):
        return "p –"
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}"


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=130, facecolor="white")


def _picture(path: Path, file: Path, label: str) -> str:
    return f"![{label}]({path.relative_to(file.parent).as_posix()})"


def _replace_block(file: Path, name: str, text: str) -> None:
    """Replace the text between this ablation's marks; a file without them gets both at its end."""
    begin, end = (
        f"<!-- ablation {name}: begin, written by asd-train -->",
        f"<!-- ablation {name}: end -->",
    )
    block = f"{begin}\n{text}\n{end}"
    old = file.read_text() if file.exists() else "# Results\n"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), flags=re.DOTALL)
    new = (
        pattern.sub(lambda _: block, old) if pattern.search(old) else f"{old.rstrip()}\n\n{block}\n"
    )
    with atomic_file(file) as temporary:
        temporary.write_text(new)
