"""Where the forms of a network part: spikes that differ and the best class, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def draw_agreement(path: str | Path, traces: Mapping[str, Any], labels: Sequence[str], bin_us: int) -> None:
    """Draw traces (name -> arrays `backbone`, `head`, `logits`, time first) against the first of them into a file."""
    reference, *others = traces.values()
    seconds = np.arange(1, len(reference.logits) + 1) * bin_us * 1e-6
    figure = Figure(figsize=(8, 7), layout="constrained")
    spikes, classes = figure.subplots(2, 1, sharex=True)
    for trace in others:
        differing = (trace.backbone != reference.backbone).reshape(len(seconds), -1).sum(1)
        differing += (trace.head != reference.head).sum(1)
        spikes.plot(seconds, differing, label=f"{trace.name} against {reference.name}", linewidth=1)
    spikes.set_ylabel("spikes that differ per step")
    spikes.legend(fontsize=8)
    for offset, trace in enumerate(traces.values()):
        classes.plot(seconds, trace.logits.argmax(1) + 0.08 * offset, ".", markersize=3, label=trace.name)
    classes.set_yticks(range(len(labels)), labels, fontsize=8)
    classes.set_xlabel("time (s)")
    classes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
