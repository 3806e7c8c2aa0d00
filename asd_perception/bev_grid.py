# SPDX-License-Identifier: Apache-2.0
"""The bird's-eye-view (BEV) grid around the robot."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BevGrid:
    """A square grid centred on base_link.

    BEV tensors are (B, C, rows, columns): rows run along +y (left), columns along +x (forward).
    Cell (row, column) covers y in [-half_extent + row * cell, ... + cell), x likewise.

    half_extent: half the side in m. cell: side of a cell in m.
    z_min, z_max: heights in m between which points are kept.
    """

    half_extent: float = 51.2
    cell: float = 0.8
    z_min: float = -3.0
    z_max: float = 5.0

    @property
    def size(self) -> int:
        """Cells along one side."""
        return round(2 * self.half_extent / self.cell)
