# SPDX-License-Identifier: Apache-2.0
"""Whether an exported student answers as PyTorch does, on a drawn street and on random images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd_perception.errors import UserError
from asd_perception.geometry import wrap_angle
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.student import Student
from asd_perception.network.view_transform import depth_bin_centres
from asd_perception.runtime.detector import Detector
from asd_training.data.example import drawn_street, example_rig

Frame = tuple[Tensor, Tensor, Tensor]

TIE = 1e-4
"""Difference of two depth bins' logits that rounding may turn round, so that a point jumps."""

ALIKE = 1e-5
"""Difference of two objects' scores that rounding may turn round. Where no camera looks all cells
are alike, and rounding decides which of them is a peak."""

REACH = 10.0
"""Metres from a point within which objects are not compared when that point may jump."""

NOWHERE = np.zeros((0, 2))


class DecodingStudent(nn.Module):
    """The student and the decoding of its boxes: one frame's inputs to `Decoded`."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor, intrinsics: Tensor, ego_from_camera: Tensor) -> Decoded:
        """images (1, N, 3, H, W) uint8, intrinsics (1, N, 3, 3), ego_from_camera (1, N, 4, 4)."""
        config = self.student.config
        output = self.student(images, intrinsics, ego_from_camera)
        return decode(output.head, config.bev, config.max_objects)


@dataclass(frozen=True)
class Parity:
    """The largest differences between PyTorch and ONNX Runtime on one frame.

    compared: objects compared. left_out: others, within REACH of a simulated point whose depth has
    two bins that are to TIE equally likely: rounding decides which one is the mode; or to ALIKE as
    good as another one of their class. scores, boxes
    (m and rad), velocities (m/s), attributes (0 or 1): of each PyTorch object and the nearest one
    of its class. Objects whose score is as good as the last one's are not compared: the other list
    may have ended before them.
    """

    compared: int
    left_out: int
    scores: float
    boxes: float
    velocities: float
    attributes: float

    @property
    def worst(self) -> float:
        return max(self.scores, self.boxes, self.velocities, self.attributes)


def check(results: dict[str, Parity], out: Path, tolerance: float) -> None:
    """Print the differences of each frame; raise UserError where they are too large.

    Warns on stderr where there was no object to compare: then only scores were.
    """
    print("largest difference between PyTorch and ONNX Runtime:")
    print(
        f"{'':<16}{'objects':>8}{'left out':>10}{'score':>10}{'box m, rad':>12}{'m/s':>10}"
        f"{'attributes':>12}"
    )
    for name, p in results.items():
        print(
            f"{name:<16}{p.compared:>8}{p.left_out:>10}{p.scores:>10.1e}{p.boxes:>12.1e}"
            f"{p.velocities:>10.1e}{p.attributes:>12.0f}"
        )
    if any(p.left_out for p in results.values()):
        print(
            f"left out: objects within {REACH:g} m of a simulated point that rounding may move, or "
            "with another one of their class and score"
        )
    worst = max(parity.worst for parity in results.values())
    if not worst <= tolerance:
        raise UserError(
            f"{out} is not written: ONNX Runtime differs from PyTorch by {worst:.2g}, "
            f"which is more than --tolerance {tolerance:g}"
        )
    print(f"parity holds within {tolerance:g}")
    if not any(parity.compared for parity in results.values()):
        print(
            "warning: no object was compared, only scores: the student finds none that stands out, "
            "so train it first",
            file=sys.stderr,
        )


def check_parity(
    model: DecodingStudent, answer: Callable[[Frame], Decoded], frames: dict[str, Frame]
) -> dict[str, Parity]:
    """Compare PyTorch's answer to each frame with another one."""
    result = {}
    for name, frame in frames.items():
        with torch.inference_mode():
            expected = Decoded(*(tensor[0].numpy() for tensor in model(*frame)))
        found = Decoded(*(tensor[0].numpy() for tensor in answer(frame)))
        result[name] = compare(expected, found, unsteady_points(model.student, frame))
    return result


def unsteady_points(student: Student, frame: Frame) -> NDArray[np.float64]:
    """Where simulated points may be, x and y (P, 2) in m: those whose mode is a tie, both ways."""
    with torch.inference_mode():
        output = student(*frame)
    if output.point_depth is None or output.simulated_points is None:
        return NOWHERE
    best, bins = output.point_depth[0].movedim(1, -1).topk(2, dim=-1)  # (N, h, w, 2)
    tied = best[..., 0] - best[..., 1] < TIE
    depth = depth_bin_centres(student.config.depth, bins.device)[bins]
    camera = frame[2][0, :, None, None, :2, 3]  # (N, 1, 1, 2)
    one = output.simulated_points[0, :, :2].view(*tied.shape, 2)
    other = camera + (one - camera) * (depth[..., 1:] / depth[..., :1])
    return torch.cat([one[tied], other[tied]]).double().numpy()


def compare(expected: Decoded, found: Decoded, unsteady: NDArray[np.float64] = NOWHERE) -> Parity:
    """The differences of two lists of objects, best first, in arrays without a batch axis.

    unsteady (P, 2): x and y in m, near which objects are left out.
    """
    by_rank = _largest(expected.scores - found.scores)
    cut = max(expected.scores[-1], found.scores[-1]) + 2 * by_rank
    away = np.linalg.norm(expected.boxes[:, None, :2] - unsteady, axis=-1)
    steady = away.min(axis=1, initial=np.inf) > REACH
    alike = np.abs(expected.scores[:, None] - expected.scores) < ALIKE
    steady &= (alike & (expected.labels[:, None] == expected.labels)).sum(axis=1) == 1
    compared = expected.scores > cut
    if len(set(expected.scores[compared])) == 1:  # every cell alike: a network that knows nothing
        compared[:] = False
    kept = np.flatnonzero(compared & steady)
    distance = np.linalg.norm(
        expected.boxes[kept, None, :3].astype(np.float64) - found.boxes[None, :, :3], axis=-1
    )
    distance[expected.labels[kept, None] != found.labels[None]] = np.inf
    partner = distance.argmin(axis=1)
    boxes = expected.boxes[kept].astype(np.float64) - found.boxes[partner]
    boxes[:, 6] = wrap_angle(boxes[:, 6])
    boxes[~np.isfinite(distance.min(axis=1))] = np.inf
    return Parity(
        compared=len(kept),
        left_out=int((compared & ~steady).sum()),
        scores=_largest(expected.scores[kept] - found.scores[partner]) if len(kept) else by_rank,
        boxes=_largest(boxes),
        velocities=_largest(expected.velocities[kept] - found.velocities[partner]),
        attributes=_largest(expected.attributes[kept] != found.attributes[partner]),
    )


def _largest(differences: NDArray[Any]) -> float:
    """The largest magnitude; infinite if one is not a number."""
    magnitudes = np.nan_to_num(np.abs(differences.astype(np.float64)), nan=np.inf, posinf=np.inf)
    return float(magnitudes.max(initial=0.0))


def parity_frames(student: Student, cameras: int = 6) -> dict[str, Frame]:
    """A drawn street, and random images under the same cameras. Raises UserError."""
    detector, rig = Detector(student, cameras=cameras), example_rig(cameras)
    # Its lenses see all of the network's input, of which an ONNX file says nothing.
    drawn, intrinsics, poses, _ = detector.inputs(drawn_street(rig), rig)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, drawn.shape, dtype=torch.uint8, generator=generator)
    return {
        "drawn street": (drawn, intrinsics, poses),
        "random images": (images, intrinsics, poses),
    }
