# SPDX-License-Identifier: Apache-2.0
"""Things of the street that are no object of any class, though some look like one.

They are never annotated: what a detector has to leave alone. Every builder takes the random
generator and gives a mesh whose origin is on the ground, x ahead, in metres.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from asd_training.synthetic.meshes.clutter.figures import board, standee, statue
from asd_training.synthetic.meshes.clutter.fixed import (
    bench,
    bollards,
    cabinet,
    cycle_stand,
    hydrant,
    letter_box,
    litter_bin,
    planter,
    post,
    toilet,
)
from asd_training.synthetic.meshes.clutter.loose import (
    banner,
    drum,
    goods,
    kick_scooters,
    ladder,
    parasol,
    stump,
    trolley,
    wheeled_bins,
)
from asd_training.synthetic.meshes.mesh import Mesh

_SHARES: dict[Callable[[np.random.Generator], Mesh], float] = {
    litter_bin: 10,
    wheeled_bins: 6,
    hydrant: 6,
    bollards: 10,
    post: 12,
    letter_box: 4,
    cabinet: 8,
    bench: 5,
    planter: 7,
    goods: 6,
    board: 6,
    standee: 4,
    statue: 3,
    parasol: 4,
    ladder: 1,
    kick_scooters: 4,
    cycle_stand: 2,
    toilet: 2,
    drum: 3,
    trolley: 3,
    banner: 3,
    stump: 2,
}
_BUILDERS = tuple(_SHARES)
_CHANCES = np.array(list(_SHARES.values()), float) / sum(_SHARES.values())


def clutter(rng: np.random.Generator) -> Mesh:
    """One of all these things, its size, colours and texture drawn."""
    mesh = _BUILDERS[int(rng.choice(len(_BUILDERS), p=_CHANCES))](rng)
    return mesh.patterned(int(rng.integers(65536)))
