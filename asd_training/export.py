# SPDX-License-Identifier: Apache-2.0
"""`asd-train export`: a student as a model directory, or as ONNX once it answers as PyTorch does.

The ONNX graph is the student and the decoding of its boxes, for one frame of six cameras. It is
run by ONNX Runtime beside PyTorch on a rendered scene and on random images, and the file appears
under its name only if both find the same objects.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import logging
import shlex
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asd_perception import __version__, model_directory
from asd_perception.config import to_dict
from asd_perception.detector import Detector
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.geometry import wrap_angle
from asd_perception.network.center_head import Decoded, decode
from asd_perception.network.student import Student
from asd_training.checkpoints import LAST
from asd_training.config import StudentRun, read_config
from asd_training.datasets.nuscenes import camera_frame, open_dataset, read_images
from asd_training.pretrained import load_pickle
from asd_training.synthetic.generate import synthesize

INPUTS = ("images", "intrinsics", "ego_from_camera")
Frame = tuple[Tensor, Tensor, Tensor]

TIPPED = 0.02
"""Share of the objects that a simulated point which jumps may change."""


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

    compared: objects compared. scores: by rank. boxes: m and rad, velocities: m/s, attributes: 0 or
    1; of each PyTorch object and the nearest one of its class. Objects whose score is as good as
    the last one's are not compared: the other list may have ended before them.

    The objects that differ most, TIPPED of all, are left out: where two depth bins are likely to
    1e-6 the same, rounding decides which one is the mode, and a simulated point jumps.
    """

    compared: int
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
        help="for ONNX: largest difference to PyTorch in scores, m, rad and m/s "
        "(default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the student as `out`."""
    student, provenance = load_source(args.source)
    if args.out.suffix == ".onnx":
        frames = parity_frames(student)
        model = OnnxStudent(student).eval()
        print("tracing ...", flush=True)  # the exporter has no progress to show
        program = to_onnx(model, next(iter(frames.values())), provenance)
        write_onnx(program, model, args.out, frames, args.tolerance)
        print(f"ONNX: {args.out}, {args.out.stat().st_size / 1e6:.1f} MB")
    else:
        model_directory.save(args.out, student, provenance)
        print(f"model directory: {args.out}")


def load_source(source: Path) -> tuple[Student, dict[str, Any]]:
    """The student of a run's folder, a checkpoint or a model directory, and its provenance.

    A finished run gives its model directory, which knows its scores; an unfinished one the last
    checkpoint. Raises UserError.
    """
    if source.is_file():
        return load_checkpoint(source)
    for folder in (source, source / "model"):
        if (folder / "model.safetensors").exists():
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
    provenance = {
        "method": "student of a training checkpoint, not scored",
        "command": shlex.join(["asd-train", *sys.argv[1:]]),
        "steps": checkpoint.get("global_step"),
        "last_log": _last_log(file.parent),
        "training": {key: v for key, v in to_dict(config).items() if key != "student"},
        "versions": {"asd_perception": __version__, "torch": str(torch.__version__)},
        "date": datetime.date.today().isoformat(),
    }
    return student.eval(), provenance


def _last_log(run: Path) -> dict[str, float]:
    """The last value of each column of the run's newest metrics.csv, if it wrote one."""
    files = sorted(run.glob("log/version_*/metrics.csv"), key=lambda file: file.stat().st_mtime)
    if not files:
        return {}
    with files[-1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: float(value) for row in rows for name, value in row.items() if value}


def to_onnx(model: OnnxStudent, frame: Frame, provenance: dict[str, Any]) -> torch.onnx.ONNXProgram:
    """The model traced on a frame. Its metadata `config.yaml` is that of a model directory."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # remarks on packages it misses
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            frame,
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS),
            output_names=list(Decoded._fields),
        )
    assert program is not None  # it is only for the older exporter
    text = model_directory.config_text("student", model.student.config, provenance)
    program.model.metadata_props["config.yaml"] = text
    return program


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
        results = check_parity(model, temporary, frames)
        print("largest difference between PyTorch and ONNX Runtime:")
        print(f"{'':<16}{'objects':>8}{'score':>10}{'box m, rad':>12}{'m/s':>10}{'attributes':>12}")
        for name, p in results.items():
            print(
                f"{name:<16}{p.compared:>8}{p.scores:>10.1e}{p.boxes:>12.1e}{p.velocities:>10.1e}"
                f"{p.attributes:>12.0f}"
            )
        worst = max(parity.worst for parity in results.values())
        if not worst <= tolerance:
            raise UserError(
                f"{out} is not written: ONNX Runtime differs from PyTorch by {worst:.2g}, "
                f"which is more than --tolerance {tolerance:g}"
            )
        if not any(parity.compared for parity in results.values()):
            raise UserError(
                f"{out} is not written: all scores are alike, so there are no objects to compare; "
                "train the student first"
            )
        print(f"parity holds within {tolerance:g}")


def check_parity(
    model: OnnxStudent, onnx_file: Path, frames: dict[str, Frame]
) -> dict[str, Parity]:
    """Run each frame through PyTorch and, on the CPU, ONNX Runtime."""
    session = onnxruntime.InferenceSession(onnx_file, providers=["CPUExecutionProvider"])
    result = {}
    for name, frame in frames.items():
        with torch.inference_mode():
            expected = Decoded(*(tensor[0].numpy() for tensor in model(*frame)))
        feed = {key: tensor.numpy() for key, tensor in zip(INPUTS, frame, strict=True)}
        found = Decoded(*(array[0] for array in session.run(None, feed)))
        result[name] = compare(expected, found)
    return result


def compare(expected: Decoded, found: Decoded) -> Parity:
    """The differences of two lists of objects, best first, in arrays without a batch axis."""
    scores = _largest(expected.scores - found.scores)
    cut = max(expected.scores[-1], found.scores[-1]) + 2 * scores
    kept = np.flatnonzero(expected.scores > cut)
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
        scores=scores,
        boxes=_largest(boxes),
        velocities=_largest(expected.velocities[kept] - found.velocities[partner]),
        attributes=_largest(expected.attributes[kept] != found.attributes[partner]),
    )


def _largest(differences: NDArray[Any]) -> float:
    """The largest magnitude of objects (K, ...) but for TIPPED; infinite if one is not a number."""
    if not len(differences):
        return 0.0
    magnitudes = np.nan_to_num(np.abs(differences.astype(np.float64)), nan=np.inf, posinf=np.inf)
    by_object = np.sort(magnitudes.reshape(len(magnitudes), -1).max(axis=1))
    kept = len(by_object) - int(TIPPED * len(by_object))
    return float(by_object[:kept].max())


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
