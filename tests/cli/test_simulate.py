"""`dvs-snn simulate`: the file and the truth it writes, and what it refuses."""

import pytest

from dvs_snn.cli import main

files = pytest.importorskip("dvs_snn.events.files")


def test_the_file_holds_the_gesture_and_the_truth_names_it(tmp_path):
    out, truth = tmp_path / "wave.npz", tmp_path / "truth.csv"
    arguments = ["--label", "left hand wave", "--seconds", "0.3", "--seed", "3", "--truth", str(truth)]
    assert main(["simulate", "gesture", "--out", str(out), *arguments]) == 0
    from dvs_snn.events.simulate import simulate_gesture

    events = files.open_recording(out).to_array()
    assert (events == simulate_gesture(2, 0.3, 3)).all()
    assert truth.read_text().splitlines() == ["start_us,end_us,index,label", "0,300000,2,Left hand wave"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "juggling"], "unknown gesture"),
        (["--sensor", "big"], "WIDTHxHEIGHT"),
        (["--seconds", "-1"], "--seconds"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_bad_options_end_with_a_line_and_status_2(tmp_path, capsys, arguments, message):
    assert main(["simulate", "gesture", "--out", str(tmp_path / "x.npz"), *arguments]) == 2
    assert message in capsys.readouterr().err
