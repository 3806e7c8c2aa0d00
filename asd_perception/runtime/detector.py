# SPDX-License-Identifier: Apache-2.0
"""The detector: images and a rig in, objects in 3D out.

The node, the offline evaluation and the demo all call this one class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from asd_perception.cameras.calibration import CameraCalibration
from asd_perception.cameras.rig import CameraRig
from asd_perception.cameras.view import View, view_of, views_of
from asd_perception.constants import MAX_CAMERAS
from asd_perception.errors import UserError, memory_checked
from asd_perception.geometry import Array
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.center_head import Decoded
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student
from asd_perception.runtime.backend import Backend, Features
from asd_perception.runtime.cpu import CpuBackend
from asd_perception.runtime.cuda import CudaBackend
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.validation.score_calibration import (
    SCORE_THRESHOLD,
    ScoreCalibration,
    read_score_calibration,
)
from asd_perception.runtime.validation.validation_errors import (
    ValidationErrors,
    read_validation_errors,
)

T = TypeVar("T")


@dataclass(frozen=True)
class EncodedImage(Generic[Features]):
    """One camera's image, encoded.

    intrinsics: (3, 3) of the network's input. view: how the image became that.
    """

    features: Features
    intrinsics: Array
    view: View


class Detector:
    """A student network, ready to detect.

    >>> detector = Detector.from_pretrained("asd_perception/models/tiny")
    >>> detections = detector.detect(images, rig)
    """

    def __init__(
        self,
        student: Student,
        device: str = "cpu",
        model: Path | None = None,
        *,
        cameras: int = 6,
        score_calibration: ScoreCalibration | None = None,
        validation_errors: ValidationErrors | None = None,
    ) -> None:
        """model: the student's model directory, whose ONNX graphs run on a CPU where it has any.
        score_calibration: of the student's scores; None: they stay what the network says.
        validation_errors: of the student, where they are known.
        cameras: of the rig; a frame may lack some. A GPU's work is recorded for this number.

        Raises UserError for a device that does not exist or has too little memory, for graphs that
        are not the student's, and for more than MAX_CAMERAS.
        """
        if not 1 <= cameras <= MAX_CAMERAS:
            raise UserError(f"a rig has 1 to {MAX_CAMERAS} cameras, not {cameras}")
        self.cameras = cameras
        self.score_calibration = score_calibration
        self.validation_errors = validation_errors
        self.device = find_device(device)
        with memory_checked(self.device):
            self.student = student.to(self.device).eval()
            # Any: what an encoded image is, the backend alone knows.
            self.backend: Backend[Any] = (
                CudaBackend(self.student, cameras)
                if self.device.type == "cuda"
                else CpuBackend(self.student, model)
            )

    @classmethod
    def from_pretrained(
        cls, path: str | Path = TINY, device: str = "cpu", *, cameras: int = 6
    ) -> Detector:
        """Load a model directory (default: the tiny student that ships with the package).

        device: "cpu", "cuda", "cuda:N", or "auto" (a GPU where there is one). cameras: of the rig.
        Raises UserError if the folder is no valid model directory, or the device does not exist or
        has too little memory.
        """
        path = Path(path)
        student = model_directory.load(path)
        calibration, errors = read_score_calibration(path), read_validation_errors(path)
        return cls(
            student,
            device,
            path,
            cameras=cameras,
            score_calibration=calibration,
            validation_errors=errors,
        )

    def describe(self) -> dict[str, str]:
        """What really runs, in words: device, libraries, and what could not be used and why."""
        return self.backend.describe()

    @property
    def config(self) -> StudentConfig:
        return self.student.config

    @property
    def score_threshold(self) -> float:
        """The score from which on objects are shown where nothing else is said: the model's own,
        chosen with its calibration, or SCORE_THRESHOLD."""
        calibration = self.score_calibration
        return SCORE_THRESHOLD if calibration is None else calibration.score_threshold

    def warm_up(self) -> None:
        """Choose what is faster on this machine, then detect once in black images, encoded one by
        one as they come to a node, so that the first real frame is no slower than the rest."""
        height, width = self.config.image_size
        black = np.zeros((height, width, 3), np.uint8)
        matrix = np.array([[width, 0.0, width / 2], [0.0, width, height / 2], [0.0, 0.0, 1.0]])
        plain, bent = (
            self.view(CameraCalibration(matrix, (width, height), distortion), None)
            for distortion in (np.zeros(8), np.full(8, 1e-3))
        )
        with memory_checked(self.device):
            self.backend.tune()
        self.encode(black, bent)  # the other way to the network's input, which some lens may need
        encoded = {str(i): self.encode(black, plain) for i in range(self.cameras)}
        self.detect_encoded(encoded, dict.fromkeys(encoded, np.eye(4)), 0.0)

    def detect(
        self,
        images: Sequence[NDArray[np.uint8]],
        rig: CameraRig,
        score_threshold: float | None = None,
    ) -> Detections:
        """Find the objects of one frame.

        images: one (height, width, 3) uint8 RGB array per camera, in the rig's order; reduced ones
            (asd_perception.cameras.preprocessing) serve as well.
        rig: the cameras that gave an image, at the frame's reference time.
        On a GPU the first call with all cameras takes some 10 s more: it compiles for all at once.
        Returns objects of at least `score_threshold` (None: the model's own), best first, with the
        simulated points.
        Raises UserError for more cameras than the detector was made for, or an image that disagrees
        with the rig, and OutOfMemoryError.
        """
        views = self.views(rig)
        with memory_checked(self.device):
            _by_camera(lambda image, view: view.check(image), images, views, rig)
            features = self.backend.encode_frame(images, views)
        encoded = {
            name: self._encoded(of_image, image, view)
            for name, of_image, image, view in zip(rig.names, features, images, views, strict=True)
        }
        least = self.score_threshold if score_threshold is None else score_threshold
        return self.detect_encoded(encoded, _poses(rig), least)

    def view(self, calibration: CameraCalibration, ego_from_camera: Array | None) -> View:
        """How a camera's images become the network's input; see `view_of`."""
        config = self.config
        return view_of(calibration, ego_from_camera, config.trained_cameras, config.image_size)

    def views(self, rig: CameraRig) -> list[View]:
        """`view` of each of a rig's cameras."""
        return views_of(rig, self.config.trained_cameras, self.config.image_size)

    def encode(self, image: NDArray[np.uint8], view: View) -> EncodedImage:
        """One camera's part of the work, as soon as its image is there; any thread may call it.

        image (height, width, 3) uint8 RGB, in full or reduced (`cameras.preprocessing`).
        Raises UserError for an image of another size than the view's camera, and OutOfMemoryError.
        """
        with memory_checked(self.device):
            view.check(image)
            return self._encoded(self.backend.encode(image, view), image, view)

    def _encoded(self, features: Any, image: NDArray[np.uint8], view: View) -> EncodedImage:
        return EncodedImage(features, view.intrinsics_for(image), view)

    def detect_encoded(
        self,
        encoded: Mapping[str, EncodedImage],
        ego_from_camera: Mapping[str, Array],
        score_threshold: float,
    ) -> Detections:
        """`detect` for images that are encoded already; by camera, as are their poses (4, 4)."""
        if not 1 <= len(encoded) <= self.cameras:
            raise UserError(
                f"a frame has images of 1 to {self.cameras} cameras, not of {len(encoded)}; "
                "a detector is told the rig's number: cameras="
            )
        cameras = self._cameras(encoded, ego_from_camera)
        with memory_checked(self.device):
            found = self.backend.detect([image.features for image in encoded.values()], *cameras)
        detections = detections_of(found.objects, 0, score_threshold, self.score_calibration)
        if found.points is None:  # a camera-only student has none
            return detections
        points = found.points[0][cameras[2].flatten()]
        return dataclasses.replace(detections, simulated_points=points.numpy())

    def inputs(
        self, images: Sequence[NDArray[np.uint8]], rig: CameraRig
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the student's `forward` takes for `detect`'s frame, on the CPU."""
        views = self.views(rig)
        prepared = _by_camera(lambda image, view: view.apply(image), images, views, rig)
        pixels = torch.from_numpy(np.stack(prepared)).permute(0, 3, 1, 2).contiguous()
        encoded = {
            name: self._encoded(None, image, view)
            for name, image, view in zip(rig.names, images, views, strict=True)
        }
        return pixels[None], *self._cameras(encoded, _poses(rig))

    def _cameras(
        self, encoded: Mapping[str, EncodedImage], ego_from_camera: Mapping[str, Array]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A frame's intrinsics (1, N, 3, 3), poses (1, N, 4, 4) and seen (1, N, h, w)."""
        matrices, poses, seen = [], [], []
        for name, image in encoded.items():
            mask = image.view.seen_features(self.config.backbone.stride)
            matrices.append(image.intrinsics)
            poses.append(image.view.pose(ego_from_camera[name]))
            seen.append(np.ones(self.config.feature_size, bool) if mask is None else mask)
        return (
            torch.from_numpy(np.stack(matrices)).float()[None],
            torch.from_numpy(np.stack(poses)).float()[None],
            torch.from_numpy(np.stack(seen))[None],
        )


def _by_camera(
    work: Callable[[NDArray[np.uint8], View], T],
    images: Sequence[NDArray[np.uint8]],
    views: Sequence[View],
    rig: CameraRig,
) -> list[T]:
    """What `work` makes of each camera's image in its view. Raises UserError with its name."""
    if len(images) != len(rig):
        raise UserError(f"{len(images)} images for a rig of {len(rig)} cameras")

    def one(i: int) -> T:
        try:
            return work(images[i], views[i])
        except UserError as error:
            raise UserError(f"{rig.names[i]}: {error}") from error

    return [one(i) for i in range(len(rig))]


def _poses(rig: CameraRig) -> dict[str, Array]:
    return dict(zip(rig.names, rig.ego_from_camera, strict=True))


def detections_of(
    decoded: Decoded,
    sample: int,
    score_threshold: float,
    calibration: ScoreCalibration | None = None,
) -> Detections:
    """One sample's objects of at least `score_threshold`, without simulated points, best first.

    calibration: of the scores, before the threshold.
    """
    boxes, scores, labels, velocities, attributes = (x[sample].cpu().numpy() for x in decoded)
    if calibration is None:
        keep = scores >= score_threshold
    else:
        scores = calibration.apply(scores, labels)
        order = np.argsort(-scores, kind="stable")  # classes change places, each keeps its order
        keep = order[scores[order] >= score_threshold]
    return Detections(
        boxes=boxes[keep],
        scores=scores[keep],
        labels=labels[keep],
        velocities=velocities[keep],
        attributes=attributes[keep],
    )


def find_device(name: str) -> torch.device:
    """The torch device of a name: "cpu", "cuda", "cuda:N" or "auto". Raises UserError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device {name!r}; use cpu, cuda, cuda:N or auto") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name} is not supported; use cpu, cuda, cuda:N or auto")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"there is no device {name}: PyTorch finds no GPU; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        known = ", ".join(f"cuda:{i}" for i in range(torch.cuda.device_count()))
        raise UserError(f"there is no device {name}; there are cpu, {known}")
    return device
