# SPDX-License-Identifier: Apache-2.0
"""The kinds of streets, and what is usual in each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# What a plot of land along a street is used for.
BUILDING, PARKING, PARK, SITE, FIELD, PLAZA, SHORE = range(7)
# What a building is.
TERRACE, HOUSE, OFFICE, TOWER, HALL = range(5)


@dataclass(frozen=True)
class Kind:
    """Ranges are (low, high), shares need not add up to 1."""

    name: str
    share: float  # of all scenes
    plots: tuple[float, ...]  # shares of the uses BUILDING to SHORE
    buildings: tuple[float, ...]  # shares of TERRACE to HALL
    lanes: tuple[float, float, float]  # shares of 1, 2, 3 in each direction
    parking: tuple[float, float, float]  # shares of none, along the kerb, across it
    pavement: tuple[float, float]  # width, m
    crossings: float  # share of streets with side streets
    medians: float  # share of streets with one
    trees: float  # share of street sides with a row of trees
    verge: float  # share of streets with grass beside the carriageway
    people: tuple[float, float]  # per metre of pavement
    heavy: float  # how many times as many trucks, trailers and machines as in town


# fmt: off
KINDS = (
    Kind("town", 0.26, (0.62, 0.1, 0.08, 0.1, 0.0, 0.1, 0.0), (0.8, 0.05, 0.15, 0.0, 0.0),
         (0.5, 0.4, 0.1), (0.25, 0.6, 0.15), (2.5, 5.0), 0.9, 0.15, 0.5, 0.1, (0.0, 0.17), 1.0),
    Kind("business", 0.2, (0.5, 0.08, 0.1, 0.12, 0.0, 0.2, 0.0), (0.15, 0.0, 0.45, 0.4, 0.0),
         (0.15, 0.5, 0.35), (0.6, 0.4, 0.0), (3.5, 7.0), 0.85, 0.4, 0.6, 0.25, (0.0, 0.2), 1.0),
    Kind("suburb", 0.15, (0.65, 0.08, 0.15, 0.07, 0.05, 0.0, 0.0), (0.1, 0.85, 0.05, 0.0, 0.0),
         (0.85, 0.15, 0.0), (0.4, 0.5, 0.1), (1.8, 3.5), 0.8, 0.1, 0.6, 0.6, (0.0, 0.05), 0.7),
    Kind("industrial", 0.12, (0.4, 0.27, 0.05, 0.2, 0.08, 0.0, 0.0), (0.0, 0.0, 0.2, 0.0, 0.8),
         (0.6, 0.4, 0.0), (0.5, 0.5, 0.0), (1.8, 3.0), 0.7, 0.1, 0.25, 0.6, (0.0, 0.05), 3.0),
    Kind("rural", 0.08, (0.12, 0.02, 0.2, 0.06, 0.6, 0.0, 0.0), (0.0, 0.8, 0.0, 0.0, 0.2),
         (0.9, 0.1, 0.0), (1.0, 0.0, 0.0), (1.8, 3.0), 0.35, 0.0, 0.5, 1.0, (0.0, 0.03), 1.5),
    Kind("works", 0.07, (0.35, 0.15, 0.05, 0.45, 0.0, 0.0, 0.0), (0.3, 0.2, 0.2, 0.1, 0.2),
         (0.5, 0.4, 0.1), (0.6, 0.4, 0.0), (2.0, 4.0), 0.6, 0.2, 0.3, 0.3, (0.0, 0.08), 2.5),
    Kind("car park", 0.05, (0.05, 0.85, 0.1, 0.0, 0.0, 0.0, 0.0), (0.2, 0.0, 0.4, 0.0, 0.4),
         (1.0, 0.0, 0.0), (0.1, 0.0, 0.9), (1.6, 2.0), 0.4, 0.0, 0.3, 0.3, (0.0, 0.06), 1.0),
    Kind("waterside", 0.07, (0.1, 0.0, 0.15, 0.0, 0.0, 0.1, 0.65), (0.4, 0.0, 0.4, 0.2, 0.0),
         (0.4, 0.45, 0.15), (0.8, 0.2, 0.0), (2.0, 5.0), 0.4, 0.3, 0.3, 0.1, (0.0, 0.1), 1.0),
)
# fmt: on


def random_kind(rng: np.random.Generator) -> Kind:
    return KINDS[choose(rng, [kind.share for kind in KINDS])]


def choose(rng: np.random.Generator, shares: tuple[float, ...] | list[float]) -> int:
    """A number drawn by shares."""
    ends = np.cumsum(shares)
    return int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
