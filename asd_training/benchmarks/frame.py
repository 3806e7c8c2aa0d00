# SPDX-License-Identifier: Apache-2.0
"""How long a frame takes, stage by stage, and how far that is from what the machine could do.

A stage's operations are those of its convolutions, matrix products and BEV pooling; its bytes are
the least it can move: what goes in, its weights and what comes out, once each. With the rates that
this machine reaches in a plain matrix product and a plain copy, measured in the same run, they give
the stage's floor, and "of floor" is how much of the best possible speed it reaches.

The reference does what one writes first: it waits for all images, decodes them in full and runs
the plain network on them. Ours decodes no more than is needed. A node's images are encoded each
when it comes (on a GPU on streams side by side), so that is timed too, and also from the last
image's arrival on, when the others are encoded.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from asd_perception.cameras.image_decoding import decode_camera_image
from asd_perception.cameras.rig import CameraRig
from asd_perception.network.center_head import HeadOutput, decode
from asd_perception.network.student import Student
from asd_perception.network.view_transform import frame_geometry
from asd_perception.ops.bev_pool import bev_pool, plain_ops
from asd_perception.runtime.backend import EncodingSteps
from asd_perception.runtime.cuda_graphs import CompiledCall, RecordedCall
from asd_perception.runtime.detections import Detections
from asd_perception.runtime.detector import Detector, EncodedImage, detections_of
from asd_training.benchmarks.measure import (
    Stage,
    counted,
    current_device,
    measure,
    measure_ceilings,
    network_mode,
)
from asd_training.data.example import HEIGHT, JPEG_QUALITY, WIDTH, example_images, example_rig

PREPROCESSING = "preprocessing"
IMAGE_ENCODER = "image encoder, all at once"
ONE_BY_ONE = "... image by image"
GEOMETRY = "geometry, new calibration"
BOX_DECODING = "box decoding"
FROM_RAW = "end to end, from raw images"
FROM_RAW_ONE_BY_ONE = "... encoded image by image"
END_TO_END = "end to end, from JPEG"


def benchmark(detector: Detector, repeats: int, *, against_reference: bool) -> dict[str, Any]:
    """Plain values, times in ms, of synthetic 1600x900 images, one of each of the rig's cameras.

    With `against_reference` each stage of the plain eager network with reference ops runs in turns
    with its counterpart, so that whatever else the machine does meets both alike.
    """
    rig, images = example_rig(detector.cameras), example_images(detector.cameras)
    memory = peak_memory_mb(detector, rig, images)
    with current_device(detector.device), torch.inference_mode():
        ceilings = measure_ceilings(detector.device)
        with network_mode("ours", detector.device):
            ours = stages(detector, detector.backend.student, rig, images, plain=False)
            if (steps := detector.backend.encoding_steps(images, detector.views(rig))) is not None:
                ours = as_on_gpu(ours, steps)
        variants = {"ours": ours}
        with network_mode("reference", detector.device):
            plain = stages(detector, detector.student, rig, images, plain=True)
        if against_reference:
            variants["reference"] = plain
        timings = measure(variants, repeats, detector.device)
        difference = largest_difference(detector, rig, images) if against_reference else None
    figures: dict[str, Any] = {
        "repeats": repeats,
        "cameras": len(rig),
        "ceilings": asdict(ceilings),
        "peak_memory_mb": memory,
        "stages": {
            name: {
                "operations": stage.operations,
                "bytes": stage.bytes,
                "floor_ms": ceilings.floor_ms(stage),
                **{variant: asdict(timings[variant][name]) for variant in variants},
            }
            # Of ONNX Runtime's graphs nothing can be counted; a GPU's stages are as they run there.
            for name, stage in (ours if detector.device.type == "cuda" else plain).items()
        },
    }
    if difference is not None:
        figures["largest_difference"] = difference
    return figures


def stages(
    detector: Detector, student: Student, rig: CameraRig, images: list[Any], *, plain: bool
) -> dict[str, Stage]:
    """The stages of one frame in their order, each ready to run on what the ones before it gave.

    student: the network to take apart. plain: end to end, run it as it is, with reference ops.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    jpegs = [cv2.imencode(".jpg", image[..., ::-1], quality)[1] for image in images]

    def decoded(camera: int) -> NDArray[np.uint8]:
        if plain:
            return cv2.cvtColor(cv2.imdecode(jpegs[camera], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return decode_camera_image(jpegs[camera], (WIDTH, HEIGHT), detector.config.image_size)

    views = detector.views(rig)
    raw, images = images, [decoded(camera) for camera in range(len(jpegs))]
    inputs = detector.inputs(images, rig)
    pixels, intrinsics, poses, seen = (tensor.to(detector.device) for tensor in inputs)
    config, size = student.config, tuple(pixels.shape[-2:])
    geometry = frame_geometry(intrinsics, poses, size, config, seen)
    features = student.image_encoder(pixels)
    lift = student.lift_splat
    logits, context = lift.head(features, geometry.conditions)
    probability = logits.movedim(2, -1).softmax(dim=-1).movedim(-1, 2)
    camera_bev = lift(features, geometry)[0]

    def of(part: nn.Module, *arguments: Any) -> Stage:
        """A stage that is a call of a module."""
        return counted(lambda: part(*arguments), arguments, part.parameters())

    def one_by_one() -> tuple[Tensor, ...]:
        return tuple(student.image_encoder(image) for image in pixels.split(1, dim=1))

    fused, fusing = camera_bev, {}
    if config.fusion != "camera_only":
        to_points = features, geometry, camera_bev
        simulated = student.point_simulator(*to_points)
        both = camera_bev, simulated.bev, simulated.evidence
        fused, _ = student.fusion(*both)
        fusing["simulated points"] = of(student.point_simulator, *to_points)
        fusing["fusion"] = of(student.fusion, *both)
    encoded_bev = student.bev_encoder(fused)
    head = HeadOutput(*student.head(encoded_bev))

    inside = int((geometry.plan.cells < len(poses) * config.bev.size**2).sum())
    pooling = counted(lambda: bev_pool(probability, context, geometry.plan), (probability, context))
    work = 2.0 * inside * context.shape[2]
    pooling = Stage(pooling.run, work, pooling.bytes + 8.0 * inside)

    def encoded(camera: int) -> EncodedImage:
        """What one of the node's intake threads does when an image has come."""
        return detector.encode(decoded(camera), views[camera])

    by_camera = {name: encoded(i) for i, name in enumerate(rig.names)}
    mountings = dict(zip(rig.names, rig.ego_from_camera, strict=True))

    def from_jpegs() -> Detections:
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            found = dict(zip(rig.names, threads.map(encoded, range(len(rig))), strict=True))
        return detector.detect_encoded(found, mountings, 0.0)

    def from_last_jpeg() -> Detections:
        last = {**by_camera, rig.names[-1]: encoded(len(rig) - 1)}
        return detector.detect_encoded(last, mountings, 0.0)

    def from_raw() -> Detections:
        return plainly(raw, rig, detector) if plain else detector.detect(raw, rig, 0.0)

    def from_raw_one_by_one() -> Detections:
        return (plainly if plain else one_by_one_from_raw)(raw, rig, detector)

    def plainly_from_jpegs() -> Detections:
        return plainly([decoded(camera) for camera in range(len(rig))], rig, detector)

    return {
        "JPEG decoding": Stage(lambda: [decoded(i) for i in range(len(rig))]),
        PREPROCESSING: Stage(lambda: detector.inputs(images, rig)),
        GEOMETRY: Stage(lambda: frame_geometry(intrinsics, poses, size, config, seen)),
        IMAGE_ENCODER: of(student.image_encoder, pixels),
        ONE_BY_ONE: counted(one_by_one, (pixels,), student.image_encoder.parameters()),
        "depth and context": of(lift.head, features, geometry.conditions),
        "BEV pooling": pooling,
        **fusing,
        "BEV encoder": of(student.bev_encoder, fused),
        "head": of(student.head, encoded_bev),
        BOX_DECODING: Stage(lambda: decode(head, config.bev, config.max_objects)),
        FROM_RAW: Stage(from_raw),
        FROM_RAW_ONE_BY_ONE: Stage(from_raw_one_by_one),
        END_TO_END: Stage(plainly_from_jpegs if plain else from_jpegs),
        "... from the last one's arrival": Stage(plainly_from_jpegs if plain else from_last_jpeg),
    }


def as_on_gpu(stages: dict[str, Stage], steps: EncodingSteps) -> dict[str, Stage]:
    """The network's stages as they run on a GPU: compiled and recorded, from raw images."""

    def recorded(run: Callable[[], Any]) -> Callable[[], Any]:
        stream = torch.cuda.Stream()
        call = RecordedCall(CompiledCall(run), stream)

        def replay() -> None:
            with torch.cuda.stream(stream):
                call.replay()

        return replay

    runs = {
        name: recorded(stage.run)
        for name, stage in tqdm(stages.items(), desc="recording", unit="stage", leave=False)
        if name not in (IMAGE_ENCODER, ONE_BY_ONE)
        and (stage.operations or name in (GEOMETRY, BOX_DECODING))
    }
    runs[PREPROCESSING] = steps.upload
    runs[IMAGE_ENCODER], runs[ONE_BY_ONE] = steps.together, steps.one_by_one
    return {name: replace(stage, run=runs.get(name, stage.run)) for name, stage in stages.items()}


def plainly(images: list[NDArray[np.uint8]], rig: CameraRig, detector: Detector) -> Detections:
    """`Detector.detect` as one writes it first: one thing after the other."""
    student, config = detector.student, detector.config
    output = student(*(tensor.to(detector.device) for tensor in detector.inputs(images, rig)))
    objects = decode(output.head, config.bev, config.max_objects)
    return detections_of(objects, 0, 0.0, detector.score_calibration)


def one_by_one_from_raw(
    images: list[NDArray[np.uint8]], rig: CameraRig, detector: Detector
) -> Detections:
    """`Detector.detect` as a node does it, one image after the other."""
    encoded = {
        name: detector.encode(image, view)
        for name, image, view in zip(rig.names, images, detector.views(rig), strict=True)
    }
    poses = dict(zip(rig.names, rig.ego_from_camera, strict=True))
    return detector.detect_encoded(encoded, poses, 0.0)


def largest_difference(
    detector: Detector, rig: CameraRig, images: list[NDArray[np.uint8]]
) -> float:
    """Between the scores of the objects that both find in the same images, by rank."""
    with plain_ops():
        expected = plainly(images, rig, detector).scores
    together = detector.detect(images, rig, 0.0).scores
    one_by_one = one_by_one_from_raw(images, rig, detector).scores
    return float(np.abs(np.stack([together, one_by_one]) - expected).max(initial=0.0))


def peak_memory_mb(detector: Detector, rig: CameraRig, images: list[Any]) -> float:
    """In MB what detecting takes of the GPU, or on the CPU the whole process."""
    detector.detect(images, rig)
    if detector.device.type == "cuda":  # with what the recorded graphs keep for themselves
        return torch.cuda.max_memory_reserved(detector.device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def table(figures: dict[str, Any]) -> str:
    """The figures for a terminal."""
    against = "largest_difference" in figures
    ceilings = figures["ceilings"]
    lines = [
        f"{figures['repeats']} repeats of {figures['cameras']} cameras, ms",
        f"ceilings: {ceilings['operations'] / 1e9:.0f} G operations/s in a matrix product, "
        f"{ceilings['bytes'] / 1e9:.1f} GB/s copied; "
        f"peak memory {figures['peak_memory_mb']:.0f} MB",
        "",
        f"{'stage':<28}{'median':>9}{'p95':>9}{'p99':>9}{'CPU':>9}"
        + f"{'M op':>9}{'MB':>8}{'of floor':>10}"
        + (f"{'reference':>11}{'ratio':>7}{'CPU ratio':>11}" if against else ""),
    ]
    for name, row in figures["stages"].items():
        ours = row["ours"]
        line = f"{name:<28}" + "".join(
            f"{ours[key]:9.2f}" for key in ("median", "p95", "p99", "cpu")
        )
        if row["floor_ms"]:
            line += f"{row['operations'] / 1e6:9.1f}{row['bytes'] / 1e6:8.2f}"
            line += f"{row['floor_ms'] / ours['median']:10.0%}"
        else:
            line += " " * 27
        if against:
            plain = row["reference"]
            line += f"{plain['median']:11.2f}{plain['median'] / ours['median']:7.2f}"
            line += f"{plain['cpu'] / max(ours['cpu'], 1e-6):11.2f}"
        lines.append(line)
    if against:
        lines.append(f"largest difference of a score: {figures['largest_difference']:.1e}")
    return "\n".join(lines)
