# SPDX-License-Identifier: Apache-2.0
"""Promise: help comes at once, and a missing package is told with the extra that brings it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run_module

COMMANDS = Path(__file__).parents[1] / "asd_training" / "commands"
PROGRAMS = ("asd_train", "asd_bag", "asd_bench", "asd_demo")
SLOW = {"torch", "numpy", "pydantic"}
"""What takes long to import, or brings what does."""

HELP_CPU = 0.3
"""Seconds of CPU within which a program says what its commands are; it takes a third of that."""

CALL = """
import importlib, sys, time
module, *sys.argv = sys.argv[1:]
try:
    importlib.import_module(module).main()
except SystemExit as end:
    print("status", end.code)
print("modules", *sys.modules)
print("CPU", time.process_time())
"""


def call(program: str, *arguments: object, before: str = "") -> tuple[dict[str, list[str]], str]:
    """A program in a process of its own, after the statements `before`.

    Returns the words of its output by the first one of each line, and what it said on stderr.
    """
    module = f"asd_training.commands.{program}"
    done = subprocess.run(
        [sys.executable, "-c", before + CALL, module, program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(COMMANDS.parents[1])},
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    return {line[0]: line[1:] for line in lines}, done.stderr


def commands_of(program: str) -> list[str]:
    return list(importlib.import_module(f"asd_training.commands.{program}")._COMMANDS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_programs_help_imports_nothing_slow(program):
    answer, _ = call(program, "--help")
    assert answer["status"] == ["0"]
    assert not SLOW & set(answer["modules"])
    assert float(answer["CPU"][0]) < HELP_CPU


HELPS = """
import importlib, sys
module, program, *commands = sys.argv[1:]
main = importlib.import_module(module).main
for command in commands:
    sys.argv = [program, command, "--help"]
    try:
        main()
    except SystemExit as end:
        print("\\nhelp", command, end.code, *sys.modules)
"""


@pytest.mark.parametrize("program", PROGRAMS[:3])
def test_a_commands_help_imports_neither_torch_nor_the_devkit(program):
    """All commands in one process: the first that imports such a module is named."""
    commands = commands_of(program)
    module = f"asd_training.commands.{program}"
    done = subprocess.run(
        [sys.executable, "-c", HELPS, module, program, *commands],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(COMMANDS.parents[1])},
    )
    helps = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("help ")]
    assert [command for command, *_ in helps] == commands
    for command, status, *modules in helps:
        assert status == "0"
        slow = {"torch", "transformers", "nuscenes", "cv2", "rclpy"} & set(modules)
        assert not slow, command


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_as_a_module(program):
    done = run_module(f"asd_training.commands.{program}", "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {program.replace('_', '-')} ")


def test_export_imports_nothing_of_the_other_extras():
    answer, error = call("asd_train", "export", "nowhere", "out")
    assert answer["status"] == ["2"] and "nowhere is no run" in error
    absent = {"lightning", "nuscenes", "rosbags", "matplotlib", "embreex"}
    assert not absent & set(answer["modules"])


WITHOUT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name == "{0}" else find(name, *where)
"""
"""Statements after which an installed package is not found."""


@pytest.mark.parametrize(
    ("program", "arguments", "missing", "extra"),
    [
        ("asd_train", ("student", "data", "run"), "lightning", "train"),
        ("asd_train", ("synthesize", "data"), "embreex", "synthetic"),
        ("asd_train", ("export", "run", "out"), "onnxruntime", "onnx"),
        ("asd_bag", ("convert", "data", "bag", "--scene", "a"), "rosbags", "train"),
        ("asd_demo", (), "nuscenes", "train"),
    ],
)
def test_a_missing_package_is_told_with_its_extra(
    tmp_path, monkeypatch, program, arguments, missing, extra
):
    monkeypatch.chdir(tmp_path)
    answer, error = call(program, *arguments, before=WITHOUT.format(missing))
    assert answer["status"] == ["2"]
    (line,) = error.splitlines()
    assert f"error: {missing} is not installed: the extra {extra} brings it" in line
    assert f'pip install -c constraints.txt ".[{extra}]"' in line
    assert not list(tmp_path.iterdir())


def test_a_missing_module_of_our_own_is_a_defect_and_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absent = "import sys; sys.modules['asd_training.synthetic.generate'] = None"
    answer, error = call("asd_train", "synthesize", "data", before=absent)
    assert "status" not in answer
    assert "Traceback" in error


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_characters_ends_no_program(encoding):
    """A progress bar's, a scene's name, a path in an error."""
    code = (
        "import sys; from asd_perception.errors import UserError, run_cli\n"
        "def main():\n"
        "    print('epoch 1 \\u2501\\u2578 100%')\n"
        "    raise UserError('caf\\u00e9\\u2192: no such folder')\n"
        "sys.exit(run_cli('asd-train', main))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding},
    )
    said = done.stdout.decode(encoding), done.stderr.decode(encoding)
    bar, name = {"ascii": ("??", "caf??"), "latin-1": ("??", "caf\u00e9?")}.get(
        encoding, ("\u2501\u2578", "caf\u00e9\u2192")
    )
    expected = f"epoch 1 {bar} 100%\n", f"asd-train: error: {name}: no such folder\n"
    assert (done.returncode, *said) == (2, *expected)
