# SPDX-License-Identifier: Apache-2.0
"""The report's charts: matplotlib figures as inline SVG that takes its ink from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from nuscenes.eval.detection.data_classes import DetectionMetricData

from asd_perception.geometry import Array
from asd_perception.palette import SERIES, class_colour, hex_colour
from asd_training.evaluation.error_analysis import Ints

_DASHES = {0.5: (0, (1, 1.5)), 1.0: (0, (4, 2)), 2.0: "solid", 4.0: (0, (6, 2, 1, 2))}
_INK = "#010203"  # a placeholder: replaced by the text colour of the page


def precision_recall_chart(
    curves: Mapping[float, DetectionMetricData], name: str, label: str
) -> str:
    """Precision over recall of one class at each match distance, up to the recall reached."""
    figure, axes = _axes("recall", "precision")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    for distance, curve in curves.items():
        end = curve.max_recall_ind + 1
        axes.plot(
            curve.recall[:end] if end > 1 else [],
            curve.precision[:end] if end > 1 else [],
            color=class_colour(name),
            linestyle=_DASHES[distance],
            linewidth=2.0 if distance == 2.0 else 1.3,
        )
    return _svg(figure, f"pr-{name}", label)


def line_key() -> str:
    """What the line styles of the precision-recall charts stand for."""
    figure = Figure(figsize=(4.2, 0.3))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    lines = [axes.plot([], [], color=_INK, linestyle=style)[0] for style in _DASHES.values()]
    labels = [f"{distance:g} m" for distance in _DASHES]
    axes.legend(lines, labels, ncols=4, loc="center", frameon=False, fontsize=9, labelcolor=_INK)
    return _svg(figure, "key", "Line styles: 0.5 m dotted, 1 m dashed, 2 m solid, 4 m dash-dot")


def distance_chart(
    edges: Sequence[int],
    found: NDArray[np.int64],
    objects: NDArray[np.int64],
    name: str,
    label: str,
) -> str:
    """Recall of one class per distance bin, each bar labelled found/objects.

    edges (B + 1,) in m; found, objects (B,).
    """
    figure, axes = _axes("distance in m", "recall")
    axes.set(xlim=(0, edges[-1]), ylim=(0, 1.12), xticks=edges, yticks=(0, 0.5, 1))
    recall = found / np.maximum(objects, 1)
    axes.bar(edges[:-1], recall, np.diff(edges) - 1.0, align="edge", color=class_colour(name))
    middles = np.add(edges[:-1], edges[1:]) / 2 - 0.5
    for middle, height, hits, count in zip(middles, recall, found, objects, strict=True):
        text = f"{hits}/{count}" if count else "–"
        axes.text(middle, height + 0.02, text, ha="center", fontsize=7, color=_INK)
    return _svg(figure, f"recall-{name}", label)


def reliability_chart(score: Array, right: Array, count: Ints, label: str) -> str:
    """The share of detections that are right over their mean score, a dot for each bin (B,).

    A dot's area grows with its bin's detections.
    """
    figure, axes = _axes("score", "share that is right")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.plot([0, 1], [0, 1], color=_INK, linestyle=(0, (1, 2)), linewidth=1)
    axes.plot(score, right, color=hex_colour(SERIES[0]), linewidth=1.3)
    sizes = 10 + 90 * count / max(count.max(initial=0), 1)
    axes.scatter(score, right, sizes, color=hex_colour(SERIES[0]))
    return _svg(figure, "reliability", label)


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    """An empty chart in the page's colours."""
    figure = Figure(figsize=(2.8, 2.1), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.set_xlabel(x, color=_INK, fontsize=8)
    axes.set_ylabel(y, color=_INK, fontsize=8)
    return figure, axes


def _svg(figure: Figure, key: str, label: str) -> str:
    """A figure as inline SVG: text stays text, ids are unique in the page, ink follows the page."""
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": key, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' (?:xmlns(?::xlink)?|width|height|version)="[^"]*"(?=[^<]*viewBox)', "", text)
    text = re.sub(r'(viewBox="[^"]*")[^>]*', r"\1", text, count=1)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", text)
    text = text.replace(_INK, "currentColor")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
