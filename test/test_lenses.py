# SPDX-License-Identifier: Apache-2.0
"""Promise: with another lens, the shipped model still finds what it finds with the trained one."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from asd_perception.models import TINY
from asd_perception.runtime.detector import Detector
from asd_training.data.nuscenes import camera_frame, open_dataset, read_images, scene_samples
from asd_training.demo import SEED
from asd_training.synthetic.generate import synthesize

pytestmark = pytest.mark.slow

REFERENCE_SCORE = 0.2  # of the objects that are looked for
FOUND_SCORE = 0.1  # of what may be them
REACH = 1.0  # m from centre to centre
ROUNDING = 0.03  # of the share: another processor's digits move single objects


class Camera(NamedTuple):
    """One camera's image (height, width, 3), pinhole matrix, pose (4, 4) and distortion."""

    image: np.ndarray
    matrix: np.ndarray
    pose: np.ndarray
    distortion: np.ndarray
    equidistant: bool = False


Lens = Callable[[Camera], Camera]


def warped(image, target_from_image, size=None):
    """An image under a homography of its pixels; black where there was nothing."""
    size = size or image.shape[1::-1]
    shrinks = abs(np.linalg.det(target_from_image[:2, :2])) < 1
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.warpPerspective(image, target_from_image, size, flags=how)


def resized(width, height):
    """The whole image at another size."""

    def lens(camera):
        rows, columns = camera.image.shape[:2]
        scale = np.diag([width / columns, height / rows, 1.0])
        scale[:2, 2] = np.diag(scale)[:2] / 2 - 0.5
        how = cv2.INTER_AREA if width < columns else cv2.INTER_CUBIC
        image = cv2.resize(camera.image, (width, height), interpolation=how)
        return camera._replace(image=image, matrix=scale @ camera.matrix)

    return lens


def taller(camera):
    """800x600: 75 rows more above and below, which repeat the edge."""
    image = cv2.copyMakeBorder(camera.image, 75, 75, 0, 0, cv2.BORDER_REPLICATE)
    return camera._replace(image=image, matrix=camera.matrix + [[0, 0, 0], [0, 0, 75], [0, 0, 0]])


def without_lower_rows(camera):
    """800x400: what a driver cuts off below."""
    return camera._replace(image=camera.image[:400])


def middle(camera):
    """640x480, cut from the middle of the image: a narrower field of view."""
    left = 100
    cut = np.ascontiguousarray(camera.image[:, left:-left])
    moved = camera.matrix - [[0, 0, left], [0, 0, 0], [0, 0, 0]]
    return resized(640, 480)(camera._replace(image=cut, matrix=moved))


def middle_behind_border(camera):
    """What `middle` sees, at the original scale, with black around it."""
    image = np.zeros_like(camera.image)
    image[:, 100:-100] = camera.image[:, 100:-100]
    return camera._replace(image=image)


def focal(zoom):
    """A lens of `zoom` times the focal length."""

    def lens(camera):
        centre = camera.matrix[:2, 2]
        target = np.diag([zoom, zoom, 1.0])
        target[:2, 2] = (1 - zoom) * centre
        return camera._replace(
            image=warped(camera.image, target),
            matrix=camera.matrix * [[zoom], [zoom], [1]]
            + [[0, 0, (1 - zoom) * centre[0]], [0, 0, (1 - zoom) * centre[1]], [0, 0, 0]],
        )

    return lens


def focal_behind_border(zoom):
    """What `focal` sees, at the original scale, with black around it."""

    def lens(camera):
        rows, columns = camera.image.shape[:2]
        u, v = camera.matrix[:2, 2]
        left, right = round(u * (1 - 1 / zoom)), round(u + (columns - u) / zoom)
        top, bottom = round(v * (1 - 1 / zoom)), round(v + (rows - v) / zoom)
        image = np.zeros_like(camera.image)
        image[top:bottom, left:right] = camera.image[top:bottom, left:right]
        return camera._replace(image=image)

    return lens


def shifted(right, down):
    """Principal point moved by shares of width and height: a sensor that sits off the axis."""

    def lens(camera):
        rows, columns = camera.image.shape[:2]
        move = np.eye(3)
        move[:2, 2] = right * columns, down * rows
        return camera._replace(image=warped(camera.image, move), matrix=move @ camera.matrix)

    return lens


def pitched(degrees):
    """Cameras that look up by so many degrees."""

    def lens(camera):
        turn = Rotation.from_euler("x", degrees, degrees=True).as_matrix()  # old from new camera
        homography = camera.matrix @ turn.T @ np.linalg.inv(camera.matrix)
        pose = camera.pose.copy()
        pose[:3, :3] = pose[:3, :3] @ turn
        return camera._replace(image=warped(camera.image, homography), pose=pose)

    return lens


def remapped(camera, points, **changes):
    """The image of a lens whose pixels look along `points` (height, width, 2) of unit depth."""
    uv = points * np.diag(camera.matrix)[:2] + camera.matrix[:2, 2]
    image = cv2.remap(camera.image, uv.astype(np.float32), None, cv2.INTER_LINEAR)
    return camera._replace(image=image, **changes)


def fisheye(camera):
    """An equidistant lens, of 0.85 of the focal length."""
    rows, columns = camera.image.shape[:2]
    length = 0.85 * camera.matrix[0, 0]
    matrix = np.array([[length, 0, columns / 2], [0, length, rows / 2], [0, 0, 1.0]])
    pixels = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
    bent = (pixels - matrix[:2, 2]) / length
    angle = np.linalg.norm(bent, axis=-1, keepdims=True)
    points = bent * np.tan(np.minimum(angle, 1.4)) / np.maximum(angle, 1e-9)
    return remapped(camera, points, matrix=matrix, equidistant=True)


def barrel(camera):
    """A plumb_bob lens with strong barrel distortion."""
    rows, columns = camera.image.shape[:2]
    distortion = np.array([-0.25, 0.08, 0.001, -0.0005, 0, 0, 0, 0])
    pixels = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).astype(float)
    straight = cv2.undistortPoints(pixels.reshape(-1, 1, 2), camera.matrix, distortion)
    return remapped(camera, straight.reshape(rows, columns, 2), distortion=distortion)


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    """The rig and the images of every second keyframe of the demo's two scenes."""
    root = tmp_path_factory.mktemp("street") / "data"
    synthesize(root, {"test": 2}, 16, SEED, 0.5, sweeps=False, workers=None)
    nusc = open_dataset(root)
    samples = [sample for scene in nusc.scene for sample in scene_samples(nusc, scene["name"])[::2]]
    frames = [camera_frame(nusc, sample) for sample in samples]
    return [(read_images(frame), frame.rig) for frame in frames]


@pytest.fixture(scope="module")
def detector():
    return Detector.from_pretrained(TINY, device="cpu")


@pytest.fixture(scope="module")
def objects(street, detector):
    """Centres of the objects that the model finds with the trained cameras, by keyframe."""
    found = [detector.detect(*frame, REFERENCE_SCORE).boxes[:, :3] for frame in street]
    assert sum(map(len, found)) > 100  # else the shares below mean little
    return found


def found_again(street, detector, objects, lens: Lens) -> float:
    """The share of the objects that are found through another lens."""
    hits = 0
    for (images, rig), expected in zip(street, objects, strict=True):
        cameras = [
            lens(Camera(image, rig.intrinsics[i], rig.ego_from_camera[i], np.zeros(8)))
            for i, image in enumerate(images)
        ]
        seen = dataclasses.replace(
            rig,
            intrinsics=np.stack([camera.matrix for camera in cameras]),
            ego_from_camera=np.stack([camera.pose for camera in cameras]),
            image_sizes=np.array([camera.image.shape[1::-1] for camera in cameras]),
            distortion=np.stack([camera.distortion for camera in cameras]),
            equidistant=np.array([camera.equidistant for camera in cameras]),
            mountings=None,
        )
        boxes = detector.detect([camera.image for camera in cameras], seen, FOUND_SCORE).boxes
        distance = np.linalg.norm(expected[:, None] - boxes[None, :, :3], axis=-1)
        hits += int((distance.min(axis=1, initial=np.inf) < REACH).sum())
    return hits / sum(map(len, objects))


# With the least share of the 492 objects that the trained cameras give
OTHERS = {
    "1280x720": (resized(1280, 720), 0.95),
    "640x360": (resized(640, 360), 0.95),
    "800x600": (taller, 0.82),
    "800x400": (without_lower_rows, 0.6),
    "focal x 1.05": (focal(1.05), 0.7),
    **{f"focal x {zoom}": (focal(zoom), 0.82) for zoom in (0.67, 0.8, 0.9, 0.95)},
    "principal point right": (shifted(0.1, 0), 0.7),
    "principal point left": (shifted(-0.1, 0), 0.7),
    "principal point low": (shifted(0, 0.1), 0.66),
    "principal point high": (shifted(0, -0.1), 0.8),
    "looking up": (pitched(5), 0.58),
    "looking down": (pitched(-5), 0.8),
    "fisheye": (fisheye, 0.84),
    "barrel": (barrel, 0.76),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_lens_finds_the_same(street, detector, objects, name):
    lens, least = OTHERS[name]
    assert found_again(street, detector, objects, lens) >= least - ROUNDING


NARROWER = {
    "640x480": (middle, middle_behind_border),
    **{f"focal x {zoom}": (focal(zoom), focal_behind_border(zoom)) for zoom in (1.1, 1.2, 1.33)},
}


@pytest.mark.parametrize("name", NARROWER)
def test_a_narrower_lens_finds_what_it_sees(street, detector, objects, name):
    """At least 0.8 of what the same part of the image gives at its original scale."""
    lens, same_view = NARROWER[name]
    most = found_again(street, detector, objects, same_view)
    assert found_again(street, detector, objects, lens) >= 0.8 * most - ROUNDING


def test_the_trained_lens_finds_all(street, detector, objects):
    assert found_again(street, detector, objects, lambda camera: camera) == 1.0
