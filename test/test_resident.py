# SPDX-License-Identifier: Apache-2.0
"""Promise: samples that lie on the device are the loader's samples, and nothing in making them asks
the device for a value."""

import re
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from commands import asd_train_here
from rigs import FIVE, with_cameras
from small import SMALL
from test_cuda_student import OneDevice
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.data import default_collate

from asd_perception.cameras.view import mostly_seen
from asd_perception.configuration import from_dict, to_dict
from asd_perception.errors import UserError
from asd_perception.network import model_directory
from asd_perception.network.config import StudentConfig
from asd_perception.ops import bev_pool
from asd_training.config.augmentation import AugmentationConfig
from asd_training.config.distillation import DistillConfig
from asd_training.config.run import StudentRun, TeacherRun
from asd_training.config.teacher import TeacherConfig
from asd_training.data import targets
from asd_training.data.augmentation import Augmentation, CameraImages, apply
from asd_training.data.example import example_rig
from asd_training.data.index import KeyframeIndex
from asd_training.data.nuscenes import Annotations
from asd_training.data.sampler import TrainingStream
from asd_training.data.samples import KeyframeDataset, SampleContents, collate
from asd_training.data.store import SampleStore
from asd_training.models.teacher import Teacher
from asd_training.resident import samples as resident_samples
from asd_training.resident import targets as resident_targets
from asd_training.resident.augmentation import Objects, augment_seen, mostly_seen_of
from asd_training.resident.draws import DrawnSamples, packed, unpacked
from asd_training.resident.samples import ResidentSamples, made_resident
from asd_training.resident.step import RecordedStep
from asd_training.training.student import StudentTraining

CONFIG = StudentConfig()
CPU = torch.device("cpu")
CONTENTS = {
    "student": SampleContents(),
    "distilled": SampleContents(sweeps=1),
    "lidar": SampleContents(images=False, sweeps=1, network_sees_lidar=True),
    "lidar_camera": SampleContents(sweeps=1, network_sees_lidar=True),
}
WORLD = AugmentationConfig(flip=True, bev_scale=(0.8, 1.2), camera_dropout=0.4)
WARPED = AugmentationConfig(resize=(0.8, 1.2), rotation=5.4, camera_dropout=0.2)


@pytest.fixture(scope="module")
def six(synthetic_root):
    return KeyframeIndex.open(synthetic_root)


@pytest.fixture(scope="module")
def five(synthetic_root, tmp_path_factory):
    """Keyframes that lack cameras, of a rig that does not look all round."""
    root = tmp_path_factory.mktemp("five") / "data"
    lacking = {"front": 1, "CAM_BACK_LEFT": 2}
    return KeyframeIndex.open(with_cameras(synthetic_root, root, FIVE, lacking))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The loader's samples and the resident ones, of the same places in a run."""
    cache = tmp_path_factory.mktemp("cache")

    def both(index, kind, augmentation, samples=6, config=CONFIG, seed=0):
        contents, keyframes = CONTENTS[kind], np.arange(len(index))
        store = SampleStore.open(cache, index, keyframes, config, contents, augmentation)
        dataset = KeyframeDataset(index, config, contents, augmentation, store)
        loader = TrainingStream(dataset, keyframes, seed)
        drawn = DrawnSamples(index, contents.images, augmentation, config.image_size)
        draws = TrainingStream(drawn, keyframes, seed)
        resident = ResidentSamples(store, index, config, contents, augmentation, CPU)
        batch = resident(torch.stack([draws[place] for place in range(samples)]))
        return collate([loader[place] for place in range(samples)]), batch

    both.cache = cache
    return both


def assert_alike(found, expected, name):
    assert found.shape == expected.shape, name
    assert found.dtype == expected.dtype, name
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4, equal_nan=True, msg=name)


def assert_same_samples(loaded, resident, images=True):
    real = resident.points.isfinite().all(dim=1)
    resident = resident._replace(
        points=resident.points[real], point_sample=resident.point_sample[real]
    )
    for name in loaded._fields:
        values, others = getattr(resident, name), getattr(loaded, name)
        if name in ("pixels", "objects"):
            for part in values._fields:
                assert_alike(getattr(values, part), getattr(others, part), f"{name}.{part}")
        elif name != "images" or images:
            assert_alike(values, others, name)


@pytest.mark.parametrize("augmentation", [None, WORLD], ids=["plain", "world"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_resident_sample_is_the_loaders(six, both, kind, augmentation):
    assert_same_samples(*both(six, kind, augmentation))


@pytest.mark.parametrize("augmentation", [None, WORLD], ids=["plain", "world"])
def test_it_is_so_where_keyframes_lack_cameras(five, both, augmentation):
    assert_same_samples(*both(five, "student", augmentation, 12))


@pytest.mark.parametrize("kind", ["student", "lidar_camera"])
def test_warped_images_show_what_the_loaders_do(six, both, kind):
    loaded, resident = both(six, kind, WARPED)
    different = torch.zeros(())
    for ours, theirs in zip(resident.pixels, loaded.pixels, strict=True):
        different = torch.maximum(different, (ours != theirs).float().mean())
    assert different < 1e-3  # returns at the border of two pixels
    assert (resident.seen != loaded.seen).float().mean() < 1e-3
    apart = (resident.images.float() - loaded.images.float()).abs()
    assert apart.mean() < 0.5  # OpenCV interpolates in steps of 1/32 pixel
    assert apart.max() < 20
    same = {name: getattr(loaded, name) for name in ("pixels", "seen")}
    assert_same_samples(loaded, resident._replace(**same), images=False)


SHORT = {
    **{"steps": 4, "batch_size": 2, "warmup_steps": 0, "checkpoint_every": 1},
    **{"loader_workers": 0, "precision": "32-true", "augmentation": WORLD},
}
RUNS = {
    "student": StudentRun(student=SMALL, **SHORT),
    "teacher": TeacherRun(teacher=TeacherConfig(network=SMALL), **SHORT),
}


@pytest.fixture
def train(synthetic_root, tmp_path, monkeypatch, capfd):
    """Trains a small network with a cache; its weights, and what was said."""

    def train(run, *changes, kind="student"):
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(to_dict(RUNS[kind])))
        arguments = ("--config", tmp_path / "small.yaml", f"--set=cache={tmp_path / 'cache'}")
        if "--resume" in changes:
            arguments = ()
        run = tmp_path / run
        status, out, err = asd_train_here(
            monkeypatch, capfd, kind, synthetic_root, run, *arguments, *changes
        )
        assert status == 0, err
        weights = safetensors.torch.load_file(run / "model" / "model.safetensors")
        return weights, out

    return train


def assert_learnt_alike(weights, others):
    """Rounding changes single weights, where a gradient is nearly 0, which AdamW magnifies."""
    for name, tensor in others.items():
        apart = (weights[name].double() - tensor.double()).abs().mean()
        assert apart < 2e-4 * max(1, tensor.double().abs().mean()), name  # they move by 4e-3


@pytest.mark.slow
def test_a_resident_run_learns_what_an_ordinary_one_does_also_when_stopped_and_resumed(
    train, tmp_path, monkeypatch
):
    ordinary, _ = train("ordinary")
    whole, said = train("whole", "--set=resident=true")
    assert "MB on cpu; a step is one call" in said
    assert_learnt_alike(whole, ordinary)

    call = RecordedStep.__call__
    with monkeypatch.context() as broken:

        def stop_at_the_last(self, *arguments):
            if self.done == 3:
                raise UserError("stopped")
            call(self, *arguments)

        broken.setattr(RecordedStep, "__call__", stop_at_the_last)
        with pytest.raises(AssertionError, match="stopped"):
            train("run", "--set=resident=true")
    checkpoint = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    for group in checkpoint["optimizer_states"][0]["param_groups"]:
        assert isinstance(group["lr"], float)  # as on any device
        assert not group["fused"]
    assert {type(rate) for rate in checkpoint["lr_schedulers"][0]["_last_lr"]} == {float}
    resumed, _ = train("run", "--resume")
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_a_resident_teacher_is_trained_too(train):
    lidar = ("--set=teacher.modality=lidar", "--set=teacher.sweeps=1")
    ordinary, _ = train("ordinary", *lidar, kind="teacher")
    resident, said = train("resident", *lidar, "--set=resident=true", kind="teacher")
    assert "not recorded (the number of LiDAR points in the grid differs" in said
    assert_learnt_alike(resident, ordinary)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder, config = tmp_path_factory.mktemp("teacher") / "model", TeacherConfig(network=SMALL)
    model_directory.save_network(folder, "teacher", Teacher(config), config, {})
    return folder


DISTILLED = {
    "distilled": {"cross_modal": "adaptive", "multi_modal": "l2", "response": "soft"},
    "along rays": {"multi_modal": "adaptive_ray", "response": "replaces"},
    "by its answer": {"cross_modal": "raw", "multi_modal": "functional"},
}
LOGGED = {"distilled": 4 + 2, "along rays": 1 + 4, "by its answer": 2}
"""Terms and statistics of these losses."""


@pytest.mark.parametrize("kind", ["world", "warped", *DISTILLED])
def test_what_is_recorded_stays_on_its_device_and_reads_no_value(
    six, both, teacher, kind, monkeypatch
):
    """On the device "meta" tensors have shapes and no values: who asks for a value fails there. The
    optimiser's own kernel has no form for it; PyTorch says that it can be recorded."""
    augmentation, distillation = {"world": WORLD, "warped": WARPED}.get(kind), DistillConfig()
    if kind in DISTILLED:
        distillation = DistillConfig(str(teacher), **DISTILLED[kind])
    run = StudentRun(
        student=SMALL,
        augmentation=augmentation,
        distillation=distillation,
        cache=str(both.cache),
        train_split="synthetic_train",
    )
    module = StudentTraining(run, six)
    if kind in DISTILLED:
        assert module.answers.bytes_per_keyframe  # asked for by real numbers
    module = module.to("meta")
    arguments = six, run.student, module.contents, augmentation
    store = SampleStore.open(both.cache, six, np.arange(6), *arguments[1:])
    samples = ResidentSamples(store, *arguments, torch.device("meta"))
    step = module.recorded_step = RecordedStep(
        samples,
        module.losses,
        module.configure_optimizers()["optimizer"],
        partial(module.average.update, module.network),
        gradient_clip=1.0,
        bfloat16=False,
        statistics=lambda: module.statistics,
    )
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no "meta"
    monkeypatch.setattr(bev_pool, "_TRITON", False)  # no kernel runs without values
    drawn = DrawnSamples(six, True, augmentation, run.student.image_size)
    draws = drawn.sample(0, np.random.default_rng(0))[None].expand(4, -1)
    step.take(draws.to("meta"))
    if kind in DISTILLED:
        module.teacher.network.to("meta")
        assert module.place_answers() is None
    with OneDevice("meta"), NothingSent():
        results = step.gradients()
        step.average(torch.zeros((), device="meta"))
    assert len(results) == 8 + LOGGED.get(kind, 0)


@pytest.fixture
def stepping(six, both):
    """A student in training on a device: its module, its recorded step, and how to take one."""

    def stepping(device, augmentation=WORLD, **losses):
        torch.manual_seed(0)
        run = StudentRun(
            student=SMALL,
            augmentation=augmentation,
            warmup_steps=3,
            distillation=DistillConfig(**losses),
            cache=str(both.cache),
        )
        module = StudentTraining(run, six).to(device).train()
        arguments = six, run.student, module.contents, augmentation
        store = SampleStore.open(both.cache, six, np.arange(6), *arguments[1:])
        training = module.configure_optimizers()
        scheduler = training["lr_scheduler"]["scheduler"]
        step = module.recorded_step = RecordedStep(
            ResidentSamples(store, *arguments, device),
            module.losses,
            training["optimizer"],
            partial(module.average.update, module.network),
            gradient_clip=1.0,
            bfloat16=False,
        )
        drawn = DrawnSamples(six, True, augmentation, run.student.image_size)

        def take_one():
            draws = [drawn.sample(i, np.random.default_rng(step.done)) for i in range(3)]
            batch = torch.stack(draws)
            if device.type == "cuda":
                batch = batch.pin_memory().to(device, non_blocking=True)
            step(batch, module.average.share(step.done))
            scheduler.step()

        return module, step, take_one

    return stepping


def test_what_a_recording_reads_and_writes_keeps_its_place(stepping):
    """What only looks like it stays: a learning rate that is replaced, a buffer made anew."""
    module, step, take_one = stepping(CPU)

    def kept():
        optimizer = step.optimizer
        states = [value for state in optimizer.state.values() for value in state.values()]
        rates = [group["lr"] for group in optimizer.param_groups]
        lying = [*step.batch_of.keyframes, step.batch_of.points, step.batch_of.place_of]
        inputs = [step._draws, step._share, step.number]
        return [*module.state_dict().values(), *states, *rates, *lying, *inputs]

    def rates():
        return [float(group["lr"]) for group in step.optimizer.param_groups]

    take_one()
    before, first_rates = kept(), rates()
    for _ in range(3):
        take_one()
    for tensor, earlier in zip(kept(), before, strict=True):
        assert tensor.data_ptr() == earlier.data_ptr()
    assert rates() != first_rates


class Tape(TorchDispatchMode):
    """All operations of a call, which `replay` repeats on what then lies in their inputs' places:
    like a CUDA graph, with every number of the host as it was."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, result))
        return result

    def replay(self, wanted):
        """The new value of a tensor that the call returned."""
        made = {}  # anew, by the storage of the tape's tensor

        def present(value):
            if isinstance(value, torch.Tensor):
                storage = made.get(value.untyped_storage()._cdata)
                if storage is not None:
                    layout = value.storage_offset(), value.size(), value.stride()
                    return torch.empty(0, dtype=value.dtype).set_(storage, *layout)
            return value

        with torch.no_grad():
            for func, args, kwargs, result in self.operations:
                again = func(*tree_map(present, args), **tree_map(present, kwargs))
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor):
                        made[old.untyped_storage()._cdata] = new.untyped_storage()
            return present(wanted)


@pytest.mark.parametrize("kind", [pytest.param("student", marks=pytest.mark.slow), "distilled"])
def test_a_recording_that_is_replayed_trains_on_as_steps_do(stepping, teacher, kind, monkeypatch):
    """Learning rate, weight of the average, the losses' ramp: none stays what it was."""
    monkeypatch.setattr(bev_pool, "_plain", True)  # on a CPU, the other form's lengths differ
    losses, augmentation = {}, WORLD
    if kind == "distilled":
        losses = {"teacher": str(teacher), "ramp_steps": 5, **DISTILLED[kind]}
        augmentation = AugmentationConfig(bev_rotation=0, colour_gain=0, colour_offset=0)
    _, taken, take_one = stepping(CPU, augmentation, **losses)
    _, replayed, replay_one = stepping(CPU, augmentation, **losses)
    replay_one()  # makes what is made at first
    tape, results = Tape(), []
    call = replayed._run

    def taped():
        with tape:
            results.append(call())
        return results[0]

    monkeypatch.setattr(replayed, "_run", taped)
    replay_one()
    monkeypatch.setattr(replayed, "_run", lambda: tape.replay(results[0]))
    for _ in range(4):
        replay_one()
    for _ in range(6):
        take_one()
    for ours, theirs in zip(replayed.read(), taken.read(), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6)
    averages = (step.average.func.__self__.module.state_dict() for step in (replayed, taken))
    for ours, theirs in zip(*(average.values() for average in averages), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("failing", ["gradients", "average", None])
def test_a_step_whose_recording_fails_is_taken_once(stepping, failing, monkeypatch):
    """failing: what does in the call before the recording; None: the recording itself."""
    (_, step, take_one), (_, other, take_another) = stepping(CPU), stepping(CPU)

    def recorded(function, stream):
        with monkeypatch.context() as broken:
            if failing:

                def fail(*_):
                    raise RuntimeError("it waits")

                broken.setattr(step, failing, fail)
                with pytest.raises(RuntimeError, match="it waits"):
                    function()
            else:
                function()
        return "it waits"

    def record():
        step._record()
        return step._results

    monkeypatch.setattr("asd_training.resident.step.recorded", recorded)
    step._stream = None  # of a GPU
    take_one()
    with monkeypatch.context() as recording:
        recording.setattr(step, "_run", record)
        take_one()
    take_one()
    for _ in range(3):
        take_another()
    assert step.failure == "it waits"
    assert step.read() == other.read()
    averages = (each.average.func.__self__.module.state_dict() for each in (step, other))
    for ours, theirs in zip(*(average.values() for average in averages), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize(
    "then",
    [
        lambda module: module.on_save_checkpoint({"optimizer_states": [], "lr_schedulers": []}),
        lambda module: module.on_validation_start(),
        lambda module: module.validate_whole_split(),
    ],
    ids=["saved", "validated", "on the curve"],
)
@pytest.mark.parametrize(
    ("break_at_two", "message"),
    [
        (
            lambda module: module.network.head.heatmap.bias.data.fill_(torch.nan),
            r"the loss is not finite at step 2 \(heatmap nan, .*\); lower learning_rate",
        ),
        (
            lambda module: module.network.head.boxes.weight.register_hook(lambda g: g * torch.inf),
            r"the gradient is not finite at step 2 \(norm (inf|nan)\), though the loss is",
        ),
    ],
    ids=["loss", "gradient"],
)
def test_what_is_not_finite_is_told_with_its_step_and_neither_validated_nor_saved(
    stepping, break_at_two, message, then
):
    module, _, take_one = stepping(CPU)
    for number in range(4):
        if number == 2:
            break_at_two(module)
        take_one()
    with pytest.raises(UserError, match=message):
        then(module)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and none is here")
def test_on_a_gpu_a_step_is_one_graph_that_learns_what_the_cpu_does(stepping):
    (on_cpu, cpu, step_cpu), (on_gpu, gpu, step_gpu) = map(stepping, (CPU, torch.device("cuda", 0)))
    for number in range(12):
        step_cpu()
        if number == 8:
            assert gpu.is_graph, gpu.failure
            torch.cuda.set_sync_debug_mode("error")
        step_gpu()
    torch.cuda.set_sync_debug_mode("default")
    for ours, theirs in zip(gpu.read(), cpu.read(), strict=True):
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.01)
    weights = {name: tensor.cpu() for name, tensor in on_gpu.average.state_dict().items()}
    assert_learnt_alike(weights, on_cpu.average.state_dict())


class NothingSent(TorchFunctionMode):
    """Fails at a tensor made of numbers of the host, which a GPU would wait for."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        assert name not in ("tensor", "as_tensor", "new_tensor", "from_numpy"), f"{name} sends"
        return func(*args, **(kwargs or {}))


def test_too_many_objects_and_overlapping_ones_have_the_loaders_targets():
    random = np.random.default_rng(0)
    samples = []
    for count in (0, 30, 400):
        boxes = random.uniform(-60, 60, (count, 7)) * [1, 1, 0.02, 0, 0, 0, 0.05]
        boxes[:, 3:6] = random.uniform(0.5, 12, (count, 3))
        samples.append(
            Annotations(
                boxes=boxes,
                velocities=np.where(random.random((count, 1)) < 0.2, np.nan, boxes[:, :2]),
                labels=random.integers(0, 10, count),
                attributes=random.integers(-1, 8, count),
                tokens=("",) * count,
                num_lidar_points=random.integers(0, 3, count),
                num_radar_points=np.zeros(count, np.int64),
            )
        )

    def padded(values):
        result = np.zeros((3, 400, *values[0].shape[1:]), values[0].dtype)
        for row, each in zip(result, values, strict=True):
            row[: len(each)] = each
        return torch.from_numpy(result)

    objects = Objects(
        *(
            padded([getattr(sample, name) for sample in samples])
            for name in ("boxes", "velocities", "labels", "attributes")
        ),
        there=padded([np.ones(len(sample.boxes), bool) for sample in samples]),
        observed=padded([sample.observed for sample in samples]),
    )
    found = resident_targets.detection_targets(objects, CONFIG.bev)
    expected = default_collate([targets.detection_targets(each, CONFIG.bev) for each in samples])
    assert expected.valid.sum(dim=1).tolist()[::2] == [0, targets.MAX_OBJECTS]
    assert (expected.heatmap == targets.IGNORED).any()
    for name in expected._fields:
        assert_alike(getattr(found, name), getattr(expected, name), name)


def test_samples_that_do_not_fit_are_left_to_the_loader(six, both, monkeypatch):
    arguments = six, CONFIG, CONTENTS["student"], WORLD
    store = SampleStore.open(both.cache, six, np.arange(6), *arguments[1:])
    needed = ResidentSamples(store, *arguments, torch.device("meta")).nbytes
    made = made_resident(store, *arguments, CPU)
    assert made.nbytes == needed
    monkeypatch.setattr(resident_samples, "free_bytes", lambda _: needed)
    assert re.search(
        r"take 0.0 GB, and at most 50% of the 0.0 GB", made_resident(store, *arguments, CPU)
    )
    monkeypatch.setattr(resident_samples, "free_bytes", lambda _: 2 * needed)
    assert isinstance(made_resident(store, *arguments, CPU), ResidentSamples)
    assert "beside 0.0 GB of answers" in made_resident(store, *arguments, CPU, beside=2 * needed)
    coarse = AugmentationConfig(resize=(0.4, 1.0))
    assert "resize to 0.4" in made_resident(store, *arguments[:3], coarse, CPU)
    for key in ("photometric", "camera_rotation"):
        change = AugmentationConfig(**{key: 0.5})
        assert f"{key} is 0.5" in made_resident(store, *arguments[:3], change, CPU)


def test_samples_are_resident_only_where_that_is_asked_for():
    assert StudentRun(cache="cache").resident is TeacherRun(cache="cache").resident is False


def test_what_a_cpu_has_free_includes_files_that_the_system_keeps_at_hand():
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = dict(line.split(":") for line in lines)["MemAvailable"].split()[0]
    assert resident_samples.free_bytes(CPU) == pytest.approx(1024 * int(available), rel=0.05)


def test_a_resident_run_needs_a_cache():
    with pytest.raises(UserError, match="resident is true; it needs prepared samples"):
        from_dict(StudentRun, {"resident": True})


@pytest.mark.parametrize("augmentation", [WORLD, WARPED], ids=["world", "warped"])
def test_what_a_lens_does_not_see_moves_with_its_image(augmentation):
    random, (rows, columns) = np.random.default_rng(0), CONFIG.image_size
    seen = np.repeat(np.repeat(random.random((6, rows // 8, columns // 8)) < 0.7, 8, 1), 8, 2)
    rig, nothing = example_rig(), np.zeros(0)
    images = [np.zeros((rows, columns, 3), np.uint8)] * 6
    cameras = CameraImages(images, seen, rig.intrinsics, rig.ego_from_camera)
    nobody = Annotations(
        np.zeros((0, 7)), np.zeros((0, 2)), *(nothing.astype(int),) * 2, (), nothing, nothing
    )
    stride, warped = CONFIG.backbone.stride, augmentation.warps_images
    for _ in range(5):
        drawn = Augmentation.draw(augmentation, 6, CONFIG.image_size, random)
        frame = apply(drawn, cameras, nobody, np.zeros((0, 3)), CONFIG.image_size)
        given = torch.from_numpy(seen if warped else mostly_seen(seen, stride))[None]
        draws = unpacked(packed(0, drawn, np.ones(6, bool))[None], 6)
        found = augment_seen(draws, given, warped)
        if warped:
            assert (found[0].numpy() != frame.seen).mean() < 1e-3  # rounded at a pixel's border
            found = mostly_seen_of(found, stride)
        assert (found[0].numpy() != mostly_seen(frame.seen, stride)).mean() < 3e-3 * warped + 1e-9
