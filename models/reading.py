"""What a U-Net reads besides a noisy latent and its time step."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from models.attention import Attend, attend


@dataclass(frozen=True, eq=False)
class Residuals:
    """Feature maps that other networks add to a U-Net's own; a place without one is None, and may be left out at the end.

    inputs: to the result of each input block, before the next one sees it (T2I-Adapter, Mou et al. 2023,
    arXiv:2302.08453). skips: to what the output blocks are handed of each input block; middle: to the result of the
    middle block (ControlNet, Zhang et al. 2023, arXiv:2302.05543).
    """

    inputs: tuple[Tensor | None, ...] = ()
    skips: tuple[Tensor | None, ...] = ()
    middle: Tensor | None = None


NO_RESIDUALS = Residuals()


@dataclass(frozen=True, eq=False)
class Reading:
    """What a U-Net reads: one value for a call.

    context: [B, T, D], the text. concat: [B, C, h, w], channels that stand beside the latent's, of networks that have
    more than four. attend: what does the attention, everywhere.
    """

    context: Tensor
    concat: Tensor | None = None
    residuals: Residuals = NO_RESIDUALS
    attend: Attend = attend
