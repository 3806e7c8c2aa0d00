# SPDX-License-Identifier: Apache-2.0
"""An ament_python package for colcon, and an ordinary package for pip.

What it needs is named in package.xml for rosdep and pinned in constraints.txt for `make setup`.
"""

from glob import glob
from os.path import dirname

from setuptools import find_packages, setup

NAME = "asd_perception"
SHARED = [
    *glob("launch/*.launch.py"),
    *glob("config/**/*.yaml", recursive=True),
    "config/detector.rviz",
    "config/fastdds.xml",
    "config/foxglove_layout.json",
]

setup(
    name=NAME,
    version="0.1.0",
    description="Camera-only 3D object detection that learns from LiDAR, as a ROS 2 node",
    license="Apache-2.0",
    maintainer="asd_perception maintainers",
    maintainer_email="asd_perception@example.com",
    python_requires=">=3.10",
    packages=find_packages(include=["asd_perception*", "asd_training*"]),
    package_data={
        NAME: ["models/*/*", "models/*/onnx/*"],
        "asd_training.evaluation.report": ["report.html.j2", "report.css"],
        "asd_training.bags": ["fastdds.xml", "interfaces/*/msg/*.msg"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *((f"share/{NAME}/{dirname(file)}", [file]) for file in SHARED),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},  # tells colcon test to run pytest
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "detector = asd_perception.ros.node:main",
            "asd-bench = asd_training.commands.asd_bench:main",
            "asd-bag = asd_training.commands.asd_bag:main",
            "asd-train = asd_training.commands.asd_train:main",
            "asd-demo = asd_training.commands.asd_demo:main",
        ]
    },
)
