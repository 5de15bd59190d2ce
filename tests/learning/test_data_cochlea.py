"""SHD and SSC: spikes as in the file, speakers apart, a name only where a check sum proves it."""

import gzip
import hashlib
import zipfile

import h5py
import numpy as np
import pytest

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import Sensor
from dvs_snn.learning import ClipConfig, ClipLoader, Encoding
from dvs_snn.learning.data import COCHLEA, SHDConfig, SSCConfig, cochlea
from dvs_snn.learning.data.cochlea import open_shd, open_ssc, shd_labels
from dvs_snn.representation import EventCounts
from tests.learning.tiny_sets import cochlea_file, shd, ssc


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_spikes_are_those_of_the_file_and_of_tonic(tmp_path):
    from tonic.datasets import SHD

    spikes = cochlea_file(tmp_path / "SHD" / "shd_train.h5", range(3))
    (tmp_path / "SHD" / "shd_train.h5.zip").touch()
    recordings = open_shd(SHDConfig(str(tmp_path), fit_all=True), "train", COCHLEA)
    theirs = SHD(str(tmp_path), train=True)
    assert len(recordings) == len(theirs) == len(spikes)
    for i, (times, units) in enumerate(spikes):
        events = recordings[i].events
        np.testing.assert_array_equal(events["t"], np.rint(times.astype(np.float64) * 1e6))
        np.testing.assert_array_equal(events["x"], units)
        assert events["p"].all() and not events["y"].any()
        tonics, label = theirs[i]
        assert label == recordings[i].label
        np.testing.assert_array_equal(events["x"], tonics["x"])
        assert np.abs(events["t"] - tonics["t"]).max() <= 1  # Tonic cuts off fractions of a microsecond


def test_validation_is_by_speaker_and_the_test_falls_into_seen_and_unseen(tmp_path):
    shd(tmp_path)
    config = SHDConfig(str(tmp_path))
    groups = {s: set(open_shd(config, s, COCHLEA).groups) for s in cochlea.SHD_SPLITS}
    assert groups["validation"] == {"speaker8", "speaker9"}
    assert groups["train"] == {f"speaker{k}" for k in range(8)}
    assert groups["test_seen"] == {"speaker0", "speaker1"} and groups["test_unseen"] == {"speaker10", "speaker11"}
    sizes = {s: len(open_shd(config, s, COCHLEA)) for s in cochlea.SHD_SPLITS}
    assert sizes["test_seen"] + sizes["test_unseen"] == sizes["test"]
    assert sizes["train"] + sizes["validation"] == sizes["train_all"] == 60
    assert "validation by speaker 8, 9" in open_shd(config, "train", COCHLEA).source
    chosen = SHDConfig(str(tmp_path), speakers=(3,))
    assert set(open_shd(chosen, "validation", COCHLEA).groups) == {"speaker3"}
    with pytest.raises(ConfigError, match=r"data\.speakers \[12\]"):
        open_shd(SHDConfig(str(tmp_path), speakers=(12,)), "train", COCHLEA)


def test_share_of_every_speaker_is_held_out_the_same_each_time(tmp_path):
    shd(tmp_path)
    config = SHDConfig(str(tmp_path), validation="share", share=0.34)
    held, kept = open_shd(config, "validation", COCHLEA), open_shd(config, "train", COCHLEA)
    assert len(set(held.groups)) == len(set(kept.groups)) == 10 and len(held) == 20 and len(kept) == 40
    names = {held[i].name for i in range(len(held))}
    assert names.isdisjoint(kept[i].name for i in range(len(kept)))
    again = open_shd(config, "validation", COCHLEA)
    assert names == {again[i].name for i in range(len(again))}


def test_ssc_has_a_validation_file_of_its_own(tmp_path):
    ssc(tmp_path)
    for number, split in enumerate(("train", "validation", "test")):
        recordings = open_ssc(SSCConfig(str(tmp_path)), split, COCHLEA)
        assert set(recordings.groups) == {f"speaker{number}"} and recordings.labels == ("bed", "bird")


def test_clips_of_spikes_count_them_all(tmp_path):
    shd(tmp_path)
    recordings = open_shd(SHDConfig(str(tmp_path)), "train", COCHLEA)
    clips = ClipConfig(seconds=(0.3, 0.3), warmup_s=0.0, splice=0.0)
    loader = ClipLoader(recordings, Encoding(EventCounts(), COCHLEA, 10_000), clips, None, batch=8, seed=1)
    clip = next(loader.epoch(0))
    assert clip.inputs.shape == (30, 8, 2, 1, 700)
    counts = sorted(len(recordings[i].events) for i in range(len(recordings)))
    assert all(int(n) in counts for n in clip.inputs.sum((0, 2, 3, 4)))
    assert not clip.inputs[:, :, 1].any()  # cochlea spikes have one polarity
    assert not clip.scored[21:].any() and clip.scored[:18].all()  # shorter than the clip: padded, not scored


def test_only_the_published_archive_gives_the_name(tmp_path, monkeypatch, capsys):
    shd(tmp_path)
    config = SHDConfig(str(tmp_path))
    assert open_shd(config, "test", COCHLEA).source == "SHD (SHD layout, 3 classes, unverified)"
    archive = tmp_path / "SHD" / "shd_test.h5.zip"
    archive.write_bytes(b"published")
    assert "unverified" in open_shd(config, "test", COCHLEA).source
    assert "is not the published file" in capsys.readouterr().err
    monkeypatch.setitem(cochlea.MD5, "shd_test.h5.zip", hashlib.md5(b"published").hexdigest())
    assert open_shd(config, "test", COCHLEA).source == "SHD"


@pytest.mark.parametrize("suffix", [".gz", ".zip"])
def test_an_archive_alone_is_unpacked_whole_or_not_at_all(tmp_path, suffix):
    shd(tmp_path, ".")
    plain = tmp_path / "shd_test.h5"
    data = plain.read_bytes()
    plain.unlink()
    packed = tmp_path / f"shd_test.h5{suffix}"
    if suffix == ".gz":
        packed.write_bytes(gzip.compress(data))
    else:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("shd_test.h5", data)
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="get it again"):
        open_shd(SHDConfig(str(tmp_path)), "test", COCHLEA)
    assert sorted(p.name for p in tmp_path.glob("*shd_test*")) == [packed.name]
    packed.write_bytes(whole)
    assert len(open_shd(SHDConfig(str(tmp_path)), "test", COCHLEA)) == 24
    assert plain.read_bytes() == data


def test_labels_come_from_the_file(tmp_path):
    assert len(shd_labels(SHDConfig())) == 20
    assert shd_labels(SHDConfig(str(shd(tmp_path)))) == ("zero", "one", "two")


def _broken(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda f: f.__delitem__("spikes/units"), "SHD's layout"),
        (lambda f: (f.__delitem__("labels"), f.__setitem__("labels", np.zeros(3, np.uint16))), "differ in number"),
        (lambda f: f["labels"].__setitem__(0, 7), "label 7"),
        (lambda f: f["spikes/units"].__setitem__(0, np.full(len(f["spikes/times"][0]), 700, np.uint16)), "unit 700"),
        (lambda f: f["spikes/units"].__setitem__(0, np.zeros(1, np.uint16)), "times and 1 units"),
        (lambda f: f["spikes/times"].__setitem__(0, np.full(len(f["spikes/units"][0]), np.nan, np.float16)), "finite"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, named):
    shd(tmp_path)
    _broken(tmp_path / "SHD" / "shd_train.h5", change)
    with pytest.raises(RecordingError, match=named) as caught:
        open_shd(SHDConfig(str(tmp_path), fit_all=True), "train", COCHLEA)[0]
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"get shd_train\.h5\.zip from https://zenkelab\.org"):
        open_shd(SHDConfig(str(tmp_path)), "train", COCHLEA)
    (tmp_path / "shd_train.h5").write_bytes(b"no hdf5")
    with pytest.raises(RecordingError, match="SHD's layout"):
        open_shd(SHDConfig(str(tmp_path)), "train", COCHLEA)
    with pytest.raises(ConfigError, match="700x1"):
        open_shd(SHDConfig(str(tmp_path)), "train", Sensor(34, 34))
    with pytest.raises(ConfigError, match="known: train, validation, test, test_seen"):
        open_shd(SHDConfig(str(tmp_path)), "valid", COCHLEA)


@pytest.mark.data
def test_real_spoken_digits_have_the_published_splits(data_dir):
    config = SHDConfig(str(data_dir / "fsdd_shd"))
    sizes = {split: len(open_shd(config, split, COCHLEA)) for split in cochlea.SHD_SPLITS}
    assert sizes["train_all"] == 1800 and sizes["test_seen"] == 200 and sizes["test_unseen"] == 500
    recordings = open_shd(config, "test_unseen", COCHLEA)
    assert set(recordings.groups) == {"speaker4"} and "unverified" in recordings.source
    assert np.mean([len(recordings[i].events) for i in range(20)]) > 3000


def test_a_speaker_held_out_is_not_trained_on_as_well() -> None:
    with pytest.raises(ConfigError, match=r"set data\.fit_all=false"):
        SHDConfig(speakers=(2,), fit_all=True)
