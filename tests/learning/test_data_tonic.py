"""Tonic's door: the same array in and out, refusals that say what is used instead, results kept through a crash."""

import numpy as np
import pytest

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import EVENT_DTYPE, Sensor
from dvs_snn.learning import ListedRecordings, Recording, data_config, open_data
from dvs_snn.learning.data import TonicRecordings, tonic_door
from dvs_snn.learning.data.tonic_door import REFUSED, SLICERS, TRANSFORMS, Step, apply, from_tonic, parse_steps
from dvs_snn.learning.data.transformed import Transformed
from tests.learning.tiny_sets import nmnist, random_events, shd

SENSOR = Sensor(24, 16)
ARGUMENTS = {
    "CropTime": {"min": 20_000, "max": 900_000},
    "Decimation": {"n": 2},
    "Denoise": {"filter_time": 10_000},
    "DropEvent": {"p": 0.3},
    "DropPixel": {"coordinates": [[1, 2], [3, 4]]},
    "DropEventByArea": {"area_ratio": 0.3},
    "RandomDropPixel": {"p": 0.2},
    "RefractoryPeriod": {"delta": 1000},
    "TimeJitter": {"std": 100.0},
    "TimeSkew": {"coefficient": 1.5},
    "SliceAtIndices": {"start_indices": [0, 50], "end_indices": [50, 90]},
    "SliceAtTimePoints": {"start_tw": [0, 300_000], "end_tw": [200_000, 500_000]},
    "SliceByEventBins": {"bin_count": 4},
    "SliceByEventCount": {"event_count": 100},
    "SliceByTime": {"time_window": 200_000},
    "SliceByTimeBins": {"bin_count": 3},
}


def recording(seed=0, count=600):
    rng = np.random.default_rng(seed)
    return Recording(random_events(rng, SENSOR, 0, 1_000_000, count), 3, f"r{seed}", "someone")


class Kept(ListedRecordings):
    identity = "test"


def kept(count=3):
    return Kept([recording(seed) for seed in range(count)], ("a", "b", "c", "d"), SENSOR, "listed", "train")


def tonics(events):
    """The same events as Tonic's own loaders make them."""
    dtype = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])
    other = np.empty(len(events), dtype)
    for field in "xytp":
        other[field] = events[field]
    return other


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_do_to_our_arrays_what_they_do_to_tonics_own(name):
    step = Step(name, ARGUMENTS.get(name, {}))
    ours = apply(step, recording(), SENSOR)
    theirs = apply(step, Recording(tonics(recording().events), 3, "r0"), SENSOR)
    assert len(ours) == 1 and ours[0].events.dtype == EVENT_DTYPE
    np.testing.assert_array_equal(ours[0].events, theirs[0].events)
    assert (np.diff(ours[0].events["t"]) >= 0).all() and ours[0].group == "someone"


@pytest.mark.parametrize("name", SLICERS)
def test_slicers_give_views_of_our_array(name):
    whole = recording()
    pieces = apply(Step(name, ARGUMENTS[name]), whole, SENSOR)
    assert len(pieces) > 1 and len({piece.name for piece in pieces}) == len(pieces)
    for piece in pieces:
        assert np.shares_memory(piece.events, whole.events) and piece.label == 3


def test_arrays_go_to_tonic_and_back_without_a_copy(monkeypatch):
    seen = []

    class Spy:
        def __call__(self, events):
            seen.append(events)
            return events

    monkeypatch.setattr(tonic_door, "_kind", lambda name: Spy)
    whole = recording()
    (back,) = apply(Step("Denoise", {}), whole, SENSOR)
    assert seen[0] is whole.events and np.shares_memory(back.events, whole.events)


def test_randomness_depends_on_the_recording_alone_and_leaves_numpys_state():
    step = Step("DropEvent", {"p": 0.5})
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (apply(step, recording(seed), SENSOR)[0].events for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(first) == 300 and not np.array_equal(first, other)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_every_transform_of_tonic_is_used_or_refused_with_a_reason():
    import tonic

    names = {n for n, kind in vars(tonic.transforms).items() if isinstance(kind, type)}
    assert names - {"Compose", "NumpyAsType", "Repeat", "ToOneHotEncoding", "Callable", "Iterable"} == {
        *TRANSFORMS,
        *REFUSED,
    }


def test_why_uniform_noise_is_refused():
    from tonic.transforms import UniformNoise

    events = recording(count=50).events
    noisy = UniformNoise(sensor_size=(24, 16, 2), n=1000)(events)
    assert noisy["p"].mean() > 0.95  # of the noise, half should be OFF


@pytest.mark.parametrize(
    ("written", "named"),
    [
        (["ToVoxelGrid"], "VoxelGrid, which conserves polarity"),
        ([{"ToFrame": {"n_time_bins": 3}}], "EventCounts, which loses no last event"),
        (["RandomFlipLR"], "augment.mirror"),
        (["Denoize"], "'Denoize' is unknown; known: CropTime"),
        (["Denoise"], "Denoise needs the argument filter_time"),
        ([{"Denoise": {"filter": 3}}], "Denoise has no argument filter; it takes filter_time"),
        ([{"Denoise": {"filter_time": "long"}}], "Denoise fails"),
        ([{"Decimation": {"n": 0}}], "n has to be an integer greater than zero"),
        ([{"Denoise": 3}], "table of arguments"),
        ([{"Denoise": {}, "Decimation": {}}], "expected a name or one"),
        ("Denoise", "is a list"),
        ([{"SliceByTime": {"time_window": 9}}, {"SliceByEventBins": {"bin_count": 2}}], "one slicer"),
    ],
)
def test_wrong_steps_are_one_line_that_names_them(written, named):
    with pytest.raises(ConfigError, match=named) as caught:
        parse_steps(written)
    assert len(str(caught.value).splitlines()) == 1


def test_events_outside_the_sensor_and_empty_results_are_refused():
    with pytest.raises(RecordingError, match="outside the sensor"):
        from_tonic(recording().events, Sensor(8, 8))
    with pytest.raises(RecordingError, match="leaves no events"):
        apply(Step("CropTime", {"min": 10**9, "max": 2 * 10**9}), recording(), SENSOR)
    with pytest.raises(RecordingError, match="no array of events"):
        from_tonic(np.zeros(3), SENSOR)


def test_results_are_kept_and_damaged_ones_made_again(tmp_path, monkeypatch):
    step = Step("Denoise", {"filter_time": 10_000})
    made = Transformed(kept(), step, tmp_path, progress=False)
    assert made.prepare(progress=False) == 3 and made.prepare(progress=False) == 0
    expected = [made[i].events for i in range(3)]
    assert all(0 < len(events) < 600 for events in expected)
    files = sorted(tmp_path.rglob("*.safetensors"))
    files[1].write_bytes(files[1].read_bytes()[:100])
    calls = []
    monkeypatch.setattr("dvs_snn.learning.data.transformed.apply", lambda *a: calls.append(a) or apply(*a))
    again = Transformed(kept(), step, tmp_path, progress=False)
    for i in range(3):
        np.testing.assert_array_equal(again[i].events, expected[i])
        assert again[i].label == 3 and again[i].group == "someone"
    assert len(calls) == 1  # the damaged one
    assert "Denoise" in again.source
    other = Transformed(kept(), Step("Denoise", {"filter_time": 9}), tmp_path, progress=False)
    assert len(other[0].events) < len(expected[0])  # other arguments, other results


def test_a_slicer_makes_a_longer_set_and_goes_on_after_a_crash(tmp_path, monkeypatch):
    step = Step("SliceByTime", {"time_window": 200_000})
    pieces = [len(apply(step, recording(seed), SENSOR)) for seed in range(3)]

    def crash(step, recording, sensor):
        if recording.name == "r2":
            raise KeyboardInterrupt
        return apply(step, recording, sensor)

    monkeypatch.setattr("dvs_snn.learning.data.transformed.apply", crash)
    with pytest.raises(KeyboardInterrupt):
        Transformed(kept(), step, tmp_path, progress=False)
    calls = []
    monkeypatch.setattr("dvs_snn.learning.data.transformed.apply", lambda *a: calls.append(a[1].name) or apply(*a))
    sliced = Transformed(kept(), step, tmp_path, progress=False)
    assert calls == ["r2"] and len(sliced) == sum(pieces) == len(sliced.groups)
    events = [sliced[i].events for i in range(len(sliced))]
    assert all(e["t"][-1] - e["t"][0] < 200_000 for e in events)
    start = sum(pieces[:2])
    np.testing.assert_array_equal(np.concatenate(events[start:]), recording(2).events[: sum(map(len, events[start:]))])


def test_transforms_of_a_recipe_reach_the_recordings(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    nmnist(tmp_path, 2, 1)
    section = {"name": "nmnist", "folder": str(tmp_path)}
    steps = ["TimeAlignment", {"SliceByEventCount": {"event_count": 50}}, {"CropTime": {"min": 0, "max": 10**6}}]
    labels = tuple("0123456789")
    plain = open_data(data_config(section), "test", labels, Sensor(34, 34))
    sliced = open_data(data_config({**section, "transforms": steps}), "test", labels, Sensor(34, 34))
    assert len(plain) == 10 and len(sliced) == 40 and all(len(sliced[i].events) == 50 for i in range(40))
    assert data_config({**section, "transforms": steps}).to_dict()["transforms"] == steps


def test_data_set_objects_of_tonic_are_recordings(tmp_path):
    from tonic.datasets import SHD

    shd(tmp_path)
    (tmp_path / "SHD" / "shd_test.h5.zip").touch()
    recordings = TonicRecordings(SHD(str(tmp_path), train=False), ("zero", "one", "two"))
    assert len(recordings) == 24 and recordings.sensor == Sensor(700, 1)
    assert recordings[0].events.dtype == EVENT_DTYPE and recordings[0].events["p"].all() and recordings[0].label == 0


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("File not found\nor corrupted.")

    monkeypatch.setattr("tonic.datasets.SHD", fail)
    data = data_config({"name": "shd", "folder": str(tmp_path), "download": True})
    with pytest.raises(ConfigError, match=r"fails \(RuntimeError: File not found or corrupted\.\); get the files"):
        open_data(data, "train", (), Sensor(700, 1))
