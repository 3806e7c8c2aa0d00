# SPDX-License-Identifier: Apache-2.0
"""Promise: an ordinary ament_python package, which names all it needs and installs all it has."""

import ast
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from asd_perception import __version__
from asd_perception.errors import UserError
from asd_perception.requirements import DISTRIBUTION, check_requirements

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
IN_SOURCE_TREE = (ROOT / "package.xml").is_file()
pytestmark = pytest.mark.skipif(
    not IN_SOURCE_TREE, reason="the package is tested in the source tree only"
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"] if IN_SOURCE_TREE else {}
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot() if IN_SOURCE_TREE else None

DISTRIBUTION_OF = {**DISTRIBUTION, "pydantic_core": "pydantic"}
ROSDEP_KEY = {"opencv-python-headless": "python3-opencv", "pyyaml": "python3-yaml"}

WITH_TORCH = {"triton"}
"""Comes with the builds of torch that need it."""

VIDEO_MESSAGES = "ffmpeg-image-transport-msgs"
"""Not in package.xml: few cameras send video. The node names it where it is missing."""

AUTOWARE_MESSAGES = "autoware-perception-msgs"
"""Not in package.xml: few robots run Autoware. The node does without their topic."""

UNDER_ANOTHER = {"onnx", "onnxscript", "rich", "tensorboardx"}
"""torch.onnx needs the first two, lightning's progress bar and logger the others."""


def imported(*folders: str) -> set[str]:
    """The packages that the code in these folders imports, without our own and Python's."""
    names = set()
    for file in (file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(str(node.module).split(".")[0])
    own = {"asd_perception", "asd_training"} | WITH_TORCH | set(sys.stdlib_module_names)
    return {DISTRIBUTION_OF.get(name, name).replace("_", "-") for name in names - own}


def requirements(*extras: str) -> dict[str, Requirement]:
    """What pyproject.toml asks for, by name: the robot's own needs, and those of the extras."""
    optional = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for extra in extras for line in optional[extra]]
    return {require.name.lower(): require for require in map(Requirement, lines)}


def ros_packages() -> set[str]:
    names = {str(element.text) for element in PACKAGE.findall("exec_depend")}
    return {name.replace("_", "-") for name in names if not name.startswith("python3-")}


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_what_the_robot_imports_is_among_its_needs():
    needed = imported("asd_perception", "launch")
    declared = set(requirements()) | ros_packages()
    optional = {"onnxruntime", "av", VIDEO_MESSAGES, AUTOWARE_MESSAGES}
    assert needed - declared == optional, "the node does without these, but nothing else"
    assert set(requirements()) - needed == set(), "needed, but not imported"


# Python's own from 3.14 on; before that, what rosbags reads compressed bags with.
ZSTD = {"compression", "backports"}


def test_what_the_workstation_imports_is_in_an_extra():
    needed = imported("asd_perception", "launch", "asd_training")
    declared = requirements("train", "synthetic", "onnx", "imagenet", "video")
    assert needed - set(declared) - ros_packages() - ZSTD == {VIDEO_MESSAGES, AUTOWARE_MESSAGES}
    assert set(declared) - needed == UNDER_ANOTHER, "in an extra, but not imported"
    assert ros_packages() - needed == set(), "in package.xml, but not imported"


def test_what_the_tests_import_is_in_an_extra():
    own = {file.stem for file in (ROOT / "test").glob("*.py")} | {"commands"}
    needed = imported("test") - {name.replace("_", "-") for name in own} - ros_packages() - ZSTD
    assert needed - set(requirements("train", "synthetic", "onnx", "test")) == {VIDEO_MESSAGES}


def test_package_xml_agrees_with_pyproject():
    assert PACKAGE.get("format") == "3"
    assert PACKAGE.findtext("export/build_type") == "ament_python"
    assert PACKAGE.findtext("version") == __version__
    assert str(PACKAGE.findtext("description")).rstrip(".") == PROJECT["description"]
    keys = {str(element.text) for element in PACKAGE.findall("exec_depend")}
    known = {ROSDEP_KEY.get(name, f"python3-{name}") for name in requirements()}
    assert {key for key in keys if key.startswith("python3-")} <= known


def test_every_requirement_is_pinned_to_a_version_that_it_allows():
    versions = {}
    for pin in pins("constraints.txt"):
        (specifier,) = pin.specifier
        versions.setdefault(pin.name.lower(), []).append(specifier.version)
    for name, requirement in requirements(*PROJECT["optional-dependencies"]).items():
        assert all(map(requirement.specifier.contains, versions[name])), name


def test_the_oldest_versions_are_those_that_pyproject_allows():
    oldest = {pin.name.lower(): str(pin.specifier) for pin in pins("constraints/oldest.txt")}
    for name, requirement in requirements().items():
        for lowest in requirement.specifier:
            pinned = Version(oldest[name].removeprefix("=="))
            assert pinned.release[: len(Version(lowest.version).release)] == (
                Version(lowest.version).release
            )


@pytest.mark.parametrize("package", ["torch", "transformers"])
@pytest.mark.parametrize(("found", "said"), [("1.13.1", "1.13.1"), (None, "none")])
def test_a_package_that_is_too_old_or_missing_is_named(monkeypatch, package, found, said):
    def version(name):
        if name != package:
            return metadata.version(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    check_requirements()
    monkeypatch.setattr("asd_perception.requirements.version", version)
    needed = requirements()[package].specifier
    with pytest.raises(UserError, match=f"{package} {needed} .*{said} .*pip install") as caught:
        check_requirements()
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def installed_files(tmp_path_factory) -> dict[str, str]:
    """What an installation puts where: path in the wheel -> text (empty for binary files)."""
    tree, wheels = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheels")
    for name in ("asd_perception", "asd_training", "config", "interfaces", "launch", "resource"):
        shutil.copytree(ROOT / name, tree / name)
    for name in ("LICENSE", "package.xml", "pyproject.toml", "setup.cfg", "setup.py"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", wheels, tree], check=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        return {name: files.read(name).decode(errors="replace") for name in files.namelist()}


def test_installation_has_what_ros_looks_for(installed_files):
    data = f"asd_perception-{__version__}.data/data/share"
    assert f"{data}/ament_index/resource_index/packages/asd_perception" in installed_files
    for source in [
        ROOT / "package.xml",
        *ROOT.glob("launch/*.launch.py"),
        *(file for file in ROOT.glob("config/**/*") if file.is_file()),
    ]:
        name = f"{data}/asd_perception/{source.relative_to(ROOT)}"
        assert installed_files[name] == source.read_text()


def test_installation_has_the_code_the_model_and_the_commands(installed_files):
    for package in ("asd_perception", "asd_training"):
        for file in (ROOT / package).rglob("*"):
            if file.suffix in (".py", ".safetensors", ".yaml", ".md", ".css", ".j2"):
                assert str(file.relative_to(ROOT)) in installed_files
    commands = installed_files[f"asd_perception-{__version__}.dist-info/entry_points.txt"]
    for command in PROJECT["scripts"]:
        assert f"{command} = asd_" in commands
    strangers = {name.split("/")[0].split("-")[0] for name in installed_files}
    assert strangers == {"asd_perception", "asd_training"}


def test_interfaces_are_hidden_from_colcon():
    assert (ROOT / "interfaces" / "COLCON_IGNORE").is_file()


def test_installation_has_the_definitions_of_messages(installed_files):
    """A machine without ROS writes bags by them."""
    for source in (ROOT / "interfaces").glob("*/msg/*.msg"):
        name = f"asd_training/bags/{source.relative_to(ROOT)}"
        assert installed_files[name] == source.read_text()
