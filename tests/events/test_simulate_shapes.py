"""Simulated shapes: the truth is exact, events come from moving edges alone, and a seed decides everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs_snn.errors import ConfigError, RecordingError
from dvs_snn.events.simulate import DvsConfig, ShapesConfig, ShapesTruth, simulate_shapes
from dvs_snn.events.simulate.shapes import build_shapes
from dvs_snn.events.simulate.shapes_config import SHAPES
from dvs_snn.events.simulate.shapes_kernel import signed_distances
from dvs_snn.events.simulate.shapes_paths import MEETING_PATHS, PATHS, Meeting, Region, random_path
from dvs_snn.events.simulate.shapes_truth import TRUTH_DTYPE, scene_truth
from dvs_snn.events.stream import Sensor

SENSOR = Sensor(240, 180)
IDEAL = DvsConfig(threshold_on=0.2, threshold_off=0.2)
BARE = {
    "textures": ("plain",), "background_chance": 0.0, "crossing_chance": 0.0, "leave_chance": 0.0,
    "occluder_chance": 0.0, "shake_chance": 0.0, "flicker_chance": 0.0, "dvs": IDEAL,
}  # fmt: skip


def _picture(scene, t):
    out = np.empty((scene.sensor.height, scene.sensor.width), np.float32)
    at = np.array([t])
    scene.draw(out, t, scene.motion(at).poses()[0], scene.camera(at)[0][0])
    return out


def test_a_seed_decides_events_and_truth():
    first, truth = simulate_shapes(0.15, 7)
    again, truth_again = simulate_shapes(0.15, 7)
    other, _ = simulate_shapes(0.15, 8)
    assert np.array_equal(first, again) and np.array_equal(truth.rows, truth_again.rows)
    assert not np.array_equal(first, other)
    assert len(first) and np.all(np.diff(first["t"]) >= 0) and 0 <= first["t"][0] <= first["t"][-1] < 150_000


def test_truth_has_every_target_at_every_step():
    _, truth = simulate_shapes(0.05, 3, targets=4)
    assert truth.rows.dtype == TRUTH_DTYPE
    assert truth.times_us.tolist() == list(range(0, 50_001, 1000))
    assert truth.ids.tolist() == [1, 2, 3, 4]
    assert truth.rows["id"].reshape(51, 4).tolist() == [[1, 2, 3, 4]] * 51
    assert np.all((truth.rows["visible"] >= 0) & (truth.rows["visible"] <= 1))
    assert np.all((truth.rows["w"] > 1) & (truth.rows["h"] > 1))
    assert truth.at(12_999)["t_us"].tolist() == [12_000] * 4
    assert len(truth.at(-1)) == 0
    # no shape jumps: a path, a shake and a turn move a centre by no more than its speed allows
    step = np.diff(truth.of(2)["x"])
    assert np.abs(step).max() < 3


def test_events_lie_on_moving_edges():
    events, _ = simulate_shapes(0.3, 5, SENSOR, 4, config := ShapesConfig(**BARE))
    scene, _ = build_shapes(0.3, 5, SENSOR, 4, config)
    motion = scene.motion(events["t"] * 1e-6)
    nearest = np.full(len(events), np.inf)
    for n in range(4):
        offset = np.stack([events["x"], events["y"]], -1) - motion.position[:, n]
        cos, sin, scale = np.cos(motion.angle[:, n]), np.sin(motion.angle[:, n]), motion.scale[:, n]
        own = np.stack(
            [cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]], -1
        ) / scale[:, None]  # fmt: skip
        distance = np.empty(len(events))
        signed_distances(distance, scene.geometry[n], scene.vertices[n], scene.counts[n], own)
        nearest = np.minimum(nearest, np.abs(distance) * scale)
    assert len(events) > 1000
    assert np.mean(nearest < 2) > 0.99


def test_a_still_scene_makes_no_events():
    config = ShapesConfig(
        **{**BARE, "background_chance": 1.0, "occluder_chance": 1.0}, paths=("still",), spin_rad_s=0, growth=0
    )
    events, truth = simulate_shapes(0.2, 1, SENSOR, 5, config)
    assert len(events) == 0
    assert np.all(truth.rows["vx"] == 0) and np.all(np.ptp(truth.of(3)["x"]) == 0)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_box_is_the_extent_that_is_drawn_and_its_velocity_the_derivative(kind):
    config = ShapesConfig(
        **{**BARE, "shake_chance": 1.0},
        kinds=(kind,),
        size_px=(15, 30),
        contrast=(1.0, 1.0),
        edge_px=(1, 1),
        spin_rad_s=3,
    )
    for seed in range(4):
        scene, _ = build_shapes(1.0, seed, SENSOR, 1, config)
        background, tone = scene.background[0, 0], scene.textures[0, 0, 0]
        for t_us in (120_000, 610_000):
            before, now, after = scene_truth(scene, np.array([t_us - 1, t_us, t_us + 1])).rows
            cover = (_picture(scene, t_us * 1e-6) - background) / (tone - background)
            rows, columns = np.nonzero(cover > 0.15)  # half of it would cut off a sharp tip
            for low, high, centre, size in (
                (columns.min(), columns.max(), now["x"], now["w"]),
                (rows.min(), rows.max(), now["y"], now["h"]),
            ):
                assert abs(low - 0.5 - (centre - size / 2)) < 1
                assert abs(high + 0.5 - (centre + size / 2)) < 1
            for position, velocity in (("x", "vx"), ("y", "vy")):
                assert (after[position] - before[position]) / 2e-6 == pytest.approx(now[velocity], abs=0.5, rel=2e-3)


def test_the_samples_give_the_area():
    """The share of the bounding square that the samples' shape fills is the drawn area."""
    config = ShapesConfig(**BARE, size_px=(20, 25), spin_rad_s=0, growth=0)
    scene, _ = build_shapes(1.0, 2, SENSOR, 7, config)
    samples = scene.samples(256)
    for n in range(7):
        assert np.isfinite(samples[n]).all()
        distance = np.empty(256)
        signed_distances(distance, scene.geometry[n], scene.vertices[n], scene.counts[n], samples[n])
        assert (distance < 0).all()
        assert np.all(np.abs(samples[n]).max(axis=0) > 0.6 * scene.geometry[n, 6:8])


def test_visible_is_one_alone_and_falls_behind_others_and_beyond_the_border():
    _, truth = simulate_shapes(
        0.3, 4, SENSOR, 1, ShapesConfig(**{**BARE, "paths": ("circle",), "size_px": (8.0, 10.0)})
    )
    assert truth.rows["visible"].min() == 1

    leaving = ShapesConfig(
        **{**BARE, "leave_chance": 1.0}, kinds=("disc",), paths=("line",), speed_px_s=(600, 600), growth=0
    )
    _, truth = simulate_shapes(2.0, 4, SENSOR, 1, leaving)
    row = truth.rows
    inside = np.clip(np.minimum(row["x"] + row["w"] / 2, 239.5) - np.maximum(row["x"] - row["w"] / 2, -0.5), 0, None)
    inside *= np.clip(np.minimum(row["y"] + row["h"] / 2, 179.5) - np.maximum(row["y"] - row["h"] / 2, -0.5), 0, None)
    assert row["visible"].min() == 0 and row["visible"].max() == 1
    assert np.all((inside == 0) <= (row["visible"] == 0))
    half = np.abs(row["x"] + 0.5) < 0.3  # the middle on the left border: half a disc is left
    half &= (row["y"] - row["h"] / 2 > 0) & (row["y"] + row["h"] / 2 < 179)
    assert np.all(np.abs(row["visible"][half] - 0.5) < 0.03)

    meeting = ShapesConfig(
        **{**BARE, "crossing_chance": 1.0}, kinds=("disc",), paths=("line",), size_px=(12, 12), growth=0
    )
    scene, _ = build_shapes(1.0, 6, SENSOR, 2, meeting)
    truth = scene_truth(scene, np.arange(0, 1_000_001, 500))
    far, near = (truth.of(int(n) + 1) for n in scene.order)
    apart = np.hypot(far["x"] - near["x"], far["y"] - near["y"])
    assert apart.min() < 2  # they do meet
    assert np.all(near["visible"] == 1)
    assert np.all(far["visible"][apart > 25] == 1) and far["visible"][apart.argmin()] < 0.1
    partly = (apart > 4) & (apart < 22)
    half_angle = np.arccos(apart[partly] / 24)
    lens = 2 * (half_angle - np.sin(half_angle) * np.cos(half_angle)) / np.pi  # area two equal discs share
    assert np.abs(1 - lens - far["visible"][partly]).max() < 0.03


def test_higher_contrast_makes_more_events():
    counts = [
        len(simulate_shapes(0.3, 2, SENSOR, 2, ShapesConfig(**BARE, contrast=(contrast, contrast)))[0])
        for contrast in (0.1, 0.5, 1.5)
    ]
    assert counts[0] == 0  # below the threshold
    assert counts[2] > 2 * counts[1] > 0


def test_a_shaking_camera_makes_the_background_fire_and_moves_every_truth():
    still = ShapesConfig(
        **{**BARE, "background_chance": 1.0, "background_contrast": (0.9, 0.9)},
        paths=("still",),
        spin_rad_s=0,
        growth=0,
    )
    shaken = ShapesConfig(
        **{**BARE, "background_chance": 1.0, "background_contrast": (0.9, 0.9), "shake_chance": 1.0},
        shake_px=(4, 4), paths=("still",), spin_rad_s=0, growth=0,
    )  # fmt: skip
    assert len(simulate_shapes(0.3, 12, SENSOR, 2, still)[0]) == 0
    events, truth = simulate_shapes(0.3, 12, SENSOR, 2, shaken)
    one, two = truth.of(1), truth.of(2)
    assert np.ptp(one["x"]) > 1
    assert np.allclose(np.diff(one["x"]), np.diff(two["x"])) and np.allclose(one["vy"], two["vy"])
    near = np.zeros(len(events), bool)
    for row in truth.at(0):
        near |= (abs(events["x"] - row["x"]) < row["w"] / 2 + 9) & (abs(events["y"] - row["y"]) < row["h"] / 2 + 9)
    assert np.count_nonzero(~near) > 300


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(PATHS), st.integers(0, 2**31), st.floats(10, 1500), st.floats(0.1, 3.0), st.booleans(),
)  # fmt: skip
def test_paths_move_at_their_speed_and_keep_their_appointments(kind, seed, speed, seconds, meet):
    rng = np.random.default_rng(seed)
    region = Region(np.array([10.0, 12.0]), np.array([230.0, 160.0]))
    meeting = Meeting(0.6 * seconds, np.array([100.0, 80.0])) if meet and kind in MEETING_PATHS else None
    path = random_path(rng, kind, region, speed, seconds, meeting)
    if meeting:
        assert np.allclose(path(np.array([meeting.time_s]))[0][0], meeting.at, atol=1e-6)
    t = np.linspace(0, seconds, 400)
    position, velocity = path(t)
    moved = (path(t + 1e-6)[0] - path(t - 1e-6)[0]) / 2e-6
    off = np.abs(moved - velocity).max(axis=1)
    assert np.mean(off < 1e-3 * speed + 1e-3) > 0.97  # all but the instants of a bounce
    rate = np.hypot(*velocity.T)
    assert rate.max() < 6 * speed
    assert np.all(position > -150) and np.all(position < 400)
    if kind in ("line", "circle"):
        assert rate == pytest.approx(speed)
    if kind == "stops" and seconds > 1.5:
        assert rate.min() < 0.05 * speed


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_truth_survives_its_file(tmp_path_factory, data):
    number = st.floats(-1e4, 1e4)
    rows = data.draw(
        st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 99), *[number] * 6, st.floats(0, 1)), max_size=8)
    )
    path = tmp_path_factory.mktemp("truth") / "truth.csv"
    ShapesTruth(np.array(rows, TRUTH_DTYPE)).write(path)
    read = ShapesTruth.read(path)
    again = path.with_name("again.csv")
    read.write(again)
    assert ShapesTruth.read(again).rows.tolist() == read.rows.tolist()
    ordered = np.sort(np.array(rows, TRUTH_DTYPE), order=("t_us", "id"))
    assert np.array_equal(ordered["t_us"], read.rows["t_us"]) and np.array_equal(ordered["id"], read.rows["id"])


def test_printed_digits_are_read_exactly(tmp_path):
    _, truth = simulate_shapes(0.03, 1, targets=2)
    truth.write(tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0] == "t_us,id,x,y,w,h,vx,vy,visible" and len(lines) == 1 + 2 * 31
    ShapesTruth.read(tmp_path / "a.csv").write(tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
    read = ShapesTruth.read(tmp_path / "a.csv").rows
    assert np.abs(read["x"] - truth.rows["x"]).max() <= 0.0005 + 1e-9


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "no column t_us, id, x, y"),
        (b"time,x,y\n1,2,3\n", "no column t_us, id"),
        (b"t_us,id,x,y\n1,1,2,three\n", "column y"),
        (b"t_us,id,x,y\n1,1,2\n", "column y"),
        (b"t_us,id,x,y\n1.5,1,2,3\n", "column t_us"),
        (b"\xff\xfe\x00\x01", "not a text file"),
    ],
)
def test_a_table_that_is_no_truth_is_refused(tmp_path, content, cause):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(RecordingError, match=cause):
        ShapesTruth.read(tmp_path / "t.csv")


def test_a_short_table_is_read(tmp_path):
    (tmp_path / "t.csv").write_text("t_us,id,x,y\n2000,1,5,6\n1000,2,3,4\n")
    rows = ShapesTruth.read(tmp_path / "t.csv").rows
    assert rows["t_us"].tolist() == [1000, 2000] and rows["x"].tolist() == [3, 5]
    assert np.isnan(rows["w"]).all() and (rows["visible"] == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (7, 90), (640, 480)])
def test_any_sensor(size):
    sensor = Sensor(*size)
    events, truth = simulate_shapes(0.03, 3, sensor, 3)
    assert np.all(events["x"] < sensor.width) and np.all(events["y"] < sensor.height)
    assert np.isfinite(truth.rows["x"]).all()


def test_none_and_a_hundred_targets():
    events, truth = simulate_shapes(0.05, 3, SENSOR, 0, ShapesConfig(**BARE))
    assert len(events) == 0 and len(truth.rows) == 0
    _, truth = simulate_shapes(0.03, 3, SENSOR, 100)
    assert len(truth.ids) == 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_shapes(0, 1), "give 0.01"),
        (lambda: simulate_shapes(0.1, -1), "seed"),
        (lambda: simulate_shapes(0.1, 1, targets=-1), "targets"),
        (lambda: ShapesConfig(kinds=("cube",)), "kinds"),
        (lambda: ShapesConfig(size_px=(9, 3)), "size_px"),
        (lambda: ShapesConfig(shake_chance=2), "shake_chance"),
        (lambda: ShapesConfig(step_us=0), "step_us"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_the_verb_writes_shapes_and_their_truth(tmp_path, capsys):
    files = pytest.importorskip("dvs_snn.events.files")
    from dvs_snn.cli import main

    out, table = tmp_path / "shapes.npz", tmp_path / "truth.csv"
    arguments = ["simulate", "shapes", "--out", str(out), "--seconds", "0.1", "--seed", "5"]
    assert main([*arguments, "--truth", str(table)]) == 0
    events, truth = simulate_shapes(0.1, 5)
    stream = files.open_recording(out)
    assert (stream.to_array() == events).all() and stream.sensor == SENSOR
    assert len(ShapesTruth.read(table).rows) == len(truth.rows)
    capsys.readouterr()
    assert main([*arguments, "--label", "3"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "--label" in message
