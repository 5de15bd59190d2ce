"""A video holds every picture, at its size and rate, and appears whole or not at all."""

import re
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from dvs_snn.errors import ConfigError, DvsSnnError, RecordingError
from dvs_snn.events import Sensor, empty_events, make_events, stream_of, windows
from dvs_snn.viz import OverlayVideo, VideoWriter


def facts(path: Path) -> dict[str, str]:
    """Codec, pixel format, size and rate, as ffmpeg tells them."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stderr
    found = re.search(r"Video: (?P<codec>\w+).*? (?P<format>yuv\w+).*? (?P<size>\d+x\d+).*? (?P<fps>[\d.]+) fps", said)
    assert found is not None, said
    return found.groupdict()


def read_pictures(path: Path) -> list[np.ndarray]:
    """All pictures, decoded by ffmpeg."""
    width, height = map(int, facts(path)["size"].split("x"))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    data = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    return list(np.frombuffer(data, np.uint8).reshape(-1, height, width, 3))


def grey(level: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def test_every_picture_comes_back_in_order(tmp_path: Path) -> None:
    levels = list(range(20, 240, 20))
    with VideoWriter(tmp_path / "a.mp4", fps=25) as writer:
        for level in levels:
            writer.write(grey(level))
    pictures = read_pictures(tmp_path / "a.mp4")
    assert [picture.shape for picture in pictures] == [(64, 96, 3)] * len(levels)
    assert np.abs(np.array([picture.mean() for picture in pictures]) - levels).max() < 6
    assert facts(tmp_path / "a.mp4") == {"codec": "h264", "format": "yuv420p", "size": "96x64", "fps": "25"}


def test_odd_sizes_are_padded_to_even(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(grey(90, 33, 51))
    assert read_pictures(tmp_path / "a.mp4")[0].shape == (34, 52, 3)


def test_an_error_leaves_the_old_video_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), VideoWriter(path) as writer:
        writer.write(grey(1))
        _ = 1 / 0
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [KeyboardInterrupt(), RecordingError("x.raw", "breaks off")], ids=["ctrl-c", "broken"])
def test_an_interrupted_video_is_kept(tmp_path: Path, kind: BaseException) -> None:
    with pytest.raises(type(kind)), VideoWriter(tmp_path / "a.mp4") as writer:
        for _ in range(7):
            writer.write(grey(50))
        raise kind
    assert len(read_pictures(tmp_path / "a.mp4")) == 7


def test_killed_ffmpeg_is_one_line(tmp_path: Path) -> None:
    said = r"a\.mp4: video could not be written: ffmpeg ended"
    with pytest.raises(DvsSnnError, match=said), VideoWriter(tmp_path / "a.mp4") as writer:
        writer.write(grey(1))
        assert writer._process is not None
        writer._process.kill()
        for _ in range(1000):
            writer.write(grey(1))
    assert not list(tmp_path.iterdir())


def test_full_disk_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with pytest.raises(DvsSnnError, match="No space left"), VideoWriter(tmp_path / "a.mp4") as writer:
        writer._partial.unlink()
        writer._partial.symlink_to("/dev/full")
        for level in range(40):
            writer.write(np.random.default_rng(level).integers(0, 255, (256, 256, 3)).astype(np.uint8))
    assert not list(tmp_path.iterdir())


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DvsSnnError, match="cannot be written"), VideoWriter(tmp_path / "file" / "a.mp4"):
        pass


@pytest.mark.parametrize("name, fps", [("a.avi", 30.0), ("a.mp4", 0.0), ("a.mp4", 1e6), ("a.mp4", float("nan"))])
def test_options_out_of_range_are_refused(tmp_path: Path, name: str, fps: float) -> None:
    with pytest.raises(ConfigError):
        VideoWriter(tmp_path / name, fps)


@pytest.mark.parametrize("fps, speed, pictures", [(30.0, 1.0, 30), (10.0, 1.0, 10), (30.0, 0.25, 120), (30.0, 3.0, 10)])
def test_length_follows_rate_and_speed(tmp_path: Path, fps: float, speed: float, pictures: int) -> None:
    sensor = Sensor(16, 16)
    t = np.arange(0, 1_000_000, 500)
    stream = stream_of(make_events(t, t % 16, t % 7, t % 3 == 0), sensor)
    with OverlayVideo(tmp_path / "a.mp4", sensor, ("a", "b"), fps, speed) as video:
        for window in windows(stream, 10_000):
            video.see(window, None)
    assert len(read_pictures(tmp_path / "a.mp4")) == pictures
    shape = read_pictures(tmp_path / "a.mp4")[0].shape
    assert shape == (video.overlay.height_px, video.overlay.width_px, 3)


def test_empty_recording_gives_a_video_of_one_picture(tmp_path: Path) -> None:
    with OverlayVideo(tmp_path / "a.mp4", Sensor(16, 16), ("a", "b")) as video:
        for window in windows(stream_of(empty_events(), Sensor(16, 16)), 10_000):
            video.see(window, None)
    assert len(read_pictures(tmp_path / "a.mp4")) == 1
