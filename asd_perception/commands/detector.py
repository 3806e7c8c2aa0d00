# SPDX-License-Identifier: Apache-2.0
"""Console script `detector`: its help, and what it does in place of the node.

The imports of a command are where it begins: Ctrl-C amid their seconds is one line, too.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap

from asd_perception.cores import available_cores
from asd_perception.errors import UserError, run_cli

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

_ROS_OPTIONS = ("-p", "--param", "--params-file", "-r", "--remap", "--log-level", "-e", "--enclave")


def main() -> int:
    """Console script `detector`."""
    return run_cli("detector", _run)


def _share_cores() -> None:
    """Half of the cores for the network, unless the environment says otherwise.

    Images, messages and the cameras' drivers need the others, and threads that take turns on a core
    lose more than they gain. Torch reads it when it is imported.
    """
    import cv2

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // 2)))
    cv2.setNumThreads(1)  # the intake has threads of its own


def _run() -> None:
    """What the command line asks for."""
    _share_cores()
    arguments = _parse_arguments()
    if arguments.rviz or arguments.foxglove:
        from asd_perception.commands.viewers import print_foxglove_layout, run_rviz

        show = run_rviz if arguments.rviz else print_foxglove_layout
        show()
    elif arguments.check is not None:
        from asd_perception.commands.check import check_live_rig

        check_live_rig(arguments.check)
    elif arguments.warm_up is not None:
        from asd_perception.commands.warm_up import warm_up

        warm_up(arguments.warm_up)
    else:
        from asd_perception.commands.node import run_node

        run_node()


def _parse_arguments() -> argparse.Namespace:
    """What is asked for in place of the node; an error for what belongs behind --ros-args."""
    from rclpy.utilities import remove_ros_args

    from asd_perception.commands.ros import in_one_line
    from asd_perception.ros.parameters.table import CLASS_THRESHOLDS, PARAMETERS, camera_parameters

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
    parsed, unknown = parser.parse_known_args(arguments[1:])
    if unknown:
        where = ""
        if unknown[0] in _ROS_OPTIONS:
            where = "; ROS's go behind --ros-args, as in: detector --ros-args -p device:=cpu"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{where}")
    if parsed.check is not None and not 0 < parsed.check <= 3600:
        parser.error(f"--check {parsed.check:g}: from 0 to 3600 seconds")
    return parsed


if __name__ == "__main__":
    sys.exit(main())
