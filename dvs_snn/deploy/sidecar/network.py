"""A Lava graph from a description: convolutions with LIF in a row, or one recurrent TC-LIF layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from connections import BufferedConv, FastDense, InstantConv, IntegerInjector
from dvs_processes.lif.process import FlaggedLIF
from dvs_processes.tclif.process import TCLIF
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.extractor import Extractor, PyLoihiExtractorModel
from lava.proc.io.injector import Injector, PyLoihiInjectorModel
from lava.proc.lif.process import LIF

AHEAD = 8
"""Frames that may be in the network at once."""


class Network:
    """Injectors for frames and flags, the layers, and an extractor for each layer that is to be seen.

    `about`: `mode` "fixed" or "float", `convolution` "instant", "buffered" or "stock", `record` all layers or the last,
    `stock_neurons` for Lava's own LIF, which has no flags, `layers` a list of numbers whose arrays are
    `arrays["<index>.<name>"]`, in torch's order. `delay` is the number of steps by which the last layer's spikes follow
    their frame.
    """

    def __init__(self, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        self.fixed = about["mode"] == "fixed"
        self.kind = np.int32 if self.fixed else float
        self.convolution = about["convolution"]
        self.frame: Injector | None = None
        self.stock_neurons = bool(about.get("stock_neurons"))
        self.flag = None if self.stock_neurons else Injector(shape=(1,), buffer_size=2 * AHEAD)
        self.outputs: list[Extractor] = []
        self.delays: list[int] = []
        self.delay = 0
        layers = about["layers"]
        spikes, flags = None, self.flag and self.flag.out_port
        for index, numbers in enumerate(layers):
            own = {key.split(".", 1)[1]: value for key, value in arrays.items() if key.startswith(f"{index}.")}
            if numbers["kind"] == "conv_lif":
                spikes, flags = self._add_conv(numbers, own, spikes, flags)
            else:
                spikes = self._add_tclif(own, flags)
            if about["record"] or index == len(layers) - 1:
                seen = Extractor(shape=spikes.shape, buffer_size=2 * AHEAD)
                spikes.connect(seen.in_port)
                self.outputs.append(seen)
                self.delays.append(self.delay)

    def _add_conv(
        self, numbers: dict[str, Any], own: dict[str, np.ndarray], spikes: Any, flags: Any
    ) -> tuple[Any, Any]:
        weights = own["weights"].transpose(0, 3, 2, 1)[:, ::-1, ::-1]
        channels, height, width = numbers["shape"]
        first = spikes is None
        convolution = Conv(
            weight=np.ascontiguousarray(weights).astype(self.kind),
            input_shape=(width, height, channels),
            padding=numbers["padding"],
            stride=numbers["stride"],
            num_message_bits=8 if first else 0,  # counts are graded, spikes are not
        )
        if first:
            self.frame = Injector(shape=(width, height, channels), buffer_size=2 * AHEAD)
            self.frame.out_port.connect(convolution.s_in)
        else:
            spikes.connect(convolution.s_in)
        late = int(self.convolution != "instant")
        self.delay += late
        shape = tuple(int(side) for side in convolution.output_shape)
        if self.stock_neurons:
            neuron: Any = self._stock_lif(shape, own)
            convolution.a_out.connect(neuron.a_in)
            return neuron.s_out, flags
        per_channel = {
            name: np.broadcast_to(own[name], shape).astype(self.kind) for name in ("keep", "bias", "threshold")
        }
        neuron = FlaggedLIF(
            shape=shape,
            subtract=numbers.get("subtract", False),
            flag_wait=int(first and late),
            flag_delay=late,
            **per_channel,
        )
        convolution.a_out.connect(neuron.a_in)
        flags.connect(neuron.flag_in)
        return neuron.s_out, neuron.flag_out

    def _stock_lif(self, shape: tuple[int, ...], own: dict[str, np.ndarray]) -> LIF:
        """Lava's own neuron, one decay and threshold for all, as for one target group."""
        values = {name: float(np.ravel(own[name])[0]) for name in ("keep", "bias", "threshold")}
        return LIF(
            shape=shape,
            du=4095,
            dv=int(4096 - values["keep"]),
            vth=int(values["threshold"]) >> 6,
            bias_mant=int(own["bias_mantissa"][0]),
            bias_exp=int(own["bias_exponent"][0]),
        )

    def _add_tclif(self, own: dict[str, np.ndarray], flags: Any) -> Any:
        count = len(own["keep"])
        vectors = {
            name: own[name].astype(self.kind)
            for name in ("keep", "feedback", "feedforward", "bias", "threshold", "gamma")
        }
        neuron = TCLIF(shape=(count,), **vectors)
        recurrent = Dense(weights=own["weights"].astype(self.kind))
        self.frame = Injector(shape=(count,), buffer_size=2 * AHEAD)
        self.frame.out_port.connect(neuron.x_in)
        flags.connect(neuron.flag_in)
        neuron.s_out.connect(recurrent.s_in)
        recurrent.a_out.connect(neuron.a_in)
        return neuron.s_out

    @property
    def process(self) -> AbstractProcess:
        """Any process of the graph, to run it by."""
        assert self.frame is not None
        return self.frame

    def run_config(self) -> Loihi2SimCfg:
        """Own fast models for stock processes, unless Lava's own are asked for."""
        source = IntegerInjector if self.fixed else PyLoihiInjectorModel
        models: dict[type, type] = {Injector: source, Extractor: PyLoihiExtractorModel}
        if self.convolution != "stock":
            models[Conv] = InstantConv if self.convolution == "instant" else BufferedConv
            models[Dense] = FastDense
        tag = "fixed_pt" if self.fixed else "floating_pt"
        return Loihi2SimCfg(select_tag=tag, exception_proc_model_map=models)
