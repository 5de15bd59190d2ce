"""TC-LIF, a dendrite and a soma, with graded input, recurrent input and a reset that comes with the data."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

STATE_MAX = (1 << 23) - 1


class TCLIF(AbstractProcess):
    """u_D <- keep u_D - feedback u_S + x + a + bias;  u_S <- keep u_S + feedforward u_D;  spike where u_S > threshold.

    Then `u_D -= gamma` and `u_S -= threshold` where it fired. `x_in` is the input, `a_in` the layer's own spikes of the
    step before. In fixed point the factors are 4096ths, the others state units.
    """

    def __init__(self, *, shape, keep, feedback, feedforward, bias, threshold, gamma) -> None:  # type: ignore[no-untyped-def]
        super().__init__(shape=shape)
        self.x_in, self.a_in, self.flag_in = InPort(shape=shape), InPort(shape=shape), InPort(shape=(1,))
        self.s_out = OutPort(shape=shape)
        self.dendrite, self.soma, self.last = (Var(shape=shape, init=0) for _ in range(3))
        self.keep, self.feedback = Var(shape=shape, init=keep), Var(shape=shape, init=feedback)
        self.feedforward, self.bias = Var(shape=shape, init=feedforward), Var(shape=shape, init=bias)
        self.threshold, self.gamma = Var(shape=shape, init=threshold), Var(shape=shape, init=gamma)


class _Model(PyLoihiProcessModel):
    def run_spk(self) -> None:
        x, recurrent, flag = self.x_in.recv(), self.a_in.recv(), self.flag_in.recv()
        kind = int(flag[0])
        if kind not in (0, 1, 2):
            raise ValueError(f"an input came with the unknown flag {kind}")
        if kind == 2:
            self.dendrite[:] = 0
            self.soma[:] = 0
            recurrent = np.zeros_like(recurrent)
        if kind:
            self.last[:] = self.fire(x, recurrent)
        self.s_out.send(self.last.astype(bool))  # held: the same spikes again, for the step that follows


@implements(proc=TCLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class TCLIFFloat(_Model):
    """In double precision."""

    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    flag_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    dendrite: np.ndarray = LavaPyType(np.ndarray, float)
    soma: np.ndarray = LavaPyType(np.ndarray, float)
    last: np.ndarray = LavaPyType(np.ndarray, float)
    keep: np.ndarray = LavaPyType(np.ndarray, float)
    feedback: np.ndarray = LavaPyType(np.ndarray, float)
    feedforward: np.ndarray = LavaPyType(np.ndarray, float)
    bias: np.ndarray = LavaPyType(np.ndarray, float)
    threshold: np.ndarray = LavaPyType(np.ndarray, float)
    gamma: np.ndarray = LavaPyType(np.ndarray, float)

    def fire(self, x: np.ndarray, recurrent: np.ndarray) -> np.ndarray:
        self.dendrite[:] = self.keep * self.dendrite - self.feedback * self.soma + (x + (self.bias + recurrent))
        self.soma[:] = self.keep * self.soma + self.feedforward * self.dendrite
        spikes = self.soma > self.threshold
        self.dendrite[spikes] -= self.gamma[spikes]
        self.soma[spikes] -= self.threshold[spikes]
        return spikes


@implements(proc=TCLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class TCLIFFixed(_Model):
    """In Loihi's integers, every product rounded toward zero by itself."""

    x_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    flag_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    dendrite: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    soma: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    last: np.ndarray = LavaPyType(np.ndarray, np.int32)
    keep: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    feedback: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    feedforward: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    gamma: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)

    @staticmethod
    def kept(state: np.ndarray, factor: np.ndarray) -> np.ndarray:
        product = state.astype(np.int64) * factor
        return np.sign(product) * (np.abs(product) >> 12)

    def fire(self, x: np.ndarray, recurrent: np.ndarray) -> np.ndarray:
        current = np.left_shift(x.astype(np.int64) + recurrent.astype(np.int64), 6)
        current = np.where(current > STATE_MAX + 1, current - (1 << 24), current)
        current = np.where(current <= -STATE_MAX - 1, current + (1 << 24), current)
        dendrite = self.kept(self.dendrite, self.keep) - self.kept(self.soma, self.feedback) + current + self.bias
        self.dendrite[:] = np.clip(dendrite, -STATE_MAX, STATE_MAX)
        soma = self.kept(self.soma, self.keep) + self.kept(self.dendrite, self.feedforward)
        self.soma[:] = np.clip(soma, -STATE_MAX, STATE_MAX)
        spikes = self.soma > self.threshold
        self.dendrite[spikes] = np.maximum(self.dendrite - self.gamma, -STATE_MAX)[spikes]
        self.soma[spikes] -= self.threshold[spikes]
        return spikes
