"""The one family of errors that the command line turns into a line on stderr and exit status 2."""


class DvsSnnError(Exception):
    """What went wrong and what to do about it, in one line; raised for bad input, never for a bug of ours."""


class RecordingError(DvsSnnError):
    """A file or bag that cannot be read as events; names the file and the cause."""

    def __init__(self, source: object, cause: str) -> None:
        super().__init__(f"{source}: {cause}")
        self.source = str(source)
        self.cause = cause


class CheckpointError(DvsSnnError):
    """A checkpoint that is missing, damaged, or does not fit what is asked of it."""


class ConfigError(DvsSnnError):
    """A recipe, option or parameter that is unknown or out of range."""


class PackageError(DvsSnnError):
    """An integer package that is missing, damaged, out of a chip's ranges, or of another network."""


class SidecarError(DvsSnnError):
    """The Lava side-car failed, was killed, or did not answer in time."""


class TextError(DvsSnnError):
    """Text or tokens that cannot be used: empty, not UTF-8, too short, or of characters the model does not know."""
