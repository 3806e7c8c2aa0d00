# SPDX-License-Identifier: Apache-2.0
"""How far training samples are changed at random."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asd_perception.configuration import configuration, fault

Degrees = Annotated[float, Field(ge=0, le=180)]
Share = Annotated[float, Field(ge=0, le=1)]


@configuration
class AugmentationConfig:
    """How far a training sample may be changed. The defaults suit the synthetic scenes.

    BEVDepth's values for nuScenes (its resize_lim 0.386-0.55 over its fit of 0.44): resize
    [0.88, 1.25], rotation 5.4, flip, bev_flip, bev_rotation 22.5, bev_scale [0.95, 1.05].
    """

    resize: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest scale of each image relative to the fit of `preprocess`. The window on a
    larger image is cropped at random from left to right and keeps its lower edge; a smaller one
    shows more sky, and black at a side."""
    rotation: Degrees = 0.0
    """Largest rotation of each image in its plane, in degrees either way."""
    camera_rotation: Annotated[float, Field(ge=0, le=20)] = 0.0
    """Largest turn of each camera about each axis through its own centre, in degrees either way: as
    if it were mounted a little differently. Its pose is turned likewise. What it has not seen is
    black."""
    flip: bool = False
    """Mirror each image with probability 1/2 without mirroring the world (BEVDet's flip). Exact for
    positions, but headings no longer follow from the image, and the network cannot know which
    images are mirrored. `bev_flip` does not have this flaw."""
    bev_flip: bool = True
    """Swap left and right of world and images with probability 1/2. (BEVDet's second flip, of front
    and back, is this one and a rotation by 180 degrees.)"""
    bev_rotation: Degrees = 22.5
    """Largest rotation of the world about z, in degrees either way."""
    bev_scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest scale of the world."""
    colour_gain: Share = 0.25
    """Largest relative change of exposure, the same for the whole rig; each colour channel varies
    by a fifth of it in addition."""
    colour_offset: Annotated[float, Field(ge=0, le=255)] = 20.0
    """Largest shift of the rig's colours, on the 0-255 scale."""
    photometric: Share = 0.0
    """How strongly light, tone, colours, sharpness, noise, compression and coverage of the images
    change, for each rig and each camera: 0 not at all, 1 as far as objects can be told. For
    transfer to cameras and places unlike those of the training set."""
    camera_dropout: Share = 0.0
    """Probability that a camera is dropped; at least one always stays."""

    @property
    def warps_images(self) -> bool:
        """Whether images may be resized, cropped or rotated, or cameras turned."""
        return self.resize != (1.0, 1.0) or self.rotation > 0 or self.camera_rotation > 0

    def __post_init__(self) -> None:
        for name, (low, high) in (("resize", self.resize), ("bev_scale", self.bev_scale)):
            if not 0.1 <= low <= high <= 10:
                raise fault(name, f"is ({low}, {high}); it needs 0.1 <= smallest <= largest <= 10")
