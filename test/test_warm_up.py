# SPDX-License-Identifier: Apache-2.0
"""Promise: `detector --warm-up` does the first start's work beforehand, and says what it did."""

import subprocess
import sys
from pathlib import Path

import pytest

from asd_perception.commands import detector, warm_up
from asd_perception.runtime.cuda_graphs import compile_caches

ROOT = Path(__file__).resolve().parents[1]


def test_a_model_is_tried_on_the_cpu(small_model):
    arguments = ["--warm-up", small_model, "--ros-args", "-p", "device:=cpu", "-p", "cameras:=[a]"]
    done = subprocess.run(
        [sys.executable, "-m", "asd_perception.commands.detector", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{small_model}\n  cameras: 1\n  device: cpu" in done.stdout
    assert "detected once in" in done.stdout and "nothing is compiled on a CPU" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--warm-up", "/nope"], "/nope"),
        (["--warm-up", "--ros-args", "-p", "device:=abacus"], "'abacus' is not auto"),
        (["--warm-up", "--check"], "not allowed with"),
    ],
)
def test_what_cannot_be_warmed_up_is_one_line(arguments, reason, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["detector", *arguments])
    try:
        status = detector.main()
    except SystemExit as ended:  # argparse's way
        status = ended.code
    said = capsys.readouterr().err.splitlines()[-1]
    assert status == 2
    assert said.startswith("detector: error: ") and reason in said


def test_the_caches_are_those_of_the_environment(monkeypatch, tmp_path):
    """What the compilers themselves take from it is theirs; that files are counted, is ours."""
    for variable, name in (("TORCHINDUCTOR_CACHE_DIR", "torch"), ("TRITON_CACHE_DIR", "triton")):
        monkeypatch.setenv(variable, str(tmp_path / name))
    folders = list(compile_caches().values())
    assert folders == [tmp_path / "torch", tmp_path / "triton"]
    (tmp_path / "torch" / "ab").mkdir(parents=True)
    (tmp_path / "torch" / "ab" / "kernel.so").write_bytes(bytes(1000))
    assert [warm_up._content(folder) for folder in folders] == [(1, 1000), (0, 0)]
