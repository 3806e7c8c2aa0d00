# SPDX-License-Identifier: Apache-2.0
"""One colour per class, for RViz and Foxglove, pictures and reports."""

from __future__ import annotations

from asd_perception.constants import CLASSES

CLASS_COLOURS: tuple[tuple[int, int, int], ...] = (
    (255, 158, 0),
    (255, 99, 71),
    (255, 69, 150),
    (255, 140, 105),
    (233, 200, 70),
    (70, 130, 255),
    (220, 20, 220),
    (180, 90, 255),
    (0, 220, 230),
    (150, 150, 170),
)
"""RGB on the 0-255 scale, in the order of CLASSES."""


def hex_colour(name: str) -> str:
    """The colour of a class, as CSS and matplotlib write it."""
    return "#{:02x}{:02x}{:02x}".format(*CLASS_COLOURS[CLASSES.index(name)])
