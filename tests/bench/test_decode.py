"""`dvs-snn bench decode`: it measures what it says, and its file is the same for both readers."""

import argparse
import json

import numpy as np

from dvs_snn.bench import decode


def test_rates_are_of_whole_files(tmp_path, capsys):
    assert decode.run(argparse.Namespace(json=True, events=20_000)) == 0
    results = json.loads(capsys.readouterr().out)
    assert results.pop("events") == 20_000
    assert set(results) == {"npz_to_windows", "raw", "es", "aedat4"}
    assert all(rates["million_per_s"] > 0 for rates in results.values())


def test_its_events_are_a_recording():
    events = decode.moving_edges(10_001)
    assert (np.diff(events["t"]) >= 0).all()
    assert events["x"].max() < decode.SENSOR.width and events["y"].max() < decode.SENSOR.height
    assert len(events) / (events["t"][-1] * 1e-6) > 0.99 * decode.RATE_HZ
