# SPDX-License-Identifier: Apache-2.0
"""`asd-train export`: a student as a model directory for the node, or as one ONNX file.

A model directory gets the weights, and ONNX graphs of the convolutional parts, which the node's
CPU path runs (`asd_perception.onnx_parts`). An ONNX file is the whole student and the decoding of
its boxes, for one frame of six cameras. Either is run beside PyTorch on a rendered scene and on
random images, and appears under its name only if both find the same objects.
"""

from __future__ import annotations

import argparse
import copy
import csv
import logging
import shlex
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from asd_perception import model_directory
from asd_perception.constants import CAMERAS
from asd_perception.detector import Detector
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.geometry import wrap_angle
from asd_perception.inference import CpuStudent, fold_batch_norms
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.student import Student
from asd_perception.network.view_transform import depth_bin_centres
from asd_perception.onnx_parts import FOLDER, ORIGIN, PARTS, origin, weights_sum
from asd_training.checkpoints import LAST
from asd_training.config import StudentRun, read_config
from asd_training.datasets.nuscenes import camera_frame, open_dataset, read_images
from asd_training.pretrained import load_pickle
from asd_training.run_folder import read_origin
from asd_training.synthetic.generate import synthesize

INPUTS = ("images", "intrinsics", "ego_from_camera")
Frame = tuple[Tensor, Tensor, Tensor]

TIE = 1e-4
"""Difference of two depth bins' logits that rounding may turn round, so that a point jumps."""

REACH = 10.0
"""Metres from a point within which objects are not compared when that point may jump."""

NOWHERE = np.zeros((0, 2))


class OnnxStudent(nn.Module):
    """The student and the decoding of its boxes: one frame's inputs to `Decoded`."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor, intrinsics: Tensor, ego_from_camera: Tensor) -> Decoded:
        """images (1, 6, 3, H, W) uint8, intrinsics (1, 6, 3, 3), ego_from_camera (1, 6, 4, 4)."""
        config = self.student.config
        output = self.student(images, intrinsics, ego_from_camera)
        return decode(output.head, config.bev, config.max_objects)


@dataclass(frozen=True)
class Parity:
    """The largest differences between PyTorch and ONNX Runtime on one frame.

    compared: objects compared. left_out: others, within REACH of a simulated point whose depth has
    two bins that are to TIE equally likely: rounding decides which one is the mode. scores, boxes
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


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train export`."""
    parser.add_argument(
        "source", type=Path, help="folder of a run, its checkpoint (*.ckpt), or a model directory"
    )
    parser.add_argument(
        "out", type=Path, help="a name that ends in .onnx for ONNX, else a new model directory"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        help="largest difference to PyTorch in scores, m, rad and m/s (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the student as `out`."""
    student, provenance = load_source(args.source)
    frames = parity_frames(student)
    if args.out.suffix == ".onnx":
        model = OnnxStudent(student).eval()
        print("tracing ...", flush=True)  # the exporter has no progress to show
        program = to_onnx(model, next(iter(frames.values())), provenance)
        write_onnx(program, model, args.out, frames, args.tolerance)
        print(f"ONNX: {args.out}, {args.out.stat().st_size / 1e6:.1f} MB")
    else:
        write_model(student, provenance, args.out, frames, args.tolerance)
        print(f"model directory: {args.out}")


def load_source(source: Path) -> tuple[Student, dict[str, Any]]:
    """The student of a run's folder, a checkpoint or a model directory, and its provenance.

    A finished run gives its model directory, which knows its scores; an unfinished one the last
    checkpoint. Raises UserError.
    """
    if source.is_file():
        return load_checkpoint(source)
    for folder in (source, source / "model"):
        if (folder / model_directory.WEIGHTS).exists():
            provenance = model_directory.read_config(folder).get("provenance") or {}
            return model_directory.load(folder), provenance
    if (source / LAST).exists():
        return load_checkpoint(source / LAST)
    raise UserError(f"{source} is no run with a checkpoint, no *.ckpt file and no model directory")


def load_checkpoint(file: Path) -> tuple[Student, dict[str, Any]]:
    """The student of a Lightning checkpoint, with the architecture of its run's config.yaml.

    Raises UserError if either cannot be read or they do not fit. Reading them cannot run code.
    """
    checkpoint = load_pickle(file)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise UserError(f"{file} is no checkpoint of `asd-train student`")
    config = read_config(StudentRun, file.parent / "config.yaml")
    student = Student(config.student)
    prefix = "average.module."  # the averaged weights
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    model_directory.load_weights(student, weights, file)
    step = checkpoint.get("global_step", 0)
    provenance = {
        **read_origin(file.parent),
        "method": "student of a training checkpoint",
        "exported": shlex.join(["asd-train", *sys.argv[1:]]),
        "steps": step,
        "log": _log_until(file.parent, step),
    }
    return student.eval(), provenance


def _log_until(run: Path, step: int) -> dict[str, float]:
    """The last value of each column of the run's metrics.csv files, up to a step."""
    values: dict[int, dict[str, float]] = {}
    for file in sorted(run.glob("log/version_*/metrics.csv"), key=lambda f: f.stat().st_mtime):
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                found = {name: float(value) for name, value in row.items() if value}
                values.setdefault(int(found.get("step", 0)), {}).update(found)
    # Lightning counts the steps of a log from 0, those of a checkpoint from 1.
    return {name: v for at in sorted(values) if at < step for name, v in values[at].items()}


def to_onnx(model: OnnxStudent, frame: Frame, provenance: dict[str, Any]) -> torch.onnx.ONNXProgram:
    """The model traced on a frame. Its metadata `config.yaml` is that of a model directory."""
    program = _trace(model, frame, input_names=list(INPUTS), output_names=list(Decoded._fields))
    text = model_directory.config_text("student", model.student.config, provenance)
    program.model.metadata_props["config.yaml"] = text
    return program


def write_model(
    student: Student,
    provenance: dict[str, Any],
    out: Path,
    frames: dict[str, Frame],
    tolerance: float,
) -> None:
    """Write a model directory with the graphs of its parts, once they answer as PyTorch does.

    Raises UserError, and leaves nothing at `out`, where they do not.
    """

    def add(folder: Path) -> None:
        write_parts(student, folder, next(iter(frames.values())))
        network = CpuStudent(student, folder)

        def answer(frame: Frame) -> Decoded:
            images, intrinsics, poses = frame
            arrays = images[0].permute(0, 2, 3, 1).numpy()
            encoded = {name: network.encode(x) for name, x in zip(CAMERAS, arrays, strict=True)}
            return network.find(encoded, intrinsics, poses).objects

        check(check_parity(OnnxStudent(student), answer, frames), out, tolerance)

    model_directory.save(out, student, provenance, add)


def write_parts(student: Student, folder: Path, frame: Frame) -> None:
    """Write the graphs of a student's parts, traced on a frame, into its model directory."""
    plain = copy.deepcopy(student).eval()
    fold_batch_norms(plain)
    seen: dict[str, tuple[Tensor, ...]] = {}
    for name in PARTS:
        if hasattr(plain, name):

            def note(_: nn.Module, arguments: tuple[Tensor, ...], name: str = name) -> None:
                seen[name] = tuple(tensor.contiguous() for tensor in arguments)

            getattr(plain, name).register_forward_pre_hook(note)
    with torch.no_grad():
        plain(*frame)
    weights = weights_sum(folder)
    (folder / FOLDER).mkdir()
    for name, arguments in tqdm(seen.items(), desc="tracing", unit="part", leave=False):
        # Images are encoded one by one, or all of a frame at once.
        cameras = {1: torch.export.Dim("cameras", min=1, max=64)}
        program = _trace(
            getattr(plain, name),
            arguments,
            dynamic_shapes=(cameras,) if name == "image_encoder" else None,
        )
        program.model.metadata_props[ORIGIN] = origin(name, weights)
        program.save(folder / FOLDER / f"{name}.onnx")


def _trace(module: nn.Module, arguments: tuple[Tensor, ...], **options: Any) -> Any:
    """A module as an ONNX program."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # remarks on packages it misses
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.onnx.export(module, arguments, dynamo=True, verbose=False, **options)


def write_onnx(
    program: torch.onnx.ONNXProgram,
    model: OnnxStudent,
    out: Path,
    frames: dict[str, Frame],
    tolerance: float,
) -> None:
    """Write the traced model, and print how its answers differ from PyTorch's on the frames.

    Raises UserError, and leaves nothing at `out`, if a difference exceeds `tolerance`, or if there
    are no objects to compare.
    """
    with atomic_file(out) as temporary:
        program.save(temporary)
        results = check_parity(model, onnx_answer(temporary), frames)
        check(results, out, tolerance)
        if not any(parity.compared for parity in results.values()):
            raise UserError(
                f"{out} is not written: all scores are alike, so there are no objects to compare; "
                "train the student first"
            )


def check(results: dict[str, Parity], out: Path, tolerance: float) -> None:
    """Print the differences of each frame; raise UserError where they are too large."""
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
        print(f"left out: objects within {REACH:g} m of a simulated point that rounding may move")
    worst = max(parity.worst for parity in results.values())
    if not worst <= tolerance:
        raise UserError(
            f"{out} is not written: ONNX Runtime differs from PyTorch by {worst:.2g}, "
            f"which is more than --tolerance {tolerance:g}"
        )
    print(f"parity holds within {tolerance:g}")


def onnx_answer(file: Path) -> Callable[[Frame], Decoded]:
    """What ONNX Runtime finds in a frame, on the CPU, with the graph of a whole student."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def answer(frame: Frame) -> Decoded:
        feed = {key: tensor.numpy() for key, tensor in zip(INPUTS, frame, strict=True)}
        return Decoded(*(torch.from_numpy(array) for array in session.run(None, feed)))

    return answer


def check_parity(
    model: OnnxStudent, answer: Callable[[Frame], Decoded], frames: dict[str, Frame]
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


def parity_frames(student: Student) -> dict[str, Frame]:
    """A rendered street scene, and random images under the same cameras."""
    with tempfile.TemporaryDirectory() as folder:
        synthesize(Path(folder), {"val": 1}, 1, seed=0, scale=0.25, sweeps=False, workers=1)
        nusc = open_dataset(Path(folder))
        frame = camera_frame(nusc, nusc.sample[0])
        rendered = Detector(student).inputs(read_images(frame), frame.rig)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, rendered[0].shape, dtype=torch.uint8, generator=generator)
    return {"rendered scene": rendered, "random images": (images, *rendered[1:])}
