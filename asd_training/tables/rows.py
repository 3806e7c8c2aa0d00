# SPDX-License-Identifier: Apache-2.0
"""Rows for nuScenes' tables: its own words, tokens, and what follows what."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

Row = dict[str, Any]

CATEGORIES = (
    "human.pedestrian.adult", "human.pedestrian.child", "human.pedestrian.wheelchair",
    "human.pedestrian.stroller", "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer", "human.pedestrian.construction_worker", "animal",
    "vehicle.car", "vehicle.motorcycle", "vehicle.bicycle", "vehicle.bus.bendy",
    "vehicle.bus.rigid", "vehicle.truck", "vehicle.construction", "vehicle.emergency.ambulance",
    "vehicle.emergency.police", "vehicle.trailer", "movable_object.barrier",
    "movable_object.trafficcone", "movable_object.pushable_pullable", "movable_object.debris",
    "static_object.bicycle_rack",
)  # fmt: skip
CATEGORY_OF = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "construction_vehicle": "vehicle.construction",
    "pedestrian": "human.pedestrian.adult",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}
"""nuScenes' category that stands for each of the ten classes."""
ATTRIBUTES = (
    "vehicle.moving", "vehicle.stopped", "vehicle.parked", "cycle.with_rider",
    "cycle.without_rider", "pedestrian.sitting_lying_down", "pedestrian.standing",
    "pedestrian.moving",
)  # fmt: skip
VISIBILITIES = ("0", "40", "60", "80", "100")  # bounds of the levels in percent


def token(*key: object) -> str:
    """32 hexadecimal digits that depend on nothing but the key."""
    return hashlib.md5("/".join(map(str, key)).encode(), usedforsecurity=False).hexdigest()


def category_token(name: str) -> str:
    return token("category", name)


def attribute_token(name: str) -> str:
    return token("attribute", name)


def vocabulary() -> dict[str, list[Row]]:
    """The tables of nuScenes' categories, attributes and levels of visibility."""
    return {
        "category": [
            {"token": category_token(name), "name": name, "description": ""} for name in CATEGORIES
        ],
        "attribute": [
            {"token": attribute_token(name), "name": name, "description": ""} for name in ATTRIBUTES
        ],
        "visibility": [
            {
                "token": str(level),
                "level": f"v{low}-{high}",
                "description": f"visibility of whole object is between {low} and {high}%",
            }
            for level, (low, high) in enumerate(pairwise(VISIBILITIES), start=1)
        ],
    }


def chain(rows: list[Row]) -> None:
    """Fill in the prev and next tokens of rows that follow each other."""
    for i, row in enumerate(rows):
        row["prev"] = rows[i - 1]["token"] if i > 0 else ""
        row["next"] = rows[i + 1]["token"] if i + 1 < len(rows) else ""
