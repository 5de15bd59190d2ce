"""What a camera says: events, sensors, streams, windows, files, bags, filters, and a simulated camera.

numpy (with numba and scipy) only; imports nothing of the other rooms. Everything is an `EventStream`: a sensor size and
packets whose borders mean nothing.
"""

from dvs_snn.events.array import (
    EVENT_DTYPE,
    Events,
    copy_events,
    empty_events,
    join_events,
    make_events,
    pick_events,
    pixel_index,
)
from dvs_snn.events.files import open_recording, write_recording
from dvs_snn.events.stream import EventStream, Repair, Sensor, Tally, repair, stream_of
from dvs_snn.events.windows import Window, WindowBuffer, windows

__all__ = [
    "EVENT_DTYPE",
    "EventStream",
    "Events",
    "Repair",
    "Sensor",
    "Tally",
    "Window",
    "WindowBuffer",
    "copy_events",
    "empty_events",
    "join_events",
    "make_events",
    "open_recording",
    "pick_events",
    "pixel_index",
    "repair",
    "stream_of",
    "windows",
    "write_recording",
]
