# SPDX-License-Identifier: Apache-2.0
"""Promise: a frame is one sweep, at most once, in order, with the cameras that gave an image."""

import itertools
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.constants import MAX_CAMERAS
from asd_perception.frames.synchronizer import CLOCK_JUMP_NS, QUEUE_SIZE, SILENT, FrameSynchronizer

MS = 1_000_000
PERIOD = 1000 * MS // 12
TOLERANCE = 60 * MS
MAX_WAIT = 0.1
START = 1_532_402_927_604_844_000
# nuScenes' trigger times after the first camera, in the order of CAMERAS.
TRIGGERS = [int(ms * MS) for ms in (0.0, 7.6, 15.5, 42.6, 32.7, 23.0)]
BY_TRIGGER = sorted(CAMERAS, key=lambda camera: TRIGGERS[CAMERAS.index(camera)])


def sweep_images(sweep, jitter=(0,) * 6):
    """(camera, stamp, item) of one sweep; the item tells the sweep."""
    start = START + sweep * PERIOD
    return [
        (camera, start + trigger + noise, sweep)
        for camera, trigger, noise in zip(CAMERAS, TRIGGERS, jitter, strict=True)
    ]


def play(synchronizer, arrivals, until=0.5):
    """Frames with their times; arrivals: (time in ns after START, image). Polls as the node does.

    until: s after the last image for which the synchronizer is still asked.
    """
    frames = []
    arrivals = sorted(arrivals, key=lambda arrival: arrival[0])
    ticks = [] if not arrivals else range(0, arrivals[-1][0] + int(until * 1e9), 10 * MS)
    events = [*arrivals, *((tick, None) for tick in ticks)]
    for at, image in sorted(events, key=lambda event: event[0]):
        now = 1000.0 + at * 1e-9
        if image is not None:
            synchronizer.add(*image, now)
        frames += [(frame, at) for frame in ready(synchronizer, now)]
    return frames


def ready(synchronizer, now):
    """All frames that are."""
    return list(iter(lambda: synchronizer.poll(now), None))


def on_time(images):
    """Each image arrives when it is taken."""
    return [(image[1] - START, image) for image in images]


def feed(synchronizer, images):
    return [frame for frame, _ in play(synchronizer, on_time(images))]


def sweeps_of(frames):
    for frame in frames:
        assert len(set(frame.items)) == 1, "two sweeps in one frame"
    return [frame.items[0] for frame in frames]


def new(**policy):
    return FrameSynchronizer(CAMERAS, TOLERANCE, MAX_WAIT, **policy)


@pytest.mark.parametrize("cameras", range(1, MAX_CAMERAS + 1))
def test_a_rig_of_any_number_of_cameras_gives_its_sweeps(cameras):
    """The first camera loses an image, and stops at sweep 20; the others go on."""
    names = tuple(f"camera{i}" for i in range(cameras))
    images = [
        (name, START + sweep * PERIOD + i * 40 * MS // cameras, sweep)
        for sweep in range(30)
        for i, name in enumerate(names)
        if i or (sweep != 10 and sweep < 20)
    ]
    frames = feed(FrameSynchronizer(names, TOLERANCE, MAX_WAIT), images)
    whole = [sweep for sweep in range(20) if sweep != 10]
    assert [f.items[0] for f in frames if f.cameras == names] == whole
    assert sweeps_of(frames) == (list(range(30)) if cameras > 1 else whole)
    assert all(f.cameras in (names, names[1:]) for f in frames)


def test_a_frame_comes_with_its_last_image_and_names_its_reference():
    synchronizer = new()
    images = sorted(sweep_images(0), key=lambda image: image[1])
    for image in images:
        assert not ready(synchronizer, 0.0)
        synchronizer.add(*image, 0.0)
    (frame,) = ready(synchronizer, 0.0)
    assert frame.cameras == CAMERAS
    assert frame.stamps == tuple(stamp for _, stamp, _ in sweep_images(0))
    assert frame.reference == images[-1][1]


_SWEEP = st.tuples(
    st.lists(st.integers(-5 * MS, 5 * MS), min_size=6, max_size=6),  # jitter
    st.lists(st.booleans(), min_size=6, max_size=6),  # lost
    st.lists(st.booleans(), min_size=6, max_size=6),  # sent twice
    st.lists(st.integers(0, 150 * MS), min_size=6, max_size=6),  # transport delay
)


@settings(deadline=None)
@given(st.lists(_SWEEP, max_size=30), st.integers(1, 6))
def test_sweeps_are_never_mixed_nor_repeated(sweeps, min_cameras):
    """Whatever is lost, late, doubled and disordered, once a first sweep came whole."""
    arrivals = on_time(sweep_images(0))
    for sweep, (jitter, lost, twice, delay) in enumerate(sweeps, start=3):
        for i, image in enumerate(sweep_images(sweep, jitter)):
            if not lost[i]:
                arrivals += [(image[1] - START + delay[i], image)] * (1 + twice[i])
    frames = [frame for frame, _ in play(new(min_cameras=min_cameras), arrivals)]
    emitted = sweeps_of(frames)
    assert emitted == sorted(set(emitted)), "a sweep came twice or late"
    assert all(a.reference < b.reference for a, b in itertools.pairwise(frames))
    for frame in frames:
        assert len(frame.cameras) >= min_cameras
        assert max(frame.stamps) - min(frame.stamps) <= TOLERANCE


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(-5 * MS, 5 * MS), min_size=6, max_size=6),
            st.sets(st.sampled_from(CAMERAS)),
            st.lists(st.integers(0, 20 * MS), min_size=6, max_size=6),
        ),
        max_size=11,
    )
)
def test_every_sweep_comes_out_with_the_cameras_that_it_has(sweeps):
    """All sweeps with more than half of the cameras come out, and others as they are, or not."""
    arrivals, expected = on_time(sweep_images(0)), [(0, CAMERAS)]
    for sweep, (jitter, lost, delay) in enumerate(sweeps, start=1):
        there = tuple(camera for camera in CAMERAS if camera not in lost)
        for image, late in zip(sweep_images(sweep, jitter), delay, strict=True):
            if image[0] in there:
                arrivals.append((image[1] - START + late, image))
        expected.append((sweep, there))
    frames = play(new(), arrivals)
    found = [(frame.items[0], frame.cameras) for frame, _ in frames]
    assert set(found) <= set(expected)
    assert [f for f in found if len(f[1]) > 3] == [e for e in expected if len(e[1]) > 3]
    for frame, at in frames:  # within a poll of the time that it is allowed
        if len(frame.cameras) > 3:
            first = START + frame.items[0] * PERIOD - 5 * MS
            assert at + START - first <= (MAX_WAIT * 1e9 + 80 * MS)


def test_where_many_images_are_lost_the_period_stays():
    """Most cameras lack every other image for a while: that looks like half their rate."""
    lost = [(1, 2), (0, 3, 4), (2, 5), (0, 1, 3), (4,), ()]  # of sweeps 1 to 6, by camera
    images = [
        image
        for sweep, away in enumerate([(), *lost])
        for i, image in enumerate(sweep_images(sweep))
        if i not in away
    ]
    frames = play(new(), on_time(images))
    assert sweeps_of([frame for frame, _ in frames]) == list(range(7))
    for frame, at in frames:
        assert at - frame.items[0] * PERIOD <= MAX_WAIT * 1e9 + 60 * MS


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CAMERAS), st.integers(0, 2**62)), max_size=300))
def test_memory_is_bounded_whatever_comes(images):
    synchronizer = new()
    for i, (camera, stamp) in enumerate(images):
        synchronizer.add(camera, stamp, None, i * 0.01)
        synchronizer.poll(i * 0.01)
    assert all(len(waiting) <= QUEUE_SIZE for waiting in synchronizer._waiting.values())


def test_a_sweep_is_ready_when_each_missing_camera_has_sent_a_newer_image():
    synchronizer = new()
    feed(synchronizer, sweep_images(0))
    late, *early = sweep_images(1)
    newer, *rest = sweep_images(2)
    for image in early:
        synchronizer.add(*image, 2000.0)
    assert not ready(synchronizer, 2000.0)
    synchronizer.add(*newer, 2000.0)
    assert sweeps_of(ready(synchronizer, 2000.0)) == [1]
    for image in [late, *rest]:
        synchronizer.add(*image, 2000.0)
    assert synchronizer.stale[late[0]] == 1
    assert sweeps_of(ready(synchronizer, 2000.0)) == [2]


def test_an_incomplete_frame_waits_as_long_as_allowed_and_its_late_image_is_dropped():
    synchronizer = new()
    late = sweep_images(1)[3]  # the last of its sweep
    images = [*on_time(sweep_images(0)), *on_time(sweep_images(1)[:3] + sweep_images(1)[4:])]
    frames = play(synchronizer, [*images, (PERIOD + 150 * MS, late)])
    assert sweeps_of([frame for frame, _ in frames]) == [0, 1]
    frame, at = frames[1]
    assert frame.cameras == tuple(camera for camera in CAMERAS if camera != late[0])
    assert MAX_WAIT * 1e9 <= at - PERIOD <= MAX_WAIT * 1e9 + 11 * MS
    assert synchronizer.stale[late[0]] == 1
    assert sweeps_of(feed(synchronizer, sweep_images(13))) == [13]


def test_wild_stamps_cost_no_other_frame():
    synchronizer = new()
    emitted = []
    for sweep in range(20):
        if sweep in (2, 3):
            wild = 0 if sweep == 2 else 2**62
            synchronizer.add("CAM_BACK", wild, "wild", sweep / 12)
        for image in sweep_images(sweep):
            synchronizer.add(*image, sweep / 12)
            emitted += [frame.items[0] for frame in ready(synchronizer, sweep / 12)]
    assert emitted == list(range(20))


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("jitter", [0, -2 * MS])
def test_an_image_with_a_stamp_ahead_takes_no_place_when_its_time_comes(camera, jitter):
    """Found by the soak: for 100 s it had waited, and then stood for the image of that time."""
    ahead = 24
    arrivals = on_time([image for sweep in range(40) for image in sweep_images(sweep)])
    stamp = next(image[1] for image in sweep_images(4 + ahead) if image[0] == camera)
    at, wrong = 4 * PERIOD, (camera, stamp + jitter, 4)
    arrivals = [
        (at, wrong) if i == (camera, stamp - ahead * PERIOD, 4) else (t, i) for t, i in arrivals
    ]
    frames = [frame for frame, _ in play(new(), arrivals)]
    assert sweeps_of(frames) == [*range(40)]
    assert [f.items[0] for f in frames if camera not in f.cameras] == [4]


def test_a_camera_with_a_wrong_clock_is_left_out():
    """One camera ten seconds ahead: the other five make the frames."""
    images = []
    for sweep in range(24):
        wrong, *right = sweep_images(sweep)
        images += [*right, (wrong[0], wrong[1] + (10**10 if sweep else 0), wrong[2])]
    arrivals = [(image[1] % 10**10 - START % 10**10, image) for image in images]
    frames = [frame for frame, _ in play(new(), arrivals)]
    assert sweeps_of(frames) == list(range(24))
    assert all(frame.cameras == CAMERAS[1:] for frame in frames[1:])


@pytest.mark.parametrize("length", [20, 6])
def test_a_bag_that_starts_again_is_followed(length):
    """At once if it is longer than a second; else after the images that show it."""
    sweeps = [*range(length)] * 8
    images = [image for sweep in sweeps for image in sweep_images(sweep)]
    arrivals = [(i * PERIOD // 6, image) for i, image in enumerate(images)]
    emitted = sweeps_of([frame for frame, _ in play(new(), arrivals)])
    if length * PERIOD > CLOCK_JUMP_NS:
        assert emitted == sweeps
    else:
        assert len(emitted) >= 2
        assert set(emitted) == set(sweeps)


def test_simulated_time_that_starts_again_begins_anew():
    synchronizer = new()
    for _ in range(2):
        assert sweeps_of(feed(synchronizer, sweep_images(0) + sweep_images(13))) == [0, 13]


@pytest.mark.parametrize("dead", [1, 2, 3, 4, 5])
def test_frames_go_on_without_dead_cameras_and_wait_only_while_these_may_come_back(dead):
    lost = BY_TRIGGER[1 : 1 + dead]
    there = tuple(camera for camera in CAMERAS if camera not in lost)
    images = []
    for sweep in range(60):
        gone = 10 <= sweep < 40
        images += [i for i in sweep_images(sweep) if not (gone and i[0] in lost)]
    synchronizer = new()
    frames = play(synchronizer, on_time(images))
    by_sweep = {frame.items[0]: (frame, at) for frame, at in frames}
    sweeps_of([frame for frame, _ in frames])
    assert all(by_sweep[sweep][0].cameras == CAMERAS for sweep in range(10))
    assert set(range(10, 24)) <= by_sweep.keys(), "frames wait, and none is left out"
    for sweep in range(24, 40):
        frame, at = by_sweep[sweep]
        assert frame.cameras == there
        assert at + START == frame.reference, "it came with its last image"
    assert all(by_sweep[sweep][0].cameras == CAMERAS for sweep in range(41, 60))


@pytest.mark.parametrize("ahead", [1.0, 3600.0])
@pytest.mark.parametrize("max_wait", [0.1, 1.0])
def test_an_image_with_a_wrong_clock_is_no_frame_even_when_all_cameras_pause(max_wait, ahead):
    images = [*sweep_images(0), *sweep_images(1)]
    images = [
        (camera, stamp + int(ahead * 1e9), "wrong") if camera == "CAM_BACK" and sweep == 1 else i
        for i in images
        for camera, stamp, sweep in [i]
    ]
    arrivals = list(zip([image[1] - START for image in sweep_images(0) * 2], images, strict=True))
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE, max_wait)
    frames = [frame for frame, _ in play(synchronizer, arrivals, until=5.0)]
    assert sweeps_of(frames) == [0, 1]
    assert len(frames[1].cameras) == 5


_ON_AND_OFF = st.lists(st.integers(1, 36), min_size=1, max_size=6)  # sweeps, in turns
_LOST_AND_LATE = st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.8]), st.sampled_from([0, 20, 60, 150]))


@settings(deadline=None, max_examples=20)
@given(
    steady=st.sets(st.sampled_from(CAMERAS), min_size=1, max_size=5),
    presence=st.lists(_ON_AND_OFF, min_size=6, max_size=6),
    faults=st.lists(_LOST_AND_LATE, min_size=6, max_size=6),
    min_cameras=st.integers(1, 3),
    chance=st.randoms(use_true_random=False),
)
def test_while_enough_cameras_stream_no_gap_is_wide_whatever_others_do(
    steady, presence, faults, min_cameras, chance
):
    """And no two sweeps are mixed, once a first one came whole.

    presence: how many sweeps a camera is off and on, in turns; faults: which share of its images is
    lost, and by how many ms others are late at most. Those that stream are late by 20 ms at most.
    """
    arrivals, last = on_time(sweep_images(0)), 60
    for sweep in range(1, last + 1):
        jitter = [chance.randint(-5 * MS, 5 * MS) for _ in CAMERAS]
        for image, turns, (lost, late) in zip(
            sweep_images(sweep, jitter), presence, faults, strict=True
        ):
            if image[0] in steady:
                late = 20
            elif not _is_on(turns, sweep) or chance.random() < lost:
                continue
            arrivals.append((image[1] - START + chance.randint(0, late * MS), image))
    frames = play(new(min_cameras=min(min_cameras, len(steady))), arrivals)
    emitted = sweeps_of([frame for frame, _ in frames])
    assert emitted == sorted(set(emitted)), "a sweep came twice or late"
    times = [at for _, at in frames if at < last * PERIOD]
    widest = max(later - at for at, later in itertools.pairwise([*times, last * PERIOD]))
    assert widest <= MAX_WAIT * 1e9 + 2 * PERIOD + 40 * MS  # jitter, delay, and the polls' raster


def _is_on(turns, sweep):
    """Whether a camera is that is off for the first number of sweeps, on for the second, ..."""
    sweep %= sum(turns) * (1 + len(turns) % 2)
    for turn, length in enumerate(itertools.cycle(turns)):
        if sweep < length:
            return turn % 2 == 1
        sweep -= length


@settings(deadline=None, max_examples=15)
@given(
    steady=st.sets(st.sampled_from(CAMERAS), min_size=1, max_size=5),
    presence=st.lists(st.one_of(st.none(), _ON_AND_OFF), min_size=6, max_size=6),
)
@example(steady={CAMERAS[0], CAMERAS[1]}, presence=[None, None, [18, 36], None, None, None])
@example(steady={CAMERAS[0], CAMERAS[3]}, presence=[None, None, [18, 36], None, None, None])
def test_no_gap_is_wide_where_no_sweep_ever_came_whole(steady, presence):
    """Two of three cameras stream, and the third is 3 s on and 1.5 s off; the others never came."""
    first, last = 2 * round(SILENT * 1e9 / PERIOD), 100  # at first all may be coming
    images = [
        image
        for sweep in range(last + 1)
        for image, turns in zip(sweep_images(sweep), presence, strict=True)
        if image[0] in steady or (sweep >= first and turns is not None and _is_on(turns, sweep))
    ]
    frames = play(new(), on_time(images))
    times = [at for _, at in frames if first * PERIOD <= at < last * PERIOD]
    ends = [first * PERIOD, *times, last * PERIOD]
    widest = max(later - at for at, later in itertools.pairwise(ends))
    assert widest <= MAX_WAIT * 1e9 + 2 * PERIOD + 10 * MS


def test_a_camera_that_comes_and_goes_beside_absent_ones_costs_no_frame():
    """Three of six, one of them 3 s on and 1.5 s off."""
    images = [
        image
        for sweep in range(360)
        for image in sweep_images(sweep)[:3]
        if image[0] != CAMERAS[2] or sweep % 54 < 36
    ]
    emitted = sweeps_of(feed(new(), images))
    assert emitted == list(range(emitted[0], 360))
    assert emitted[0] * PERIOD <= (SILENT + 0.1) * 1e9


@pytest.mark.parametrize("ahead", [-3600.0, -0.3, 0.3, 10.0])
def test_a_camera_with_a_wrong_clock_that_comes_and_goes_costs_no_frame(ahead):
    arrivals = [
        (stamp - START, (camera, stamp + int(ahead * 1e9) * (camera == "CAM_BACK"), sweep))
        for sweep in range(180)
        for camera, stamp, _ in sweep_images(sweep)
        if camera in CAMERAS[:2] or (camera == "CAM_BACK" and sweep > 30 and sweep % 54 < 36)
    ]
    frames = [frame for frame, _ in play(new(), arrivals)]
    emitted = sweeps_of(frames)
    assert emitted == list(range(emitted[0], 180))
    assert all(frame.cameras == CAMERAS[:2] for frame in frames)


def test_too_few_cameras_make_no_frame():
    images = [*sweep_images(0)]
    for sweep in range(1, 40):
        images += sweep_images(sweep)[: 4 if sweep < 20 else 3]
    assert max(sweeps_of(feed(new(min_cameras=4), images))) == 19
    assert max(sweeps_of(feed(new(min_cameras=3), images))) == 39


def test_a_camera_that_was_never_there_is_waited_for_only_at_first():
    images = [image for sweep in range(36) for image in sweep_images(sweep)[1:]]
    frames = feed(new(), images)
    emitted = sweeps_of(frames)
    assert emitted == list(range(emitted[0], 36))
    assert emitted[0] * PERIOD <= (SILENT + 0.1) * 1e9


def test_a_camera_at_half_rate_is_in_every_second_frame():
    images = []
    for sweep in range(24):
        images += [i for i in sweep_images(sweep) if i[0] != "CAM_BACK" or sweep % 2 == 0]
    frames = feed(new(), images)
    assert sweeps_of(frames) == list(range(24))
    assert [len(frame.cameras) for frame in frames] == [6, 5] * 12


def test_a_rig_whose_cameras_start_anew_is_learned_anew():
    """Other trigger times after a restart, and a camera missing since: frames come back."""
    images = [image for sweep in range(12) for image in sweep_images(sweep)]
    shift = dict(zip(CAMERAS, (30, 0, 10, -30, 0, 0), strict=True))
    for sweep in range(30, 66):
        images += [
            (camera, stamp + shift[camera] * MS, item)
            for camera, stamp, item in sweep_images(sweep)[:5]
        ]
    emitted = sweeps_of(feed(new(), images))
    assert set(range(30 + 14, 66)) <= set(emitted)


@pytest.mark.parametrize("wrong", CAMERAS)
@pytest.mark.parametrize("ahead", [-3600.0, -0.5, -0.25, 0.25, 0.5, 1.0, 10.0])
@pytest.mark.parametrize("begin", [0, 30])
def test_one_camera_with_a_wrong_clock_costs_no_frame(wrong, ahead, begin):
    """From the start, or from one moment on."""
    arrivals = [
        (stamp - START, (camera, stamp + int(shift * 1e9), sweep))
        for sweep in range(60)
        for camera, stamp, _ in sweep_images(sweep)
        for shift in [ahead if camera == wrong and sweep >= begin else 0.0]
    ]
    frames = [frame for frame, _ in play(new(), arrivals)]
    settled = [frame for frame in frames if max(frame.items) >= begin + QUEUE_SIZE]
    others = tuple(camera for camera in CAMERAS if camera != wrong)
    assert all(frame.cameras == others for frame in settled)
    emitted = sweeps_of(settled)
    assert emitted == [*range(emitted[0], 60)]
    assert emitted[0] <= begin + QUEUE_SIZE


@pytest.mark.parametrize("dead", [*itertools.combinations(CAMERAS, 2)])
@pytest.mark.parametrize("begin", range(6))
def test_a_rig_of_which_two_cameras_never_came_is_one_of_four(dead, begin):
    """Whichever of its images is the first that is seen."""
    images = [i for sweep in range(30) for i in sweep_images(sweep) if i[0] not in dead]
    images = sorted(images, key=lambda image: image[1])[begin:]
    frames = feed(new(), images)
    emitted = sweeps_of(frames)
    assert emitted == [*range(emitted[0], 30)]
    assert emitted[0] <= 2
    assert all(len(frame.cameras) == 4 for frame in frames[1:])


@pytest.mark.parametrize("late", CAMERAS)
@pytest.mark.parametrize("max_wait", [0.1, 0.2])
def test_a_camera_whose_images_always_come_late_costs_no_frame(late, max_wait):
    """By 90 ms; where it may be waited for so long, it is in every frame."""
    arrivals = [
        (stamp - START + 90 * MS * (camera == late), (camera, stamp, item))
        for sweep in range(48)
        for camera, stamp, item in sweep_images(sweep)
    ]
    synchronizer = FrameSynchronizer(CAMERAS, TOLERANCE, max_wait)
    frames = [frame for frame, _ in play(synchronizer, arrivals)]
    assert sweeps_of(frames) == [*range(48)]
    arrives = 90 * MS + TRIGGERS[CAMERAS.index(late)]
    if arrives <= max_wait * 1e9:
        assert all(frame.cameras == CAMERAS for frame in frames)


@pytest.mark.parametrize("odd", CAMERAS)
@pytest.mark.parametrize("by", range(-150, 151, 10))
@pytest.mark.parametrize("begin", [0, 20])
def test_a_slightly_wrong_clock_costs_few_frames(odd, by, begin):
    """Where it cannot be told from another trigger time, the others make frames all the same."""
    arrivals = [
        (stamp - START, (camera, stamp + shift, sweep))
        for sweep in range(60)
        for camera, stamp, _ in sweep_images(sweep)
        for shift in [by * MS if camera == odd and sweep >= begin else 0]
    ]
    frames = [frame for frame, _ in play(new(), arrivals)]
    if frames[-1].cameras == (odd,):  # to all appearance the others have gone, and it goes on
        frames.pop()
    most = [max(set(frame.items), key=frame.items.count) for frame in frames]
    assert most == sorted(set(most))
    assert len(set(most) & set(range(begin, 60))) >= 60 - begin - QUEUE_SIZE


@pytest.mark.parametrize("stays", [*CAMERAS, None])
def test_cameras_that_come_back_together_are_together_from_their_first_sweep_on(stays):
    """After a link's outage of two seconds. (Before them a camera that fires first was alone.)"""
    images = [
        image
        for sweep in range(72)
        for image in sweep_images(sweep)
        if not 24 <= sweep < 48 or image[0] == stays
    ]
    frames = [frame for frame in feed(new(), images) if frame.items[0] >= 48]
    assert sweeps_of(frames) == [*range(48, 72)]
    alone = stays == BY_TRIGGER[0]
    assert all(frame.cameras == CAMERAS for frame in frames[alone:])


def test_a_driver_that_repeats_its_last_image_makes_no_frames():
    arrivals = on_time([image for sweep in range(8) for image in sweep_images(sweep)])
    arrivals += [(at + k * PERIOD, image) for at, image in arrivals[-6:] for k in range(1, 40)]
    frames = [frame for frame, _ in play(new(), arrivals)]
    assert sweeps_of(frames) == [*range(8)]


@pytest.mark.parametrize("fast", CAMERAS)
def test_a_camera_at_three_times_the_rate_of_the_others_is_in_each_of_their_frames(fast):
    images = [image for sweep in range(24) for image in sweep_images(sweep)]
    images += [
        (fast, stamp + extra * PERIOD // 3, sweep)
        for camera, stamp, sweep in images
        for extra in (1, 2)
        if camera == fast
    ]
    frames = feed(new(), images)
    assert len([frame for frame in frames if frame.cameras == CAMERAS]) >= 23


def simultaneous(sweeps, period, lost):
    """(camera, stamp, item) of cameras that fire at once; lost: sweep -> the camera without it."""
    order = [CAMERAS[(3 + 5 * i) % 6] for i in range(6)]  # in which they arrive
    return [
        (sweep * period + i * MS // 10, (camera, START + sweep * period, sweep))
        for sweep in sweeps
        for i, camera in enumerate(order)
        if camera != lost(sweep)
    ]


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("every", [2, 3, 5])
@pytest.mark.parametrize("first", [0, 1])
def test_a_lost_image_of_cameras_that_fire_at_once_costs_no_frame(camera, every, first):
    arrivals = simultaneous(range(48), PERIOD, lambda k: camera if k % every == first else None)
    emitted = [frame.items[0] for frame, _ in play(new(), arrivals)]
    assert emitted == [*range(48)]


@pytest.mark.parametrize("rate", [20, 30])
@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_tolerance_too_large_for_the_period_mixes_no_sweeps(rate, camera, first):
    period = 1000 * MS // rate
    arrivals = simultaneous(range(90), period, lambda k: camera if k % 3 == first else None)
    synchronizer = new()
    frames = [frame for frame, _ in play(synchronizer, arrivals)]
    assert len(sweeps_of(frames[1:])) >= 85  # the first comes before a period is known
    assert synchronizer.period == pytest.approx(1 / rate, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_a_tolerance_too_large_for_the_rig_mixes_no_whole_sweeps(seed):
    """The one before's last image and five of this are 73 ms apart, and 42 ms all of one."""
    chance = random.Random(seed)
    images = [image for sweep in range(600) for image in sweep_images(sweep)]
    kept = [image for image in images if chance.random() > 0.05]
    frames = feed(FrameSynchronizer(CAMERAS, 100 * MS, MAX_WAIT), kept)
    whole = [sweep for sweep in range(12, 600) if sum(image[2] == sweep for image in kept) == 6]
    assert {frame.items[0] for frame in frames if len(set(frame.items)) == 1} >= {*whole}


@pytest.mark.parametrize("tolerance", [0, -1, CLOCK_JUMP_NS])
def test_a_senseless_tolerance_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        FrameSynchronizer(CAMERAS, tolerance)
