# SPDX-License-Identifier: Apache-2.0
"""A model directory with ONNX graphs of the convolutional parts, for the CPU."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from asd_perception.network import model_directory
from asd_perception.network.center_head import Decoded
from asd_perception.network.student import Student
from asd_perception.runtime.cpu import CpuBackend
from asd_perception.runtime.folding import fold_batch_norms
from asd_perception.runtime.onnx import FOLDER, ORIGIN, PARTS, origin, weights_checksum
from asd_training.export.onnx_file import trace
from asd_training.export.parity import DecodingStudent, Frame, check, check_parity


def write_model(
    student: Student,
    provenance: dict[str, Any],
    out: Path,
    frames: dict[str, Frame],
    tolerance: float,
    cameras: Sequence[str] = (),
) -> None:
    """Write a model directory with the graphs of its parts, once they answer as PyTorch does.

    provenance, cameras: as for `model_directory.save`.
    Raises UserError, and leaves nothing at `out`, where they do not.
    """

    def add(folder: Path) -> None:
        write_parts(student, folder, next(iter(frames.values())))
        backend = CpuBackend(student, folder)

        def answer(frame: Frame) -> Decoded:
            images, intrinsics, poses = frame
            arrays = images[0].permute(0, 2, 3, 1).numpy()
            encoded = [backend.encode(array) for array in arrays]
            seen = torch.ones(1, len(encoded), *student.config.feature_size, dtype=torch.bool)
            return backend.detect(encoded, intrinsics, poses, seen).objects

        check(check_parity(DecodingStudent(student), answer, frames), out, tolerance)

    model_directory.save(out, student, provenance, cameras, add)


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
    weights = weights_checksum(folder)
    (folder / FOLDER).mkdir()
    for name, arguments in tqdm(seen.items(), desc="tracing", unit="part", leave=False):
        # Images are encoded one by one, or all of a frame at once.
        cameras = {1: torch.export.Dim("cameras", min=1, max=64)}
        program = trace(
            getattr(plain, name),
            arguments,
            dynamic_shapes=(cameras,) if name == "image_encoder" else None,
        )
        program.model.metadata_props[ORIGIN] = origin(name, weights)
        program.save(folder / FOLDER / f"{name}.onnx")
