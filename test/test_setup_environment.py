# SPDX-License-Identifier: Apache-2.0
"""Promise: set-up that cannot go on says why in one line, and one that was killed mends itself.

Each test runs the real tools/setup_environment.py on a copy of what it reads, in its own folder.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "tools").is_dir(), reason="set-up is tested in the source tree only"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as it is before set-up."""
    for name in ("tools", "interfaces", "constraints"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("constraints.txt", "pyproject.toml", "setup.cfg", "setup.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def start(
    project: Path,
    *arguments: str,
    python: str = sys.executable,
    stdout: int = subprocess.PIPE,
    **variables: str,
) -> subprocess.Popen:
    """Set-up in a process of its own, where pip knows no index but the one in `variables`."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [python, str(project / "tools" / "setup_environment.py"), *arguments],
        env={**inherited, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1", **variables},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_fails_with_one_line(process: subprocess.Popen, *words: str) -> None:
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert error.startswith("set-up: error: ") and error.count("\n") == 1, error
    for word in words:
        assert word in error


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.9"])
def test_unsupported_python(project: Path, version: str):
    candidates = [shutil.which(f"python{version}")]
    candidates += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    for python in filter(None, candidates):
        if subprocess.run([python, "--version"], capture_output=True).returncode == 0:
            assert_fails_with_one_line(start(project, python=python), "3.10 to 3.14", "PYTHON=")
            return
    pytest.skip(f"no Python {version} on this machine")


def test_unknown_ros_distribution(project: Path):
    assert_fails_with_one_line(start(project, "humble"), "humble", "jazzy or kilted", "ROS=jazzy")


@pytest.mark.parametrize(("missing", "language"), [("CC", "no C compiler"), ("CXX", "no C++ ")])
def test_missing_compiler(project: Path, missing: str, language: str):
    process = start(project, **{missing: "/nowhere/compiler"})
    assert_fails_with_one_line(process, language, "/nowhere/compiler", "build-essential")
    assert not (project / ".venv").exists()


def test_no_compiler_on_the_path(project: Path):
    assert_fails_with_one_line(start(project, PATH="/nowhere"), "no C compiler", "gcc")


def test_environment_of_somebody_else_is_left_alone(project: Path):
    mark = project / ".venv" / "pyvenv.cfg"
    mark.parent.mkdir()
    mark.write_text("home = /usr/bin\n")
    assert_fails_with_one_line(start(project), ".venv", "move or delete")
    assert mark.read_text() == "home = /usr/bin\n"


@pytest.mark.slow
def test_unreachable_package_index(project: Path):
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{closed.getsockname()[1]}"
        process = start(project, "kilted", PIP_INDEX_URL=index)
        assert_fails_with_one_line(process, "package index cannot be reached")
        assert (project / ".venv" / "setup" / "environment").exists()
        assert not (project / ".venv" / "setup" / "packages").exists()

        again = start(project, PIP_INDEX_URL=index)
        assert "ROS 2 Kilted" in again.stdout.readline(), "the next run keeps the distribution"
        assert_fails_with_one_line(again, "package index cannot be reached")


@pytest.mark.slow
def test_a_terminal_shows_what_a_long_step_does(project: Path):
    ours, terminal = os.openpty()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        index = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = start(project, stdout=terminal, PIP_INDEX_URL=index)
        os.close(terminal)
        shown = b""
        while not re.search(rb"packages +\d+ s: \w", shown):  # a time, and a line of pip's
            shown += os.read(ours, 1000)  # fails when set-up ends
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    os.close(ours)


@pytest.mark.slow
def test_killed_run_is_mended_by_the_next(project: Path):
    left_over = project / ".venv" / "left_over"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        index = f"http://127.0.0.1:{silent.getsockname()[1]}"
        first = start(project, PIP_INDEX_URL=index)
        connection, _ = silent.accept()  # pip is in the middle of it
        left_over.touch()
        first.send_signal(signal.SIGKILL)
        first.wait()

        second = start(project, PIP_INDEX_URL=index)
        assert "waiting" in second.stdout.readline(), "pip of the first run is still at work"
        time.sleep(1.0)
        assert left_over.exists()
        connection.close()
    assert_fails_with_one_line(second, "package index cannot be reached")
    assert not left_over.exists()


def test_packages_fit_together():
    """constraints.txt is installed without a look at dependencies: none may be missing or unfit."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not the environment of `make setup`")
    check = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, timeout=120
    )
    complaints = check.stdout.splitlines()
    if sys.version_info >= (3, 13):  # see constraints.txt
        complaints = [line for line in complaints if not line.startswith("nuscenes-devkit ")]
    assert complaints in ([], ["No broken requirements found."])
