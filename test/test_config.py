# SPDX-License-Identifier: Apache-2.0
"""Promise: a configuration survives YAML, and a wrong one is told by the name of its key."""

import pytest
import yaml

from asd_perception.configuration import from_dict, to_dict
from asd_perception.errors import UserError
from asd_perception.network.config import StudentConfig
from asd_training.config.run import StudentRun, TeacherRun


@pytest.mark.parametrize("config", [StudentConfig(), StudentRun(), TeacherRun()])
def test_round_trip_through_yaml(config):
    assert from_dict(type(config), yaml.safe_load(yaml.safe_dump(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"image_sise": [128, 352]},
            "unknown key image_sise; known keys are image_size",
        ),
        ({"depth": {"bins": "many"}}, "depth.bins: expected int, found 'many'"),
        ({"depth": {"far": True}}, "depth.far: expected float, found True"),
        ({"image_size": [128, 352, 3]}, "image_size: expected tuple"),
        ({"image_size": [100, 352]}, "multiple of 32"),
        ({"depth": {"near": 10.0, "far": 5.0}}, "near < far"),
        ("resnet", "expected keys and values"),
        ({"bev": {"cell": 0}}, r"bev .*cell=0.*needs 0 < cell <= half_extent"),
        ({"bev": {"half_extent": -51.2}}, "needs 0 < cell <= half_extent"),
        ({"bev": {"z_min": 9}}, "z_min < z_max"),
        ({"encoder_blocks": -1}, "encoder_blocks is -1; it must be at least 1"),
        ({"encoder_channels": [32, 0, 64]}, "encoder_channels is .*at least 1"),
    ],
)
def test_a_wrong_value_is_named(values, message):
    with pytest.raises(UserError, match=message):
        from_dict(StudentConfig, values)
