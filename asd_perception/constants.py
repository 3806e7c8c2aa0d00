# SPDX-License-Identifier: Apache-2.0
"""What every array, message and weight file depends on, spelled out once: names and their order."""

MAX_CAMERAS = 8
"""Cameras of a rig: from 1 to this many, of any names, in an order of its own."""

# The ten nuScenes detection classes in nuScenes' order (nuscenes.eval.detection.constants).
CLASSES = (
    "car",
    "truck",
    "bus",
    "trailer",
    "construction_vehicle",
    "pedestrian",
    "motorcycle",
    "bicycle",
    "traffic_cone",
    "barrier",
)

# The nuScenes attributes in nuScenes' order; NO_ATTRIBUTE marks an object that has none.
ATTRIBUTES = (
    "pedestrian.moving",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "cycle.with_rider",
    "cycle.without_rider",
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
)
NO_ATTRIBUTE = -1

_VEHICLE = ("vehicle.moving", "vehicle.parked", "vehicle.stopped")
_CYCLE = ("cycle.with_rider", "cycle.without_rider")
_PEDESTRIAN = ("pedestrian.moving", "pedestrian.sitting_lying_down", "pedestrian.standing")

# The attributes that each class may have.
CLASS_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "car": _VEHICLE,
    "truck": _VEHICLE,
    "bus": _VEHICLE,
    "trailer": _VEHICLE,
    "construction_vehicle": _VEHICLE,
    "pedestrian": _PEDESTRIAN,
    "motorcycle": _CYCLE,
    "bicycle": _CYCLE,
    "traffic_cone": (),
    "barrier": (),
}
