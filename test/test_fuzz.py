# SPDX-License-Identifier: Apache-2.0
"""Promise: whatever is in a table, a bag or an image, it is used or named: no traceback, no hang.

Each has a quick test, always of the same examples, and one of thousands (pytest -m soak).
"""

import contextlib
import dataclasses
import io
import json
import shutil
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from rosbags.serde import SerdeError
from tables import copy_of

from asd_perception.cameras.image_decoding import check_raw, decode_camera_image, decode_raw
from asd_perception.errors import UserError
from asd_perception.models import TINY
from asd_perception.network import model_directory
from asd_perception.ros.check.report import report
from asd_perception.runtime.detections import Detections
from asd_training.bags.bag_files import create_bag, open_bag, read_messages
from asd_training.bags.check import record_bag
from asd_training.bags.convert import convert_scene
from asd_training.bags.importing.dataset import import_bags
from asd_training.bags.message_types import deserialize, serialize
from asd_training.data.index import KeyframeIndex, _build
from asd_training.data.nuscenes import (
    annotated_objects,
    camera_frame,
    open_dataset,
    scene_samples,
    submission_boxes,
)
from asd_training.evaluation.scoring import score
from asd_training.synthetic.generate import synthesize
from asd_training.tables.reading import TABLES

SEED = 20261129
SLOW_FIXTURES = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def quick(examples):
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=SLOW_FIXTURES,
    )


def long(examples):
    return settings(max_examples=examples, deadline=None, suppress_health_check=SLOW_FIXTURES)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A scene of three keyframes in tiny images."""
    root = tmp_path_factory.mktemp("fuzz") / "data"
    synthesize(root, {"test": 1}, keyframes=3, seed=5, scale=0.04, sweeps=False, workers=1)
    return root


# -- tables ----------------------------------------------------------------------------------------

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 2),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.one_of(st.floats(), st.integers(-3, 3), st.none()), max_size=5),
    st.just([]),
    st.just({}),
    st.just([[1e9, 0, 0], [0, 1e-9, 0], [0, 0, 1]]),
)


def use_mutated_tables(root, folder, data):
    """Change values of some records, then do with the data set what can be done with one."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = copy_of(root, folder)
    version = copy / "v1.0-synthetic"
    for _ in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(TABLES))
        rows = json.loads((version / f"{name}.json").read_text())
        if not rows:
            continue
        row = rows[data.draw(st.integers(0, len(rows) - 1))]
        field = data.draw(st.sampled_from(sorted(row)))
        match data.draw(st.sampled_from(["odd", "odd", "absent", "other", "gone", "twice"])):
            case "odd":
                row[field] = data.draw(ODD)
            case "absent":
                del row[field]
            case "other":  # right in another record
                row[field] = rows[data.draw(st.integers(0, len(rows) - 1))].get(field)
            case "gone":
                rows.remove(row)
            case "twice":
                rows.append(dict(row))
        (version / f"{name}.json").write_text(json.dumps(rows))
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        try:
            nusc = open_dataset(copy)
            arrays = _build(nusc)
            for scene in nusc.scene:
                bag = copy / "bag"
                convert_scene(nusc, scene["name"], bag)
                shutil.rmtree(bag)
            if len(arrays["object_labels"]):
                score(nusc, truth_of(nusc))
        except UserError as error:
            assert "\n" not in str(error)
            return
    if len(arrays["sample_tokens"]) < len(nusc.sample):
        assert "left out" in told.getvalue()
    for name in ("object_boxes", "ego_from_camera", "intrinsics", "global_from_ego"):
        assert np.isfinite(arrays[name]).all(), name


def truth_of(nusc):
    submission = {}
    for scene in nusc.scene:
        for sample in scene_samples(nusc, scene["name"]):
            frame = camera_frame(nusc, sample)
            truth = annotated_objects(nusc, sample, frame.global_from_ego)
            found = Detections(
                boxes=truth.boxes,
                scores=np.ones(len(truth.labels)),
                labels=truth.labels,
                velocities=truth.velocities,
                attributes=truth.attributes,
            )
            submission[sample["token"]] = submission_boxes(
                found, sample["token"], frame.global_from_ego
            )
    return submission


@quick(25)
@given(data=st.data())
def test_tables(root, tmp_path, data):
    use_mutated_tables(root, tmp_path / "data", data)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@seed(SEED)
@long(10_000)
@given(data=st.data())
def test_ten_thousand_tables(root, tmp_path, data):
    use_mutated_tables(root, tmp_path / "data", data)


# -- bags ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bag(root, tmp_path_factory):
    nusc = open_dataset(root)
    path = tmp_path_factory.mktemp("fuzz") / "bag"
    convert_scene(nusc, nusc.scene[0]["name"], path)
    return path


def use_mutated_bag(bag, folder, data):
    """Change bytes of a bag's files, or cut them; read it, look at it, import it."""
    shutil.rmtree(folder, ignore_errors=True)
    copy = shutil.copytree(bag, folder / "bag")
    file = data.draw(st.sampled_from(sorted(copy.iterdir())))
    content = bytearray(file.read_bytes())
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    else:
        del content[data.draw(st.integers(0, len(content))) :]
    file.write_bytes(content)
    whole = count_of(bag)[0]
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        try:
            count, topics = count_of(copy)
        except UserError as error:
            assert "\n" not in str(error)
            return
    if count < whole:
        assert told.getvalue()
    with contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(UserError):
            record_bag(copy, [], {})
        with contextlib.suppress(UserError):
            import_bags([copy], folder / "data")
    assert topics


def count_of(bag):
    with open_bag(bag) as opened:
        count = sum(1 for _ in read_messages(opened))
        return count, len(opened.connections)


@quick(20)
@given(data=st.data())
def test_bags(bag, tmp_path, data):
    use_mutated_bag(bag, tmp_path / "copy", data)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@seed(SEED)
@long(10_000)
@given(data=st.data())
def test_ten_thousand_bags(bag, tmp_path, data):
    use_mutated_bag(bag, tmp_path / "copy", data)


# -- messages --------------------------------------------------------------------------------------

ODD_VALUES = {
    bool: [True, False],
    float: [np.nan, np.inf, -np.inf, 0.0, -1.0, 1e38, 1e308, -1e308, 1e-308],
    int: [0, 1, 2, 255, 2**31 - 1, 2**32 - 1, -1, -(2**31)],
    str: ["", "/", "x", "base_link", "/base_link", "map", "a b", "\n", "é", "car", "~"],
}


def mutate(message, chance):
    """Change one of a message's fields, wherever it is."""
    places = list(places_in(message))
    if not places:  # an empty list was all that it had
        return
    parent, key, value = chance.choice(places)
    match value:
        case list():
            value = chance.choice([[], 2 * value, value[:1]])
        case np.ndarray() if value.dtype == np.uint8:
            value = chance.choice([value[:0], value[: len(value) // 2], np.tile(value, 2)])
        case np.ndarray():
            value = value.copy()
            value.flat[chance.randrange(value.size)] = chance.choice(ODD_VALUES[float])
        case _:
            value = chance.choice(ODD_VALUES[type(value)])
    if isinstance(key, int):
        parent[key] = value
    else:
        object.__setattr__(parent, key, value)  # which rosbags' messages do not let one do


def places_in(message):
    """(parent, name or index, value) of each field of a message, and of those in it."""
    items = enumerate(message) if isinstance(message, list) else vars(message).items()
    for key, value in items:
        if key == "__msgtype__" or (isinstance(value, np.ndarray) and not value.size):
            continue
        if isinstance(value, (list, np.ndarray, *ODD_VALUES)):
            yield message, key, value
        if isinstance(value, list) or dataclasses.is_dataclass(value):
            yield from places_in(value)


def use_mutated_messages(bag, folder, chance):
    """Change fields of a bag's messages; look at it, and train from what is imported of it."""
    shutil.rmtree(folder, ignore_errors=True)
    with open_bag(bag) as source, create_bag(folder / "bag") as copy:
        names = sorted({item.topic for item in source.connections})
        chosen = chance.sample(names, chance.randint(1, 4))
        for item in source.connections:
            copy.add_topic(item.topic, item.msgtype)
        for item, at, data in read_messages(source):
            if item.topic in chosen and chance.random() < 0.5:
                message = deserialize(data, item.msgtype)
                for _ in range(chance.randint(1, 3)):
                    mutate(message, chance)
                # Some are none any more: a number beyond its type.
                with contextlib.suppress(SerdeError, struct.error, OverflowError):
                    data = serialize(message)
            copy.write(item.topic, at, data)
    config = model_directory.student_config(TINY)
    with contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(UserError):
            recording = record_bag(folder / "bag", [], {})
            assert report(recording, config.trained_cameras, config.image_size, live=False).text
        try:
            import_bags([folder / "bag"], folder / "data")
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert len(KeyframeIndex.open(folder / "data"))


@quick(15)
@given(chance=st.randoms(use_true_random=True))
def test_messages(bag, tmp_path, chance):
    use_mutated_messages(bag, tmp_path / "copy", chance)


@pytest.mark.soak
@pytest.mark.timeout(14400)
@seed(SEED)
@long(10_000)
@given(chance=st.randoms(use_true_random=True))
def test_ten_thousand_messages(bag, tmp_path, chance):
    use_mutated_messages(bag, tmp_path / "copy", chance)


# -- images ----------------------------------------------------------------------------------------

WIDTH, HEIGHT = 48, 32
_PIXELS = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
FILES = [
    cv2.imencode(suffix, _PIXELS)[1].tobytes() for suffix in (".jpg", ".png", ".webp", ".bmp")
] + [cv2.imencode(".jpg", _PIXELS[..., 0])[1].tobytes()]
FORMATS = ("jpeg", "png", "", "bayer_rggb8; jpeg compressed ", "rgb8; png compressed bgr8", ";;;")
ENCODINGS = (
    *("rgb8", "bgr8", "rgba8", "mono8", "mono16", "rgb16", "bayer_grbg8", "bayer_rggb16"),
    *("yuv422", "yuv422_yuy2", "nv12", "nv21", "8UC3", "32FC1", "16UC1", "", "x", "jpeg"),
)


def use_mutated_image(data):
    content = bytearray(data.draw(st.sampled_from(FILES)))
    match data.draw(st.sampled_from(["bytes", "cut", "tail", "header"])):
        case "bytes":
            for _ in range(data.draw(st.integers(1, 6))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
                    st.integers(0, 255)
                )
        case "cut":
            del content[data.draw(st.integers(0, len(content))) :]
        case "tail":
            content += data.draw(st.binary(max_size=50))
        case "header":
            content[: data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    try:
        image = decode_camera_image(
            bytes(content), (WIDTH, HEIGHT), (HEIGHT, WIDTH), data.draw(st.sampled_from(FORMATS))
        )
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8


def use_raw_image(data):
    """A raw image whose fields need not fit together."""
    side = st.one_of(st.integers(0, 20), st.sampled_from([2**31, 2**32 - 1]))
    image = SimpleNamespace(
        width=data.draw(side),
        height=data.draw(side),
        step=data.draw(st.one_of(st.integers(0, 80), st.just(2**32 - 1))),
        encoding=data.draw(st.sampled_from(ENCODINGS)),
        is_bigendian=data.draw(st.sampled_from([0, 1, 7])),
        data=np.frombuffer(data.draw(st.binary(max_size=1600)), np.uint8),
    )
    try:
        check_raw(image)
        pixels = decode_raw(image)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert pixels.shape == (image.height, image.width, 3) and pixels.dtype == np.uint8


@quick(150)
@given(data=st.data())
def test_images(data):
    use_mutated_image(data)
    use_raw_image(data)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@seed(SEED)
@long(10_000)
@given(data=st.data())
def test_ten_thousand_images(data):
    use_mutated_image(data)
    use_raw_image(data)
