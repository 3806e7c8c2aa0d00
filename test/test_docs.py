# SPDX-License-Identifier: Apache-2.0
"""Promise: what the documents name exists: files, links, commands, options, and imports."""

import argparse
import ast
import importlib
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES
from asd_perception.constants import CLASSES
from asd_perception.ros.parameters.table import CLASS_THRESHOLDS, PARAMETERS, camera_parameters

ROOT = Path(__file__).resolve().parents[1]
CARD = "asd_perception/models/tiny/README.md"
PAGES = [ROOT / "README.md", ROOT / CARD, *sorted(ROOT.glob("docs/**/*.md"))]
PROGRAMS = {"asd-train": "train", "asd-bag": "bag", "asd-bench": "bench"}
RESULTS = [
    (str(file.relative_to(ROOT)), command)
    for file in sorted(ROOT.glob("docs/results/**/*.json"))
    if (command := json.loads(file.read_text()).get("command"))
]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def parser_of(program: str, name: str) -> argparse.ArgumentParser:
    """The parser of a command, such as `asd-train student`."""
    parser = argparse.ArgumentParser(f"{program} {name}")
    folder = ROOT / "asd_training/commands" / PROGRAMS[program]
    (file,) = folder.rglob(f"{name.replace('-', '_')}.py")
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    importlib.import_module(module).configure(parser)
    return parser


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page):
    text = page.read_text()
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)#?([^)]*)\)", text):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"
    for path in re.findall(r"[`\s]((?:asd_\w+|config|docs|test)/[\w/.-]*\w)", text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"(?: -m|\bfrom|\bimport) (asd_[\w.]+)", text):
        importlib.import_module(module)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_options_that_are_given(page):
    text = page.read_text().replace("\\\n", " ")
    command = r"(?:^ *|`|&& )(asd-\w+) ([a-z][a-z-]*)\b([^`\n;&#|]*)"
    for program, name, rest in re.findall(command, text, re.MULTILINE):
        if program in PROGRAMS:
            known = set(parser_of(program, name)._option_string_actions)
            assert set(re.findall(r"(?<=\s)--[a-z-]+", rest)) <= known, f"{program} {name}{rest}"


def test_the_commands_in_results_files_are_those_of_today():
    assert len(RESULTS) > 50
    for file, command in RESULTS:
        words = shlex.split(command)
        if words[0] in PROGRAMS:
            parser_of(words[0], words[1]).parse_args(words[2:])  # exits where it does not fit
        else:
            assert " pytest " in command or "not kept" in command, f"{file}: {command}"


def imported_modules(source: str) -> set[str]:
    """The modules that `import x` and `from x import y` name, anywhere in a file."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_both_forms_of_import_are_seen():
    source = "import a.b as c, d\nfrom e.f import g\ndef later():\n    import h"
    assert imported_modules(source) == {"a.b", "d", "e.f", "h"}


def test_packages_import_what_the_architecture_allows():
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| `(asd_[\w/]+)` \|.*\| (.*?) ?\|$", text, re.MULTILINE)
    allowed: dict[str, set[str]] = {}
    for package, names in rows:
        below = {name for name in allowed if name.startswith("asd_perception")}
        listed = set(re.findall(r"`([\w/]+)`", names)) | (
            below if package.startswith("asd_training") else set()
        )
        assert listed <= set(allowed), f"{package} may import a package that stands below it"
        allowed[package] = listed | {package}
    for file in ROOT.glob("asd_*/**/*.py"):
        path = file.relative_to(ROOT)
        if path.parts[1] == "commands":
            continue  # may import all
        for name in imported_modules(file.read_text()):
            if name.startswith("asd_"):
                module = Path(*name.split("."))
                package = module if (ROOT / module).is_dir() else module.parent
                fits = package.as_posix() in allowed[path.parent.as_posix()]
                assert fits, f"{path} imports {name}"


def test_the_table_of_parameters_is_the_nodes():
    text = (ROOT / "docs/ros_interface.md").read_text().partition("## Parameters")[2]
    rows = {
        name: (default, meaning)
        for name, default, meaning in re.findall(
            r"^\| `([\w.]+)` \| (.*?) \| (.*) \|$", text.partition("\n**")[0], re.MULTILINE
        )
    }
    of_a_class = replace(CLASS_THRESHOLDS[0], name="class_threshold.CLASS")
    entries = [*PARAMETERS, of_a_class, *camera_parameters("CAMERA")]
    assert rows.keys() == {entry.name for entry in entries} | {"use_sim_time"}  # rclpy's own
    for entry in entries:
        default, meaning = rows[entry.name]
        if entry.name == "cameras":
            assert (default, entry.default) == ("the six nuScenes names", [*NUSCENES_CAMERA_NAMES])
        elif entry.name == "classes":
            assert (default, entry.default) == ("all ten", [*CLASSES])
        else:
            written = default.strip("`").removesuffix(" s")
            assert written in (str(entry.default), json.dumps(entry.default)), entry.name
        if entry.range is not None:
            assert "in [{:g}, {:g}]".format(*entry.range) in meaning, entry.name
