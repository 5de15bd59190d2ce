"""What every node does alike: report what is wrong once, start itself, spin, and end with status 0 on a signal."""

from __future__ import annotations

import functools
import gc
import signal
import sys
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from dvs_snn.errors import DvsSnnError

try:  # half the cost of a small packet; not in humble
    from rclpy.experimental import EventsExecutor
except ImportError:
    EventsExecutor = SingleThreadedExecutor

RESULTS = QoSProfile(depth=100, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)
"""Decisions, rewards, diagnostics: few and small, and none may be lost: a second of decisions each 10 ms."""

LATCHED = QoSProfile(
    depth=1,
    history=HistoryPolicy.KEEP_LAST,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""What a late subscriber must still get."""


def events_qos(reliability: str, depth: int) -> QoSProfile:
    """Of event packets; best effort hears every publisher."""
    policy = ReliabilityPolicy.RELIABLE if reliability == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(
        depth=depth,
        history=HistoryPolicy.KEEP_LAST,
        reliability=policy,
        durability=DurabilityPolicy.VOLATILE,
    )


class Once:
    """Warns once for each key, so that a fault at 1 kHz does not fill the log; counters say the rest."""

    def __init__(self, logger: RcutilsLogger) -> None:
        self._logger = logger
        self._said: set[str] = set()

    def __call__(self, key: str, text: str) -> None:
        if key not in self._said and len(self._said) < 100:
            self._said.add(key)
            self._logger.warning(text)

    def forget(self) -> None:
        """Say it again when it comes again."""
        self._said.clear()


Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def told(transition: Transition) -> Transition:
    """A transition that logs what went wrong and fails, where rclpy would swallow it; the node stays usable."""

    @functools.wraps(transition)
    def run(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            name = transition.__name__.removeprefix("on_")
            text = str(error) if isinstance(error, DvsSnnError | OSError) else repr(error)
            node.get_logger().error(f"cannot {name}: {' '.join(text.split())}")
            return TransitionCallbackReturn.FAILURE

    return run


SWITCH_S = 5e-4
"""How long one thread may hold the interpreter when another waits: at Python's 5 ms, a decision that is a dozen short
steps waits for the packets of a camera a dozen times."""


LOOK_S = 0.2
"""How often a node that hears nothing looks whether a signal has come."""


class Signals:
    """SIGINT and SIGTERM as a wish to end. rclpy's own handlers end the context at once, under threads that publish."""

    def __init__(self) -> None:
        self.came = False
        self.interrupt = True
        """Whether a signal breaks off what is being done, as loading a network; else it is only noted."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: Any) -> None:
        self.came = True
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt


def main(make: Callable[[], LifecycleNode], arguments: list[str] | None = None) -> int:
    """Run one node until it is told to stop; its parameter `autostart` says whether it begins by itself."""
    sys.setswitchinterval(SWITCH_S)
    signals, node = Signals(), None
    try:
        rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
        executor = EventsExecutor()
        executor.add_node(node)
        if node.get_parameter("autostart").value is True and (
            node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        ):
            node.trigger_activate()
        signals.interrupt = False
        while rclpy.ok() and not signals.came:  # EventsExecutor.spin() of kilted waits by turning
            executor.spin_once(timeout_sec=LOOK_S)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        signals.interrupt = False
        gc.unfreeze()  # what perception froze: the middleware's shared memory goes with the objects that hold it
        if node is not None:
            close = getattr(node, "close", None)
            if close is not None:
                close()
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def exit_main(make: Callable[[], LifecycleNode]) -> None:
    """`main` as a process."""
    sys.exit(main(make))
