# SPDX-License-Identifier: Apache-2.0
"""How people stand, walk, sit and ride: where their joints are, x ahead, y left, z up, in metres.

Sides are numbered 0 right, 1 left. Lengths of limbs are shares of the stature, as in anthropometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

HIP, SHOULDER = 0.525, 0.81  # heights of the joints of one who stands
THIGH, SHIN, UPPER_ARM, FOREARM = 0.245, 0.236, 0.175, 0.155
ANKLE = 0.045
SIDES = np.array([-1.0, 1.0])


@dataclass(frozen=True)
class Posture:
    """A person's joints; the origin is on the ground below the pelvis."""

    stature: float
    pelvis: np.ndarray  # (3,) between the hip joints
    lean: float  # of the trunk ahead, rad
    legs: np.ndarray  # (2, 3, 3) hip, knee and ankle of either side
    soles: np.ndarray  # (2,) the toes' pitch downward, rad
    arms: np.ndarray  # (2, 3, 3) shoulder, elbow and wrist

    def on_trunk(self, ahead: float, left: float, up: float) -> np.ndarray:
        """The place (3,) that moves with the trunk: `up` is its height on one who stands."""
        return _on_trunk(self.stature, self.pelvis, self.lean, ahead, left, up)


def _on_trunk(
    stature: float, pelvis: np.ndarray, lean: float, ahead: float, left: float, up: float
) -> np.ndarray:
    """See `Posture.on_trunk`; ahead, left and up are shares of the stature."""
    c, s = np.cos(lean), np.sin(lean)
    up -= HIP
    return pelvis + stature * np.array([c * ahead + s * up, left, c * up - s * ahead])


def _swung(
    start: np.ndarray, lengths: Sequence[float], angles: Sequence[float], aside: Sequence[float]
) -> np.ndarray:
    """A limb (3, 3) from `start`: each part turned ahead from hanging, and to the left, rad."""
    joints = [start]
    for length, angle, side in zip(lengths, angles, aside, strict=True):
        c = np.cos(side)
        turn = np.array([np.sin(angle) * c, np.sin(side), -np.cos(angle) * c])
        joints.append(joints[-1] + length * turn)
    return np.array(joints)


def _reaching(
    start: np.ndarray, end: np.ndarray, lengths: Sequence[float], toward: np.ndarray
) -> np.ndarray:
    """A limb (3, 3) from `start` to `end`, as far as it reaches, its joint bent `toward`."""
    first, second = lengths
    way = end - start
    distance = min(float(np.sqrt(way @ way)), 0.999 * (first + second))
    way = way / np.sqrt(way @ way)
    along = (first**2 - second**2 + distance**2) / (2.0 * distance)
    across = toward - way * (toward @ way)
    across *= np.sqrt(max(first**2 - along**2, 0.0) / (across @ across))
    return np.array([start, start + along * way + across, start + distance * way])


def _standing_on(
    stature: float,
    lean: float,
    thighs: Sequence[float] | np.ndarray,
    knees: Sequence[float] | np.ndarray,
    spread: float,
    gestures: np.ndarray,
    breadth: float,
) -> Posture:
    """A posture from its joints' angles, rad, right then left; the lower foot on the ground.

    `gestures` (2, 4): what either arm does, as in `_GESTURES`.
    """
    pelvis = np.array([0.0, 0.0, HIP * stature])
    legs, arms, soles = [], [], []
    shoulders, elbows, aside, inward = gestures.T
    for i, side in enumerate(SIDES):
        hip = pelvis + [0.0, side * 0.052 * stature, 0.0]
        shin = thighs[i] - knees[i]
        sway = side * spread
        lengths = (THIGH * stature, SHIN * stature)
        legs.append(_swung(hip, lengths, (thighs[i], shin), (sway, sway)))
        soles.append(np.clip(-0.8 * shin, -0.25, 0.9) if abs(shin) > 0.15 else 0.0)
        shoulder = _on_trunk(stature, pelvis, lean, 0.0, side * breadth, SHOULDER)
        angles = (shoulders[i], shoulders[i] + elbows[i])
        lengths = (UPPER_ARM * stature, FOREARM * stature)
        arms.append(_swung(shoulder, lengths, angles, (side * aside[i], -side * inward[i])))
    leg, arm = np.array(legs), np.array(arms)
    # A foot that points down reaches lower than its ankle.
    lowest = (leg[:, 2, 2] - stature * (ANKLE + 0.07 * np.sin(np.maximum(soles, 0.0)))).min()
    drop = np.array([0.0, 0.0, lowest])
    return Posture(stature, pelvis - drop, lean, leg - drop, np.array(soles), arm - drop)


# What an arm does: shoulder ahead, elbow bent, upper arm aside, forearm inward; rad.
_GESTURES = {
    "hanging": (0.05, 0.2, 0.13, 0.0),
    "pocket": (-0.25, 0.55, 0.3, 0.25),
    "hip": (-0.35, 0.5, 0.75, 0.8),
    "phone at the ear": (0.75, 2.1, 0.3, 0.35),
    "phone": (0.3, 1.45, 0.1, 0.4),
    "crossed": (0.3, 1.2, 0.15, 0.9),
    "carrying": (0.15, 1.35, 0.2, 0.15),
    "umbrella": (0.45, 1.7, 0.1, 0.1),
    "pointing": (1.45, 0.1, 0.25, -0.2),
    "waving": (2.6, 0.3, 0.3, 0.0),
    "pushing": (0.45, 0.75, 0.1, 0.1),
}
_BOTH = ("phone", "crossed", "carrying", "hip", "pushing")
_STANDING = dict(
    zip(
        _GESTURES,
        (0.42, 0.14, 0.07, 0.05, 0.1, 0.06, 0.05, 0.0, 0.03, 0.03, 0.05),
        strict=True,
    )
)


def _gestures(rng: np.random.Generator, umbrella: bool, walking: bool) -> list[str]:
    names = list(_STANDING)
    chances = np.array(list(_STANDING.values()))
    if walking:
        chances[0] += 2.5
        chances[-1] = chances[-3] = 0.0
    right, left = (str(rng.choice(names, p=chances / chances.sum())) for _ in SIDES)
    if right in _BOTH and rng.random() < 0.7:
        left = right
    return ["umbrella" if umbrella else right, left]


def walking(
    rng: np.random.Generator, stature: float, breadth: float, umbrella: bool = False
) -> Posture:
    """Somewhere in the cycle of a step, longer or shorter ones."""
    phase, swing = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.18, 0.45)
    phases = np.array([phase, phase + np.pi])
    thighs = 0.08 + swing * np.sin(phases)
    # The knee bends while the leg swings ahead.
    knees = 0.1 + 1.9 * swing * np.maximum(np.cos(phases + 0.3), 0.0) ** 1.5
    arms = np.array([_GESTURES[name] for name in _gestures(rng, umbrella, True)])
    arms = arms + rng.normal(0.0, 0.06, arms.shape)
    hanging = arms[:, 0] < 0.25
    arms[:, 0] -= np.where(hanging, 0.9 * swing * np.sin(phases), 0.0)
    arms[:, 1] += np.where(hanging, rng.uniform(0.1, 0.6), 0.0)
    lean = rng.uniform(-0.02, 0.14)
    return _standing_on(stature, lean, thighs, knees, 0.0, arms, breadth)


def standing(
    rng: np.random.Generator, stature: float, breadth: float, umbrella: bool = False
) -> Posture:
    arms = np.array([_GESTURES[name] for name in _gestures(rng, umbrella, False)])
    arms = arms + rng.normal(0.0, 0.08, arms.shape)
    step, bend = rng.normal(0.0, 0.09), np.abs(rng.normal(0.0, 0.12, 2))
    thighs = np.array([step, -step]) + 0.5 * bend
    lean = rng.normal(0.03, 0.06)
    return _standing_on(stature, lean, thighs, bend, rng.uniform(0.0, 0.16), arms, breadth)


def bending(rng: np.random.Generator, stature: float, breadth: float) -> Posture:
    """At work near the ground, or looking into something low."""
    lean, bend = rng.uniform(0.5, 1.25), rng.uniform(0.1, 1.3)
    arms = np.array([rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.8), 0.1, 0.05])
    arms = arms + rng.normal(0.0, 0.15, (2, 4))
    thighs = np.array([0.55 * bend, 0.55 * bend]) + rng.normal(0.0, 0.15, 2)
    return _standing_on(stature, lean, thighs, (bend, bend), rng.uniform(0.0, 0.2), arms, breadth)


def sitting(rng: np.random.Generator, stature: float, breadth: float) -> Posture:
    """On a seat whose top is below the thighs."""
    lean = rng.normal(0.05, 0.2)
    arms = np.array(
        [_GESTURES[str(rng.choice(["phone", "crossed", "carrying", "hanging"]))]] * 2
    ) + rng.normal(0.0, 0.1, (2, 4))
    thighs = 1.45 + rng.normal(0.0, 0.06, 2)
    knees = thighs + rng.normal(-0.05, 0.2, 2)
    return _standing_on(stature, lean, thighs, knees, rng.uniform(0.0, 0.2), arms, breadth)


def riding(
    stature: float,
    breadth: float,
    seat: tuple[float, float],
    bar: tuple[float, float, float],
    feet: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> Posture:
    """On a saddle at `seat` (x, z), hands at `bar` (x, half width, z), ankles at `feet`."""
    pelvis = np.array([seat[0], 0.0, seat[1] + 0.055 * stature])
    # The trunk leans as far as slightly bent arms ask for.
    reach = 0.9 * (UPPER_ARM + FOREARM) * stature
    leans = np.linspace(-0.1, 1.2, 27)
    gaps = [
        _on_trunk(stature, pelvis, lean, 0.0, breadth, SHOULDER) - [bar[0], bar[1], bar[2]]
        for lean in leans
    ]
    lean = float(leans[np.argmin(np.abs(np.linalg.norm(gaps, axis=1) - reach))])
    legs, arms = [], []
    for side, foot in zip(SIDES, feet, strict=True):
        hip = pelvis + [0.0, side * 0.052 * stature, 0.0]
        knee = np.array([1.0, 0.15 * side, 0.4])
        legs.append(_reaching(hip, np.array(foot), (THIGH * stature, SHIN * stature), knee))
        shoulder = _on_trunk(stature, pelvis, lean, 0.0, side * breadth, SHOULDER)
        hand = np.array([bar[0], side * bar[1], bar[2]])
        lengths = (UPPER_ARM * stature, FOREARM * stature)
        arms.append(_reaching(shoulder, hand, lengths, np.array([-0.3, 0.7 * side, -1.0])))
    return Posture(stature, pelvis, lean, np.array(legs), np.full(2, 0.1), np.array(arms))


def shifted(posture: Posture, x: float, z: float) -> Posture:
    shift = np.array([x, 0.0, z])
    return replace(
        posture,
        pelvis=posture.pelvis + shift,
        legs=posture.legs + shift,
        arms=posture.arms + shift,
    )
