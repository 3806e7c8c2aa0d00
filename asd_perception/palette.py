# SPDX-License-Identifier: Apache-2.0
"""The colours of RViz and Foxglove, pictures, charts and reports: RGB on the 0-255 scale."""

from __future__ import annotations

from asd_perception.constants import CLASSES

Colour = tuple[int, int, int]

CLASS_COLOURS: tuple[Colour, ...] = (
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
"""In the order of CLASSES."""

# The scene from above, in RViz and Foxglove, too
BACKGROUND: Colour = (24, 26, 30)
RINGS: Colour = (48, 52, 60)
LIDAR: Colour = (110, 116, 128)
TRUTH: Colour = (60, 200, 90)

# Reports: ink, softer ink, paper, lines, and the tint behind tiles
LIGHT_PAGE: dict[str, Colour] = {
    "ink": (28, 33, 39),
    "soft": (92, 102, 112),
    "paper": (255, 255, 255),
    "line": (217, 222, 227),
    "tint": (244, 246, 248),
}
DARK_PAGE: dict[str, Colour] = {
    "ink": (228, 232, 236),
    "soft": (154, 165, 177),
    "paper": (21, 24, 28),
    "line": (52, 58, 65),
    "tint": (30, 35, 40),
}

# Charts on white paper
INK: Colour = (51, 51, 51)
GRID: Colour = (228, 228, 228)
SERIES: tuple[Colour, ...] = (
    (31, 111, 139),
    (209, 96, 61),
    (106, 153, 78),
    (123, 94, 167),
    (196, 154, 45),
    (176, 71, 108),
    (74, 111, 196),
    (120, 120, 120),
)
PALE_SERIES: Colour = (159, 184, 196)
"""The first of SERIES, for single values behind their mean."""


def hex_colour(colour: Colour) -> str:
    """A colour as CSS and matplotlib write it, e.g. "#ff9e00"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def class_colour(name: str) -> str:
    """The colour of a class, as CSS and matplotlib write it."""
    return hex_colour(CLASS_COLOURS[CLASSES.index(name)])
