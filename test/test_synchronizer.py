# SPDX-License-Identifier: Apache-2.0
"""Promise: frames are whole sweeps, each at most once, in order, whatever order images come in."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_perception.constants import CAMERAS
from asd_perception.synchronizer import CLOCK_JUMP_NS, DEPTH, FrameSynchronizer

MS = 1_000_000
PERIOD = 1000 * MS // 12
TOLERANCE = 60 * MS
# nuScenes' trigger times after the first camera, in the order of CAMERAS.
TRIGGERS = [int(ms * MS) for ms in (0.0, 7.6, 15.5, 42.6, 32.7, 23.0)]


def sweep_images(sweep, jitter=(0,) * 6):
    """(camera, stamp, item) of one sweep; the item tells the sweep."""
    start = 1_532_402_927_604_844_000 + sweep * PERIOD
    return [
        (camera, start + trigger + noise, sweep)
        for camera, trigger, noise in zip(CAMERAS, TRIGGERS, jitter, strict=True)
    ]


def feed(synchronizer, images):
    frames = [synchronizer.add(*image) for image in images]
    return [frame for frame in frames if frame is not None]


def test_a_frame_comes_with_its_last_image_and_names_its_reference():
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE)
    images = sorted(sweep_images(0), key=lambda image: image[1])
    assert feed(synchronizer, images[:-1]) == []
    frame = synchronizer.add(*images[-1])
    assert frame.cameras == CAMERAS
    assert frame.stamps == tuple(stamp for _, stamp, _ in sweep_images(0))
    assert frame.reference == images[-1][1]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-5 * MS, 5 * MS), min_size=6, max_size=6),  # jitter
            st.lists(st.booleans(), min_size=6, max_size=6),  # lost
            st.lists(st.booleans(), min_size=6, max_size=6),  # sent twice
            st.lists(st.integers(0, 150 * MS), min_size=6, max_size=6),  # transport delay
        ),
        max_size=12,
    )
)
def test_sweeps_are_never_mixed_nor_repeated(sweeps):
    arrivals = []
    for sweep, (jitter, lost, twice, delay) in enumerate(sweeps):
        for i, image in enumerate(sweep_images(sweep, jitter)):
            if not lost[i]:
                arrivals += [(image[1] + delay[i], image)] * (1 + twice[i])
    images = [image for _, image in sorted(arrivals, key=lambda arrival: arrival[0])]
    frames = feed(FrameSynchronizer(CAMERAS, TOLERANCE), images)
    for frame in frames:
        assert len(set(frame.items)) == 1, "two sweeps in one frame"
        assert max(frame.stamps) - min(frame.stamps) <= TOLERANCE
    emitted = [frame.items[0] for frame in frames]
    assert emitted == sorted(set(emitted)), "a sweep came twice or late"
    references = [frame.reference for frame in frames]
    assert all(a < b for a, b in itertools.pairwise(references))


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(-5 * MS, 5 * MS), min_size=6, max_size=6), max_size=12),
    st.sets(st.integers(0, 11)),
    st.randoms(use_true_random=False),
)
def test_every_whole_sweep_comes_out(jitters, holed, random):
    """Nothing is lost but the sweeps that lack an image; images of one sweep come in any order."""
    images, whole = [], []
    for sweep, jitter in enumerate(jitters):
        arriving = sweep_images(sweep, jitter)
        random.shuffle(arriving)
        if sweep in holed:
            arriving.pop()
        else:
            whole.append(sweep)
        images += arriving
    frames = feed(FrameSynchronizer(CAMERAS, TOLERANCE), images)
    assert [frame.items[0] for frame in frames] == whole


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CAMERAS), st.integers(0, 2**62)), max_size=300))
def test_memory_is_bounded_whatever_comes(images):
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE)
    for camera, stamp in images:
        synchronizer.add(camera, stamp, None)
    assert all(len(waiting) <= DEPTH for waiting in synchronizer._waiting.values())


def test_a_newer_frame_supersedes_an_older_incomplete_one():
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE)
    late, *early = sweep_images(0)
    assert [frame.items[0] for frame in feed(synchronizer, [*early, *sweep_images(1)])] == [1]
    assert synchronizer.add(*late) is None
    assert synchronizer.stale == 1


def test_wild_stamps_cost_no_other_frame():
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE)
    emitted = []
    for sweep in range(6):
        if sweep in (2, 3):
            wild = 0 if sweep == 2 else 2**62
            assert synchronizer.add("CAM_BACK", wild, "wild") is None
        emitted += [frame.items[0] for frame in feed(synchronizer, sweep_images(sweep))]
    assert emitted == list(range(6))


def test_a_bag_that_starts_again_is_followed_from_its_first_frame():
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE)
    sweeps = [*range(20), *range(20)]  # 1.7 s, twice
    frames = feed(synchronizer, [image for sweep in sweeps for image in sweep_images(sweep)])
    assert [frame.items[0] for frame in frames] == sweeps


def test_a_silent_camera_stops_frames_and_its_return_resumes_them():
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE)
    images = []
    for sweep in range(10):
        images += sweep_images(sweep)[:5] if 3 <= sweep < 7 else sweep_images(sweep)
    assert [frame.items[0] for frame in feed(synchronizer, images)] == [0, 1, 2, 7, 8, 9]


@pytest.mark.parametrize("tolerance", [0, -1, CLOCK_JUMP_NS])
def test_a_senseless_tolerance_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        FrameSynchronizer(CAMERAS, tolerance)
