# SPDX-License-Identifier: Apache-2.0
"""Promise: an output stands under its name complete or not at all, whatever interrupts it."""

import os
import resource
import signal
import subprocess
import sys

import pytest

from asd_perception.errors import UserError, describe_os_error
from asd_perception.files import atomic_directory, atomic_file, check_output_file


def test_success_leaves_only_the_output(tmp_path):
    with atomic_file(tmp_path / "a.txt") as path:
        path.write_text("whole")
    with atomic_directory(tmp_path / "d") as folder:
        (folder / "b.txt").write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "d"]
    assert (tmp_path / "d" / "b.txt").read_text() == "whole"


def test_failure_leaves_nothing_and_keeps_the_old(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "a.txt") as path:
        path.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "d") as folder:
        (folder / "b.txt").write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_output_that_could_not_be_written_is_refused_before_the_work(tmp_path):
    check_output_file(tmp_path / "new" / "folder" / "a.txt")
    assert not list(tmp_path.iterdir())  # looking makes no folder
    with pytest.raises(UserError, match="is a folder; name a file"):
        check_output_file(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is a file"):
        check_output_file(tmp_path / "file" / "new" / "a.txt")


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path):
    script = (
        "import sys, time; from asd_perception.files import atomic_directory\n"
        "with atomic_directory(sys.argv[1]) as folder:\n"
        "    (folder / 'b.txt').write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "d")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "d").exists()


def test_an_existing_folder_is_never_overwritten(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "mine").write_text("precious")
    with (
        pytest.raises(UserError, match="exists already"),
        atomic_directory(tmp_path / "d"),
    ):
        pass
    assert (tmp_path / "d" / "mine").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with (
        pytest.raises(UserError, match="cannot write"),
        atomic_file(tmp_path / "a.txt"),
    ):
        pass


def test_a_parent_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot create the folder"),
        atomic_file(tmp_path / "file" / "x" / "a"),
    ):
        pass


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with (
            pytest.raises(OSError, match=r"a\.txt") as error,
            atomic_file(tmp_path / "a.txt") as path,
        ):
            path.write_text("x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert describe_os_error(error.value) == f"{tmp_path / 'a.txt'}: File too large"
    assert not list(tmp_path.iterdir())
