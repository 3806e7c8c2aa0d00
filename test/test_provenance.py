# SPDX-License-Identifier: Apache-2.0
"""Promise: what is published of a run names no folder of the machine that it ran on."""

import json
import re
from pathlib import Path

from asd_perception.provenance import command_line, without_folders

ROOT = Path(__file__).parent.parent
MACHINE_FOLDER = re.compile(r"(?<![\w.])/(tmp|home|root|work|mnt|Users)/")


def test_paths_lose_the_folders_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert without_folders(str(tmp_path / "runs/teacher/model")) == "runs/teacher/model"
    assert without_folders("/home/someone/my runs/teacher/model") == "teacher/model"
    said = {"method": f"taught by {tmp_path}/runs/t/model", "levels": (0.0, 1.0), "steps": 3}
    assert without_folders(said) == {
        "method": "taught by runs/t/model",
        "levels": [0.0, 1.0],
        "steps": 3,
    }
    for plain in ("a/b and c", "../shared/data", "http://host/path", "AMD 2/4", "", "/"):
        assert without_folders(plain) == ("." if plain == "/" else plain)


def test_home_folders_go_wherever_the_program_was_started(tmp_path, monkeypatch):
    home = tmp_path / "people" / "alice"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for working_directory in ("/", tmp_path, home.parent, home):
        monkeypatch.chdir(working_directory)
        assert without_folders(f"{home}/data") == "data"
        assert without_folders(str(home)) == "."
        assert without_folders("/home/bob/data") == "data"
        assert without_folders("/Users/bob/runs/teacher/model") == "teacher/model"
    monkeypatch.chdir("/")
    assert without_folders(f"{home}/runs/teacher/model") == "teacher/model"
    assert without_folders("/data/runs/teacher/model") == "teacher/model"


def test_so_do_the_arguments_of_a_command(monkeypatch):
    arguments = [
        "student",
        "/srv/x/nuscenes",
        "run",
        "--set",
        'distillation.teacher="/srv/x/t/model"',
    ]
    monkeypatch.setattr("sys.argv", ["/usr/bin/asd-train", *arguments])
    assert command_line("asd-train") == (
        "asd-train student x/nuscenes run --set 'distillation.teacher=\"t/model\"'"
    )


def test_nothing_that_is_shipped_names_one():
    files = [*ROOT.glob("docs/results/**/*.json"), *ROOT.glob("asd_perception/models/**/*.yaml")]
    assert len(files) > 50
    named = [file for file in files if MACHINE_FOLDER.search(file.read_text())]
    assert not named, json.dumps([str(file.relative_to(ROOT)) for file in named])
