"""`comfy.model_base`, `comfy.ops` and `comfy.ldm.modules.attention`: what packs ask of networks, and build theirs of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nodes.packs.objects.network import BaseModel, ModelType, SDXLNetwork, SDXLRefinerNetwork

_OTHERS = ("SD21UNCLIP", "SVD_img2vid", "SD3", "Flux", "AuraFlow", "StableCascade_B", "StableCascade_C", "HunyuanDiT")
"""Networks of other families, by which packs ask what a model is."""


def model_base() -> Mapping[str, object]:
    """`comfy.model_base`."""
    others = {name: type(name, (), {}) for name in _OTHERS}
    return {
        "BaseModel": BaseModel,
        "SDXL": SDXLNetwork,
        "SDXLRefiner": SDXLRefinerNetwork,
        "ModelType": ModelType,
        **others,
    }


class _Unset:
    """A layer whose weights are set later, so that nothing is drawn for them."""

    def reset_parameters(self) -> None:
        """Nothing."""


def _cast(tensor: Tensor | None, x: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.to(x.device, x.dtype)


def cast_bias_weight(s: Any, input: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: A002
    """The weight and the bias of a layer in the precision of what it is given, and where that lies."""
    return _cast(s.weight, input), _cast(getattr(s, "bias", None), input)


def cast_to(weight: Tensor, dtype: torch.dtype | None = None, device: Any = None, **_: object) -> Tensor:
    """A tensor in another precision or place."""
    return weight.to(device=device, dtype=dtype)


class _Linear(_Unset, nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        weight, bias = cast_bias_weight(self, input)
        return F.linear(input, weight, bias)  # type: ignore[arg-type]


class _Conv1d(_Unset, nn.Conv1d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        weight, bias = cast_bias_weight(self, input)
        return self._conv_forward(input, weight, bias)  # type: ignore[arg-type]


class _Conv2d(_Unset, nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        weight, bias = cast_bias_weight(self, input)
        return self._conv_forward(input, weight, bias)  # type: ignore[arg-type]


class _Conv3d(_Unset, nn.Conv3d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        weight, bias = cast_bias_weight(self, input)
        return self._conv_forward(input, weight, bias)  # type: ignore[arg-type]


class _GroupNorm(_Unset, nn.GroupNorm):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.group_norm(input, self.num_groups, *cast_bias_weight(self, input), self.eps)


class _LayerNorm(_Unset, nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.layer_norm(input, self.normalized_shape, *cast_bias_weight(self, input), self.eps)


def ops() -> Mapping[str, object]:
    """`comfy.ops`: layers that draw no weights; those of `manual_cast` compute in the precision of what they are given."""
    plain: dict[str, type[nn.Module]] = {
        cls.__name__: type(cls.__name__, (_Unset, cls), {})
        for cls in (
            *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GroupNorm, nn.LayerNorm, nn.Embedding),
            *(nn.ConvTranspose1d, nn.ConvTranspose2d),
        )
    }
    cast = {cls.__name__[1:]: cls for cls in (_Linear, _Conv1d, _Conv2d, _Conv3d, _GroupNorm, _LayerNorm)}
    return {
        "disable_weight_init": type("disable_weight_init", (), plain),
        "manual_cast": type("manual_cast", (), {**plain, **cast}),
        "cast_bias_weight": cast_bias_weight,
        "cast_to": cast_to,
    }


def optimized_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, attn_precision: object = None,
    skip_reshape: bool = False, skip_output_reshape: bool = False, **_: object,
) -> Tensor:  # fmt: skip
    """Attention: q, k and v [B, N, C], or [B, heads, N, C / heads] with skip_reshape -> [B, N, C], or the latter form.

    mask: [B, N, M], [B, heads, N, M] or [N, M], which is looked at, or what is added before the softmax.
    """
    if not skip_reshape:
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    if mask is not None and mask.ndim == 3:
        mask = mask[:, None]
    made = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return made if skip_output_reshape else made.transpose(1, 2).flatten(2)


def attention() -> Mapping[str, object]:
    """`comfy.ldm.modules.attention`: one attention under all the names that it has."""
    names = ("optimized_attention", "optimized_attention_masked", "attention_pytorch", "attention_basic")
    return {
        **dict.fromkeys(names, optimized_attention),
        "default": lambda val, d: d if val is None else val,
        "exists": lambda val: val is not None,
    }
