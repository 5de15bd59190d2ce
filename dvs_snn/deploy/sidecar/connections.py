"""Fast CPU models of Lava's own `Conv` and `Dense`, chosen by the run configuration: the graph keeps the stock process.

`BufferedConv` delivers one step late, as Lava's own model and the chip do; `InstantConv` in the same step, so that one
step of a feed-forward graph answers one frame.
"""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.injector import Injector, PyLoihiInjectorModel


class _Conv(PyLoihiProcessModel):
    """A convolution as one matrix product; sums of integers stay exact in double precision."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    a_buf: np.ndarray = LavaPyType(np.ndarray, float)
    weight: np.ndarray = LavaPyType(np.ndarray, float)
    weight_exp: np.ndarray = LavaPyType(np.ndarray, np.int32)
    num_weight_bits: np.ndarray = LavaPyType(np.ndarray, np.int32)
    num_message_bits: np.ndarray = LavaPyType(np.ndarray, np.int32)
    kernel_size: np.ndarray = LavaPyType(np.ndarray, np.int32)
    stride: np.ndarray = LavaPyType(np.ndarray, np.int32)
    padding: np.ndarray = LavaPyType(np.ndarray, np.int32)
    dilation: np.ndarray = LavaPyType(np.ndarray, np.int32)
    groups: np.ndarray = LavaPyType(np.ndarray, np.int32)
    matrix: np.ndarray | None = None

    def convolve(self, x: np.ndarray) -> np.ndarray:
        if self.matrix is None:
            if int(self.dilation.max()) > 1 or int(self.groups[0]) > 1:
                raise ValueError("dilation and groups are not in the fast model")
            # A true convolution looks at its input from the other side.
            flipped = self.weight[:, ::-1, ::-1]
            self.matrix = np.ascontiguousarray(flipped.transpose(3, 1, 2, 0).reshape(-1, len(flipped)))
        if not int(self.num_message_bits[0]):
            x = (x != 0).astype(float)
        (left, top), (across, down) = self.padding, self.stride
        padded = np.pad(x, ((left, left), (top, top), (0, 0)))
        seen = np.lib.stride_tricks.sliding_window_view(padded, tuple(self.kernel_size), axis=(0, 1))
        seen = seen[::across, ::down]
        return (seen.reshape(seen.shape[0] * seen.shape[1], -1) @ self.matrix).reshape(self.a_buf.shape)


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
class BufferedConv(_Conv):
    """Delivers what came in the step before."""

    def run_spk(self) -> None:
        self.a_out.send(self.a_buf)
        self.a_buf = self.convolve(self.s_in.recv())


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
class InstantConv(_Conv):
    """Delivers in the same step."""

    def run_spk(self) -> None:
        self.a_out.send(self.convolve(self.s_in.recv()))


@implements(proc=Dense, protocol=LoihiProtocol)
@requires(CPU)
class FastDense(PyLoihiProcessModel):
    """Sums the rows of the sources that fired; one step late, as Lava's own, so that loops do not lock."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    a_buff: np.ndarray = LavaPyType(np.ndarray, float)
    weights: np.ndarray = LavaPyType(np.ndarray, float)
    num_message_bits: np.ndarray = LavaPyType(np.ndarray, int)
    by_source: np.ndarray | None = None

    def run_spk(self) -> None:
        if self.by_source is None:
            self.by_source = np.ascontiguousarray(self.weights.T * 2.0 ** self.proc_params.get("weight_exp", 0))
        self.a_out.send(self.a_buff)
        self.a_buff = self.by_source[self.s_in.recv() != 0].sum(0)


@implements(proc=Injector, protocol=LoihiProtocol)
@requires(CPU)
class IntegerInjector(PyLoihiInjectorModel):
    """Lava's injector for integers: its own gives doubles, which the fixed-point models of Lava cannot shift."""

    in_port: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    out_port: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
