"""The evaluation: perfect tracks score one, what is wrong is counted as what it is, lateness is seen."""

from dataclasses import replace

import numpy as np
import pytest

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events.simulate import ShapesTruth
from dvs_snn.events.simulate.shapes_truth import TRUTH_DTYPE
from dvs_snn.learning.tracking_data import RecordedTracks, SimulatedShapes, SimulatedShapesConfig
from dvs_snn.learning.tracking_metrics import TrackScore
from dvs_snn.tracking import Track, Tracks
from dvs_snn.tracking.boxes import overlaps

SPEED = 200.0


def truth(count: int = 2, visible: float = 1.0, seconds: float = 1.0) -> ShapesTruth:
    times = np.arange(0, int(seconds * 1e6) + 1, 1000)
    rows = np.zeros((len(times), count), TRUTH_DTYPE)
    rows["t_us"] = times[:, None]
    rows["id"] = np.arange(1, count + 1)
    rows["x"] = 20 + SPEED * times[:, None] * 1e-6
    rows["y"] = 40 * rows["id"]
    rows["w"], rows["h"], rows["vx"], rows["visible"] = 20.0, 10.0, SPEED, visible
    return ShapesTruth(rows.reshape(-1))


def perfect(of: ShapesTruth, rename=lambda number, t_us: number) -> list[Tracks]:
    decisions = []
    for t_us in range(10_000, int(of.times_us[-1]) + 1, 10_000):
        rows = of.at(t_us)
        tracks = [
            Track(rename(int(r["id"]), t_us), *(float(r[n]) for n in ("x", "y", "w", "h", "vx", "vy")), 1.0)
            for r in rows
        ]
        decisions.append(Tracks(t_us, tuple(tracks)))
    return decisions


def judged(decisions: list[Tracks], of: ShapesTruth, late_s: float = 0.0) -> dict:
    score = TrackScore()
    score.take("a", decisions, of, [late_s] * len(decisions))
    return score.summary()


def test_the_truth_itself_is_perfect() -> None:
    of = truth()
    result = judged(perfect(of), of)
    assert result["mota"] == result["idf1"] == 1.0
    assert result["error_px"]["rms"] == 0.0 and result["speed_error_px_s"]["rms"] == 0.0
    assert result["precision"]["1"] == 1.0 and result["lost_per_minute"] == 0.0 and result["false_per_second"] == 0.0
    assert result["success_auc"] == pytest.approx(0.975)  # overlap > 1 never holds


def test_a_switch_is_counted_and_halves_identity() -> None:
    of = truth(1)
    result = judged(perfect(of, lambda number, t_us: number if t_us <= 500_000 else number + 50), of)
    assert result["box"]["num_switches"] == 1
    assert result["mota"] == pytest.approx(0.99) and result["idf1"] == pytest.approx(0.5)
    assert result["lost_per_minute"] == pytest.approx(60.0, rel=0.02)


def test_misses_and_false_tracks_are_counted() -> None:
    of = truth(2)
    half = [Tracks(d.t_us, (d.tracks[0], d.tracks[1]._replace(x=d.tracks[1].x + 100))) for d in perfect(of)]
    result = judged(half, of)
    assert result["mota"] == pytest.approx(0.0)
    assert (result["box"]["num_misses"], result["box"]["num_false_positives"]) == (100, 100)
    assert result["false_per_second"] == pytest.approx(1.0)


def test_hidden_targets_are_neither_asked_for_nor_held_false() -> None:
    of = truth(2, visible=0.2)
    tracked = judged(perfect(of), of)
    assert tracked["box"]["num_objects"] in (0, None) and tracked["false_per_second"] == 0.0


def test_a_late_decision_is_as_wrong_as_the_target_has_moved_on() -> None:
    of = truth()
    result = judged(perfect(of), of, late_s=0.02)
    assert result["error_px"]["rms"] == 0.0
    assert result["error_published_px"]["rms"] == pytest.approx(SPEED * 0.02, rel=0.02)


def test_a_truth_without_sizes_is_judged_by_centres() -> None:
    of = truth()
    of.rows["w"] = of.rows["h"] = of.rows["vx"] = of.rows["vy"] = np.nan
    result = judged(perfect(truth()), of)
    assert result["box"] is None and result["success_auc"] is None
    assert result["mota"] == result["idf1"] == 1.0


def test_overlap_of_boxes() -> None:
    a = np.array([[0.0, 0.0, 2.0, 2.0]])
    b = np.array([[1.0, 0.0, 2.0, 2.0], [5.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    assert overlaps(a, b)[0] == pytest.approx([2 / 6, 0.0, 0.25])


def test_data_without_truth_is_one_clear_error(tmp_path) -> None:
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(RecordingError, match="truth"):
        RecordedTracks(tmp_path).pairs()
    (tmp_path / "a.truth.csv").write_text("t_us,id,x,y\n")
    for other in ("a.mp4", "a.jsonl", "b.npz"):
        (tmp_path / other).write_bytes(b"")
    assert [pair[0].name for pair in RecordedTracks(tmp_path).pairs()] == ["a.npz"]
    with pytest.raises(ConfigError, match="splits"):
        SimulatedShapes(SimulatedShapesConfig(), "dev")


def test_a_truth_survives_its_file(tmp_path) -> None:
    """Times and names to the digit, lengths to a thousandth of a pixel; what a file lacks is unknown."""
    wanted = truth(3)
    wanted.write(tmp_path / "a.truth.csv")
    again = ShapesTruth.read(tmp_path / "a.truth.csv")
    for name in TRUTH_DTYPE.names or ():
        assert np.allclose(again.rows[name], wanted.rows[name], atol=5e-3), name
    (tmp_path / "b.csv").write_text("t_us,id,x,y\n2000,1,5,6\n1000,1,4.5,6\n")
    bare = ShapesTruth.read(tmp_path / "b.csv")
    assert bare.rows["t_us"].tolist() == [1000, 2000] and np.isnan(bare.rows["w"]).all()
    assert (bare.rows["visible"] == 1).all()


@pytest.mark.parametrize("text", ["", "t_us,id,x\n1,2,3\n", "t_us,id,x,y\n1,2,3,spam\n", "t_us,id,x,y\n1,2\n"])
def test_a_damaged_truth_is_one_clear_error(tmp_path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(RecordingError, match=r"column|table"):
        ShapesTruth.read(tmp_path / "a.csv")


def test_simulated_shapes_are_kept_and_made_anew_when_damaged(tmp_path) -> None:
    config = SimulatedShapesConfig(train=2, seconds=0.05, cache=str(tmp_path), workers=1)
    recordings = SimulatedShapes(config, "train")
    first = recordings[0]
    kept = sorted(tmp_path.rglob("*.safetensors"))
    assert len(kept) == 1 and first.truth.rows["t_us"][-1] == 50_000
    kept[0].write_bytes(b"spam")
    again = recordings[0]
    assert np.array_equal(first.events, again.events) and np.array_equal(first.truth.rows, again.truth.rows)
    assert not np.array_equal(recordings[1].events[:100], first.events[:100]), "a seed of its own"
    with pytest.raises(IndexError):
        recordings[2]


def test_scenes_to_train_on_may_be_the_crowded_ones_and_those_to_judge_by_never_are(tmp_path) -> None:
    config = SimulatedShapesConfig(train=3, validation=3, seconds=0.02, cache=str(tmp_path), workers=1, least_targets=5)
    train, plain = SimulatedShapes(config, "train"), SimulatedShapes(replace(config, least_targets=1), "train")
    assert train.prepare(progress=False) == 3
    assert all(len(np.unique(recording.truth.rows["id"])) >= 5 for recording in train)
    assert train.identity != plain.identity and list(plain.seeds) == [50_000_000, 50_000_001, 50_000_002]
    assert list(SimulatedShapes(config, "validation").seeds) == [70_000_000, 70_000_001, 70_000_002]
    with pytest.raises(ConfigError, match="least_targets lies in 1 to 6"):
        SimulatedShapesConfig(least_targets=7)
