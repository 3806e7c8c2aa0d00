#!/usr/bin/env bash
# Install the oldest supported set (constraints/oldest.txt) over the pinned one, and run the quick tests of what a
# robot runs: the network, the detector and the node.
#
#   tools/check_oldest.sh [PYTHON]     takes half an hour, and 10 GB of disk: PyPI's torch 2.6 brings CUDA along
set -euo pipefail
python=${1:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy: the environment that it gets must not replace the checkout's.
git -C "$root" ls-files -z | (cd "$root" && xargs -0 cp -P --parents -t "$work")
cd "$work"

# The pinned set first: it has the tests' own packages, ROS and the messages.
make setup PYTHON="$python"
.venv/bin/pip install --quiet --requirement constraints/oldest.txt
.venv/bin/python - << 'END'
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

for line in Path("constraints/oldest.txt").read_text().splitlines():
    if line and not line.startswith("#"):
        oldest = Requirement(line)
        assert oldest.specifier.contains(version(oldest.name)), f"{oldest}: {version(oldest.name)}"
        print(oldest)
END

cd test
../.venv/bin/pytest -q \
    test_backbones.py test_bev_pool.py test_calibration.py test_cores.py test_detector.py test_files.py \
    test_fusion.py test_geometry.py test_image_decoding.py test_inference.py test_intake.py test_launch.py \
    test_messages_*.py test_model_directory.py test_network.py test_node*.py test_odometry.py \
    test_onnx_parts.py test_pipeline.py test_preprocessing.py test_provenance.py test_rig_check.py \
    test_shipped_model.py test_synchronizer.py test_video_*.py test_view.py test_visualization.py

echo "the oldest supported set works"
