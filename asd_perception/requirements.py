# SPDX-License-Identifier: Apache-2.0
"""Are the packages whose version matters most new enough? pyproject.toml says what is needed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from asd_perception.errors import UserError

CHECKED = ("torch", "transformers")
"""An old one is not refused by the other, but found to be there by half."""


def check_requirements() -> None:
    """Raise UserError for the first of `CHECKED` that is missing or too old.

    To be called before either is imported: an old torch lets transformers say only "Could not
    import module 'AutoBackbone'".
    """
    try:
        needed = requires("asd_perception") or []
    except PackageNotFoundError:  # run from its sources: nothing tells
        return
    for requirement in map(Requirement, needed):
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
