# SPDX-License-Identifier: Apache-2.0
"""Promise: a LiDAR file is read as the points that it holds, or refused by what it looks like."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from asd_perception.errors import UserError
from asd_training.bags.convert import convert_scene
from asd_training.data.lidar_file import read_lidar
from asd_training.data.nuscenes import open_dataset
from asd_training.synthetic.generate import synthesize


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("lidar") / "sweep.pcd.bin"


def columns(count, seed, *kinds):
    """Points (count, len(kinds)) of random columns."""
    rng = np.random.default_rng(seed)
    make = {
        "metres": lambda: rng.normal(0, 30, count),
        "share": lambda: rng.uniform(0, 1, count),
        "level": lambda: rng.integers(0, 256, count),
        "ring": lambda: rng.integers(0, 128, count),
        "seconds": lambda: rng.uniform(0, 0.05, count),
    }
    return np.stack([make[kind]() for kind in kinds], axis=1).astype("<f4")


coordinates = st.floats(-10_000, 10_000, width=32)


@given(st.data())
def test_points_of_five_columns_come_back_bit_for_bit(file, data):
    count = data.draw(array_shapes(max_dims=1, max_side=50))[0]
    points = np.empty((count, 5), "<f4")
    points[:, :3] = data.draw(arrays("<f4", (count, 3), elements=coordinates))
    points[:, 3] = data.draw(arrays("<f4", count, elements=st.floats(width=32)))  # anything
    points[:, 4] = data.draw(arrays("u1", count))
    file.write_bytes(points.tobytes())
    np.testing.assert_array_equal(read_lidar(file), points)


sweeps = {"count": st.integers(100, 500), "seed": st.integers(0, 2**32 - 1)}
XYZ = ("metres",) * 3


@given(**sweeps, intensity=st.sampled_from(["share", "level"]))
def test_four_floats_per_point_are_called_that(file, count, seed, intensity):
    for points in (count, 5 * count):  # of the second the size is a multiple of 20
        file.write_bytes(columns(points, seed, *XYZ, intensity).tobytes())
        with pytest.raises(UserError, match=r"like 4 floats per point \(KITTI\); store x y z"):
            read_lidar(file)


@given(**sweeps, sixth=st.sampled_from(["seconds", "level", "metres"]))
def test_six_floats_per_point_are_called_that(file, count, seed, sixth):
    for points in (count, 10 * count):
        file.write_bytes(columns(points, seed, *XYZ, "level", "ring", sixth).tobytes())
        with pytest.raises(UserError, match="looks like 6 floats per point; store x y z intensity"):
            read_lidar(file)


@given(**sweeps)
def test_another_fifth_column_is_refused(file, count, seed):
    points = columns(count, seed, *XYZ, "level", "seconds")
    file.write_bytes(points.tobytes())
    with pytest.raises(UserError, match=r"no ring number \(whole, 0 to 255\) in the fifth column"):
        read_lidar(file)


@given(**sweeps, left=st.floats(0.05, 0.95))
def test_a_file_that_is_cut_is_damaged_also_where_it_could_be_cut_into_four(
    file, count, seed, left
):
    whole = columns(count, seed, *XYZ, "level", "ring").tobytes()
    for cut in {int(left * len(whole)), int(left * len(whole)) // 16 * 16} - {0}:
        if cut % 20:
            file.write_bytes(whole[:cut])
            with pytest.raises(UserError, match="not a multiple of 20.* damaged: copy it again"):
                read_lidar(file)


@given(**sweeps, value=st.sampled_from([np.nan, np.inf, -np.inf, 1e5, -3e38]), data=st.data())
def test_a_point_that_is_nowhere_is_refused(file, count, seed, value, data):
    points = columns(count, seed, *XYZ, "level", "ring")
    points[data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, 2))] = value
    file.write_bytes(points.tobytes())
    with pytest.raises(UserError, match="not finite or beyond 10 km; leave such points out"):
        read_lidar(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty; it is damaged: copy it again"),
        (b"# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n", "is a PCD file; store x y"),
        (b"VERSION 0.7\nFIELDS x y z intensity\n", "is a PCD file; store x y z intensity ring"),
        (b"#.PCD v.7\nVERSION .7\nFIELDS x y z\n", "is a PCD file; store x y z intensity ring"),
        (b"\x93NUMPY\1\0v\0{'descr': '<f4'}" + bytes(80), "is a NumPy file; store x y z"),
        (b"\x1f\x8b\x08\0" + bytes(96), "is a gzip file; store x y z intensity ring"),
        (b"ply\nformat ascii 1.0\n", "is a PLY file; store x y z intensity ring"),
        (b"LASF" + bytes(96), "is a LAS file; store x y z intensity ring"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a pointer of Git LFS; `git lfs",
        ),
        (bytes(8000), "holds nothing but zeros; it is damaged: copy it again"),
    ],
)
def test_what_holds_no_points_is_named(file, content, reason):
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{re.escape(str(file))} {reason}"):
        read_lidar(file)


@pytest.mark.parametrize("high", [b"\x0c\x42", b"\x48\xc1"])
def test_a_coordinate_may_begin_as_a_gzip_file_does(file, high):
    """35.1 and -12.5 m: of a coordinate's lower bytes any are as likely as others."""
    points = columns(100, 0, *XYZ, "level", "ring")
    points[0, 0] = np.frombuffer(b"\x1f\x8b" + high, "<f4")[0]
    file.write_bytes(points.tobytes())
    np.testing.assert_array_equal(read_lidar(file), points)


@given(st.binary(max_size=400))
def test_any_bytes_are_points_or_one_line(file, content):
    file.write_bytes(content)
    try:
        points = read_lidar(file)
    except UserError as error:
        assert str(file) in str(error) and "\n" not in str(error)
    else:
        assert points.tobytes() == content and np.isfinite(points[:, :3]).all()


def test_no_bag_is_made_of_points_of_another_width(tmp_path):
    """Sweeps between keyframes are read as the keyframes are."""
    root, bag = tmp_path / "data", tmp_path / "bag"
    synthesize(root, {"test": 1}, keyframes=2, seed=1, scale=0.05, sweeps=True, workers=1)
    sweep = min(root.glob("sweeps/LIDAR_TOP/*"))
    points = read_lidar(sweep)
    sweep.write_bytes(points[: len(points) // 5 * 5, :4].tobytes())
    nusc = open_dataset(root)
    with pytest.raises(UserError, match=rf"{sweep.name} looks like 4 floats per point \(KITTI\)"):
        convert_scene(nusc, nusc.scene[0]["name"], bag)
    assert not bag.exists()
