# SPDX-License-Identifier: Apache-2.0
"""The bird's-eye-view (BEV) grid around the robot."""

from __future__ import annotations

from asd_perception.configuration import configuration, fault


@configuration
class BevGrid:
    """A square grid centred on base_link.

    BEV tensors are (B, C, rows, columns): rows run along +y (left), columns along +x (forward).
    Cell (row, column) covers y in [-half_extent + row * cell, ... + cell), x likewise.
    Raises UserError for no grid at all.
    """

    half_extent: float = 51.2
    """Half the side in m."""
    cell: float = 0.8
    """Side of a cell in m."""
    z_min: float = -3.0
    """Lowest height in m at which points are kept."""
    z_max: float = 5.0
    """Greatest height in m at which points are kept."""

    def __post_init__(self) -> None:
        if not 0 < self.cell <= self.half_extent:
            raise fault(
                "cell",
                f"is {self.cell}; it must be above 0 and at most half_extent, {self.half_extent}",
            )
        if self.z_min >= self.z_max:
            raise fault("z_min", f"is {self.z_min}; it must be below z_max, {self.z_max}")

    @property
    def size(self) -> int:
        """Cells along one side."""
        return round(2 * self.half_extent / self.cell)
