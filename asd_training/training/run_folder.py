# SPDX-License-Identifier: Apache-2.0
"""A training run is a folder with everything that is needed to repeat it.

`config.yaml` (its configuration), `origin.json` (command, data, versions), `log/` (losses and
metrics as CSV and for TensorBoard), `curve.json` (its learning curve), `last.ckpt` and `best.ckpt`,
and at its end `metrics.json` and `model/`.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml

from asd_perception import __version__
from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.files import atomic_file, claimed
from asd_perception.provenance import command_line, commit, machine, without_folders
from asd_training.config.read import read_config
from asd_training.config.run import Run, TrainingConfig, as_begun

if TYPE_CHECKING:  # an export reads run folders, and does so without the nuScenes devkit
    from asd_training.data.index import KeyframeIndex

LAST = "last.ckpt"
BEST = "best.ckpt"
_LOCK = ".lock"
_WRITTEN = ("config.yaml", "origin.json", "curve.json", LAST, BEST, "metrics.json", "model")


@contextmanager
def open_run(
    run: Path, resume: bool, cls: type[Run], file: Path | None, changes: list[str]
) -> Iterator[Run]:
    """The configuration of a run, after a check that its folder can be started or resumed.

    Within it the folder belongs to this process, of several to the first, which alone checks and
    fills it. file, changes: as for `read_config`. Raises UserError.
    """
    if not is_first_process():
        yield _configuration(run, resume, cls, file, changes)
        return
    with ExitStack() as stack:
        if not run.exists():
            stack.callback(_remove_if_empty, run)  # where nothing came of it
        if not stack.enter_context(claimed(run / _LOCK)):
            raise UserError(
                f"a run is going on in {run}; wait for its end, or choose another folder"
            )
        yield _configuration(run, resume, cls, file, changes)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _configuration(
    run: Path, resume: bool, cls: type[Run], file: Path | None, changes: list[str]
) -> Run:
    if (run / "model").exists():
        raise UserError(f"{run} is finished: its model is {run / 'model'}")
    if resume:
        if not (run / "config.yaml").is_file():
            raise UserError(f"{run} holds no run to continue; start without --resume")
        begun = read_config(cls, run / "config.yaml")
        if (file or changes) and as_begun(read_config(cls, file, changes), begun) != begun:
            raise UserError(
                f"the configuration differs from {run / 'config.yaml'}, with which the run "
                "began; leave out --config and --set"
            )
        return begun
    config = read_config(cls, file, changes)
    if is_first_process():
        if (run / "config.yaml").is_file():
            raise UserError(f"{run} holds a run; continue with --resume or choose another folder")
        if any(not _is_leftover(entry) for entry in run.iterdir() if entry.name != _LOCK):
            raise UserError(f"{run} is not empty; choose another folder")
    return config


def _is_leftover(file: Path) -> bool:
    """Whether this is a temporary file of a killed process (asd_perception.files)."""
    return file.name.startswith(tuple(f".{name}." for name in _WRITTEN))


def begin(run: Path, config: TrainingConfig, index: KeyframeIndex) -> dict[str, Any]:
    """Write the configuration and the origin into the run's folder, before training.

    A resumed run keeps the origin and adds how it was resumed. Temporary files of a killed process
    are removed. Returns the origin. Raises UserError if the data or the number of processes
    differ, since the order of the samples follows from them.
    """
    found = origin(index, config)
    if is_first_process():
        for file in filter(_is_leftover, run.glob(".*")):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        with atomic_file(run / "config.yaml") as path:
            path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))
        file = run / "origin.json"
        if begun := read_origin(run):
            if begun.get("data"):  # earlier versions had no other cameras, and did not name them
                begun["data"].setdefault("cameras", found["data"]["cameras"])
            for key, remedy in (("data", "give its dataset"), ("processes", "start as many")):
                if found[key] != begun.get(key):
                    raise UserError(
                        f"{run} began with {key} {begun.get(key)}, not {found[key]}; {remedy}, or "
                        "begin a new run"
                    )
            changing = {key: found[key] for key in ("command", "machine", "versions", "date")}
            begun["resumed"] = [*begun.get("resumed", []), changing]
            found = begun
        with atomic_file(file) as path:
            path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def finish(run: Path, provenance: dict[str, Any]) -> None:
    """Write the run's results."""
    with atomic_file(run / "metrics.json") as path:
        path.write_text(json.dumps(provenance, indent=1) + "\n")


def read_origin(run: Path) -> dict[str, Any]:
    """What `begin` wrote of the run; empty if this is no run's folder."""
    file = run / "origin.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def origin(index: KeyframeIndex, config: TrainingConfig) -> dict[str, Any]:
    """Command, data, settings, machine and versions of a run, without the machine's folders."""
    settings = to_dict(config)
    training = {key: v for key, v in settings.items() if key not in ("student", "teacher")}
    return {
        "command": command_line("asd-train"),
        "data": {
            "version": index.version,
            "train_keyframes": len(index.split(config.train_split)),
            "cameras": list(index.cameras),
            "synthesis": synthesis_settings(index.root),
        },
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "training": without_folders(training),
        "machine": f"{machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "asd_perception": __version__,
            "commit": commit(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "lightning": version("lightning"),
        },
        "date": datetime.date.today().isoformat(),
    }


def is_first_process() -> bool:
    """Whether this is the one process, of those that torchrun started, that writes files."""
    return os.environ.get("RANK", "0") == "0"


def synthesis_settings(root: Path) -> dict[str, Any] | None:
    """The settings with which a synthetic dataset was made; None for other data."""
    path = root / "synthesis.json"
    return json.loads(path.read_text()) if path.is_file() else None
