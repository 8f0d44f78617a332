"""HyperTile: self-attention at large sizes looks within tiles, whose number and place change from call to call."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random

from torch import Tensor

from models.attention import Inner, Site
from models.reading import Reading
from models.steering import Begun, Call, Ground

CELL = 8  # pixels a side of a cell
SMALLEST = 32  # pixels a side of the smallest tile
SEED = 0


@dataclass(frozen=True)
class HyperTile:
    """Tiles of at least `tile_size` pixels a side, at full size and at `max_depth` halvings of it.

    swap_size: how many sizes of tiles it draws from; scale_depth: tiles are as large in pixels at each depth.
    """

    tile_size: int
    swap_size: int
    max_depth: int
    scale_depth: bool

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""
        chance = Random(SEED)
        least = max(SMALLEST, self.tile_size) // CELL

        def steer(call: Call, reading: Reading) -> Reading:
            height, width = call.x.shape[-2:]
            depths = {math.ceil(height / 2**d) * math.ceil(width / 2**d): d for d in range(self.max_depth, -1, -1)}
            plain = reading.around

            def around(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
                depth = depths.get(x.shape[1])
                if site.text or depth is None:
                    return plain(site, x, keys, values, inner)
                rows, columns = call.size(x.shape[1])
                smallest = least * 2**depth if self.scale_depth else least
                tall, wide = (tiles(side, smallest, self.swap_size, chance) for side in (rows, columns))

                def cut(x: Tensor) -> Tensor:
                    x = x.unflatten(1, (tall, rows // tall, wide, columns // wide)).transpose(2, 3)
                    return x.flatten(3, 4).flatten(0, 2)

                made = plain(site, cut(x), cut(keys), cut(values), inner)
                made = made.unflatten(0, (-1, tall, wide)).unflatten(3, (rows // tall, columns // wide))
                return made.transpose(2, 3).flatten(1, 4)

            return replace(reading, around=around)

        return Begun(steer)


def tiles(side: int, smallest: int, options: int, chance: Random) -> int:
    """How many tiles a side of so many cells is cut into: drawn from the first ways that leave `smallest` cells each."""
    smallest = min(smallest, side)
    found = [side // size for size in range(smallest, side + 1) if side % size == 0][:options]
    return chance.choice(found)
