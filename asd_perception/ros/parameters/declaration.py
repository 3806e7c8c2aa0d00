# SPDX-License-Identifier: Apache-2.0
"""The parameters of the table, declared in a node; wrong and unknown ones are named."""

from __future__ import annotations

import sys
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from asd_perception.errors import UserError
from asd_perception.ros.parameters.files import files_for_others
from asd_perception.ros.parameters.table import (
    CLASS_THRESHOLDS,
    PARAMETERS,
    QOS,
    QOS_POLICIES,
    ParameterEntry,
    advice,
    camera_parameters,
    unknown_names,
)


def declare_parameters(node: Node) -> None:
    """Declare all parameters, and refuse wrong values from now on, at start too.

    Warns of parameter files that have nothing for the node. Raises UserError for a wrong value
    given at start.
    """
    name = node.get_fully_qualified_name()
    for file, others in files_for_others(sys.argv, name).items():
        node.get_logger().warning(
            f"{file} has nothing for the node {name}, only for {', '.join(others)}; /**: in their "
            "place means every node"
        )
    entries = {entry.name: entry for entry in (*PARAMETERS, *CLASS_THRESHOLDS)}
    declares_when_asked = False

    def refuse_wrong_values(parameters: list[Any]) -> SetParametersResult:  # Parameter
        for parameter in parameters:
            entry = entries.get(parameter.name)
            if entry is None and parameter.name.startswith(QOS):
                entry = QOS_POLICIES.get(parameter.name.rpartition(".")[2])
            if entry is None:
                continue
            reason = entry.refusal(_value(parameter))
            if reason is not None:
                return SetParametersResult(successful=False, reason=f"{parameter.name}: {reason}")
        if declares_when_asked:
            declare_new_cameras(parameters)
        return SetParametersResult(successful=True)

    def declare_cameras(parameters: list[Any]) -> None:  # Parameter
        """Those of cameras that are new. Of one that is gone they stay, without effect."""
        for camera in (n for p in parameters if p.name == "cameras" for n in p.value or ()):
            for entry in camera_parameters(camera):
                if not node.has_parameter(entry.name):
                    entries[entry.name] = entry
                    _declare(node, entry)

    def declare_new_cameras(parameters: list[Any]) -> None:
        try:
            declare_cameras(parameters)
        except UserError as error:  # given at start, when there was no such camera
            node.get_logger().warning(str(error))

    node.add_on_set_parameters_callback(refuse_wrong_values)
    for entry in list(entries.values()):
        _declare(node, entry)
    declare_cameras([node.get_parameter("cameras")])
    if hasattr(node, "add_post_set_parameters_callback"):
        node.add_post_set_parameters_callback(declare_new_cameras)
    else:  # before Iron
        declares_when_asked = True


def _value(parameter: Any) -> Any:  # Parameter
    """Its value; rclpy reads an empty list as none."""
    return [] if parameter.type_ == Parameter.Type.NOT_SET else parameter.value


def _declare(node: Node, entry: ParameterEntry) -> None:
    first = entry.default[0] if isinstance(entry.default, list) else entry.default
    descriptor = ParameterDescriptor(
        description=entry.description,
        read_only=entry.read_only,
        # Else ROS refuses the whole numbers that people write for floats. The table checks types.
        dynamic_typing=isinstance(first, float),
    )
    if entry.range is not None:
        low, high = entry.range
        if isinstance(entry.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    try:
        node.declare_parameter(entry.name, entry.default, descriptor)
    except ParameterException as error:
        given = node._parameter_overrides.get(entry.name)
        reason = entry.refusal(_value(given)) if given is not None else None
        # rclpy's own words have the name three times
        raise UserError(f"{entry.name}: {reason}" if reason else str(error)) from error


def unknown_parameters(node: Node, of_qos: bool) -> list[str]:
    """A line for each value given at start that no declared parameter takes: ROS is silent there.

    of_qos: those of topics' QoS, which are declared with the topics; else all others.
    """
    given = [
        name
        for name in node._parameter_overrides  # rclpy offers no public way to them
        if name.startswith(QOS) == of_qos and not node.has_parameter(name)
    ]
    if of_qos:
        known = [QOS + name for name in node.get_parameters_by_prefix(QOS.rstrip("."))]
        return [f"unknown parameter {name} {advice(name, known)}" for name in given]
    return unknown_names(given, node.get_parameter("cameras").value)
