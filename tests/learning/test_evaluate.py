"""The batched scan decides as the pipeline does when it streams; folders are read by their names."""

import numpy as np
import pytest
import torch

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events import EventStream, Sensor, make_events, repair, stream_of
from dvs_snn.events.files import write_recording
from dvs_snn.learning import LabelledFolder, ListedRecordings, Recording, decisions_of, evaluate, scan_recordings
from dvs_snn.models import build_model
from dvs_snn.pipeline import Pipeline, TorchRuntime, recording_label
from tests.learning.synthetic import LABELS, SENSOR, bars, tiny_recipe

CONFIG = tiny_recipe().pipeline


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = build_model(CONFIG.model, CONFIG.model_config)
    with torch.no_grad():  # settle the normalisation and wake the neurons, so that outputs differ between recordings
        network.train()
        for _ in range(20):
            network(torch.poisson(torch.rand(8, 4, 2, 16, 16)))
    return network.eval()


def streamed(model, events, sensor=SENSOR):
    pipeline = Pipeline(CONFIG, TorchRuntime(model))
    return list(pipeline.run(stream_of(events, sensor, packet_events=77)))


def assert_same_decisions(scanned, streamed):
    assert [d.t_us for d in scanned] == [d.t_us for d in streamed]
    assert [d.index for d in scanned] == [d.index for d in streamed]
    assert np.allclose([d.posterior for d in scanned], [d.posterior for d in streamed], atol=1e-5)


def test_batched_scan_equals_streaming_bin_by_bin(model):
    uneven = ListedRecordings(
        [Recording(r.events[: 100 + 150 * i], r.label, r.name) for i, r in enumerate(bars(5).recordings)],
        LABELS,
        SENSOR,
    )
    posteriors = []
    for recording, decisions in decisions_of(CONFIG, model, uneven, batch=3):
        assert_same_decisions(decisions, streamed(model, recording.events))
        posteriors += [d.posterior for d in decisions]
    assert np.std(posteriors, axis=0).max() > 1e-4


def test_a_restart_in_the_middle_resets_the_scan_too(model):
    first, second = (r.events.copy() for r in bars(2).recordings)
    first["t"] += 3_000_000
    events = repair(EventStream(SENSOR, [np.concatenate([first, second])])).to_array()
    both = ListedRecordings([bars(1)[0], Recording(events, 0)], LABELS, SENSOR)
    found = list(decisions_of(CONFIG, model, both))
    assert_same_decisions(found[1][1], streamed(model, events))
    assert found[1][1][-1].t_us < found[1][1][0].t_us


def test_another_sensor_is_resampled_as_the_pipeline_does(model):
    large = Sensor(32, 32)
    events = bars(1)[0].events.repeat(6)
    events["x"] = events["x"] * 2 + np.arange(len(events)) % 2
    events["y"] *= 2
    decisions = next(decisions_of(CONFIG, model, ListedRecordings([Recording(events, 0)], LABELS, large)))[1]
    assert_same_decisions(decisions, streamed(model, events, large))


def test_evaluation_reports_what_was_decided(model):
    seen = []
    result = evaluate(CONFIG, model, bars(9, split="test"), batch=4, advance=seen.append)
    decided = [
        recording_label(d, CONFIG.bin_us, CONFIG.decision.warmup_us) for _, d in decisions_of(CONFIG, model, bars(9))
    ]
    right = sum(label == i % 2 for i, label in enumerate(decided))
    assert result["accuracy"] == right / 9 and result["n"] == 9 and len(seen) == 9
    assert {"task", "data", "split", "n", "accuracy", "accuracy_low", "accuracy_high", "confusion", "latency"} <= set(
        result
    )
    assert result["split"] == "test" and result["data"] == "moving bars"
    assert result["accuracy_low"] <= result["accuracy"] <= result["accuracy_high"]
    assert np.sum(result["confusion"]) == 9


def test_batch_size_changes_nothing(model):
    one, many = ([outputs for _, outputs in scan_recordings(CONFIG, model, bars(5), batch=batch)] for batch in (1, 5))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(one, many, strict=True))


def test_recording_without_events_is_refused_by_name(model):
    empty = ListedRecordings([Recording(make_events([], [], [], []), 0, "quiet")], LABELS, SENSOR)
    with pytest.raises(RecordingError, match="quiet"):
        evaluate(CONFIG, model, empty)


def write(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_recording(path, stream_of(bars(1, seed)[0].events, SENSOR))


GESTURES = ("Hand clapping", "Right hand wave", "Left hand wave")


def folder(path, split="test"):
    return LabelledFolder(path, split, GESTURES, SENSOR)


@pytest.mark.parametrize(
    "name", ["1_right_hand_wave.npz", "1.npz", "right_hand_wave.npz", "1_x/a.npz", "Right hand wave/a.npz", "01/7.npz"]
)
def test_names_tell_the_class(tmp_path, name):
    write(tmp_path / name)
    (tmp_path / "README.md").write_text("not a recording")
    found = folder(tmp_path)
    want = 7 if name == "01/7.npz" else 1
    if want == 7:  # a number too large to be a class is just a name; the folder tells
        want = 1
    assert len(found) == 1 and found[0].label == want and found.split == "all"
    assert (found[0].events == bars(1)[0].events).all()


def test_labels_csv_and_split_folders(tmp_path):
    write(tmp_path / "test" / "a.npz", 1)
    write(tmp_path / "test" / "b.npz", 2)
    write(tmp_path / "train" / "c.npz", 3)
    (tmp_path / "test" / "labels.csv").write_text("file,label\na.npz,2\nb.npz,Hand clapping\n")
    found = folder(tmp_path)
    assert found.split == "test" and [found[i].label for i in range(2)] == [2, 0]


@pytest.mark.parametrize(
    ("table", "said"),
    [("file,label\nz.npz,1\n", "z.npz"), ("file,label\na.npz,9\n", "'9'"), ("a.npz,1\n", "columns"), ("", "columns")],
)
def test_wrong_labels_csv_says_what_is_wrong(tmp_path, table, said):
    write(tmp_path / "a.npz")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(ConfigError, match=said):
        folder(tmp_path)


def test_folder_without_classes_or_recordings_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no recordings"):
        folder(tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        folder(tmp_path / "nowhere")
    write(tmp_path / "walk.npz")
    with pytest.raises(ConfigError, match=r"walk\.npz.*labels\.csv"):
        folder(tmp_path)
