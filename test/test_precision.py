# SPDX-License-Identifier: Apache-2.0
"""Promise: a run computes in bfloat16 where the hardware does, says so, keeps it, and never
computes a loss in it."""

import json
import shutil
import sys

import pytest
import torch
import yaml
from small import SMALL

from asd_perception.configuration import to_dict
from asd_training.commands import asd_train as cli
from asd_training.config.run import StudentRun
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.losses.detection import detection_losses
from asd_training.models.precision import resolve
from asd_training.training.student import StudentTraining

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Sets what the processor can do."""
    return lambda **can: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)


@pytest.mark.parametrize(
    ("can", "precision", "reason"),
    [
        ({"avx512_bf16": True}, "bf16-mixed", "this processor has AVX-512 BF16"),
        ({"amx_bf16": True}, "bf16-mixed", "this processor has AMX"),
        (
            {"avx512_bf16": True, "amx_bf16": True},
            "bf16-mixed",
            "this processor has AVX-512 BF16 and AMX",
        ),
        (
            {"avx2": True, "amx_bf16": False},
            "32-true",
            "this processor has neither AVX-512 BF16 nor AMX",
        ),
    ],
)
def test_auto_follows_the_processor(processor, can, precision, reason):
    processor(**can)
    assert resolve("auto", CPU) == (precision, reason)
    assert resolve("16-mixed", CPU)[0] == "16-mixed"


def test_auto_follows_the_gpu(monkeypatch):
    for can, precision in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, can=can: can
        )
        assert resolve("auto", torch.device("cuda"))[0] == precision


def test_losses_are_in_float32_whatever_the_network_computes_in(synthetic_root):
    index = KeyframeIndex.open(synthetic_root)
    torch.manual_seed(0)
    module = StudentTraining(StudentRun(batch_size=2, student=SMALL), index)
    dataset = KeyframeDataset(index, SMALL, SampleContents())
    batch = collate([dataset[0], dataset[1]])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        head = module.heads(module.network, batch)
        assert head.heatmap.dtype == torch.bfloat16
        head = head._replace(heatmap=head.heatmap + 5)  # p near 1
        mixed = detection_losses(head, batch.objects)
        terms = module.losses(batch)
    exact = detection_losses(type(head)(*(maps.float() for maps in head)), batch.objects)
    for name, loss in exact.items():
        assert torch.equal(mixed[name], loss), name
    assert {term.dtype for term in terms.values()} == {torch.float32}
    norms = [m for m in module.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {norm.running_var.dtype for norm in norms} == {torch.float32}


def test_a_run_says_its_precision_and_keeps_it_on_another_machine(
    synthetic_root, tmp_path, processor, monkeypatch, capfd
):
    wide = {"embedding_size": 16, "hidden_sizes": [16, 16, 16, 16]}
    student = to_dict(SMALL) | {"encoder_channels": [16, 16, 16]}
    student["backbone"]["options"] |= wide
    config = {"steps": 1, "batch_size": 1, "loader_workers": 0, "student": student}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run = tmp_path / "run"
    start = ["asd-train", "student", str(synthetic_root), str(run)]
    start += ["--config", str(tmp_path / "config.yaml")]

    def train(*arguments):
        monkeypatch.setattr(sys, "argv", [*start, *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        assert end.value.code == 0, said.err
        return said.out

    processor(avx2=True)
    said = train()
    assert "precision: 32-true (this processor has neither AVX-512 BF16 nor AMX)" in said
    assert yaml.safe_load((run / "config.yaml").read_text())["precision"] == "32-true"
    assert json.loads((run / "metrics.json").read_text())["training"]["precision"] == "32-true"

    shutil.rmtree(run / "model")
    processor(avx512_bf16=True)
    said = train("--resume")  # the configuration is the one that it began with: auto
    assert "precision: 32-true (as configured)" in said
