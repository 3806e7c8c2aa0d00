# SPDX-License-Identifier: Apache-2.0
"""What colcon needs besides pyproject.toml: the files of a ROS package's share/ folder.

The Python version stands here, because colcon can read it from here only.
"""

from glob import glob
from os.path import dirname

from setuptools import setup

NAME = "asd_perception"
SHARED = [
    *glob("launch/*.launch.py"),
    *glob("config/**/*.yaml", recursive=True),
    "config/fastdds.xml",
]

setup(
    python_requires=">=3.10",
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        # `colcon build --symlink-install` builds from links to these files: without
        # pyproject.toml among them it would know neither name nor commands.
        (f"share/{NAME}", ["package.xml", "pyproject.toml"]),
        *((f"share/{NAME}/{dirname(file)}", [file]) for file in SHARED),
    ],
)
