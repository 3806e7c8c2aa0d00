# SPDX-License-Identifier: Apache-2.0
"""Packages that are missing or too old, and what installs them, by what pyproject.toml asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from asd_perception.errors import UserError

CHECKED = ("torch", "transformers")
"""An old one fails in a confusing way: transformers takes an old torch for half missing."""

DISTRIBUTION = {"cv2": "opencv-python-headless", "nuscenes": "nuscenes-devkit", "yaml": "pyyaml"}
"""What pip calls a package whose module has another name."""


def check_requirements() -> None:
    """Raise UserError for the first of `CHECKED` that is missing or too old.

    To be called before either is imported: an old torch lets transformers say only "Could not
    import module 'AutoBackbone'".
    """
    for requirement in _requirements():
        if requirement.name not in CHECKED:
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = "none"
        # A build of one's own may be called 2.8.0a0+nv25.6.
        if found == "none" or not requirement.specifier.contains(found, prereleases=True):
            raise UserError(
                f"{requirement.name} {requirement.specifier} is needed and {found} was found: in a "
                "virtual environment, pip install -c constraints.txt . (see docs/install.md)"
            )


@contextmanager
def packages_checked() -> Iterator[None]:
    """Where the body imports a package that is not installed, raise UserError with what brings it.

    A module of our own or of an installed package that is missing stays a ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or ""
        if not module or "." in module or module.startswith("asd_"):
            raise
        raise UserError(f"{module} is not installed: {_remedy(module)}") from error


def _remedy(module: str) -> str:
    """How the package that a module comes in is installed."""
    package = canonicalize_name(DISTRIBUTION.get(module, module))
    markers = [
        str(requirement.marker)
        for requirement in _requirements()
        if canonicalize_name(requirement.name) == package
    ]
    extras = [name for marker in markers for name in re.findall(r'extra == "(\w+)"', marker)]
    if extras:
        return (
            f"the extra {' or '.join(extras)} brings it: in a virtual environment, "
            f'pip install -c constraints.txt ".[{extras[0]}]" (see docs/install.md)'
        )
    if markers:
        return "in a virtual environment, pip install -c constraints.txt . (see docs/install.md)"
    return "see docs/install.md"


def _requirements() -> list[Requirement]:
    """What this package needs, with its extras; nothing where it runs from its sources."""
    try:
        return [Requirement(line) for line in requires("asd_perception") or []]
    except PackageNotFoundError:
        return []
