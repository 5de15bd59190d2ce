"""Overlay, video, plots; the only room that draws (cv2, matplotlib). May import `pipeline` and below.

`Overlay` draws a stream of windows and what is decided of them, `OverlayVideo` makes an MP4 of it, `Timeline`,
`draw_confusion` and `draw_lines` make pictures; `Pairing` brings the windows of a recording and a pipeline's decisions
together.
"""

from dvs_snn.viz.lines import draw_lines
from dvs_snn.viz.overlay import Layer, Overlay, Verdict
from dvs_snn.viz.recorder import OverlayVideo, Pairing, true_label
from dvs_snn.viz.surface import EventSurface, EventView
from dvs_snn.viz.timeline import Timeline, draw_confusion
from dvs_snn.viz.tracks import TrackLayer, TrackPlot, Trails
from dvs_snn.viz.video import VideoWriter

__all__ = [
    "EventSurface",
    "EventView",
    "Layer",
    "Overlay",
    "OverlayVideo",
    "Pairing",
    "Timeline",
    "TrackLayer",
    "TrackPlot",
    "Trails",
    "Verdict",
    "VideoWriter",
    "draw_confusion",
    "draw_lines",
    "true_label",
]
