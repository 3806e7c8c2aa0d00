# SPDX-License-Identifier: Apache-2.0
"""What corrupted simulated points cost, as curves and as a table."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from asd_perception.palette import GRID, SERIES, hex_colour
from asd_training.ablation.corruption import CORRUPTIONS


def curve(
    results: list[dict[str, Any]], row: str, kind: str
) -> tuple[list[float], dict[float, list[float]]]:
    """The levels of a corruption (0 first), and at each the mAP of the row's seeds."""
    found: dict[float, list[float]] = {}
    for result in results:
        if result["row"] == row:
            found.setdefault(0.0, []).append(result["clean"]["mean_ap"])
            for level, metrics in result[kind].items():
                found.setdefault(float(level), []).append(metrics["mean_ap"])
    return sorted(found), found


def robustness_figure(results: list[dict[str, Any]], titles: dict[str, str]) -> Figure:
    """A panel per corruption: mAP over its strength, mean and range over seeds, a line per row."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, len(CORRUPTIONS), sharey=True)
    rows = list(dict.fromkeys(result["row"] for result in results))
    for axes, (kind, corruption) in zip(panels, CORRUPTIONS.items(), strict=True):
        for row, series in zip(rows, SERIES * len(rows), strict=False):
            colour = hex_colour(series)
            levels, found = curve(results, row, kind)
            means = [np.mean(found[level]) for level in levels]
            low, high = ([f(found[level]) for level in levels] for f in (min, max))
            axes.plot(levels, means, "o-", color=colour, label=titles.get(row, row), markersize=4)
            axes.fill_between(levels, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_xlabel(corruption.axis)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color=hex_colour(GRID), linewidth=0.8)
    panels[0].set_ylabel("mAP")
    panels[0].legend(frameon=False, fontsize=9)
    return figure


def robustness_table(results: list[dict[str, Any]], titles: dict[str, str]) -> str:
    """A line per row and corruption: mAP with clean points, and the loss at each level."""
    lines = []
    for kind, corruption in CORRUPTIONS.items():
        levels = " | ".join(f"{level:g}" for level in corruption.levels)
        lines += [
            f"mAP lost, {corruption.axis}:",
            "",
            f"| row | mAP | {levels} | seeds |",
            "| --- " * (len(corruption.levels) + 3) + "|",
        ]
        for row in dict.fromkeys(result["row"] for result in results):
            mine = [result for result in results if result["row"] == row]
            losses = []
            for level in corruption.levels:
                lost = [
                    result["clean"]["mean_ap"] - result[kind][f"{level:g}"]["mean_ap"]
                    for result in mine
                ]
                spread = f" ± {np.std(lost, ddof=1):.3f}" if len(lost) > 1 else ""
                losses.append(f"{np.mean(lost):.3f}{spread}")
            clean = np.mean([result["clean"]["mean_ap"] for result in mine])
            lines.append(
                f"| {titles.get(row, row)} | {clean:.3f} | {' | '.join(losses)} | {len(mine)} |"
            )
        lines.append("")
    return "\n".join(lines).rstrip()
