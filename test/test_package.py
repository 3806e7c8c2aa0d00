# SPDX-License-Identifier: Apache-2.0
"""Promise: an ordinary ament_python package, which names all it needs and installs all it has."""

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(
    not (ROOT / "package.xml").is_file(), reason="the package is tested in the source tree only"
)

# Where the rosdep key of a Python module is not the module's name. None: package.xml says why.
ROSDEP_KEY = {
    "cv2": "python3-opencv",
    "embreex": None,
    "jinja2": "python3-jinja2",
    "lightning": None,
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "nuscenes": "python3-nuscenes-devkit-pip",
    "onnxruntime": "python3-onnxruntime-pip",
    "PIL": "python3-pil",
    "pyquaternion": "python3-nuscenes-devkit-pip",
    "rosbags": "python3-rosbags-pip",
    "safetensors": "python3-transformers-pip",
    "scipy": "python3-scipy",
    "simplejpeg": None,
    "threadpoolctl": "python3-nuscenes-devkit-pip",  # through scikit-learn
    "torch": "python3-torch",
    "tqdm": "python3-tqdm",
    "transformers": "python3-transformers-pip",
    "triton": None,
    "yaml": "python3-yaml",
}

STARTED = {"rviz2"}
"""By the launch files, as programs."""


def imported_modules() -> set[str]:
    """Top-level names of what the installed code imports, without our own and Python's."""
    names = set()
    for folder in ("asd_perception", "asd_training", "launch"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names.add(str(node.module).split(".")[0])
    return names - {"asd_perception", "asd_training"} - set(sys.stdlib_module_names)


def test_package_xml_names_every_dependency():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.get("format") == "3"
    assert package.findtext("export/build_type") == "ament_python"
    declared = {element.text for element in package.findall("exec_depend")}
    needed = {ROSDEP_KEY.get(module, module) for module in imported_modules()} - {None}
    assert {"rclpy", "vision_msgs", "python3-torch"} <= needed
    assert needed - declared == set(), "imported, but not in package.xml"
    assert declared - needed == STARTED, "in package.xml, but not imported"


@pytest.fixture(scope="module")
def installed_files(tmp_path_factory) -> dict[str, str]:
    """What an installation puts where: path in the wheel -> text (empty for binary files)."""
    tree, wheels = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheels")
    ignored = shutil.ignore_patterns(".*", "build", "demo", "data", "runs", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", wheels, tree], check=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        return {name: files.read(name).decode(errors="replace") for name in files.namelist()}


def test_installation_has_what_ros_looks_for(installed_files):
    data = "asd_perception-0.1.0.data/data/share"
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
    commands = installed_files["asd_perception-0.1.0.dist-info/entry_points.txt"]
    for command in ("detector", "asd-bag", "asd-train", "asd-demo"):
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
