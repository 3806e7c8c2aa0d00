# SPDX-License-Identifier: Apache-2.0
"""Console script `detector`: its help, the node until a signal ends it, and the rig's check."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import textwrap
import threading
from typing import NoReturn

import cv2
from rclpy.exceptions import NameValidationException
from rclpy.utilities import remove_ros_args

from asd_perception.commands.ros import in_one_line, ros_running
from asd_perception.cores import available_cores
from asd_perception.errors import UserError, run_cli
from asd_perception.ros.node import ConfigureStopped, DetectorNode
from asd_perception.ros.parameters.table import CLASS_THRESHOLDS, PARAMETERS, camera_parameters

try:  # it takes a tenth of the other one's processor time per message
    from rclpy.experimental import EventsExecutor as Executor
except ImportError:  # before ROS 2 Jazzy
    from rclpy.executors import SingleThreadedExecutor as Executor

_HELP = """\
Finds objects in 3D from one to eight cameras, as a managed (lifecycle) ROS 2 node.

subscribes (relative to the node's namespace; CAMERA is each name in `cameras`):
  CAMERA/image_raw             sensor_msgs/Image             image_transport raw
  CAMERA/image_raw/compressed  sensor_msgs/CompressedImage   image_transport compressed
  CAMERA/image_raw/ffmpeg      ffmpeg_image_transport_msgs/FFMPEGPacket   image_transport ffmpeg
  CAMERA/camera_info           sensor_msgs/CameraInfo        calibration
  /tf_static, /tf              tf2_msgs/TFMessage            camera frames to base_frame
  odometry                     nav_msgs/Odometry             ego motion (optional)
publishes:
  ~/detections                 vision_msgs/Detection3DArray  class name, score, box in base_frame
  ~/objects                    sensor_msgs/PointCloud2       the same, with velocity and attribute
  ~/markers                    visualization_msgs/MarkerArray
  ~/simulated_points           sensor_msgs/PointCloud2       the network's simulated point cloud
  ~/CAMERA/overlay             sensor_msgs/Image             the image with the boxes in it
  ~/CAMERA/overlay/compressed  sensor_msgs/CompressedImage   the same as JPEG
  ~/latency/STAGE              std_msgs/Float64              ms of each stage
  /diagnostics                 diagnostic_msgs/DiagnosticArray
"""

_EXAMPLES = """\
examples:
  detector --ros-args --params-file config/detector.yaml
  detector --ros-args -p image_transport:=compressed -p device:=cpu -r odometry:=/odom
  detector --ros-args -r CAM_FRONT/image_raw:=/front/image -r __ns:=/robot
  detector --check --ros-args --params-file config/detector.yaml
  detector --foxglove --ros-args --params-file config/detector.yaml > layout.json
  detector --warm-up /path/to/model --ros-args -p device:=cuda
"""


def main() -> int:
    """Console script `detector`."""
    _share_cores()
    return run_cli("detector", _run)


def _share_cores() -> None:
    """Half of the cores for the network, unless the environment says otherwise.

    Images, messages and the cameras' drivers need the others, and threads that take turns on a core
    lose more than they gain. Torch reads it when it is imported.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // 2)))
    cv2.setNumThreads(1)  # the intake has threads of its own


def _run() -> None:
    """What the command line asks for."""
    arguments = _parse_arguments()
    if arguments.rviz or arguments.foxglove:
        from asd_perception.commands.viewers import print_foxglove_layout, run_rviz

        show = run_rviz if arguments.rviz else print_foxglove_layout
        show()
    elif arguments.check is not None:
        from asd_perception.commands.check import check_live_rig  # torch takes seconds to import

        check_live_rig(arguments.check)
    elif arguments.warm_up is not None:
        from asd_perception.commands.warm_up import warm_up

        warm_up(arguments.warm_up)
    else:
        _run_node()


def _parse_arguments() -> argparse.Namespace:
    """What is asked for in place of the node; an error for what belongs behind --ros-args."""
    parameters = [*PARAMETERS, *CLASS_THRESHOLDS, *camera_parameters("CAMERA")]
    width = max(len(entry.name) for entry in parameters)
    table = [
        textwrap.fill(
            f"{entry.description} [{entry.default!r}]",
            width=98,
            initial_indent=f"  {entry.name:{width}}  ",
            subsequent_indent=" " * (width + 4),
        )
        for entry in parameters
    ]
    parser = argparse.ArgumentParser(
        prog="detector",
        usage="detector [-h] [--check [S] | --warm-up [MODEL] | --rviz | --foxglove] "
        "[--ros-args -p PARAMETER:=VALUE ... -r FROM:=TO ...]",
        description=_HELP,
        epilog="\n".join(["parameters:", *table, "", _EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--check",
        nargs="?",
        type=float,
        const=5.0,
        metavar="S",
        help="listen to the cameras for S seconds (default 5), from when all are heard or 10 s "
        "later at most; say of each topic, calibration and mounting whether the detector can "
        "use it, and exit: with 1 where it cannot",
    )
    instead.add_argument(
        "--warm-up",
        nargs="?",
        const="",
        metavar="MODEL",
        help="at deployment: load the model directory (default: as the parameters say) for their "
        "device and cameras, detect once, tell what was compiled and where that is kept, and exit",
    )
    instead.add_argument(
        "--rviz",
        action="store_true",
        help="open RViz on what the node of these parameters publishes: boxes in its cameras' "
        "images, objects, simulated points",
    )
    instead.add_argument(
        "--foxglove",
        action="store_true",
        help="print a layout of the same for Foxglove, to be imported there from a file",
    )
    try:
        arguments = remove_ros_args(sys.argv)
    except RuntimeError as error:  # rcl cannot read an argument or the parameter file
        raise UserError(in_one_line(error)) from error
    parsed = parser.parse_args(arguments[1:])
    if parsed.check is not None and not 0 < parsed.check <= 3600:
        parser.error(f"--check {parsed.check:g}: from 0 to 3600 seconds")
    return parsed


def _run_node() -> None:
    """Run the node until SIGINT or SIGTERM, which end this process."""
    stop = threading.Event()
    node: DetectorNode | None = None

    def on_signal(*_: object) -> None:
        stop.set()
        if node is not None and node.configuring:
            raise ConfigureStopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with ros_running():
        try:
            node = DetectorNode()
        except NameValidationException as error:
            raise UserError(in_one_line(error)) from error
        executor = Executor()
        executor.add_node(node)
        if node.get_parameter("autostart").value and not node.start() and not stop.is_set():
            raise SystemExit(2)  # the node has logged the reason
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)
        if not node.shut_down:
            node.trigger_shutdown()
        executor.shutdown()
        node.destroy_node()
    _leave()


def _leave() -> NoReturn:
    """End with 0, without Python's own end, which first frees each object that PyTorch has made.

    That takes a second, and ten on a busy machine, where launch kills after ten.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
