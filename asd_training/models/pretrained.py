# SPDX-License-Identifier: Apache-2.0
"""Pretrained weights of a backbone, from a local file. Nothing is ever downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from transformers.utils import logging

from asd_perception.errors import OutOfMemoryError, UserError, memory_checked
from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.config import BACKBONES
from asd_perception.network.model_directory import first_few

_HUB_NAMES = {
    "resnet18": "microsoft/resnet-18",
    "resnet50": "microsoft/resnet-50",
    "swin_t": "microsoft/swin-tiny-patch4-window7-224",
    "convnext_t": "facebook/convnext-tiny-224",
}
"""Where the standard backbones' ImageNet weights are published, for the error message."""

_OURS = "image_encoder.backbone."
"""Before the names of a backbone's tensors in our own model directories."""

_FILES_IN_FOLDER = ("model.safetensors", "pytorch_model.bin")

_NEW = re.compile(r"^hidden_states_norms\.|^(swin\.)?layernorm\.|num_batches_tracked$")
"""What a classifier's checkpoint may lack: norms of the feature maps, which start as the identity;
the norm before the classifier, unused here; the counters of batch normalisations."""

_LEFT_BEHIND = re.compile(r"^((resnet|swin|convnext)\.)?(classifier|fc|layernorm)\.")
"""What a classifier's checkpoint may have beyond the backbone: its head."""


def load_pretrained_backbone(encoder: ImageEncoder, path: str | Path) -> None:
    """Put pretrained weights into the encoder's backbone; its feature pyramid stays as it is.

    path: a folder in transformers' format, or a single .safetensors, .pth, .pt or .bin file, of the
    backbone or of a classifier built on it. ResNets may also have torchvision's or timm's names. Or
    the model directory of a student or teacher, whose backbone is taken.

    Raises UserError if there is no such file, or if weights of the backbone are missing, have
    another shape, or are unknown (a classifier's head may be there); it names the tensors.
    """
    path = Path(path)
    weights = _read_tensors(_weights_file(path, encoder))
    if any(name.startswith(_OURS) for name in weights):
        weights = {
            name.removeprefix(_OURS): tensor
            for name, tensor in weights.items()
            if name.startswith(_OURS)
        }
    if encoder.config.model_type == "resnet":
        weights = {_resnet_name(name): tensor for name, tensor in weights.items()}
    backbone = encoder.backbone
    with _quiet_transformers():  # which renames what older versions of it have written
        loaded, report = type(backbone).from_pretrained(
            None,
            config=backbone.config,
            state_dict=weights,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    faults = [f"{name} is missing" for name in report["missing_keys"] if not _NEW.search(name)]
    faults += [
        f"{name} has shape {tuple(found)} instead of {tuple(expected)}"
        for name, found, expected in report["mismatched_keys"]
    ]
    faults += [
        f"{name} is not in the backbone"
        for name in report["unexpected_keys"]
        if not _LEFT_BEHIND.search(name)
    ]
    if faults:
        raise UserError(
            f"{path} holds no weights of the configured {encoder.config.model_type}: "
            f"{first_few(sorted(faults))}; choose other weights or another backbone"
        )
    backbone.load_state_dict(loaded.state_dict())


def load_pickle(path: Path) -> Any:
    """What torch.save has written, by the loader that builds tensors and plain values only.

    Unlike plain unpickling, it cannot run code. Raises UserError for a file that is damaged or
    holds anything else, OutOfMemoryError.
    """
    try:
        with memory_checked("cpu"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OutOfMemoryError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except Exception as error:  # pickle, zip and torch have many ways to refuse
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read as a file of tensors: {reason}") from error


def _weights_file(path: Path, encoder: ImageEncoder) -> Path:
    """The file that `path` means."""
    if path.is_file():
        return path
    files = [path / name for name in _FILES_IN_FOLDER]
    for file in files:
        if file.is_file():
            return file
    if path.is_dir():
        raise UserError(f"{path} has neither {' nor '.join(_FILES_IN_FOLDER)}")
    options = encoder.config.options
    names = [name for name, preset in BACKBONES.items() if preset.options == options]
    advice = (
        f"on a connected machine: hf download {_HUB_NAMES[names[0]]} --local-dir {path}"
        if names
        else "give a local folder or file"
    )
    raise UserError(f"pretrained weights {path} do not exist, and are not downloaded; {advice}")


def _read_tensors(file: Path) -> dict[str, Tensor]:
    if file.suffix != ".safetensors":
        weights = load_pickle(file)
        if not isinstance(weights, dict) or not all(torch.is_tensor(v) for v in weights.values()):
            raise UserError(f"{file} holds other things than named tensors; save a state_dict")
        return weights
    try:
        return safetensors.torch.load_file(file)
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}); fetch it again") from error


def _resnet_name(name: str) -> str:
    """transformers' name of a ResNet's tensor from torchvision's; others stay as they are."""
    stem = re.fullmatch(r"(conv|bn)1\.(\w+)", name)
    if stem:
        return f"embedder.embedder.{_PART[stem[1]]}.{stem[2]}"
    layer = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)\.(\w+)", name)
    if layer:
        stage, block, part, index, kind = layer.groups()
        block = f"encoder.stages.{int(stage) - 1}.layers.{block}"
        return f"{block}.layer.{int(index) - 1}.{_PART[part]}.{kind}"
    shortcut = re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.(\d)\.(\w+)", name)
    if shortcut:
        stage, block, index, kind = shortcut.groups()
        part = ("convolution", "normalization")[int(index)]
        return f"encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{part}.{kind}"
    return name


_PART = {"conv": "convolution", "bn": "normalization"}


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without its own report of missing tensors: ours is one line."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
