# SPDX-License-Identifier: Apache-2.0
"""Promise: folders depend on each other one way only, and each keeps to what it is for."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [file for top in ("asd_perception", "asd_training") for file in (ROOT / top).rglob("*.py")]
PYTHON = [*FILES, *ROOT.glob("test/*.py"), *ROOT.glob("tools/*.py"), *ROOT.glob("launch/*.py")]
MOST_MODULES = 10


def folder_of(name: str) -> str:
    """The folder of a module, with dots."""
    path = ROOT / name.replace(".", "/")
    return name if path.is_dir() else name.rpartition(".")[0]


def imports_of(file: Path) -> set[str]:
    """Everything that a file imports anywhere in it: modules, and names in packages."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = ROOT / str(node.module).replace(".", "/") / alias.name
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                found.add(f"{node.module}.{alias.name}" if is_module else str(node.module))
    return found


def imports_between_folders() -> dict[str, dict[str, set[str]]]:
    """By importing and imported folder, the imports in words."""
    arrows: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in FILES:
        source = str(file.parent.relative_to(ROOT)).replace("/", ".")
        for name in imports_of(file):
            if name.startswith("asd_") and folder_of(name) != source:
                arrows[source][folder_of(name)].add(f"{file.relative_to(ROOT)} imports {name}")
    return arrows


def circle_in(arrows: dict[str, dict[str, set[str]]]) -> list[str]:
    """The folders of one circle, or nothing."""
    done: set[str] = set()

    def visit(folder: str, path: list[str]) -> list[str]:
        if folder in path:
            return path[path.index(folder) :]
        if folder in done:
            return []
        for target in arrows.get(folder, {}):
            if circle := visit(target, [*path, folder]):
                return circle
        done.add(folder)
        return []

    for start in list(arrows):
        if circle := visit(start, []):
            return circle
    return []


def test_no_folder_imports_itself_by_way_of_others():
    arrows = imports_between_folders()
    circle = circle_in(arrows)
    steps = zip(circle, circle[1:] + circle[:1], strict=True)
    lines = [line for source, target in steps for line in sorted(arrows[source][target])]
    assert not circle, "a circle of imports:\n" + "\n".join(lines)


def test_a_circle_is_found():
    assert circle_in({"a": {"b": {"x"}}, "b": {"c": {"y"}}, "c": {"b": {"z"}}}) == ["b", "c"]


@pytest.mark.parametrize(
    ("module", "only_in"),
    [
        ("asd_training", ["asd_training"]),  # the robot needs nothing of it
        ("argparse", ["asd_training/commands", "asd_perception/commands"]),
        (
            "rclpy",
            [
                "asd_perception/commands",
                "asd_perception/ros",
                "asd_training/bags",
                "asd_training/benchmarks",
            ],
        ),
        (
            "lightning",
            ["asd_training/training", "asd_training/evaluation", "asd_training/benchmarks"],
        ),
        ("embreex", ["asd_training/synthetic"]),
    ],
)
def test_a_package_is_used_where_it_belongs(module, only_in):
    for file in FILES:
        place = str(file.relative_to(ROOT))
        if not place.startswith(tuple(only_in)):
            used = {name for name in imports_of(file) if name.split(".")[0] == module}
            assert not used, f"{place} imports {', '.join(used)}"


def test_no_folder_holds_too_much():
    for folder in {file.parent for file in FILES}:
        modules = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
        assert len(modules) <= MOST_MODULES, f"{folder} holds {len(modules)} modules"


def names_bound_twice(source: str) -> list[str]:
    """The names that a module binds more than once at its top level."""
    names: Counter[str] = Counter()
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
                names[node.name] += 1
            case ast.Import() | ast.ImportFrom():
                names.update((alias.asname or alias.name) for alias in node.names)
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                parts = [part for target in targets for part in ast.walk(target)]
                stored = [part for part in parts if isinstance(part, ast.Name)]
                names.update(part.id for part in stored if isinstance(part.ctx, ast.Store))
    return [name for name, times in names.items() if times > 1]


def test_no_module_binds_a_name_twice():
    found = {str(file): names_bound_twice(file.read_text()) for file in PYTHON}
    assert not {file: names for file, names in found.items() if names}


def test_a_name_that_is_bound_twice_is_found():
    assert names_bound_twice("from a import b\nc: int = 1\nd = {}\ndef b(): c = 2") == ["b"]
    assert names_bound_twice("a, (b, c) = d\na[0] = 1\nb.x = 1\nclass c: pass") == ["c"]
