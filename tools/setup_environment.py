# SPDX-License-Identifier: Apache-2.0
"""Make the virtual environment .venv; `make setup` runs this with the Python that it shall have.

Five steps, each done once, and again only when what it is made from has changed:

    environment   an empty virtual environment
    packages      every package of constraints.txt, at its one version
    messages      vision_msgs and tf2_msgs, generated from interfaces/ and compiled
    package       asd_perception itself, editable, with its commands
    check         a first import of the large libraries: it shows that they load, and leaves the
                  bytecode that makes every later start some ten seconds quicker

A finished step leaves a stamp in .venv/setup: a digest of what it was made from. A step that was
cut short has none and runs again. Where the packages were cut short, nothing in .venv can be
trusted: it is made anew.

Standard library only, and only syntax that Python 2 can parse, because an old Python must get as
far as the line that says it is too old.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONSTRAINTS = os.path.join(ROOT, "constraints.txt")
INTERFACES = os.path.join(ROOT, "interfaces")
VENV = os.path.join(ROOT, ".venv")
VENV_MARK = os.path.join(VENV, "pyvenv.cfg")
PYTHON = os.path.join(VENV, "bin", "python")
PIP_INSTALL = [
    PYTHON,
    "-m",
    "pip",
    "install",
    "--no-compile",
    "--no-input",
    "--progress-bar",
    "off",
]
STAMPS = os.path.join(VENV, "setup")
LOG = os.path.join(STAMPS, "log.txt")

DISK_GB = 3.0  # .venv takes 2 GB; compiling the messages needs room beside it
TEMPORARY_GB = 1.0  # pip downloads everything before it installs anything


class SetupError(Exception):
    """One line that says what is wrong and what to do."""


def main():
    check_python()
    lock = lock_project()
    steps = [
        ("environment", digest([VENV, "{}.{}".format(*sys.version_info)]), make_environment),
        ("packages", digest_files([CONSTRAINTS]), install_packages),
        ("messages", digest_messages(), build_messages),
        ("package", digest_files([os.path.join(ROOT, "setup.py")]), install_package),
        ("check", digest_files([CONSTRAINTS, __file__]), check_imports),
    ]
    usable = is_done(*steps[0]) and os.path.exists(stamp("packages")) and os.path.exists(PYTHON)
    if usable and all(is_done(*step) for step in steps):
        say("Set-up: up to date")
        return
    check_machine()
    start = time.time()
    say("Set-up of .venv with Python {} (details: .venv/setup/log.txt)".format(python_version()))
    if not usable:
        remove_environment()
        check_disk()
    for step in steps:
        if not is_done(*step):
            do(step, lock)
    say("Set-up: done in {}".format(since(start)))


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


# --- checks, so that nothing that can be known beforehand stops it after minutes of work ----------


def python_version():
    return "{}.{}.{}".format(*sys.version_info)


def check_python():
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        raise SetupError(
            "Python 3.10 to 3.13 is needed and {} is {}: name another one, as in "
            "`make setup PYTHON=python3.12`".format(sys.executable, python_version())
        )
    if not sys.platform.startswith("linux") or os.uname()[4] != "x86_64":
        raise SetupError("the ROS 2 packages are made for x86-64 Linux only: use such a machine")


def check_machine():
    python = "python{}.{}".format(*sys.version_info)
    for language, variable, commands in (
        ("C", "CC", ["cc", "gcc", "clang"]),
        ("C++", "CXX", ["c++", "g++", "clang++"]),
    ):
        if variable in os.environ:
            commands = os.environ[variable].split()[:1]
        if not any(shutil.which(command) for command in commands):
            raise SetupError(
                "no {} compiler ({}): install one, on Debian or Ubuntu by "
                "`sudo apt install build-essential`".format(language, ", ".join(commands))
            )
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        raise SetupError(
            "{} lacks its header files: install them, on Debian or Ubuntu by "
            "`sudo apt install {}-dev`".format(sys.executable, python)
        )
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        raise SetupError(
            "{} cannot make virtual environments: install what it lacks, on Debian or Ubuntu by "
            "`sudo apt install {}-venv`".format(sys.executable, python)
        )
    if os.path.exists(VENV_MARK) and not os.path.isdir(STAMPS):
        raise SetupError("{} was not made by this set-up: move or delete it".format(VENV))


def check_disk():
    for folder, needed in ((ROOT, DISK_GB), (tempfile.gettempdir(), TEMPORARY_GB)):
        free = shutil.disk_usage(folder).free / 1e9
        if free < needed:
            raise SetupError(
                "{} has {:.1f} GB free and {:.0f} GB are needed: make room there".format(
                    folder, free, needed
                )
            )


def lock_project():
    """Keep a second run waiting.

    The steps' processes hold the lock too: should this one be killed, the next run waits for the
    last of them to end instead of working beside it.
    """
    lock = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("Set-up: another one is at work here, waiting for it to end")
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


# --- the steps: each gets a function that runs a command ------------------------------------------


def make_environment(run):
    # Not sys.executable: in an activated .venv that is a link in the folder just removed.
    run([os.path.realpath(sys.executable), "-m", "venv", VENV])


def install_packages(run):
    run(PIP_INSTALL + ["--no-deps", "--requirement", CONSTRAINTS])
    # A CUDA build of torch needs packages that a CPU build does not, and pins them itself.
    run(PIP_INSTALL + ["--constraint", CONSTRAINTS, "torch"])


def build_messages(run):
    tools = os.path.dirname(PYTHON)
    environment = dict(
        os.environ,
        PATH=tools + os.pathsep + os.environ["PATH"],
        AMENT_PREFIX_PATH=VENV,
        CMAKE_PREFIX_PATH=VENV,
    )
    options = [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_INSTALL_PREFIX=" + VENV,
        "-DPython3_EXECUTABLE=" + PYTHON,
        "-DBUILD_TESTING=OFF",
    ]
    cmake = os.path.join(tools, "cmake")
    for name in ("tf2_msgs", "vision_msgs"):
        build = os.path.join(STAMPS, name)
        shutil.rmtree(build, ignore_errors=True)
        source = os.path.join(INTERFACES, name)
        run([cmake, "-S", source, "-B", build, "-G", "Ninja"] + options, environment)
        run([cmake, "--build", build], environment)
        run([cmake, "--install", build], environment)
        shutil.rmtree(build)


def install_package(run):
    run(PIP_INSTALL + ["--no-deps", "--no-build-isolation", "--editable", ROOT])


def check_imports(run):
    modules = [
        "cv2",
        "embreex",
        "lightning.pytorch",
        "nuscenes.eval.detection.evaluate",
        "rclpy",
        "rosbags.rosbag2",
        "scipy.spatial.transform",
        "tf2_msgs.msg",
        "transformers",
        "vision_msgs.msg",
    ]
    run([PYTHON, "-c", "import " + ", ".join(modules)])


def remove_environment():
    # The mark goes first: what a removal that is cut short leaves is no environment of anybody's.
    if os.path.exists(VENV_MARK):
        os.remove(VENV_MARK)
    if os.path.exists(VENV):
        shutil.rmtree(VENV)
    os.makedirs(STAMPS)


# --- running a step -------------------------------------------------------------------------------


def do(step, lock):
    name, inputs, action = step
    start = time.time()
    if os.path.exists(stamp(name)):
        os.remove(stamp(name))
    with open(LOG, "a") as log:

        def run(command, environment=None):
            log.write("\n$ {}\n".format(" ".join(command)))
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[lock],
                universal_newlines=True,
                errors="replace",
            )
            lines = []
            for line in process.stdout:
                log.write(line)
                log.flush()
                lines.append(line.strip())
                show("{}  {}".format(since(start), lines[-1]))
            if process.wait() != 0:
                raise SetupError(explain(name, lines))

        def show(text, end="\r"):
            if sys.stdout.isatty():
                width = shutil.get_terminal_size().columns - 18
                text = "\033[K" + text[:width]
            elif end == "\r":
                return
            sys.stdout.write("  {:<12}  {}{}".format(name, text, end))
            sys.stdout.flush()

        show("")
        action(run)
        show(since(start), end="\n")
    with open(stamp(name) + ".new", "w") as file:
        file.write(inputs)
    os.rename(stamp(name) + ".new", stamp(name))


def explain(name, lines):
    """The one line for a command that failed, from what it printed."""
    text = "\n".join(lines)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return "the disk is full: make room at {} and {}, and run it again".format(
            ROOT, tempfile.gettempdir()
        )
    if "Retrying (Retry(" in text or "Could not fetch URL" in text:
        return "the package index cannot be reached: check the network (and `pip config list`)"
    errors = [line for line in lines if "error" in line.lower()]
    reason = (errors or lines[-1:] or ["it ended without a word"])[0]
    return "the step `{}` failed: {} (details: {})".format(name, reason, LOG)


def since(start):
    minutes, seconds = divmod(int(time.time() - start), 60)
    return "{} min {:02} s".format(minutes, seconds) if minutes else "{} s".format(seconds)


# --- stamps ---------------------------------------------------------------------------------------


def stamp(name):
    return os.path.join(STAMPS, name)


def is_done(name, inputs, action):
    if not os.path.exists(stamp(name)):
        return False
    with open(stamp(name)) as file:
        return file.read() == inputs


def digest(parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def digest_files(paths):
    parts = []
    for path in paths:
        with open(path) as file:
            parts += [os.path.relpath(path, ROOT), file.read()]
    return digest(parts)


def digest_messages():
    """The definitions, and the versions of what they are compiled against."""
    files = [
        os.path.join(folder, name) for folder, _, names in os.walk(INTERFACES) for name in names
    ]
    with open(CONSTRAINTS) as file:
        versions = [line for line in file if line.startswith(("ros-", "numpy"))]
    return digest([digest_files(sorted(files))] + versions)


if __name__ == "__main__":
    try:
        main()
    except (SetupError, OSError) as error:
        sys.exit("set-up: error: {}".format(error))
    except KeyboardInterrupt:
        sys.exit("set-up: stopped; run it again to go on")
