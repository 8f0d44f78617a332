"""ToDo (Smith et al. 2024, arXiv:2402.13573): self-attention at large sizes looks at some of the places only."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from models.attention import Inner, Site
from models.reading import Reading
from models.steering import Begun, Call, Ground


@dataclass(frozen=True)
class TokenDownsampling:
    """Keys and values are those of every `factors[d]`-th row and column, where feature maps are d times halved.

    Places are picked, not mixed: the paper found nearest neighbours best (section 3). All places still ask.
    """

    factors: tuple[int, ...]

    def begin(self, ground: Ground) -> Begun:
        """See Steering."""

        def steer(call: Call, reading: Reading) -> Reading:
            plain = reading.around

            def around(site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
                rows, columns = call.size(x.shape[1])
                depth = (-(-call.x.shape[-2] // rows)).bit_length() - 1
                factor = self.factors[depth] if depth < len(self.factors) else 1
                if site.text or factor == 1:
                    return plain(site, x, keys, values, inner)

                def picked(tokens: Tensor) -> Tensor:
                    return tokens.unflatten(1, (rows, columns))[:, ::factor, ::factor].flatten(1, 2)

                return plain(site, x, picked(keys), picked(values), inner)

            return replace(reading, around=around)

        return Begun(steer)
