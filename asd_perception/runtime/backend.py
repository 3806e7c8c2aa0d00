# SPDX-License-Identifier: Apache-2.0
"""What runs a student's network for the detector, on whatever device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asd_perception.cameras.view import View
from asd_perception.network.center_head import Decoded
from asd_perception.network.student import Student

Features = TypeVar("Features")
"""An encoded image as a backend keeps it; nobody else looks into it."""


class FrameResult(NamedTuple):
    """One frame's objects and simulated points (1, N * h * w, 4) or None, on the CPU.

    N: of the cameras that gave an image, in their order.
    """

    objects: Decoded
    points: Tensor | None


class EncodingSteps(NamedTuple):
    """What `Backend.encode` and `encode_frame` do, step by step, for benchmarks.

    upload: images to the device, as the network's input.
    together, one_by_one: the encoding of what was uploaded last.
    """

    upload: Callable[[], object]
    together: Callable[[], object]
    one_by_one: Callable[[], object]


class Backend(Protocol[Features]):
    """A student on a device, in two steps without gradients: images one by one, then the frame.

    Cameras trigger one after the other. Each image is encoded when it arrives, so behind the last
    one only its own encoding and the BEV part remain.

    student: the network as it is run.
    """

    student: Student

    def encode(self, image: NDArray[np.uint8], view: View | None = None) -> Features:
        """An image (height, width, 3) uint8 RGB, encoded; any thread may call it.

        view: how it becomes the network's input, which fits it; None: it is the input already.
        """

    def encode_frame(
        self, images: Sequence[NDArray[np.uint8]], views: Sequence[View | None]
    ) -> list[Features]:
        """`encode` for images of one frame that are there together; one frame at a time."""

    def detect(
        self,
        encoded: Sequence[Features],
        intrinsics: Tensor,
        ego_from_camera: Tensor,
        seen: Tensor,
    ) -> FrameResult:
        """The objects of one frame, from its N encoded images; one frame at a time.

        intrinsics (1, N, 3, 3), ego_from_camera (1, N, 4, 4) and seen (1, N, h, w) bool of their
        cameras, on the CPU, as `frame_geometry` takes them. A rig's camera that gave no image is
        none of the N.
        """

    def encoding_steps(
        self, images: Sequence[NDArray[np.uint8]], views: Sequence[View | None]
    ) -> EncodingSteps | None:
        """The steps for a frame's images, as for `encode_frame`; None: `student` runs as it is."""

    def tune(self) -> None:
        """Choose, where there is a choice, what is measured to be faster on this machine."""

    def describe(self) -> dict[str, str]:
        """What really runs, in words: device, libraries, and what could not be used and why."""
