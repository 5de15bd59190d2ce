"""N-MNIST: Tonic's place and the origin's, the same events as Tonic reads, a validation share that names decide."""

import zipfile

import numpy as np
import pytest

from dvs_snn.errors import ConfigError
from dvs_snn.learning.data import NMNISTConfig, NMNISTRecordings
from dvs_snn.learning.data.nmnist import NMNIST
from tests.learning.tiny_sets import nmnist


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def opened(folder, split, sensor=NMNIST, **options):
    return NMNISTRecordings(NMNISTConfig(str(folder), **options), split, sensor)


def test_events_are_those_that_tonic_reads(tmp_path):
    from tonic.io import read_mnist_file

    nmnist(tmp_path / "NMNIST", train=1, test=1)
    recordings = opened(tmp_path, "test")
    dtype = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
    for i in range(10):
        recording = recordings[i]
        path = tmp_path / "NMNIST" / "Test" / f"{recording.name}.bin"
        theirs = read_mnist_file(str(path), dtype=dtype)
        for field in "xytp":
            np.testing.assert_array_equal(recording.events[field], theirs[field])
        assert recording.label == int(path.parent.name)


def test_validation_is_a_share_of_train_that_file_names_decide(tmp_path):
    nmnist(tmp_path)
    sets = {split: opened(tmp_path, split, share=0.3) for split in ("train", "validation")}
    files = {split: {found[i].name for i in range(len(found))} for split, found in sets.items()}
    assert files["train"].isdisjoint(files["validation"]) and len(files["train"] | files["validation"]) == 120
    assert 20 <= len(files["validation"]) <= 52  # 36 on average
    for path in sorted(tmp_path.glob("Train/*/*1.bin")):  # others in the folder do not move a recording between splits
        path.unlink()
    left = opened(tmp_path, "validation", share=0.3)
    assert {left[i].name for i in range(len(left))} <= files["validation"]
    assert len(opened(tmp_path, "train", fit_all=True)) == len(opened(tmp_path, "train_all"))
    assert "unverified" in left.source and "share 0.3" in left.source


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"get Train\.zip and Test\.zip from https://www\.garrickorchard\.com"):
        opened(tmp_path, "train")
    with zipfile.ZipFile(tmp_path / "Train.zip", "w"):
        pass
    (tmp_path / "Train" / "0").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"expected Train/0/\*\.bin"):
        opened(tmp_path, "train")


@pytest.mark.data
def test_real_digits(data_dir):
    sizes = {split: len(opened(data_dir / "nmnist_small", split)) for split in ("train_all", "test")}
    assert sizes == {"train_all": 800, "test": 100}
    recording = opened(data_dir / "nmnist_small", "test")[0]
    assert len(recording.events) > 1000 and recording.events["t"][-1] < 400_000
