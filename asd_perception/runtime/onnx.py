# SPDX-License-Identifier: Apache-2.0
"""Parts of a student that ONNX Runtime runs on the CPU, mostly faster than PyTorch.

They are the convolutional ones: it fuses what follows a convolution into it, and keeps the layout
of its memory from one to the next. BEV pooling stays ours (`ops/bev_pool.py`): ONNX has no operator
for it. `asd-train export` writes each part as a graph into `onnx/` of the model directory, and into
the graph the sum of the weights file that it was made from: the two cannot disagree unnoticed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from asd_perception.errors import UserError, is_out_of_memory
from asd_perception.network.model_directory import WEIGHTS
from asd_perception.network.student import Student

PARTS = ("image_encoder", "fusion", "bev_encoder", "head")
"""Names of the student's modules, each with tensors in and out."""

FOLDER = "onnx"
ORIGIN = "origin"
"""Key of a graph's metadata: `origin` of the part."""


class OnnxPart(nn.Module):
    """A part as ONNX Runtime runs it; called like the module that it stands for, on the CPU.

    threads: that one call uses. Several threads may call it at once.
    """

    def __init__(self, file: Path, threads: int) -> None:
        super().__init__()
        import onnxruntime  # takes a second, and a GPU never needs it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait for work would take the cores from those that decode images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = onnxruntime.InferenceSession(
                file, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it raises another class for each kind of fault
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())
            raise UserError(f"{file} cannot be read ({reason}); export the model again") from error
        self.inputs = [item.name for item in self.session.get_inputs()]
        self.origin = self.session.get_modelmeta().custom_metadata_map.get(ORIGIN)

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        arrays = [tensor.contiguous().numpy() for tensor in tensors]
        found = self.session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        results = tuple(torch.from_numpy(array) for array in found)
        return results if len(results) > 1 else results[0]


def why_unavailable(model: Path | None) -> str | None:
    """Why ONNX Runtime cannot run a model directory's graphs; None if it can."""
    if model is None or not (model / FOLDER).is_dir():
        return "the model has no ONNX graphs; `asd-train export` writes them"
    try:
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed"
    except Exception as error:  # what a damaged install, or one for another NumPy, raises
        return f"onnxruntime cannot be imported: {' '.join(str(error).split())}"
    return None


def onnx_runtime() -> str:
    """Its name and version, where it is installed."""
    import onnxruntime  # asked itself: its distributions have several names

    return f"ONNX Runtime {onnxruntime.__version__}"


def load_parts(student: Student, model: Path, threads: int) -> dict[str, OnnxPart]:
    """The graphs of a student's model directory, by the name of the part that each stands for.

    threads: that a part uses, except the image encoder, which takes one: images are encoded beside
    each other, as they come.
    Raises UserError for a graph that is missing, cannot be read, or was made of other weights.
    """
    weights = weights_checksum(model)
    parts = {}
    for name in PARTS:
        if not hasattr(student, name):  # a camera-only student fuses nothing
            continue
        file = model / FOLDER / f"{name}.onnx"
        if not file.is_file():
            raise UserError(f"{file} is missing; export the model again, or delete {file.parent}")
        parts[name] = OnnxPart(file, 1 if name == "image_encoder" else threads)
        if parts[name].origin != origin(name, weights):
            raise UserError(
                f"{file} was not made of this {WEIGHTS}; export the model again, or delete "
                f"{file.parent}"
            )
    return parts


def weights_checksum(model: Path) -> str:
    """The SHA-256 sum of a model directory's weights."""
    return hashlib.sha256((model / WEIGHTS).read_bytes()).hexdigest()


def origin(name: str, weights: str) -> str:
    """Which part of which weights, by their sum, a graph stands for."""
    return f"{name} of {weights}"
