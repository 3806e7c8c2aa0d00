# SPDX-License-Identifier: Apache-2.0
"""Training the student on ground truth: `asd-train student`."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import logging
import math
import platform
import shlex
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from asd_perception import __version__, model_directory
from asd_perception.config import StudentConfig, from_dict, to_dict
from asd_perception.constants import CLASSES
from asd_perception.detector import Detector
from asd_perception.errors import UserError
from asd_perception.files import atomic_file
from asd_perception.network.student import Student
from asd_training.datasets.keyframes import KeyframeDataset, TrainingSample
from asd_training.datasets.nuscenes import open_dataset, scene_samples, split_scenes
from asd_training.evaluation import detect_samples, format_metrics, score
from asd_training.objective import student_objective


@dataclass(frozen=True)
class TrainingConfig:
    """One training run. Lengths are in optimiser steps, so that they do not depend on the data.

    train_split, val_split: split names of the dataset. learning_rate: peak of one cosine cycle
    after `warmup_steps` of linear growth.
    """

    train_split: str = "synthetic_train"
    val_split: str = "synthetic_val"
    seed: int = 0
    steps: int = 2000
    batch_size: int = 4
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    gradient_clip: float = 10.0
    loader_workers: int = 2
    student: StudentConfig = field(default_factory=StudentConfig)


class StudentTraining(LightningModule):
    """The student, its objective on ground truth and its optimiser.

    `semantics`, an auxiliary head on the image features, is left behind after training.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.student = Student(config.student)
        self.semantics = nn.Conv2d(config.student.backbone.channels, len(CLASSES) + 1, 1)

    def training_step(self, batch: TrainingSample, _: int) -> Tensor:
        output = self.student(batch.images, batch.intrinsics, batch.ego_from_camera)
        semantics = self.semantics(output.image_features.flatten(0, 1))
        semantics = semantics.unflatten(0, output.image_features.shape[:2])
        terms = student_objective(output, semantics, batch.objects, batch.pixels)
        loss = torch.stack(list(terms.values())).sum()
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {float(value):.3g}" for name, value in terms.items())
            raise UserError(
                f"the loss is not finite at step {self.global_step} ({values}); "
                "lower learning_rate or gradient_clip"
            )
        self.log("loss", loss, prog_bar=True)
        self.log_dict({f"loss/{name}": value for name, value in terms.items()})
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        config = self.config
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

        def factor(step: int) -> float:
            if step < config.warmup_steps:
                return (step + 1) / config.warmup_steps
            span = max(1, config.steps - config.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - config.warmup_steps) / span)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train student`."""
    parser.add_argument("data", type=Path, help="root of a nuScenes-format dataset")
    parser.add_argument("run", type=Path, help="folder of the run: logs, checkpoint, model")
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML of TrainingConfig, as in config/training/ (default: its built-in values)",
    )
    parser.add_argument("--version", help="version folder of the dataset, if it holds several")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")


def run(args: argparse.Namespace) -> None:
    """Train, export to RUN/model, and score it with the official evaluator."""
    checkpoint = args.run / "last.ckpt"
    if (args.run / "model").exists():
        raise UserError(f"{args.run} is finished: its model is {args.run / 'model'}")
    if args.resume and not checkpoint.is_file():
        raise UserError(f"{checkpoint} does not exist; start the run without --resume")
    if not args.resume and args.run.is_dir() and any(args.run.iterdir()):
        raise UserError(f"{args.run} is not empty; go on with --resume or choose another folder")
    config = _config_of_run(args)
    nusc = open_dataset(args.data, args.version)
    train_scenes = split_scenes(nusc, config.train_split)
    val_scenes = split_scenes(nusc, config.val_split)
    if not train_scenes:
        raise UserError(f"{args.data}: the split {config.train_split} holds no scene")

    args.run.mkdir(parents=True, exist_ok=True)
    with atomic_file(args.run / "config.yaml") as path:
        path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False))

    _quieten_lightning()
    seed_everything(config.seed, workers=True, verbose=False)
    dataset = KeyframeDataset(nusc, train_scenes, config.student, augment=True)
    loader = DataLoader(
        dataset,
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=len(dataset) >= config.batch_size,
        num_workers=config.loader_workers,
        persistent_workers=config.loader_workers > 0,
    )
    module = StudentTraining(config)
    timer = Timer()  # counts through resumed runs
    trainer = Trainer(
        default_root_dir=args.run,
        accelerator="auto",
        devices=1,
        max_steps=config.steps,
        gradient_clip_val=config.gradient_clip,
        logger=CSVLogger(args.run, name="log"),  # a resumed run writes the next version_N
        callbacks=[timer, ModelCheckpoint(args.run, filename="last", every_n_train_steps=100)],
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    try:
        trainer.fit(module, loader, ckpt_path=checkpoint if args.resume else None)
    except UserError as error:  # one from a loader's process carries that process's traceback
        raise UserError(str(error).strip().splitlines()[-1].rpartition("UserError: ")[2]) from error

    provenance: dict[str, Any] = {
        "method": "student on ground truth with LiDAR depth supervision",
        "command": shlex.join(["asd-train", *sys.argv[1:]]),
        "data": {
            "version": nusc.version,
            "train_scenes": len(train_scenes),
            "train_keyframes": len(dataset),
            "synthesis": synthesis_settings(args.data),
        },
        "training": {key: v for key, v in to_dict(config).items() if key != "student"},
        "minutes": round(timer.time_elapsed("train") / 60, 1),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"{trainer.strategy.root_device}",
        "versions": {
            "asd_perception": __version__,
            "commit": _commit(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "lightning": lightning.__version__,
        },
        "date": datetime.date.today().isoformat(),
    }
    module.student.cpu().eval()
    if val_scenes:
        samples = [sample for scene in val_scenes for sample in scene_samples(nusc, scene)]
        submission = detect_samples(Detector(module.student), nusc, samples)
        metrics = score(nusc, submission, args.run / "val_submission.json")
        print(format_metrics(metrics))
        provenance["validation"] = {"split": config.val_split, **dataclasses.asdict(metrics)}
    model_directory.save(args.run / "model", module.student, provenance)
    print(f"model directory: {args.run / 'model'}")


def _config_of_run(args: argparse.Namespace) -> TrainingConfig:
    """The configuration: of the file given, or, to resume, the one that the run began with."""
    config = read_config(args.config) if args.config else TrainingConfig()
    if not args.resume:
        return config
    begun = read_config(args.run / "config.yaml")
    if args.config and config != begun:
        raise UserError(
            f"{args.config} differs from {args.run / 'config.yaml'}; leave out --config"
        )
    return begun


def _commit() -> str | None:
    """The git commit of this program, "-dirty" if it was changed since; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _quieten_lightning() -> None:
    """Leave its progress bar, without the advertisements and warnings about its own insides."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*LeafSpec.*",
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
    ):
        warnings.filterwarnings("ignore", message)


def read_config(path: Path) -> TrainingConfig:
    """A training configuration from YAML. Raises UserError that names the key at fault."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    try:
        return from_dict(TrainingConfig, values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def synthesis_settings(root: Path) -> dict[str, Any] | None:
    """What a synthetic dataset says of the command that made it; None for other data."""
    path = root / "synthesis.json"
    return json.loads(path.read_text()) if path.is_file() else None
