# SPDX-License-Identifier: Apache-2.0
"""Promise: cores are counted as this process may use them."""

import os
import subprocess
import sys

import pytest

from asd_perception import cores


def test_an_affinity_counts():
    first = min(os.sched_getaffinity(0))
    program = (
        f"import os; os.sched_setaffinity(0, [{first}]);"
        "from asd_perception.cores import available_cores; print(available_cores())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),  # a container that sees its group as the root
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3.0),
        (
            "4:cpu,cpuacct:/docker/1\n3:memory:/docker/1",
            {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("0::/", {}, None),
        ("0::/", {"cpu.max": "nonsense"}, None),
    ],
)
def test_a_control_groups_quota_counts(tmp_path, own, files, quota):
    (tmp_path / "cgroup").write_text(own + "\n")
    for name, text in files.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cores._quota(tmp_path / "fs", tmp_path / "cgroup") == quota


def test_the_quota_is_a_limit_of_whole_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for quota, available in ((None, 4), (1.5, 2), (0.2, 1), (64.0, 4)):
        monkeypatch.setattr(cores, "_quota", lambda quota=quota: quota)
        assert cores.available_cores() == available


def test_a_program_uses_no_more_threads_than_its_quota_grants():
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    program = (
        "import os; from asd_perception import cores; cores._quota = lambda: 1.0;"
        "os.sched_getaffinity = lambda _: {0, 1};"
        "from asd_training.commands.command_line import run_main;"
        "run_main('program', lambda: print(__import__('torch').get_num_threads()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "1"


@pytest.mark.parametrize(("quota", "given", "left"), [(1.0, "3", "3"), (None, None, None)])
def test_the_environment_comes_first_and_without_a_quota_the_libraries_decide(
    monkeypatch, quota, given, left
):
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": given} if given else {})
    monkeypatch.setattr(cores, "_quota", lambda: quota)
    cores.limit_threads()
    assert os.environ.get("OMP_NUM_THREADS") == left
