# SPDX-License-Identifier: Apache-2.0
"""The kinds of streets, and what is usual in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# What a plot of land along a street is used for.
BUILDING, PARKING, PARK, SITE, FIELD, PLAZA, SHORE = range(7)
# What a building is.
TERRACE, HOUSE, OFFICE, TOWER, HALL = range(5)


class Plots(NamedTuple):
    """Shares of the uses BUILDING to SHORE, in this order."""

    building: float = 0.0
    parking: float = 0.0
    park: float = 0.0
    site: float = 0.0
    field: float = 0.0
    plaza: float = 0.0
    shore: float = 0.0


class Buildings(NamedTuple):
    """Shares of TERRACE to HALL, in this order."""

    terrace: float = 0.0
    house: float = 0.0
    office: float = 0.0
    tower: float = 0.0
    hall: float = 0.0


class Lanes(NamedTuple):
    """Shares of streets with so many lanes in each direction."""

    one: float = 0.0
    two: float = 0.0
    three: float = 0.0


class Parking(NamedTuple):
    """Shares of street sides without parking, along the kerb, and across it."""

    none: float = 0.0
    kerb: float = 0.0
    across: float = 0.0


@dataclass(frozen=True)
class Kind:
    """Ranges are (low, high), shares need not add up to 1."""

    name: str
    share: float  # of all scenes
    plots: Plots
    buildings: Buildings
    lanes: Lanes
    parking: Parking
    pavement: tuple[float, float]  # width, m
    crossings: float  # share of streets with side streets
    medians: float  # share of streets with one
    trees: float  # share of street sides with a row of trees
    verge: float  # share of streets with grass beside the carriageway
    people: tuple[float, float]  # per metre of pavement
    heavy: float  # how many times as many trucks, trailers and machines as in town


KINDS = (
    Kind(
        name="town",
        share=0.26,
        plots=Plots(building=0.62, parking=0.1, park=0.08, site=0.1, plaza=0.1),
        buildings=Buildings(terrace=0.8, house=0.05, office=0.15),
        lanes=Lanes(one=0.5, two=0.4, three=0.1),
        parking=Parking(none=0.25, kerb=0.6, across=0.15),
        pavement=(2.5, 5.0),
        crossings=0.9,
        medians=0.15,
        trees=0.5,
        verge=0.1,
        people=(0.0, 0.17),
        heavy=1.0,
    ),
    Kind(
        name="business",
        share=0.2,
        plots=Plots(building=0.5, parking=0.08, park=0.1, site=0.12, plaza=0.2),
        buildings=Buildings(terrace=0.15, office=0.45, tower=0.4),
        lanes=Lanes(one=0.15, two=0.5, three=0.35),
        parking=Parking(none=0.6, kerb=0.4),
        pavement=(3.5, 7.0),
        crossings=0.85,
        medians=0.4,
        trees=0.6,
        verge=0.25,
        people=(0.0, 0.2),
        heavy=1.0,
    ),
    Kind(
        name="suburb",
        share=0.15,
        plots=Plots(building=0.65, parking=0.08, park=0.15, site=0.07, field=0.05),
        buildings=Buildings(terrace=0.1, house=0.85, office=0.05),
        lanes=Lanes(one=0.85, two=0.15),
        parking=Parking(none=0.4, kerb=0.5, across=0.1),
        pavement=(1.8, 3.5),
        crossings=0.8,
        medians=0.1,
        trees=0.6,
        verge=0.6,
        people=(0.0, 0.05),
        heavy=0.7,
    ),
    Kind(
        name="industrial",
        share=0.12,
        plots=Plots(building=0.4, parking=0.27, park=0.05, site=0.2, field=0.08),
        buildings=Buildings(office=0.2, hall=0.8),
        lanes=Lanes(one=0.6, two=0.4),
        parking=Parking(none=0.5, kerb=0.5),
        pavement=(1.8, 3.0),
        crossings=0.7,
        medians=0.1,
        trees=0.25,
        verge=0.6,
        people=(0.0, 0.05),
        heavy=3.0,
    ),
    Kind(
        name="rural",
        share=0.08,
        plots=Plots(building=0.12, parking=0.02, park=0.2, site=0.06, field=0.6),
        buildings=Buildings(house=0.8, hall=0.2),
        lanes=Lanes(one=0.9, two=0.1),
        parking=Parking(none=1.0),
        pavement=(1.8, 3.0),
        crossings=0.35,
        medians=0.0,
        trees=0.5,
        verge=1.0,
        people=(0.0, 0.03),
        heavy=1.5,
    ),
    Kind(
        name="works",
        share=0.07,
        plots=Plots(building=0.35, parking=0.15, park=0.05, site=0.45),
        buildings=Buildings(terrace=0.3, house=0.2, office=0.2, tower=0.1, hall=0.2),
        lanes=Lanes(one=0.5, two=0.4, three=0.1),
        parking=Parking(none=0.6, kerb=0.4),
        pavement=(2.0, 4.0),
        crossings=0.6,
        medians=0.2,
        trees=0.3,
        verge=0.3,
        people=(0.0, 0.08),
        heavy=2.5,
    ),
    Kind(
        name="car park",
        share=0.05,
        plots=Plots(building=0.05, parking=0.85, park=0.1),
        buildings=Buildings(terrace=0.2, office=0.4, hall=0.4),
        lanes=Lanes(one=1.0),
        parking=Parking(none=0.1, across=0.9),
        pavement=(1.6, 2.0),
        crossings=0.4,
        medians=0.0,
        trees=0.3,
        verge=0.3,
        people=(0.0, 0.06),
        heavy=1.0,
    ),
    Kind(
        name="waterside",
        share=0.07,
        plots=Plots(building=0.1, park=0.15, plaza=0.1, shore=0.65),
        buildings=Buildings(terrace=0.4, office=0.4, tower=0.2),
        lanes=Lanes(one=0.4, two=0.45, three=0.15),
        parking=Parking(none=0.8, kerb=0.2),
        pavement=(2.0, 5.0),
        crossings=0.4,
        medians=0.3,
        trees=0.3,
        verge=0.1,
        people=(0.0, 0.1),
        heavy=1.0,
    ),
)


def random_kind(rng: np.random.Generator) -> Kind:
    return KINDS[choose(rng, [kind.share for kind in KINDS])]


def choose(rng: np.random.Generator, shares: tuple[float, ...] | list[float]) -> int:
    """A number drawn by shares."""
    ends = np.cumsum(shares)
    return int(np.searchsorted(ends, rng.random() * ends[-1], side="right"))
