# SPDX-License-Identifier: Apache-2.0
"""Promise: prepared samples are the same samples, whole or not there at all, and shared."""

import fcntl
import json
import multiprocessing
import re
import resource
import shutil
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from commands import stopped_at
from rigs import FIVE, with_cameras
from small import SMALL

from asd_perception.configuration import to_dict
from asd_perception.errors import UserError
from asd_perception.network.config import DepthConfig, StudentConfig
from asd_training.commands import asd_train as cli
from asd_training.config.augmentation import AugmentationConfig
from asd_training.config.run import StudentRun
from asd_training.data import store as store_module
from asd_training.data.augmentation import Augmentation, rows_above
from asd_training.data.index import KeyframeIndex
from asd_training.data.samples import KeyframeDataset, SampleContents
from asd_training.data.store import SampleStore
from asd_training.training.student import StudentTraining

CONFIG = StudentConfig()
STUDENT = SampleContents()
ALL_KINDS = {
    "student": STUDENT,
    "distilled": SampleContents(sweeps=1),
    "lidar": SampleContents(images=False, sweeps=1, network_sees_lidar=True),
}
WORLD = AugmentationConfig(flip=True, bev_scale=(0.9, 1.1), camera_dropout=0.3)
WARPED = AugmentationConfig(resize=(0.8, 1.0), rotation=5.4, colour_gain=0, colour_offset=0)
TURNED = AugmentationConfig(camera_rotation=4, colour_gain=0, colour_offset=0)
FILES = ["images.bin", "seen.bin", "depths.bin", "classes.bin", "points.bin"]


@pytest.fixture(scope="module")
def index(synthetic_root):
    return KeyframeIndex.open(synthetic_root)


@pytest.fixture(scope="module")
def keyframes(index):
    return index.split("synthetic_train")


@pytest.fixture
def open_store(tmp_path, index, keyframes):
    def open_store(contents=STUDENT, augmentation=None, config=CONFIG):
        return SampleStore.open(
            tmp_path / "cache", index, keyframes, config, contents, augmentation
        )

    return open_store


def tensors(sample):
    """All tensors of a sample, by name."""
    found = {}
    for name, value in sample._asdict().items():
        if isinstance(value, torch.Tensor):
            found[name] = value
        else:
            found |= {f"{name}.{key}": tensor for key, tensor in tensors(value).items()}
    return found


def assert_same(sample, other):
    for name, tensor in tensors(sample).items():
        torch.testing.assert_close(
            tensors(other)[name], tensor, rtol=0, atol=0, equal_nan=True, msg=name
        )


@pytest.mark.parametrize("augmentation", [WORLD, WARPED], ids=["world", "warped"])
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_prepared_sample_is_bit_for_bit_the_same(
    index, keyframes, open_store, kind, augmentation
):
    contents = ALL_KINDS[kind]
    files = KeyframeDataset(index, CONFIG, contents, augmentation)
    store = KeyframeDataset(
        index, CONFIG, contents, augmentation, open_store(contents, augmentation)
    )
    for i in map(int, keyframes):
        assert_same(files[i], store[i])
        for seed in range(3) if augmentation is WORLD else ():  # a warp interpolates once more
            draws = (np.random.default_rng(seed) for _ in range(2))
            assert_same(files.sample(i, next(draws)), store.sample(i, next(draws)))


def test_points_are_stored_only_where_samples_are_made_with_them(open_store):
    assert not len(open_store(STUDENT, WORLD).points)
    assert np.isfinite(open_store(STUDENT, WORLD).depths).any()
    for contents, augmentation in ((STUDENT, WARPED), (ALL_KINDS["distilled"], WORLD)):
        assert len(open_store(contents, augmentation).points)


def test_keyframes_that_lack_cameras_are_prepared_too(synthetic_root, tmp_path):
    lacking = {"front": 1, "CAM_BACK_LEFT": 2}
    index = KeyframeIndex.open(with_cameras(synthetic_root, tmp_path / "five", FIVE, lacking))
    everything = np.arange(len(index))
    store = SampleStore.open(tmp_path / "cache", index, everything, CONFIG, STUDENT, None)
    files = KeyframeDataset(index, CONFIG, STUDENT)
    for i in map(int, everything):
        assert_same(files[i], KeyframeDataset(index, CONFIG, STUDENT, None, store)[i])


@pytest.mark.parametrize("augmentation", [WARPED, TURNED], ids=["warped", "turned"])
def test_a_warped_image_shows_what_it_would_without_a_store(
    index, keyframes, open_store, augmentation
):
    files = KeyframeDataset(index, CONFIG, STUDENT, augmentation)
    i = int(keyframes[0])

    def difference(recorded):
        stored = KeyframeDataset(index, CONFIG, STUDENT, augmentation, recorded)
        apart = []
        for seed in range(4):
            one, other = (d.sample(i, np.random.default_rng(seed)) for d in (files, stored))
            apart.append((one.images.float() - other.images.float()).abs())
            torch.testing.assert_close(one.intrinsics, other.intrinsics)
            torch.testing.assert_close(one.ego_from_camera, other.ego_from_camera)
        return torch.stack(apart)

    store = open_store(augmentation=augmentation)
    margin = rows_above(augmentation, CONFIG.image_size)

    def bare(keyframe):
        recorded = store(keyframe)
        images = [image[margin:] for image in recorded.cameras.images]
        return recorded._replace(cameras=recorded.cameras._replace(images=images))

    with_margin, without = difference(store), difference(bare)
    assert with_margin.mean() < 3  # interpolated twice
    assert without[..., :10, :].mean() > 5 * with_margin[..., :10, :].mean()


def test_the_margin_is_what_the_widest_warp_needs():
    size = CONFIG.image_size
    corners = np.array([[0, 0, 1.0], [size[1] - 1, 0, 1.0]]).T
    margin = rows_above(WARPED, size)
    highest = 0.0
    for seed in range(300):
        warps = Augmentation.draw(WARPED, 6, size, np.random.default_rng(seed)).image_warps
        highest = max(highest, -(np.linalg.inv(warps) @ corners)[:, 1].min())
    assert highest <= margin - 1 < 1.2 * highest
    assert rows_above(AugmentationConfig(resize=(1.0, 1.3)), size) == 0
    assert rows_above(None, size) == 0


def test_a_store_is_shared_and_belongs_to_its_data_and_configuration(
    open_store, index, keyframes, tmp_path
):
    first = open_store()
    stamp = (first.folder / "images.bin").stat().st_mtime_ns
    assert open_store().folder == first.folder
    other_grid = StudentConfig(bev_channels=8, encoder_blocks=2, depth=DepthConfig(far=80.0))
    assert open_store(config=other_grid).folder == first.folder
    assert open_store(augmentation=WORLD).folder == first.folder
    assert (first.folder / "images.bin").stat().st_mtime_ns == stamp
    others = [
        open_store(augmentation=WARPED),
        open_store(augmentation=AugmentationConfig(resize=(1.0, 1.2))),
        open_store(config=StudentConfig(depth=DepthConfig(near=2.0))),
        open_store(contents=SampleContents(sweeps=2)),
        open_store(config=StudentConfig(image_size=(64, 128))),
        open_store(config=StudentConfig(trained_cameras=())),
        SampleStore.open(tmp_path / "cache", index, keyframes[:1], CONFIG, STUDENT, None),
    ]
    assert len({first.folder, *(store.folder for store in others)}) == 8


def test_only_samples_with_the_same_returns_share_a_store(open_store):
    cropped = AugmentationConfig(resize=(1.0, 1.2))  # needs no margin, and its returns found anew
    assert rows_above(cropped, CONFIG.image_size) == 0
    for sweeps in range(2):
        contents = SampleContents(sweeps=sweeps)
        warped, still = open_store(contents, cropped), open_store(contents)
        assert warped.folder != still.folder
        assert not np.isfinite(warped.depths).any() and np.isfinite(still.depths).any()


def test_images_that_were_made_anew_are_not_mistaken(synthetic_root, tmp_path):
    root = shutil.copytree(synthetic_root, tmp_path / "data")
    index = KeyframeIndex.open(root)
    keyframes = index.split("synthetic_train")
    opened = []
    for _ in range(2):
        opened.append(SampleStore.open(tmp_path / "c", index, keyframes, CONFIG, STUDENT, None))
        image = index.frame(int(keyframes[0])).image_paths[0]
        image.write_bytes(image.read_bytes() + b"\0")
    assert opened[0].folder != opened[1].folder


@pytest.mark.parametrize("file", [*FILES, "records.npz"])
def test_a_torn_store_is_built_anew(open_store, index, keyframes, capfd, file):
    contents = ALL_KINDS["distilled"]
    path = open_store(contents).folder / file
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    store = open_store(contents)
    assert re.search(
        f"{store.folder} is damaged and is built anew \\(.+\\)\n", capfd.readouterr().err
    )
    assert path.stat().st_size == len(whole)
    i = int(keyframes[0])
    files = KeyframeDataset(index, CONFIG, contents)
    assert_same(files[i], KeyframeDataset(index, CONFIG, contents, None, store)[i])


def test_a_store_of_other_samples_is_built_anew(open_store, capfd):
    foreign, folder = open_store(augmentation=WARPED).folder, open_store().folder
    shutil.rmtree(folder)
    shutil.copytree(foreign, folder)
    open_store()
    assert "is damaged and is built anew (it holds other samples)" in capfd.readouterr().err


@pytest.mark.parametrize("file", FILES)
def test_a_changed_byte_is_refused(open_store, keyframes, file):
    store = open_store(ALL_KINDS["distilled"])
    with (store.folder / file).open("r+b") as changed:
        changed.seek(100)
        byte = changed.read(1)
        changed.seek(100)
        changed.write(bytes([byte[0] ^ 1]))
    with pytest.raises(UserError, match=rf"is damaged \(keyframe {keyframes[0]}\); remove it"):
        store(int(keyframes[0]))


def test_what_a_killed_process_left_is_removed(open_store):
    folder = open_store().folder
    leftover = folder.parent / f".{folder.name}.killed"
    folder.rename(leftover)
    open_store()
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{folder.name}.lock"}


def _open(barrier, results, *arguments):
    barrier.wait()
    results.put(SampleStore.open(*arguments).images.sum())


def test_of_two_runs_that_start_at_once_one_builds(tmp_path, index, keyframes, capfd):
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(2), fork.Queue()
    arguments = (barrier, results, tmp_path / "cache", index, keyframes, CONFIG, STUDENT, None)
    processes = [fork.Process(target=_open, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    assert sums[0] == sums[1]
    assert capfd.readouterr().err.count("0/3 [") == 1  # one progress bar
    assert len(list((tmp_path / "cache").iterdir())) == 2  # the store and its lock


def test_without_locks_the_first_to_finish_wins(open_store, monkeypatch):
    def no_locks(*_):
        raise OSError("no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr("asd_training.data.samples.available_cores", lambda: 1)
    read, others = store_module.read_keyframe, []

    def overtaken(*arguments):
        if not others:
            others.append(None)
            others[0] = open_store()
        return read(*arguments)

    monkeypatch.setattr(store_module, "read_keyframe", overtaken)
    assert np.array_equal(open_store().images, others[0].images)
    assert {path.suffix for path in others[0].folder.parent.iterdir()} == {"", ".lock"}


@pytest.fixture
def asd_train(monkeypatch, capfd, synthetic_root, tmp_path):
    """Trains a small student into a folder; the exit status and what was said on stderr."""
    run = StudentRun(steps=3, batch_size=1, warmup_steps=0, checkpoint_every=1, student=SMALL)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(to_dict(run)))

    def call(folder, *arguments):
        if "--resume" not in arguments:
            arguments = ("--config", str(tmp_path / "small.yaml"), *arguments)
        command = ["asd-train", "student", str(synthetic_root), str(folder), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, capfd.readouterr().err

    return call


def test_a_run_with_a_cache_killed_and_resumed_ends_as_one_without(
    index, tmp_path, asd_train, monkeypatch
):
    assert asd_train(tmp_path / "files")[0] == 0

    with stopped_at(monkeypatch, StudentTraining, 2):
        code, said = asd_train(tmp_path / "store", f"--set=cache={tmp_path / 'cache'}")
        assert code == 2
        assert "stopped" in said
    assert asd_train(tmp_path / "store", "--resume")[0] == 0
    files, store = (
        safetensors.torch.load_file(tmp_path / run / "model" / "model.safetensors")
        for run in ("files", "store")
    )
    for name, tensor in files.items():
        torch.testing.assert_close(store[name], tensor, rtol=0, atol=0, msg=name)
    origin = json.loads((tmp_path / "store" / "origin.json").read_text())
    assert origin["training"]["cache"].endswith("/cache")


def test_a_full_disk_is_one_line_and_leaves_nothing(index, tmp_path, asd_train):
    cache, before = tmp_path / "cache", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        code, said = asd_train(tmp_path / "run", f"--set=cache={cache}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "Traceback" not in said
    assert re.search(rf"error: {cache}/\w+: File too large; .* --resume", said)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    assert asd_train(tmp_path / "run", "--resume")[0] == 0


def test_a_cache_that_cannot_be_made_is_one_line(index, tmp_path, asd_train):
    (tmp_path / "file").touch()
    code, said = asd_train(tmp_path / "run", f"--set=cache={tmp_path / 'file' / 'cache'}")
    assert code == 2
    assert "Traceback" not in said
    assert f"cannot create the folder {tmp_path / 'file' / 'cache'}" in said
