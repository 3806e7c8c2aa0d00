# SPDX-License-Identifier: Apache-2.0
"""Promise: five backbones by name; local weights fill them exactly, or a line says why not."""

from __future__ import annotations

import dataclasses
import re
import socket

import pytest
import torch
import yaml
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageClassification

from asd_perception.configuration import from_dict, to_dict
from asd_perception.errors import OutOfMemoryError, UserError
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.network.backbone import ImageEncoder
from asd_perception.network.config import BACKBONES, BackboneConfig, StudentConfig
from asd_training.config.run import StudentRun
from asd_training.models.pretrained import load_pretrained_backbone

PUBLISHED_PARAMETERS = {
    "resnet18": 11.18e6,
    "resnet50": 23.51e6,
    "swin_t": 27.52e6,
    "convnext_t": 27.82e6,
    "efficientnet_lite0": 2.35e6,  # of 4.65e6, without its last stage and the classifier
}

FROM_TRANSFORMERS = [name for name in BACKBONES if name != "efficientnet_lite0"]


def image_encoder(backbone: BackboneConfig) -> ImageEncoder:
    return ImageEncoder(StudentConfig(backbone=backbone))


@pytest.mark.parametrize("name", BACKBONES)
def test_a_named_backbone_has_the_published_size_and_its_stride(name):
    with torch.device("meta"):  # shapes alone
        encoder = image_encoder(BACKBONES[name])
        features = encoder.eval()(torch.zeros(1, 1, 3, 256, 704))
    parameters = sum(p.numel() for p in encoder.backbone.parameters())
    assert parameters == pytest.approx(PUBLISHED_PARAMETERS[name], rel=0.02)
    stride = BACKBONES[name].stride
    assert features.shape == (1, 1, BACKBONES[name].channels, 256 // stride, 704 // stride)


def test_a_name_in_yaml_stands_for_the_whole_mapping():
    config = from_dict(StudentConfig, yaml.safe_load("backbone: swin_t"))
    assert config.backbone == BACKBONES["swin_t"]
    assert from_dict(StudentConfig, to_dict(config)) == config  # as a model directory writes it
    with pytest.raises(UserError, match="student.backbone is 'resnet34'; known names are resnet18"):
        from_dict(StudentRun, {"student": {"backbone": "resnet34"}})


def small(name: str) -> BackboneConfig:
    """The named backbone with a few channels and layers, where it has such options."""
    if name == "efficientnet_lite0":
        return BACKBONES[name]
    shrunk = {
        "resnet18": {"embedding_size": 8, "hidden_sizes": [8, 16, 16, 24], "depths": [1, 2, 1, 1]},
        "resnet50": {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 64], "depths": [2, 1, 1, 1]},
        "swin_t": {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4]},
        "convnext_t": {"hidden_sizes": [8, 16, 16, 24], "depths": [1, 1, 2, 1]},
    }[name]
    full = BACKBONES[name]
    return dataclasses.replace(full, options={**full.options, **shrunk}, channels=16)


def classifier(config: BackboneConfig) -> torch.nn.Module:
    """transformers' classifier on the same backbone, with random weights, norms included."""
    torch.manual_seed(1)
    options = AutoConfig.for_model(config.model_type, **config.options, num_labels=7)
    model = AutoModelForImageClassification.from_config(options)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.normal_()
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2.0)
    return model.eval()


@pytest.fixture
def no_network(monkeypatch):
    """Connecting to anywhere is an error."""

    def refuse(*_):
        raise AssertionError("tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("name", FROM_TRANSFORMERS)
@pytest.mark.parametrize("form", ["folder", "safetensors", "pth", "without prefix"])
def test_a_classifiers_weights_fill_the_backbone(name, form, tmp_path, no_network):
    config = small(name)
    source = classifier(config)
    if form == "folder":
        path = tmp_path / "hub"
        source.save_pretrained(path)
    elif form == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(source.state_dict(), path)
    else:
        path = tmp_path / "weights.pth"
        weights = source.state_dict()
        if form == "without prefix":
            weights = {key.removeprefix(f"{config.model_type}."): v for key, v in weights.items()}
        torch.save(weights, path)
    encoder = image_encoder(config).eval()
    lateral = encoder.lateral[0].weight.clone()
    load_pretrained_backbone(encoder, path)
    assert torch.equal(encoder.lateral[0].weight, lateral)

    images = torch.randn(1, 3, 256, 288)  # Swin's classifier takes none smaller than its windows
    with torch.no_grad():
        stages = source(images, output_hidden_states=True)
        expected = getattr(stages, "reshaped_hidden_states", stages.hidden_states)[-1]
        found = encoder.backbone(images).feature_maps[-1]
    if name in ("swin_t", "convnext_t"):  # the backbone adds a norm of each feature map
        expected = torch.nn.functional.layer_norm(
            expected.permute(0, 2, 3, 1), expected.shape[1:2], eps=1e-5
        ).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_trainable_weight_gets_a_gradient(name):
    encoder = image_encoder(small(name)).train()  # else training on several GPUs would stop
    encoder(torch.randn(1, 2, 3, 64, 96)).square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("name", BACKBONES)
def test_recomputing_changes_neither_gradients_nor_statistics(name):
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        encoder = image_encoder(small(name)).train()
        if recompute:
            encoder.recompute_stages()
        torch.manual_seed(1)
        encoder(torch.randn(1, 2, 3, 64, 96)).square().sum().backward()
        gradients = {n: p.grad for n, p in encoder.named_parameters() if p.requires_grad}
        results.append({**gradients, **dict(encoder.named_buffers())})
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, msg=key)


@pytest.mark.parametrize("name", BACKBONES)
def test_frozen_stages_do_not_change_in_training_and_the_others_do(name):
    torch.manual_seed(0)
    encoder = image_encoder(small(name))
    encoder.freeze_stages(2)
    encoder.train()
    before = {key: tensor.clone() for key, tensor in encoder.backbone.state_dict().items()}
    trained = [p for p in encoder.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.1)
    encoder(torch.randn(1, 2, 3, 64, 96)).square().mean().backward()
    optimiser.step()
    changed = {
        key
        for key, tensor in encoder.backbone.state_dict().items()
        if not torch.equal(tensor, before[key])
    }
    later = [key for key in before if re.search(r"(stages|encoder\.layers)\.[^01]\.", key)]
    assert changed and all(key in later or "hidden_states_norms" in key for key in changed)
    assert [p for p in trained if p.grad is None] == []
    if name not in ("swin_t", "convnext_t"):  # their layer norms have no statistics
        assert any("running_var" in key for key in changed)


def test_more_frozen_stages_than_there_are_is_an_error():
    with pytest.raises(UserError, match="frozen_stages is 5, but resnet has 4 stages"):
        image_encoder(small("resnet18")).freeze_stages(5)


def test_a_backbone_that_cannot_be_recomputed_says_so():
    vit = BackboneConfig(
        model_type="dinov2",
        options={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        | {"patch_size": 8, "image_size": 64},
        out_features=("stage1", "stage2"),
        stride=8,
        channels=16,
    )
    with pytest.raises(UserError, match="the stages of dinov2 are not known"):
        image_encoder(vit).recompute_stages()


def torchvision_name(name: str) -> str:
    """torchvision's name of a tensor of transformers' ResNet."""
    name = name.removeprefix("resnet.").replace("classifier.1", "fc")
    name = name.replace("embedder.embedder.convolution", "conv1")
    name = name.replace("embedder.embedder.normalization", "bn1")
    name = name.replace("shortcut.convolution", "downsample.0")
    name = name.replace("shortcut.normalization", "downsample.1")
    for stage in range(4):
        name = name.replace(f"encoder.stages.{stage}.layers.", f"layer{stage + 1}.")
    for index in range(3):
        name = name.replace(f"layer.{index}.convolution", f"conv{index + 1}")
        name = name.replace(f"layer.{index}.normalization", f"bn{index + 1}")
    return name


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_names_of_a_resnet_are_known(name, tmp_path):
    source = classifier(small(name))
    weights = {torchvision_name(key): tensor for key, tensor in source.state_dict().items()}
    assert {"conv1.weight", "layer1.0.bn2.running_var", "layer2.0.downsample.1.bias"} <= set(
        weights
    )
    torch.save(weights, tmp_path / "resnet.pth")
    encoder = image_encoder(small(name))
    load_pretrained_backbone(encoder, tmp_path / "resnet.pth")
    for key, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[f"resnet.{key}"]), key


def test_the_backbone_of_a_model_directory_is_taken():
    weights = model_directory.load(TINY)
    encoder = ImageEncoder(weights.config)
    load_pretrained_backbone(encoder, TINY)
    expected = weights.image_encoder.backbone.state_dict()
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    with pytest.raises(UserError, match="holds no weights of the configured resnet"):
        load_pretrained_backbone(image_encoder(small("resnet18")), TINY)


def test_weights_that_do_not_fit_are_named(tmp_path):
    config = small("resnet18")
    encoder = image_encoder(config)
    before = {key: tensor.clone() for key, tensor in encoder.backbone.state_dict().items()}
    weights = classifier(config).state_dict()
    stem = "resnet.embedder.embedder.convolution.weight"
    for change, message in (
        ({stem: None}, "embedder.embedder.convolution.weight is missing"),
        ({stem: torch.zeros(4, 3, 7, 7)}, r"has shape \(4, 3, 7, 7\) instead of \(8, 3, 7, 7\)"),
        ({"resnet.encoder.stages.9.weight": torch.zeros(1)}, "stages.9.weight is not in the back"),
    ):
        changed = {k: v for k, v in {**weights, **change}.items() if v is not None}
        torch.save(changed, tmp_path / "wrong.pth")
        with pytest.raises(UserError, match=message) as error:
            load_pretrained_backbone(encoder, tmp_path / "wrong.pth")
        assert "\n" not in str(error.value)
    torch.save(classifier(small("resnet50")).state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match="holds no weights of the configured resnet: .* more;"):
        load_pretrained_backbone(encoder, tmp_path / "other.pth")
    for key, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, before[key]), key


def test_absent_weights_are_told_with_the_command_that_fetches_them(tmp_path, no_network):
    path = tmp_path / "weights" / "resnet-18"
    with pytest.raises(
        UserError, match=re.escape(f"hf download microsoft/resnet-18 --local-dir {path}")
    ):
        load_pretrained_backbone(image_encoder(BACKBONES["resnet18"]), path)
    with pytest.raises(UserError, match="neither model.safetensors nor pytorch_model.bin"):
        load_pretrained_backbone(image_encoder(small("resnet18")), tmp_path)


def test_memory_that_is_too_small_for_weights_is_not_called_a_fault_of_the_file(
    tmp_path, monkeypatch
):
    def full(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 TB")

    torch.save({"weight": torch.zeros(1)}, tmp_path / "weights.pth")
    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(OutOfMemoryError, match="out of memory on cpu"):
        load_pretrained_backbone(image_encoder(small("resnet18")), tmp_path / "weights.pth")


class Intruder:
    def __reduce__(self):
        return (exec, ("raise AssertionError('code ran')",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("code.pth", Intruder(), "cannot be read as a file of tensors"),
        ("list.pth", [torch.zeros(1)], "other things than named tensors"),
        ("broken.pth", b"no checkpoint", "cannot be read as a file of tensors"),
        ("broken.safetensors", b"no weights", "cannot be read"),
    ],
)
def test_a_file_that_is_no_weights_is_told_and_runs_no_code(tmp_path, name, content, message):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=message) as error:
        load_pretrained_backbone(image_encoder(small("resnet18")), path)
    assert "\n" not in str(error.value)
