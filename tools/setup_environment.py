# SPDX-License-Identifier: Apache-2.0
"""Make the virtual environment .venv: `make setup` runs this with the Python that it is made with.

    setup_environment.py [jazzy|kilted]    without a name that of .venv, or else the first

Five steps, each done once, and again only when what it is made from has changed:

    environment   an empty virtual environment
    packages      every package of constraints.txt and constraints/ros-DISTRIBUTION.txt, as pinned
    messages      the message packages in interfaces/, generated and compiled
    package       asd_perception itself, editable, with its commands
    check         a first import of the large libraries: it shows that they load, and leaves the
                  bytecode that makes every later start some ten seconds quicker

A finished step leaves a stamp in .venv/setup: what it was made from. A step that was cut short has
none and runs again. Where the packages were cut short, or where another Python or ROS distribution
is asked for, .venv is made anew.

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
BIN = os.path.join(VENV, "bin")
PYTHON = os.path.join(BIN, "python")
STAMPS = os.path.join(VENV, "setup")
LOG = os.path.join(STAMPS, "log.txt")

MESSAGES = ["autoware_perception_msgs", "ffmpeg_image_transport_msgs", "tf2_msgs", "vision_msgs"]
DISTRIBUTIONS = ["jazzy", "kilted"]  # the first is the default
DISK_GB = 3.0  # .venv takes 2 GB; compiling the messages needs room beside it
TEMPORARY_GB = 1.0  # pip downloads everything before it installs anything
IMPORTS = (
    "import autoware_perception_msgs.msg, av, cv2, embreex, ffmpeg_image_transport_msgs.msg, "
    "lightning.pytorch, nuscenes.eval.detection.evaluate, rclpy, rosbags.rosbag2, "
    "scipy.spatial.transform, tf2_msgs.msg, transformers, vision_msgs.msg"
)


class SetupError(Exception):
    """One line that says what is wrong and what to do."""


def main(asked):
    check_python()
    lock = lock_project()
    distribution = choose_distribution(asked)
    steps = make_steps(distribution)
    usable = is_done(*steps[0]) and os.path.exists(stamp("packages")) and os.path.exists(PYTHON)
    if usable and all(is_done(*step) for step in steps):
        say("Set-up: up to date (ROS 2 {})".format(distribution.capitalize()))
        return
    check_machine()
    start = time.time()
    say(
        "Set-up of .venv: Python {}, ROS 2 {} (details: .venv/setup/log.txt)".format(
            python_version(), distribution.capitalize()
        )
    )
    if not usable:
        remove_environment()
        check_disk()
    for step in steps:
        if not is_done(*step):
            do(step, lock)
    say("Set-up: done in {}".format(since(start)))


def say(line, end="\n"):
    sys.stdout.write(line + end)
    sys.stdout.flush()


# --- checks, so that nothing that can be known beforehand stops it after minutes of work ----------


def python_version():
    return "{}.{}.{}".format(*sys.version_info)


def check_python():
    if not (3, 10) <= sys.version_info[:2] <= (3, 14):
        raise SetupError(
            "Python 3.10 to 3.14 is needed (others lack builds of torch or ROS 2) and {} is {}: "
            "name another one, as in `make setup PYTHON=python3.12`".format(
                sys.executable, python_version()
            )
        )
    if not sys.platform.startswith("linux") or os.uname()[4] != "x86_64":
        raise SetupError("the ROS 2 packages are made for x86-64 Linux only: use such a machine")


def choose_distribution(asked):
    if not asked and os.path.exists(stamp("environment")):
        asked = read(stamp("environment")).split()[-1]
        return asked if asked in DISTRIBUTIONS else DISTRIBUTIONS[0]
    if asked and asked not in DISTRIBUTIONS:
        raise SetupError(
            "no packages of ROS 2 `{}` are listed in constraints/: choose {}, as in "
            "`make setup ROS={}`".format(asked, " or ".join(DISTRIBUTIONS), DISTRIBUTIONS[0])
        )
    return asked or DISTRIBUTIONS[0]


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


# --- the steps: (name, what it is made from, commands) --------------------------------------------


def make_steps(distribution):
    ros = os.path.join(ROOT, "constraints", "ros-{}.txt".format(distribution))
    packaging = [os.path.join(ROOT, name) for name in ("pyproject.toml", "setup.cfg", "setup.py")]
    pip = [PYTHON, "-m", "pip", "install", "--no-compile", "--no-input", "--progress-bar", "off"]
    return [
        (
            "environment",
            "{} Python {} ROS {}".format(VENV, python_version(), distribution),
            # Not sys.executable: in an activated .venv that is a link in the folder just removed.
            [[os.path.realpath(sys.executable), "-m", "venv", VENV]],
        ),
        (
            "packages",
            digest([CONSTRAINTS, ros]),
            [
                pip + ["--no-deps", "--requirement", CONSTRAINTS, "--requirement", ros],
                # A CUDA build of torch needs packages that a CPU build does not, and pins them.
                pip + ["--constraint", CONSTRAINTS, "torch"],
            ],
        ),
        (
            "messages",
            # The definitions, and the versions of what they are compiled against.
            digest(files_in(INTERFACES) + [CONSTRAINTS, ros]),
            [command for name in MESSAGES for command in build_messages(name)],
        ),
        (
            "package",
            digest(packaging),
            [pip + ["--no-deps", "--no-build-isolation", "--editable", ROOT]],
        ),
        ("check", digest([CONSTRAINTS, ros, __file__]), [[PYTHON, "-c", IMPORTS]]),
    ]


def build_messages(name):
    cmake = os.path.join(BIN, "cmake")
    build = os.path.join(STAMPS, name)
    options = [
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_INSTALL_PREFIX=" + VENV,
        "-DPython3_EXECUTABLE=" + PYTHON,
        "-DBUILD_TESTING=OFF",
    ]
    source = ["-S", os.path.join(INTERFACES, name), "-B", build, "-G", "Ninja"]
    return [
        [cmake, "--fresh"] + source + options,
        [cmake, "--build", build],
        [cmake, "--install", build],
        [cmake, "-E", "rm", "-r", build],
    ]


def remove_environment():
    # The mark goes first: what a removal that is cut short leaves is no environment of anybody's.
    if os.path.exists(VENV_MARK):
        os.remove(VENV_MARK)
    if os.path.exists(VENV):
        shutil.rmtree(VENV)
    os.makedirs(STAMPS)


def do(step, lock):
    name, inputs, commands = step
    start = time.time()
    title = "  {:<12}  ".format(name)
    say(title, end="")
    if os.path.exists(stamp(name)):
        os.remove(stamp(name))

    def progress(output):
        say_after(title, "{}: {}".format(since(start), last_line(output)))

    for command in commands:
        status, output = run(command, lock, progress)
        say_after(title, "")
        if status != 0:
            say("failed")
            raise SetupError(explain(name, output))
    with open(stamp(name) + ".new", "w") as file:
        file.write(inputs)
    os.rename(stamp(name) + ".new", stamp(name))
    say(since(start))


def run(command, lock, progress):
    """Its exit status and output, which goes to the log; progress: called with it each second."""
    environment = dict(
        os.environ,
        PATH=BIN + os.pathsep + os.environ.get("PATH", os.defpath),
        AMENT_PREFIX_PATH=VENV,
        CMAKE_PREFIX_PATH=VENV,
    )
    with open(LOG, "a+", errors="replace") as log:
        log.write("\n$ {}\n".format(" ".join(command)))
        log.flush()
        begin = log.tell()
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
        ) as process:
            try:
                while is_running(process, 1.0):
                    progress(read_from(LOG, begin))
            except BaseException:  # as subprocess.call does
                process.kill()
                raise
    return process.returncode, read_from(LOG, begin)


def is_running(process, seconds):
    """Whether it still runs after so many seconds."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def say_after(title, text):
    """On a terminal, write the text after the title in place of what stands there."""
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        say("\r\033[K" + (title + text)[: columns - 1], end="")


def last_line(text):
    lines = text.split("\n")[:-1]  # what follows the last newline is not yet whole
    return lines[-1].strip() if lines else ""


def explain(name, text):
    """The one line for a command that failed, from what it printed."""
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return "the disk is full: make room at {} and {}, and run it again".format(
            ROOT, tempfile.gettempdir()
        )
    if "Retrying (Retry(" in text or "Could not fetch URL" in text:
        return "the package index cannot be reached: check the network (and `pip config list`)"
    lines = text.strip().splitlines()
    errors = [line.strip() for line in lines if "error" in line.lower()]
    reason = (errors or lines[-1:] or ["it ended without a word"])[0]
    return "the step `{}` failed: {} (details: {})".format(name, reason, LOG)


def since(start):
    minutes, seconds = divmod(int(time.time() - start), 60)
    return "{} min {:02} s".format(minutes, seconds) if minutes else "{} s".format(seconds)


# --- stamps ---------------------------------------------------------------------------------------


def stamp(name):
    return os.path.join(STAMPS, name)


def is_done(name, inputs, commands):
    return os.path.exists(stamp(name)) and read(stamp(name)) == inputs


def digest(paths):
    parts = [part for path in paths for part in (os.path.relpath(path, ROOT), read(path))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def files_in(root):
    return sorted(
        os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names
    )


def read(path):
    return read_from(path, 0)


def read_from(path, place):
    with open(path, errors="replace") as file:
        file.seek(place)
        return file.read()


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "")
    except (SetupError, OSError) as error:
        sys.exit("set-up: error: {}".format(error))
    except KeyboardInterrupt:
        sys.exit("set-up: stopped; run it again to continue")
