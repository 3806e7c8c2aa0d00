# SPDX-License-Identifier: Apache-2.0
"""What an ablation compares, read from YAML."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Any

from asd_perception.configuration import configuration, fault, from_dict, read_yaml
from asd_perception.errors import UserError


@configuration
class TeacherRow:
    """A teacher of an ablation."""

    name: str
    """Name of its folder and its result."""
    config: str
    """Its configuration: a file beside the ablation's."""
    set: dict[str, Any] = field(default_factory=dict)
    """Changes of the configuration, key with dots: value."""


@configuration
class Row:
    """A student of an ablation, one per seed."""

    name: str
    """Name of its folders and results."""
    title: str
    """Its title in the report."""
    set: dict[str, Any] = field(default_factory=dict)
    """Changes of the base configuration, key with dots: value."""
    teacher: str | None = None
    """Name of the teacher's row."""


@configuration
class Ablation:
    """What is compared."""

    name: str
    """Name of the report's plots."""
    title: str
    """Heading of the report."""
    base: str
    """Configuration that all rows change: a file beside this one."""
    seeds: tuple[int, ...]
    """Each row is trained once per seed."""
    baseline: str
    """The row that every row is compared with."""
    control: str
    """The second row that every row is compared with."""
    rows: tuple[Row, ...]
    """The students."""
    teachers: tuple[TeacherRow, ...] = ()
    """The teachers."""
    compare: tuple[tuple[str, str], ...] = ()
    """Further pairs of rows to compare: this, with that."""
    robustness: tuple[str, ...] = ()
    """Rows whose students are tested with corrupted simulated points."""

    def __post_init__(self) -> None:
        rows, teachers = ([item.name for item in items] for items in (self.rows, self.teachers))
        for key, names in (("rows", rows), ("teachers", teachers)):
            for name in names:
                if names.count(name) > 1:
                    raise fault(key, f"has two named {name}")
                if not name.replace("_", "").isalnum():
                    raise fault(key, f"has one named {name!r}; a name is letters, digits and _")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise fault("seeds", f"are {self.seeds}; they must be one or more different ones")
        mentioned = {
            "baseline": (self.baseline,),
            "control": (self.control,),
            "compare": sum(self.compare, ()),
            "robustness": self.robustness,
        }
        for key, mentions in mentioned.items():
            for name in mentions:
                if name not in rows:
                    raise fault(key, f"names {name}, which is no row; rows are {', '.join(rows)}")
        for i, row in enumerate(self.rows):
            if row.teacher is not None and row.teacher not in teachers:
                raise fault(f"rows[{i}].teacher", f"is {row.teacher}, which is no teacher's name")


def read_ablation(path: Path) -> Ablation:
    """The ablation of a YAML file. Raises UserError that names the key at fault."""
    values = read_yaml(path)
    try:
        return from_dict(Ablation, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
