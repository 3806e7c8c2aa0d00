# SPDX-License-Identifier: Apache-2.0
"""The whole student and the decoding of its boxes as one ONNX file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.network import model_directory
from asd_perception.network.center_head import Decoded
from asd_training.export.parity import DecodingStudent, Frame, check, check_parity

INPUTS = ("images", "intrinsics", "ego_from_camera")


def to_onnx(
    model: DecodingStudent, frame: Frame, provenance: dict[str, Any], cameras: Sequence[str] = ()
) -> torch.onnx.ONNXProgram:
    """The model traced on a frame, for its number of cameras.

    Its metadata `config.yaml` is that of a model directory. cameras: as for `model_directory.save`.
    """
    program = trace(model, frame, input_names=list(INPUTS), output_names=list(Decoded._fields))
    config = model.student.config
    text = model_directory.config_text("student", config, provenance, cameras)
    program.model.metadata_props["config.yaml"] = text
    return program


def trace(module: nn.Module, arguments: tuple[Tensor, ...], **options: Any) -> Any:
    """A module as an ONNX program."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # remarks on packages it misses
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.onnx.export(module, arguments, dynamo=True, verbose=False, **options)


def write_onnx(
    program: torch.onnx.ONNXProgram,
    model: DecodingStudent,
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


def onnx_answer(file: Path) -> Callable[[Frame], Decoded]:
    """What ONNX Runtime finds in a frame, on the CPU, with the graph of a whole student."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def answer(frame: Frame) -> Decoded:
        feed = {key: tensor.numpy() for key, tensor in zip(INPUTS, frame, strict=True)}
        return Decoded(*(torch.from_numpy(array) for array in session.run(None, feed)))

    return answer
