# SPDX-License-Identifier: Apache-2.0
"""What a result says of how it was made: the machine, the command, the commit.

Paths are written without the machine's folders, so that a model or a results file can be published.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd_perception.cores import available_cores

if TYPE_CHECKING:
    import torch

# At the start of the text, or behind a space, quote, bracket, comma or equals sign
_ABSOLUTE_PATH = re.compile(r"""(?<![^\s"'=,\[(])/[^\s"'=,\])]+""")


def machine() -> str:
    """The processor's name, and how many of its cores this process may use."""
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    name = found.group(1) if found else platform.machine()
    return f"{name}, {available_cores()} of {os.cpu_count()} cores"


def device_name(device: torch.device) -> str:
    """The name of a GPU, or "cpu"."""
    if device.type != "cuda":
        return device.type
    import torch  # takes seconds, and not everybody who asks has it

    return torch.cuda.get_device_name(device)


def command_line(program: str) -> str:
    """The command that runs, as it would be typed, without the machine's folders."""
    return shlex.join([program, *without_folders(sys.argv[1:])])


def commit() -> str | None:
    """The git commit of this program, "-dirty" if it was changed since; None outside a checkout.

    An environment may lie inside the checkout of another project, which does not track this file.
    """
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        for command in (
            ["ls-files", "--error-unmatch", __file__],
            ["describe", "--always", "--dirty"],
        ):
            done = subprocess.run([*git, *command], capture_output=True, check=True, text=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def without_folders(value: Any) -> Any:
    """Plain values (dictionaries, lists, text) without the machine's folders.

    An absolute path below the working directory becomes relative to it; of any other the last two
    names stay, so that /data/runs/teacher/model becomes teacher/model. Home folders always go.
    """
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_folders(item) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith("/") and "\n" not in value:  # all of it is one path, with spaces perhaps
        return _short_path(value)
    return _ABSOLUTE_PATH.sub(lambda found: _short_path(found.group()), value)


def _short_path(text: str) -> str:
    path, here = Path(text), Path.cwd()
    home = Path(os.path.expanduser("~"))  # unlike Path.home(), works for a user without a home
    holds_homes = here in (Path("/"), *home.parents)
    if path.is_relative_to(here) and not holds_homes:
        return str(path.relative_to(here))
    if path.is_relative_to(home):
        names = path.relative_to(home).parts
    elif path.parts[1:2] in (("home",), ("Users",)):  # of somebody else, who trained perhaps
        names = path.parts[3:]
    else:
        names = path.parts[1:]
    return str(Path(*names[-2:]))
