# SPDX-License-Identifier: Apache-2.0
"""People: their postures, bodies, clothes and luggage."""

from asd_training.synthetic.meshes.people.body import cloth_color
from asd_training.synthetic.meshes.people.people import pedestrian, person, rider

__all__ = ["cloth_color", "pedestrian", "person", "rider"]
