"""The lifecycle node that `gesture` and `tracker` share: events in, decisions and diagnostics out."""

from __future__ import annotations

import gc
from abc import abstractmethod
from dataclasses import replace
from typing import Any, Generic, TypeVar

from diagnostic_msgs.msg import DiagnosticArray
from dvs_snn_msgs.msg import ModelInfo
from event_camera_msgs.msg import EventPacket
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import Image

from dvs_snn.errors import ConfigError
from dvs_snn.events.codecs import DECODERS, decoder
from dvs_snn.events.filters import Filter, RateDecimation, Region, SpatialDecimation
from dvs_snn.pipeline import Checkpoint, Pipeline, load_checkpoint, open_pipeline
from dvs_snn_ros.convert import diagnostics, header, image_message, time_ns
from dvs_snn_ros.engine import Engine, Limits, Outcome, warm
from dvs_snn_ros.options import Options
from dvs_snn_ros.packets import PacketReader
from dvs_snn_ros.picture import Painter
from dvs_snn_ros.report import Reporter
from dvs_snn_ros.running import LATCHED, RESULTS, Once, events_qos, told
from dvs_snn_ros.settings import PerceptionSettings

TICK_S = 0.05
"""How often it is looked whether the scene is still or the camera gone."""

S = TypeVar("S", bound=PerceptionSettings)


class PerceptionNode(LifecycleNode, Generic[S]):
    """Configure loads the network, activate listens; a subclass says which task, and makes messages of decisions."""

    task: str

    def __init__(self, name: str, kind: type[S], **options: Any) -> None:
        super().__init__(name, **options)
        self._options: Options[S] = Options(self, kind, lambda: self._pipeline is not None, self._changed, self._fits)
        self._warn = Once(self.get_logger())
        self._settings: S
        self._checkpoint: Checkpoint | None = None
        self._pipeline: Pipeline | None = None
        self._engine: Engine | None = None
        self._painter: Painter | None = None
        self._subscription: Any = None
        self._timers: list[Any] = []
        self._publishers: list[Any] = []
        self._results: list[Any] = []

    @abstractmethod
    def tell(self, outcome: Outcome, latency_ms: float) -> None:
        """Publish a decision; called in the engine's thread."""

    @abstractmethod
    def make_publishers(self) -> list[Any]:
        """The publishers of results, to be destroyed by cleanup."""

    def extend(self, pipeline: Pipeline, settings: S) -> Pipeline:
        """The pipeline, or one that does more than it."""
        return pipeline

    def adjust(self, checkpoint: Checkpoint, settings: S) -> Checkpoint:
        """The checkpoint with what parameters may say in its place."""
        return checkpoint

    # Transitions

    @told
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        settings = self._options.read()
        checkpoint = self._load(settings)
        pipeline = open_pipeline(self.adjust(checkpoint, settings), settings.runtime, settings.device)
        pipeline = self.extend(pipeline, settings)
        warm(pipeline)
        for encoding in DECODERS:  # compiled now, not at the first packet
            decoder(encoding).decode(bytes_of_nothing(encoding))
        # What is loaded by now stays: a full collection that walks all of it would hold up decisions for a long time.
        gc.unfreeze()  # of an earlier configuration
        gc.collect()
        gc.freeze()
        self._settings, self._checkpoint, self._pipeline = settings, checkpoint, pipeline
        info = self.create_publisher(ModelInfo, "~/model", LATCHED)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", RESULTS)
        self._images = self.create_publisher(Image, "~/image", 2)
        self._results = self.make_publishers()
        self._publishers = [info, self._diagnostics, self._images, *self._results]
        info.publish(self._about(checkpoint, settings))
        self.get_logger().info(
            f"{checkpoint.path.name}: {self.task} from a sensor of {checkpoint.config.sensor}, "
            f"a decision each {checkpoint.config.bin_us / 1000:g} ms, {settings.runtime} on {settings.device}"
        )
        return TransitionCallbackReturn.SUCCESS

    @told
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        settings, pipeline = self._settings, self._pipeline
        assert pipeline is not None
        self._reader = PacketReader(self._warn)
        self._reporter = Reporter()
        self._heard_ns: int | None = None  # when a packet arrived
        self._silent_ticks = 0
        self._publisher_count = 0
        self._said_clock = False
        limits = Limits(
            max(1, int(settings.queue_ms * 1000) // pipeline.config.bin_us),
            settings.queue_events,
            "newest" if settings.drop_policy == "newest" else "oldest",
        )
        self._engine = Engine(pipeline, self._decided, self._warn, limits, self._filters(settings))
        self._engine.start()
        self._painter = Painter(pipeline.config, self._paint, settings.image_hz)
        self._painter.start()
        self._subscription = self.create_subscription(
            EventPacket,
            "events",
            self._hear,
            events_qos(settings.reliability, settings.queue_depth),
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._incompatible),
        )
        self._timers = [self.create_timer(TICK_S, self._tick), self.create_timer(1.0, self._report)]
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._silence()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """End threads and give back everything."""
        self._silence()
        for publisher in self._publishers:
            self.destroy_publisher(publisher)
        self._publishers = []
        self._results = []
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = self._checkpoint = None
        self._warn.forget()

    def _silence(self) -> None:
        for timer in self._timers:
            self.destroy_timer(timer)
        self._timers = []
        if self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None
        if self._engine is not None:
            self._engine.stop()
            self._engine = None
        if self._painter is not None:
            self._painter.stop()
            self._painter = None

    # Settings

    def _load(self, settings: S) -> Checkpoint:
        if not settings.model:
            raise ConfigError("parameter model is empty: name a checkpoint folder or one that ships with dvs_snn")
        checkpoint = load_checkpoint(settings.model)
        if checkpoint.config.task != self.task:
            raise ConfigError(
                f"{settings.model} is a checkpoint for {checkpoint.config.task}, this node needs {self.task}"
            )
        return checkpoint

    def _filters(self, settings: S) -> tuple[Filter, ...]:
        filters: list[Filter] = []
        x, y, width, height = settings.region
        if width:
            filters.append(Region(x, y, width, height))
        if settings.downsample > 1:
            filters.append(SpatialDecimation(settings.downsample, keep_rate=True))
        if settings.max_rate_hz:
            filters.append(RateDecimation(settings.max_rate_hz))
        return tuple(filters)

    def _fits(self, settings: S) -> None:
        """Refuse settings that do not go with the checkpoint that is loaded."""
        if self._checkpoint is not None:
            self.adjust(self._checkpoint, settings)

    def _changed(self) -> None:
        """A live parameter was set."""
        if self._pipeline is None or self._checkpoint is None:
            return
        before, self._settings = self._settings, self._options.read()
        decision = self.adjust(self._checkpoint, self._settings).config.decision
        if self._engine is None:
            self._pipeline.set_decision(decision)
            return
        self._engine.call(lambda pipeline: pipeline.set_decision(decision))
        if self._filters(before) != self._filters(self._settings):
            self._engine.set_filters(self._filters(self._settings))
        if self._painter is not None:
            self._painter.rate_hz = self._settings.image_hz

    def _about(self, checkpoint: Checkpoint, settings: S) -> ModelInfo:
        config = checkpoint.config
        return ModelInfo(
            header=header(self.get_clock().now().nanoseconds, ""),
            name=checkpoint.path.name,
            task=config.task,
            runtime=settings.runtime,
            labels=list(config.labels),
            width=config.sensor.width,
            height=config.sensor.height,
            window_us=config.bin_us,
        )

    # Events

    def _hear(self, message: EventPacket) -> None:
        """Decode and append: nothing else is done between two packets, and nothing that a message holds stops it."""
        engine = self._engine
        if engine is None:
            return
        arrived_ns = self.get_clock().now().nanoseconds
        self._heard_ns = arrived_ns
        try:
            received = self._reader.read(
                message, message.events, message.header.frame_id, time_ns(message.header.stamp), arrived_ns
            )
        except Exception as error:  # a message that breaks the reader must not end the node
            self._reader.counts.malformed_packets += 1
            self._warn(f"reader {type(error).__name__}", f"an event packet could not be read: {error!r}")
            return
        if received is None:
            return
        if received.recorded and not self._said_clock:
            self._said_clock = True
            self.get_logger().info("stamps are those of a recording: latency is measured from the packets' arrival")
        if len(received.events) or received.until_us is not None:
            self._silent_ticks = 0
            engine.put(received)

    def _tick(self) -> None:
        """A still scene closes its windows by the host's clock; a camera that went ends its sequence."""
        engine = self._engine
        if engine is None:
            return
        now_ns = self.get_clock().now().nanoseconds
        publishers = self.count_publishers(self._subscription.topic_name)
        if self._publisher_count and not publishers:
            self._reader.forget()
            engine.flush(now_ns)
        self._publisher_count = publishers
        # Ticks are counted, not time: after a pause of this process the packets that wait are read first.
        self._silent_ticks += 1
        if publishers and self._silent_ticks * TICK_S * 1000 > self._settings.still_ms:
            sensor_us = engine.clock.sensor_us(now_ns)
            if sensor_us is not None:
                engine.tick(sensor_us - int(self._settings.still_ms * 1000), now_ns)

    def _incompatible(self, event: Any) -> None:
        self._warn(
            "qos",
            f"a publisher of {self._subscription.topic_name} is best effort, this subscription reliable: nothing will "
            "arrive; set reliability to best_effort",
        )

    # What comes out

    def _decided(self, outcome: Outcome) -> None:
        if not self.context.ok():  # a signal came: there is nobody left to tell
            return
        now_ns = self.get_clock().now().nanoseconds
        latency_ms = (now_ns - outcome.live_ns) * 1e-6 if outcome.live_ns else 0.0
        self._reporter.inference.add(outcome.infer_ms)
        self._reporter.response.add((now_ns - outcome.arrived_ns) * 1e-6)
        if len(outcome.window.events):
            self._reporter.latency.add(latency_ms)
        self.tell(outcome, latency_ms)
        painter = self._painter
        if painter is not None and self._images.get_subscription_count():
            painter.see(outcome)

    def _paint(self, picture: Any, outcome: Outcome) -> None:
        self._images.publish(image_message(picture, outcome.stamp_ns, outcome.frame_id))

    def _report(self) -> None:
        engine, pipeline = self._engine, self._pipeline
        if engine is None or pipeline is None or self._checkpoint is None:
            return
        now_ns = self.get_clock().now().nanoseconds
        silent_s = None if self._heard_ns is None else (now_ns - self._heard_ns) * 1e-9
        about = {
            "model": self._checkpoint.path.name,
            "sensor": str(self._reader.sensor or "unknown"),
            "subscribers": str(sum(each.get_subscription_count() for each in self._results)),
            "notes": "; ".join(pipeline.notes),
        }
        report = self._reporter.make(
            now_ns,
            self._reader.counts,
            replace(engine.counts),
            silent_s,
            self._subscription.topic_name,
            self.count_publishers(self._subscription.topic_name),
            self._settings.stale_s,
            self._settings.warn_latency_ms,
            about,
        )
        self._diagnostics.publish(diagnostics([(f"{self.get_name()}: {self.task}", about["sensor"], report)], now_ns))


def bytes_of_nothing(encoding: str) -> Any:
    """A payload of one word of zeros: it means nothing in any encoding, but it runs the decoder."""
    import numpy as np

    return np.zeros(DECODERS[encoding].record_bytes, np.uint8)
