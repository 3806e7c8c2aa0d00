# SPDX-License-Identifier: Apache-2.0
"""The node `detector`: lifecycle, topics and diagnostics around `Pipeline`."""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException, ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.timer import Timer
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from asd_perception.errors import UserError
from asd_perception.models import TINY, config_file
from asd_perception.requirements import check_requirements
from asd_perception.ros.check.mismatches import QosMismatches
from asd_perception.ros.diagnostics import error_in_log, pipeline_statuses, status
from asd_perception.ros.messages.clouds import simulated_points_to_cloud
from asd_perception.ros.messages.geometry import time_from_ns
from asd_perception.ros.messages.published.cdr import detections_to_cdr
from asd_perception.ros.messages.published.cdr_check import cdr_matches_rclpy
from asd_perception.ros.messages.published.detected_objects import (
    detected_objects_to_msg,
    detected_objects_type,
)
from asd_perception.ros.messages.published.detections import detections_to_msg
from asd_perception.ros.messages.published.markers import (
    LIFETIME,
    markers_from_detections,
    no_markers,
)
from asd_perception.ros.messages.published.objects import objects_to_cloud
from asd_perception.ros.overlay import Overlays
from asd_perception.ros.parameters.declaration import declare_parameters, unknown_parameters
from asd_perception.ros.parameters.settings import Settings, read_budgets, read_selection
from asd_perception.ros.parameters.table import AT_NEXT_CONFIGURE
from asd_perception.ros.pipeline import CLOSE_WAIT, Pipeline
from asd_perception.ros.statistics import STAGES
from asd_perception.ros.subscriptions import (
    OVERRIDABLE,
    image_type,
    subscribe_overridable,
    subscribe_to_latched,
    subscribe_to_rig,
)
from asd_perception.runtime.detections import Detections

if TYPE_CHECKING:  # torch takes seconds to import
    from asd_perception.runtime.validation.validation_errors import ValidationErrors

WARNING_PERIOD = 5.0  # s between two warnings of one kind in the log
MAX_KINDS = 1000  # of warnings that are kept apart
ACKNOWLEDGED = 0.2  # s that the last message of a topic has to arrive before the topic ends
POLL_PERIOD = 0.01  # s between two checks for frames that wait for missing cameras

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ConfigureStopped(BaseException):
    """Raised by a handler of signals amid configure, which takes seconds."""


class DetectorNode(LifecycleNode):
    """configure: load the model, create topics. activate: detect. Both can be undone and redone."""

    def __init__(self) -> None:
        super().__init__("detector")
        declare_parameters(self)
        self._pipeline: Pipeline | None = None
        self._running: dict[str, str] = {}  # the model and what runs it, in words
        self._fault = ""  # why the last transition failed
        self._in_error: set[str] = set()  # names of statuses, when last published
        self._warned: dict[str, tuple[float, int]] = {}  # kind: time of the last, hidden since
        self._topics: list[Any] = []  # subscriptions
        self._latched: dict[str, Any] = {}  # those to latched camera_info, by camera
        self._tf: Any = None  # the one to /tf, while a camera's mounting may move
        self._outputs: list[Any] = []  # lifecycle publishers
        self._mismatches = QosMismatches(self, self._warn)
        self._shown_at: float | None = None  # when markers came that are still to be seen
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # The steady clock: an operator wants diagnostics while simulated time stands still, too.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._every_second, clock=self._steady)
        self._poll_timer: Timer | None = None
        self.configuring = False  # at work on it, for seconds
        self._configured: dict[str, Any] = {}  # values of parameters that are read only then
        self.shut_down = False  # for good: the end of the lifecycle
        if hasattr(self, "add_post_set_parameters_callback"):  # not before Iron
            self.add_post_set_parameters_callback(self._tell_what_waits)

    def start(self) -> bool:
        """Configure and activate; whether both succeeded."""
        return self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS

    # -- lifecycle -------------------------------------------------------------------------------

    def _LifecycleNodeMixin__on_change_state(self, request: Any, response: Any) -> Any:  # noqa: N802
        """rclpy's own ends the node where it is asked for a transition that its state lacks."""
        try:
            return super()._LifecycleNodeMixin__on_change_state(request, response)  # type: ignore[misc]
        except RuntimeError:  # which rcl has logged
            response.success = False
            return response

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            self.configuring = True
            return self._configure(state)
        except ConfigureStopped:
            self._fault = "told to end while it was configured"
            self._release()
            return FAILURE
        finally:
            self.configuring = False

    def _configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._fault = ""
        self._warn_of_unknown_parameters(of_qos=False)
        try:
            settings = Settings.read(self)
            image_type(settings.image_transport)  # before the model is loaded
            config_file(Path(settings.model or TINY))
            self._pipeline = self._load(settings)
            self._create_publishers(settings)
            self._create_subscriptions(settings, self._pipeline)
        # ROS's own errors: a name by remapping, or a value for a topic's QoS, that cannot be
        except (UserError, NameValidationException, ParameterException) as error:
            self._fault = " ".join(str(error).split())
            self.get_logger().error(f"cannot configure: {self._fault}")
            self._release()
            return FAILURE
        except Exception:  # rclpy would swallow it
            self.get_logger().error(f"cannot configure:\n{traceback.format_exc()}")
            self._fault = "cannot configure; the node's log says why"
            return TransitionCallbackReturn.ERROR
        self._warn_of_unknown_parameters(of_qos=True)
        self._configured = {name: self.get_parameter(name).value for name in AT_NEXT_CONFIGURE}
        running = ", ".join(f"{name} {value}" for name, value in self._running.items())
        self.get_logger().info(f"configured: {running}; {self._threshold_in_words()}")
        return super().on_configure(state)

    def _warn_of_unknown_parameters(self, of_qos: bool) -> None:
        for line in unknown_parameters(self, of_qos):
            self.get_logger().warning(line)

    def _tell_what_waits(self, parameters: list[Any]) -> None:  # Parameter
        """rclpy answers no more than that a parameter was set."""
        waiting = [p.name for p in parameters if self._configured.get(p.name, p.value) != p.value]
        if waiting:
            self.get_logger().info(
                f"{', '.join(waiting)} was set, to take effect at the next configure: deactivate, "
                "cleanup, configure"
            )

    def _load(self, settings: Settings) -> Pipeline:
        """The pipeline with its model. Raises UserError."""
        check_requirements()
        # Torch takes seconds to import: before that, --help answers and the node is in the graph.
        from asd_perception.runtime.detector import Detector, find_device

        model = settings.model or str(TINY)
        if find_device(settings.device).type == "cuda":
            self.get_logger().info("compiling the model for the GPU: up to a minute the first time")
        detector = Detector.from_pretrained(
            model, device=settings.device, cameras=len(settings.cameras)
        )
        detector.warm_up()
        self._running = {"model": str(model), **detector.describe()}
        return Pipeline(
            settings,
            detector,
            selection=lambda: read_selection(self, self._threshold()),
            budgets=lambda: read_budgets(self),
            publish=partial(self._publish, settings.base_frame, detector.validation_errors),
            show=partial(self._show, settings.base_frame),
            watched=lambda camera: self._overlays.watched(camera),
            draw=lambda image, detections: self._overlays.publish(image, detections),
            warn=self._warn,
            measured=self._publish_latency,
            ros_time=lambda: self.get_clock().now().nanoseconds,
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        if self._pipeline is not None and result == SUCCESS:
            # A full garbage collection holds every thread: 0.2 s for the 400,000 objects that are
            # there by now, PyTorch's above all. They are left out of those that come from here on.
            gc.collect()
            gc.freeze()
            self._pipeline.start()
            poll = self._pipeline.poll
            self._poll_timer = self.create_timer(
                POLL_PERIOD, lambda: self._guarded(poll), clock=self._steady
            )
            cameras = self._pipeline.settings.cameras.values()
            topics = ", ".join(camera.image_name for camera in cameras)
            self.get_logger().info(f"active: waiting for images on {topics}")
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if not self._stop():  # on to on_error: unconfigured, with the reason in the diagnostics
            return TransitionCallbackReturn.ERROR
        self.get_logger().info("deactivated: no images are taken")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()
        self.get_logger().info("cleaned up: model and topics are given up")
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.shut_down = True
        self._release()
        self.get_logger().info("shut down")
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._release()  # back to unconfigured, from where configure may be tried again
        return super().on_error(state)

    def _stop(self) -> bool:
        """Take no more images, and wait for the frame at work; whether it ended."""
        if self._poll_timer is not None:
            self.destroy_timer(self._poll_timer)
            self._poll_timer = None
        ended = self._pipeline is None or self._pipeline.stop()
        if not ended and not self._fault:  # on_error comes here a second time
            self._fault = (
                f"the detector hangs: its frame did not end within {CLOSE_WAIT:.0f} s; look after "
                "the device, and start the node again"
            )
            self.get_logger().error(self._fault)
        self._clear_markers()
        return ended

    def _release(self) -> None:
        """Stop the threads, and give up topics, model and the GPU's memory."""
        ended = self._stop()
        self._pipeline = None
        self._configured = {}
        for subscription in (*self._topics, *self._latched.values(), self._tf):
            if subscription is not None:
                self.destroy_subscription(subscription)
        for publisher in self._outputs:
            self.destroy_lifecycle_publisher(publisher)
        self._topics.clear()
        self._latched.clear()
        self._tf = None
        self._outputs.clear()
        self._mismatches.clear()
        gc.unfreeze()
        torch = sys.modules.get("torch")
        # A GPU that hangs would be waited for without an end, also to free its memory.
        if ended and torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()  # images that nobody wants any more may still be on their way
            gc.collect()  # also what a configure that failed half-way has left
            torch.cuda.empty_cache()

    # -- topics ----------------------------------------------------------------------------------

    def _create_publishers(self, settings: Settings) -> None:
        lasting = QoSProfile(depth=50)  # outlasts Fast DDS's 3 s heartbeat at 12 Hz

        def publisher(message_type: type, topic: str, qos: QoSProfile = lasting) -> Any:
            own = copy(qos)  # rclpy writes the parameters' values into it
            result: Any = self.create_lifecycle_publisher(
                *(message_type, topic, own),
                event_callbacks=self._mismatches.of_publisher(topic, own),
                qos_overriding_options=OVERRIDABLE,
            )
            self._outputs.append(result)
            return result

        self._detections = publisher(Detection3DArray, "~/detections")
        self._objects = publisher(PointCloud2, "~/objects")
        kind = detected_objects_type()
        self._detected_objects = publisher(kind, "~/detected_objects") if kind else None
        self._markers = publisher(MarkerArray, "~/markers")
        self._simulated_points = publisher(PointCloud2, "~/simulated_points")
        self._latencies = {stage: publisher(Float64, f"~/latency/{stage}") for stage in STAGES}
        self._overlays = Overlays(settings.cameras, publisher)
        self._serializes = cdr_matches_rclpy()
        if not self._serializes:
            self.get_logger().warning(
                "this installation serializes vision_msgs/Detection3DArray in another way than "
                "asd_perception: ~/detections goes through rclpy's message objects, some ms slower"
            )

    def _create_subscriptions(self, settings: Settings, pipeline: Pipeline) -> None:
        self._topics += subscribe_to_rig(self, settings, pipeline, self._mismatches, self._guarded)
        if settings.use_odometry:
            on_odometry = partial(self._guarded, pipeline.on_odometry)
            self._topics.append(
                subscribe_overridable(
                    *(self, self._mismatches, Odometry, "odometry", on_odometry),
                    QoSProfile(depth=100),
                )
            )

    def _every_second(self) -> None:
        if self._pipeline is not None:
            shown_at = self._shown_at
            if shown_at is not None and time.monotonic() - shown_at > LIFETIME:
                self._guarded(self._clear_markers)
            self._guarded(self._listen_to_latched, self._pipeline)
            self._guarded(self._listen_to_tf, self._pipeline)
        self._guarded(self._publish_diagnostics)

    def _listen_to_latched(self, pipeline: Pipeline) -> None:
        models = pipeline.calibration.models
        known = {camera for camera in models if camera in self._latched or models[camera]}
        self._latched |= subscribe_to_latched(
            self, pipeline.settings, pipeline, known, self._guarded
        )

    def _listen_to_tf(self, pipeline: Pipeline) -> None:
        """While some camera's mounting is in /tf, and only then: it may be busy with all else."""
        needed = pipeline.calibration.needs_tf
        if needed and self._tf is None:
            callback = partial(self._guarded, pipeline.on_moving_transforms)
            qos = QoSProfile(depth=100)
            self._tf = self.create_subscription(
                *(TFMessage, "/tf", callback, qos),
                event_callbacks=self._mismatches.of_subscription(TFMessage, "/tf", qos),
                raw=True,
            )
        elif not needed and self._tf is not None:
            self.destroy_subscription(self._tf)
            self._mismatches.forget_subscription("/tf")
            self._tf = None

    def _guarded(self, callback: Callable[..., None], *arguments: Any) -> None:
        """No message and no tick may end the node, not even one that shows a defect of ours."""
        try:
            callback(*arguments)
        except Exception as error:
            kind = f"callback {type(error).__name__}"
            self._warn(kind, f"ignored:\n{traceback.format_exc()}")

    def _warn(self, kind: str, text: str) -> None:
        """Log a warning, unless one of its kind was logged in the last WARNING_PERIOD."""
        now = time.monotonic()
        if len(self._warned) >= MAX_KINDS:  # some kinds name other nodes, which come and go
            self._warned.clear()
        last, hidden = self._warned.get(kind, (-WARNING_PERIOD, 0))
        if now - last < WARNING_PERIOD:
            self._warned[kind] = (last, hidden + 1)
            return
        self._warned[kind] = (now, 0)
        more = f" ({hidden} more of this kind since the last such line)" if hidden else ""
        self.get_logger().warning(text + more)

    def _publish(
        self,
        base_frame: str,
        errors: ValidationErrors | None,
        detections: Detections,
        reference_ns: int,
    ) -> None:
        header = Header(stamp=time_from_ns(reference_ns), frame_id=base_frame)
        covariances = None
        if errors is not None:
            covariances = errors.covariances(detections.boxes, detections.labels)
        write = detections_to_cdr if self._serializes else detections_to_msg
        self._detections.publish(write(detections, header, covariances))
        autoware = self._detected_objects
        if autoware is not None and autoware.get_subscription_count():
            autoware.publish(detected_objects_to_msg(detections, header, covariances))
        self._objects.publish(objects_to_cloud(detections, header))

    def _show(self, base_frame: str, detections: Detections, reference_ns: int) -> None:
        """What only people look at, only while someone does: it costs more than the rest."""
        header = Header(stamp=time_from_ns(reference_ns), frame_id=base_frame)
        if self._markers.get_subscription_count():
            self._markers.publish(markers_from_detections(detections, header))
            self._shown_at = time.monotonic()
        points = detections.simulated_points
        if points is not None and self._simulated_points.get_subscription_count():
            self._simulated_points.publish(simulated_points_to_cloud(points, header))

    def _publish_latency(self, stage: str, seconds: float) -> None:
        if self._latencies[stage].get_subscription_count():
            self._latencies[stage].publish(Float64(data=1e3 * seconds))

    def _clear_markers(self) -> None:
        """Take off the viewers what is no longer seen: the cameras are silent, or nobody looks."""
        if self._shown_at is None:
            return
        self._shown_at = None
        frame = self.get_parameter("base_frame").value
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=frame)
        self._markers.publish(no_markers(header))
        with suppress(RuntimeError):  # not every middleware can say
            self._markers.wait_for_all_acked(Duration(seconds=ACKNOWLEDGED))

    # -- diagnostics -----------------------------------------------------------------------------

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        pipeline = self._pipeline
        if pipeline is None:
            level = DiagnosticStatus.ERROR if self._fault else DiagnosticStatus.OK
            message.status = [status("state", level, self._fault or "not configured")]
        else:
            values = {**self._running, "score_threshold": self._threshold()}
            state = "active" if pipeline.active else "not active"
            mismatches = self._mismatches.look()
            pipeline.note_unheard(mismatches)
            lines = [*chain.from_iterable(mismatches.values()), *self._mismatches.rivals]
            level = DiagnosticStatus.WARN if lines else DiagnosticStatus.OK
            words = "; ".join([state, *lines])
            message.status = [status("state", level, words, values)]
            if pipeline.active:
                pipeline.note_totals()
                statuses = pipeline_statuses(pipeline)
                self._log_new_errors(statuses)
                message.status += statuses
        name = self.get_fully_qualified_name().lstrip("/")
        for line in message.status:  # as diagnostic_updater names them
            is_camera = pipeline is not None and line.name in pipeline.settings.cameras
            line.hardware_id = line.name if is_camera else self._running.get("device", "")
            line.name = f"{name}: {line.name}"
        self._diagnostics.publish(message)

    def _log_new_errors(self, statuses: list[DiagnosticStatus]) -> None:
        """Not everybody can look at /diagnostics: an error goes into the log when it begins."""
        errors = {s.name: error_in_log(s) for s in statuses if s.level == DiagnosticStatus.ERROR}
        new: dict[str, list[str]] = {}
        for name, text in errors.items():
            if name not in self._in_error:
                new.setdefault(text.replace(f"/{name}/", "/CAMERA/"), []).append(name)
        for text, names in new.items():  # what cameras have in common is told once
            told = text if len(names) > 1 else errors[names[0]]
            self.get_logger().error(f"{', '.join(names)}: {told}")
        self._in_error = set(errors)

    def _threshold(self) -> float:
        """The parameter's, or where that is below 0 the model's own."""
        value: float = self.get_parameter("score_threshold").value
        pipeline = self._pipeline  # this is asked in the worker's thread
        return pipeline.detector.score_threshold if value < 0 and pipeline is not None else value

    def _threshold_in_words(self) -> str:
        least, source = f"score_threshold {self._threshold():.3g}", "as given"
        if self.get_parameter("score_threshold").value < 0 and self._pipeline is not None:
            calibration = self._pipeline.detector.score_calibration
            source = "of a model without score calibration"
            if calibration is not None:
                source = f"the model's own, of {calibration.provenance.get('split', 'its data')}"
        return f"{least} ({source})"
