# SPDX-License-Identifier: Apache-2.0
"""A model is a folder: `model.safetensors` (weights) and `config.yaml` (everything else).

Neither file can execute code: safetensors holds only tensors, and the YAML is read by the safe
loader into typed configuration. An exported one also has `onnx/`, its convolutional parts as graphs
for the CPU (`runtime/onnx.py`), which are data as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import yaml
from torch import Tensor, nn

from asd_perception.configuration import from_dict, read_yaml, to_dict
from asd_perception.constants import ATTRIBUTES, CLASSES
from asd_perception.errors import OutOfMemoryError, UserError, memory_checked
from asd_perception.files import atomic_directory
from asd_perception.models import config_file
from asd_perception.network.config import StudentConfig
from asd_perception.network.student import Student
from asd_perception.provenance import without_folders

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)

FORMAT = 1
WEIGHTS = "model.safetensors"


def save(
    path: str | Path,
    student: Student,
    provenance: dict[str, Any],
    cameras: Sequence[str] = (),
    add: Callable[[Path], None] | None = None,
) -> None:
    """Write a student as a model directory; the folder appears complete or not at all.

    provenance: plain values that say how the weights came about (data, command, seed, metrics).
    cameras: names of those that it was trained with, where they are known; it may run with others.
    add: puts more into the folder before it appears.
    """
    save_network(path, "student", student, student.config, provenance, cameras, add)


def load(path: str | Path) -> Student:
    """The student of a model directory, on the CPU, in evaluation mode.

    Raises UserError if a file is missing or unreadable, if the configuration does not fit this
    program, or, naming the tensors, if weights and configuration disagree; OutOfMemoryError.
    """
    return load_network(path, "student", StudentConfig, Student)


def student_config(path: str | Path) -> StudentConfig:
    """The configuration of a student's model directory, without its weights. Raises UserError."""
    return _config(Path(path), "student", StudentConfig)


def save_network(
    path: str | Path,
    kind: str,
    network: nn.Module,
    config: Any,
    provenance: dict[str, Any],
    cameras: Sequence[str] = (),
    add: Callable[[Path], None] | None = None,
) -> None:
    """`save` for any network: `config`, the one that it was built from, is stored as `kind`."""
    with atomic_directory(path) as folder:
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights))
        (folder / "config.yaml").write_text(config_text(kind, config, provenance, cameras))
        if add is not None:
            add(folder)


def config_text(kind: str, config: Any, provenance: dict[str, Any], cameras: Sequence[str]) -> str:
    """What config.yaml says of a network: all but its weights, and no folder of a machine.

    cameras: as for `save`.
    """
    document = {
        "format": FORMAT,
        "cameras": list(cameras),
        "classes": list(CLASSES),
        "attributes": list(ATTRIBUTES),
        kind: to_dict(config),
        # again, since it may come from a model that was trained elsewhere
        "provenance": without_folders(provenance),
    }
    return yaml.safe_dump(document, sort_keys=False)


def load_network(
    path: str | Path, kind: str, config_class: type[Config], build: Callable[[Config], Network]
) -> Network:
    """`load` for any network: `build` makes it from its configuration, stored as `kind`."""
    path = Path(path)
    config = _config(path, kind, config_class)
    try:
        with memory_checked("cpu"):
            network = build(config)
    except OutOfMemoryError:
        raise
    except UserError as error:
        raise UserError(f"{path / 'config.yaml'}: {error}") from error
    except Exception as error:  # transformers' many ways to refuse backbone options
        reason = " ".join(str(error).split())
        raise UserError(f"{path / 'config.yaml'}: the {kind} cannot be built: {reason}") from error

    load_weights(network, read_weights(path), path / WEIGHTS)
    return network.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a model directory by their names. Raises UserError, OutOfMemoryError."""
    file = path / WEIGHTS
    try:
        with memory_checked("cpu"):
            return safetensors.torch.load_file(file)
    except FileNotFoundError as error:
        raise UserError(f"{path} has no {WEIGHTS}; is it a model directory?") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}); export it again") from error


def _config(path: Path, kind: str, config_class: type[Config]) -> Config:
    """A network's configuration, if it is of this kind and of this program's names."""
    document = read_document(path)
    if kind not in document:
        raise UserError(f"{path} holds no {kind}; give the model directory of a {kind}")
    for key, expected in (("classes", CLASSES), ("attributes", ATTRIBUTES)):
        if document.get(key) != list(expected):
            raise UserError(f"{path / 'config.yaml'}: {key} are not {', '.join(expected)}")
    try:
        return from_dict(config_class, document[kind], f"{kind}.")
    except UserError as error:
        raise UserError(f"{path / 'config.yaml'}: {error}") from error


def section(path: Path, key: str, config_class: type[Config]) -> Config | None:
    """What a model directory's config.yaml holds under `key`; None: nothing. Raises UserError."""
    values = read_document(path).get(key)
    if values is None:
        return None
    try:
        return from_dict(config_class, values, f"{key}.")
    except UserError as error:
        raise UserError(f"{path / 'config.yaml'}: {error}") from error


def read_document(path: Path) -> dict[str, Any]:
    """The plain values of a model directory's config.yaml. Raises UserError."""
    file = config_file(path)
    document = read_yaml(file)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        if (path / "model" / "config.yaml").is_file():
            raise UserError(f"{path} is the folder of a run; give {path / 'model'}")
        raise UserError(f"{file} is not a model configuration of format {FORMAT}")
    if not isinstance(document.get("cameras", []), list):
        raise UserError(f"{file}: cameras is no list of names")
    return document


def load_weights(
    network: nn.Module,
    weights: dict[str, Tensor],
    source: Path,
    described_by: str = "its config.yaml",
) -> None:
    """Put the weights read from `source` into the network, which `described_by` describes.

    Raises UserError with the names of the tensors at fault unless they fit exactly.
    """
    expected = network.state_dict()
    faults = [f"{name} is missing" for name in expected if name not in weights]
    faults += [f"{name} is not in the architecture" for name in weights if name not in expected]
    faults += [
        f"{name} has shape {tuple(weights[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in weights and weights[name].shape != expected[name].shape
    ]
    if faults:
        raise UserError(f"{source} does not fit {described_by}: {first_few(faults)}")
    network.load_state_dict(weights)


def first_few(faults: list[str]) -> str:
    """The first five in one line, and how many more there are."""
    return "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if faults[5:] else "")
