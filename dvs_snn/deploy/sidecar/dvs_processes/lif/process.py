"""LIF whose reset comes with the data: a flag beside each frame holds, runs or restarts the layer."""

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


class FlaggedLIF(AbstractProcess):
    """`v <- v keep + a + bias`, spike where `v > threshold`, reset to zero or, with `subtract`, by the threshold.

    `keep`, `bias` and `threshold` have the shape of the layer; in fixed point they are 4096ths and state units.
    `flag_wait` is 1 where frames come a step after their flags, through a connection that buffers; `flag_delay` is the
    number of steps that the next connection takes, so that flags arrive with their spikes.
    """

    def __init__(self, *, shape, keep, bias, threshold, subtract, flag_wait, flag_delay) -> None:  # type: ignore[no-untyped-def]
        super().__init__(shape=shape)
        self.a_in, self.s_out = InPort(shape=shape), OutPort(shape=shape)
        self.flag_in, self.flag_out = InPort(shape=(1,)), OutPort(shape=(1,))
        self.v = Var(shape=shape, init=0)
        self.keep, self.bias = Var(shape=shape, init=keep), Var(shape=shape, init=bias)
        self.threshold = Var(shape=shape, init=threshold)
        self.subtract = Var(shape=(1,), init=int(subtract))
        self.flag_wait = Var(shape=(1,), init=flag_wait)
        self.flag_delay = Var(shape=(1,), init=flag_delay)
        self.waiting, self.held = Var(shape=(1,), init=0), Var(shape=(1,), init=0)


class _Model(PyLoihiProcessModel):
    def run_spk(self) -> None:
        entering, flag = self.a_in.recv(), self.flag_in.recv()
        if int(self.flag_wait[0]):
            flag, self.waiting[:] = self.waiting.copy(), flag
        kind = int(flag[0])
        if kind not in (0, 1, 2):
            raise ValueError(f"a frame came with the unknown flag {kind}")
        if kind == 2:
            self.v[:] = 0
        spikes = self.fire(entering) if kind else np.zeros(self.v.shape, bool)
        self.s_out.send(spikes)
        self.flag_out.send(self.held.copy() if int(self.flag_delay[0]) else flag)
        self.held[:] = flag


@implements(proc=FlaggedLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class FlaggedLIFFloat(_Model):
    """In double precision."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    flag_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    flag_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    v: np.ndarray = LavaPyType(np.ndarray, float)
    keep: np.ndarray = LavaPyType(np.ndarray, float)
    bias: np.ndarray = LavaPyType(np.ndarray, float)
    threshold: np.ndarray = LavaPyType(np.ndarray, float)
    subtract: np.ndarray = LavaPyType(np.ndarray, np.int32)
    flag_delay: np.ndarray = LavaPyType(np.ndarray, np.int32)
    flag_wait: np.ndarray = LavaPyType(np.ndarray, np.int32)
    waiting: np.ndarray = LavaPyType(np.ndarray, float)
    held: np.ndarray = LavaPyType(np.ndarray, float)

    def fire(self, entering: np.ndarray) -> np.ndarray:
        self.v[:] = self.v * self.keep + (entering + self.bias)
        spikes = self.v > self.threshold
        self.v[spikes] = (self.v - self.threshold)[spikes] if self.subtract[0] else 0
        return spikes


@implements(proc=FlaggedLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class FlaggedLIFFixed(_Model):
    """In Loihi's integers: 12-bit factors, products rounded toward zero, input wraps and the state saturates at 24."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    flag_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    flag_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    keep: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    subtract: np.ndarray = LavaPyType(np.ndarray, np.int32)
    flag_delay: np.ndarray = LavaPyType(np.ndarray, np.int32)
    flag_wait: np.ndarray = LavaPyType(np.ndarray, np.int32)
    waiting: np.ndarray = LavaPyType(np.ndarray, np.int32)
    held: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def fire(self, entering: np.ndarray) -> np.ndarray:
        current = np.left_shift(entering.astype(np.int64), 6)
        current = np.where(current > STATE_MAX + 1, current - (1 << 24), current)
        current = np.where(current <= -STATE_MAX - 1, current + (1 << 24), current)
        product = self.v.astype(np.int64) * self.keep
        kept = np.sign(product) * (np.abs(product) >> 12)
        self.v[:] = np.clip(kept + current + self.bias, -STATE_MAX, STATE_MAX)
        spikes = self.v > self.threshold
        self.v[spikes] = (self.v - self.threshold)[spikes] if self.subtract[0] else 0
        return spikes
