"""The whole line with the network that ships: a recording in any format and any packets becomes the same decisions."""

import json
from pathlib import Path

import numpy as np
import pytest

from dvs_snn.cli import main
from dvs_snn.events import EventStream, Sensor, open_recording, stream_of, write_recording
from dvs_snn.events.simulate import simulate_gesture
from dvs_snn.learning import ListedRecordings, Recording, decisions_of
from dvs_snn.pipeline import Gesture, load_checkpoint, open_pipeline, recording_label

SENSOR = Sensor(128, 128)
LABEL, SEED = 3, 40_000_001  # a seed of no split


@pytest.fixture(scope="module")
def events():
    return simulate_gesture(LABEL, 0.8, SEED)


@pytest.fixture(scope="module")
def decisions(events) -> list[Gesture]:
    return list(open_pipeline("gesture").run(stream_of(events, SENSOR)))


def lines(found: list[Gesture]) -> list[str]:
    return [decision.to_json() for decision in found]


def test_packets_of_any_size_give_the_same_decisions(events, decisions) -> None:
    pipeline = open_pipeline("gesture")
    for size in (1, 7, 1000, len(events)):
        packets = [events[i : i + size] for i in range(0, len(events), size)]
        found = list(pipeline.run(EventStream(SENSOR, packets)))
        assert lines(found) == lines(decisions)
        assert all(np.array_equal(a.posterior, b.posterior) for a, b in zip(found, decisions, strict=True))


def test_the_scan_of_training_and_evaluation_agrees_bin_by_bin(events, decisions) -> None:
    checkpoint = load_checkpoint("gesture")
    others = [Recording(simulate_gesture(i, 0.8, SEED + 1 + i), i) for i in range(2)]
    batch = ListedRecordings([Recording(events, LABEL), *others], checkpoint.config.labels, SENSOR)
    scanned = next(decisions_of(checkpoint.config, checkpoint.model, batch))[1]
    assert [(d.t_us, d.index) for d in scanned] == [(d.t_us, d.index) for d in decisions]
    difference = np.abs(np.stack([d.posterior for d in scanned]) - np.stack([d.posterior for d in decisions]))
    assert difference.max() < 1e-4, "float32 sums in another order; a spike that flips would be far more"


@pytest.mark.parametrize(
    "name", ["r.npz", "r.raw", "r.aedat4", "r.aedat", "r.es", "r.csv", "r.dat", "r.h5", "r.bag", "bag"]
)
def test_every_format_gives_the_same_decisions(
    name: str, events, decisions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source.npz"
    write_recording(source, stream_of(events, SENSOR))
    assert main(["convert", str(source), str(tmp_path / name)]) == 0
    capsys.readouterr()
    assert main(["replay", str(tmp_path / name), "--model", "gesture", "--sensor", "128x128"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(d["index"], d["label"], d["score"]) for d in told] == [
        (d["index"], d["label"], d["score"]) for d in map(json.loads, lines(decisions))
    ]


@pytest.mark.data
@pytest.mark.parametrize("name", ["0_hand_clapping", "3_right_arm_cw"])
def test_real_recordings_are_recognised(name: str, data_dir: Path) -> None:
    recording = open_recording(data_dir / "recordings" / "dvs128_gesture" / f"{name}.aedat4")
    pipeline = open_pipeline("gesture")
    found = list(pipeline.run(recording))
    assert recording_label(found, pipeline.config.bin_us, pipeline.config.decision.warmup_us) == int(name[0])
