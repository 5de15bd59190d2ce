"""H.264 MP4 that every browser plays, written by the ffmpeg that comes with imageio-ffmpeg, picture by picture.

OpenCV's wheels can write MPEG-4 part 2 alone, which browsers refuse; a pipe to ffmpeg needs nothing but pip.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8

from dvs_snn.errors import ConfigError, DvsSnnError, RecordingError
from dvs_snn.viz.files import replaced_when_done

MAX_FPS = 240.0
CLOSE_TIMEOUT_S = 120.0


class VideoWriter:
    """A context that takes RGB pictures of one size and leaves a whole MP4 at `path`, or nothing.

    An interrupt (Ctrl-C) or a recording that breaks off ends the video where it is and keeps it; any other error
    removes it. Memory stays constant.
    Raises `DvsSnnError` when the video cannot be written (no space, no permission, ffmpeg ended).
    """

    def __init__(self, path: str | Path, fps: float | int = 30.0, quality: int = 21) -> None:
        if not 0.0 < fps <= MAX_FPS:
            raise ConfigError(f"video of {fps:g} pictures per second: choose above 0, at most {MAX_FPS:g}")
        self.path = Path(path)
        if self.path.suffix.lower() not in (".mp4", ".m4v"):
            raise ConfigError(f"{path}: the video is an MP4, name it .mp4")
        self.fps, self.quality = fps, quality
        self.pictures = 0
        self._shape: tuple[int, ...] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            self._partial = stack.enter_context(replaced_when_done(self.path))
            self._messages = stack.enter_context(tempfile.TemporaryFile())  # a pipe that nobody reads would fill
            self._stack = stack.pop_all()
        return self

    def write(self, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Append a picture; all must have the size of the first."""
        if self._process is None:
            self._shape = picture.shape
            self._process = self._start(picture.shape[1], picture.shape[0])
        elif picture.shape != self._shape:
            raise ConfigError(f"{self.path}: picture of shape {picture.shape} in a video of {self._shape}")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(picture).data)
        except OSError:  # ffmpeg has gone; its own words say why
            raise self._failure() from None
        self.pictures += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        keep = kind is None or (issubclass(kind, (KeyboardInterrupt, RecordingError)) and self.pictures > 0)
        try:
            if self._process is not None and keep:
                self._finish()
            elif keep:
                raise DvsSnnError(f"{self.path}: no video, not one picture was drawn")
        except BaseException as failure:
            self._stop()
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        if keep:
            self._stack.close()
        else:
            self._stop()
            self._stack.__exit__(kind, error, trace)

    def _start(self, width: int, height: int) -> subprocess.Popen[bytes]:
        try:
            ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError:
            raise DvsSnnError(
                f"{self.path}: no ffmpeg for this machine; name one by IMAGEIO_FFMPEG_EXE, or go without video"
            ) from None
        source = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-r",
            f"{self.fps:g}",
            "-i",
            "pipe:0",
        ]
        # full chroma is halved by yuv420p, which browsers insist on; odd sizes are padded, which it insists on
        encode = ["-an", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-preset", "veryfast"]
        encode += ["-crf", str(self.quality), "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
        command = [ffmpeg, "-hide_banner", "-nostdin", "-loglevel", "error", "-y", *source, *encode, str(self._partial)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._messages,
            start_new_session=True,  # Ctrl-C is for us: ffmpeg must live to finish the file
        )

    def _finish(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.close()
            status = self._process.wait(CLOSE_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            raise self._failure() from None
        if status:
            raise self._failure()

    def _failure(self) -> DvsSnnError:
        self._stop()
        assert self._process is not None
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        cause = lines[0] if lines else f"ffmpeg ended with status {self._process.returncode}"
        return DvsSnnError(f"{self.path}: video could not be written: {cause}")

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(OSError):  # what was buffered has nowhere to go
                self._process.stdin.close()
