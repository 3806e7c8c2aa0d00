# SPDX-License-Identifier: Apache-2.0
"""What an ablation compares, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from asd_perception.config import from_dict
from asd_perception.errors import UserError


@dataclass(frozen=True)
class TeacherRow:
    """A teacher: its configuration (a file beside the ablation's) and changes of it."""

    name: str
    config: str
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A student: changes of the base configuration (key with dots: value), and who teaches it."""

    name: str
    title: str
    set: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None


@dataclass(frozen=True)
class Ablation:
    """What is compared.

    name: of the report's plots. base: configuration that all rows change, beside this file.
    baseline, control: the rows that every row is compared with. compare: further pairs of rows,
    (this, with that). robustness: rows whose students are tested with corrupted simulated points.
    """

    name: str
    title: str
    base: str
    seeds: tuple[int, ...]
    baseline: str
    control: str
    rows: tuple[Row, ...]
    teachers: tuple[TeacherRow, ...] = ()
    compare: tuple[tuple[str, str], ...] = ()
    robustness: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows, teachers = ([item.name for item in items] for items in (self.rows, self.teachers))
        for what, names in (("row", rows), ("teacher", teachers)):
            for name in names:
                if names.count(name) > 1:
                    raise UserError(f"there are two {what}s named {name}")
                if not name.replace("_", "").isalnum():
                    raise UserError(f"{what} {name!r}: a name is letters, digits and _")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds are {self.seeds}; they must be one or more different ones")
        mentioned = [self.baseline, self.control, *self.robustness, *sum(self.compare, ())]
        for name in mentioned:
            if name not in rows:
                raise UserError(f"there is no row {name}; rows are {', '.join(rows)}")
        for row in self.rows:
            if row.teacher is not None and row.teacher not in teachers:
                raise UserError(f"row {row.name}: there is no teacher {row.teacher}")


def read_ablation(path: Path) -> Ablation:
    """The ablation of a YAML file. Raises UserError that names the key at fault."""
    try:
        return from_dict(Ablation, yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    except (UserError, TypeError) as error:  # TypeError: a key is missing
        raise UserError(f"{path}: {str(error).removeprefix('Ablation.__init__() ')}") from error
