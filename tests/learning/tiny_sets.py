"""Published data sets built small, in exactly the layouts in which people have them."""

import csv
from pathlib import Path

import h5py
import numpy as np

from dvs_snn.events import Events, Sensor, make_events, stream_of
from dvs_snn.events.formats.aedat31 import write_aedat31
from dvs_snn.events.formats.nmnist import write_nmnist

LIGHTS = ("fluorescent", "led")


def random_events(rng, sensor: Sensor, start_us: int, end_us: int, count: int = 200) -> Events:
    t = np.sort(rng.integers(start_us, end_us, count))
    t[0] = start_us
    x, y = rng.integers(0, sensor.width, count), rng.integers(0, sensor.height, count)
    return make_events(t, x, y, rng.random(count) < 0.5)


def tonic_dvs128(root: Path, train=(1, 5, 9), test=(24,), seconds=0.12) -> Path:
    """`DVSGesture/ibmGestureTrain/user01_led/0.npy`, x, y, p, t in ms; the archives beside are empty."""
    rng = np.random.default_rng(1)
    for part, subjects in (("Train", train), ("Test", test)):
        for subject in subjects:
            for light in LIGHTS:
                folder = root / "DVSGesture" / f"ibmGesture{part}" / f"user{subject:02d}_{light}"
                folder.mkdir(parents=True)
                for label in range(11):
                    events = random_events(rng, Sensor(128, 128), 0, int(seconds * 1e6))
                    columns = [events["x"], events["y"], events["p"], events["t"] // 1000]
                    np.save(folder / f"{label}.npy", np.stack(columns, 1).astype(np.int64))
        (root / "DVSGesture" / f"ibmGesture{part}.tar.gz").touch()
    return root


GAP_US, GESTURE_US = 20_000, 100_000


def ibm_rows(start_us: int = 1_000_000) -> list[tuple[int, int, int]]:
    """A trial's table: classes 1 to 11, arm roll (8) twice, with pauses."""
    rows = []
    for label in (1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11):
        rows.append((label, start_us, start_us + GESTURE_US))
        start_us += GESTURE_US + GAP_US
    return rows


def ibm_dvs128(root: Path, train=(1, 5), test=(24,)) -> Path:
    """IBM's archive: trials of all gestures as AEDAT 3.1, tables, lists of trials."""
    folder = root / "DvsGesture"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(2)
    sensor = Sensor(128, 128)
    for part, subjects in (("train", train), ("test", test)):
        names = []
        for subject in subjects:
            name = f"user{subject:02d}_led"
            names.append(f"{name}.aedat")
            rows = ibm_rows()
            events = random_events(rng, sensor, 900_000, rows[-1][2] + 50_000, 3000)
            write_aedat31(folder / f"{name}.aedat", stream_of(events, sensor))
            with open(folder / f"{name}_labels.csv", "w", newline="") as file:
                csv.writer(file).writerows([("class", "startTime_usec", "endTime_usec"), *rows])
        (folder / f"trials_to_{part}.txt").write_text("\n".join(names) + "\n\n")
    return root


def cochlea_file(path: Path, speakers, keys=("zero", "one", "two"), each: int = 2, seed: int = 3) -> list:
    """An HDF5 file in SHD's layout; returns the spikes (seconds, units) that are in it."""
    rng = np.random.default_rng(seed)
    rows = [(label, speaker) for speaker in speakers for label in range(len(keys)) for _ in range(each)]
    spikes = []
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        times = file.create_dataset("spikes/times", (len(rows),), h5py.vlen_dtype(np.float16))
        units = file.create_dataset("spikes/units", (len(rows),), h5py.vlen_dtype(np.uint16))
        for i in range(len(rows)):
            count = int(rng.integers(50, 90))
            spikes.append((np.sort(rng.uniform(0, 0.2, count)).astype(np.float16), rng.integers(0, 700, count)))
            times[i], units[i] = spikes[-1][0], spikes[-1][1].astype(np.uint16)
        file["labels"] = np.array([label for label, _ in rows], np.uint16)
        file["extra/keys"] = np.array(keys, "S12")
        file["extra/speaker"] = np.array([speaker for _, speaker in rows], np.uint16)
    return spikes


def shd(root: Path, folder: str = "SHD") -> Path:
    """Ten speakers in training, of which two in the test as well, and two that are in the test alone."""
    cochlea_file(root / folder / "shd_train.h5", range(10))
    cochlea_file(root / folder / "shd_test.h5", (0, 1, 10, 11), seed=4)
    return root


def ssc(root: Path) -> Path:
    for seed, part in enumerate(("train", "valid", "test")):
        cochlea_file(root / "SSC" / f"ssc_{part}.h5", (seed,), ("bed", "bird"), 3, seed)
    return root


def nmnist(root: Path, train: int = 12, test: int = 3) -> Path:
    rng = np.random.default_rng(5)
    for part, count in (("Train", train), ("Test", test)):
        for digit in range(10):
            folder = root / part / str(digit)
            folder.mkdir(parents=True)
            for i in range(count):
                events = random_events(rng, Sensor(34, 34), 0, 120_000)
                write_nmnist(folder / f"{10 * i + digit:05d}.bin", stream_of(events, Sensor(34, 34)))
    return root
