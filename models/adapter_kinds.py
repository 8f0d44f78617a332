"""What each kind of adapter does to a weight: LoRA and its relatives, rotations, scalings and plain differences.

W is a weight [out, in] or [out, in, kh, kw], r the rank. Those that add: W + scale * delta. With a magnitude (DoRA, Liu et
al. 2024, arXiv:2402.09353) the sum is then brought to that norm. Everything is computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]
"""The tensors of one layer, by their fields."""


@dataclass(frozen=True)
class Said:
    """What an adapter's writer says of one layer beside its tensors. alpha: None for the rank."""

    alpha: float | None = None
    rank: int | None = None
    root: bool = False  # rank-stabilized: alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)
    always_scaled: bool = False  # PEFT scales Kronecker products of whole factors too
    cayley_terms: int | None = None  # of PEFT's series for the Cayley transform; None: exact
    orthogonal: bool = False  # PEFT's HRA: reflections made orthogonal first
    scales_input: bool = False  # PEFT's IA3: this layer's inputs, not its outputs

    def scale(self, rank: int) -> float:
        """What a product of factors of that rank is multiplied by."""
        if self.alpha is None:
            return 1.0
        return self.alpha / (math.sqrt(rank) if self.root else rank)


Makes = Callable[[Tensor, Tensors, Said], Tensor]
"""A weight or bias, the tensors for its layer, and what is said of them -> the changed one, of the same shape. Raises
ValueError or RuntimeError if they do not fit. Takes tensors of the meta device too, for their shapes' sake."""


@dataclass(frozen=True)
class Kind:
    """One kind of adapter. needs: the fields whose presence tells it; also: others that it uses; of: what it changes."""

    title: str
    makes: Makes
    needs: tuple[str, ...]
    also: tuple[str, ...] = ()
    of: Literal["weight", "bias"] = "weight"


def kinds_of(fields: Collection[str]) -> list[Kind]:
    """What is done to one layer, in this order."""
    return [kind for kind in _KINDS if set(kind.needs) <= set(fields)]


# --- those that add ---------------------------------------------------------------------------------------------------


def _lora(tensors: Tensors, said: Said) -> Tensor:
    """alpha / r * B A (Hu et al. 2021, arXiv:2106.09685, equation 3); a convolution may be three (Tucker)."""
    up, down = tensors["up"], tensors["down"]
    scale = said.scale(len(down))
    if "mid" in tensors:
        down = torch.einsum("pqkl,qi->pikl", tensors["mid"], down.flatten(1))
    return scale * (up.flatten(1) @ down.flatten(1))


def _loha(tensors: Tensors, said: Said) -> Tensor:
    """(w1_a w1_b) * (w2_a w2_b), element by element (Hyeon-Woo et al. 2021, arXiv:2108.06098, equation 2)."""
    factors = []
    for i in ("1", "2"):
        a, b = tensors[f"hada_w{i}_a"], tensors[f"hada_w{i}_b"]
        factors.append(_tucker(tensors[f"hada_t{i}"], a, b) if f"hada_t{i}" in tensors else a @ b)
    return said.scale(len(tensors["hada_w1_b"])) * (factors[0] * factors[1])


def _lokr(tensors: Tensors, said: Said) -> Tensor:
    """The Kronecker product of two factors, each whole or itself a product (Yeh et al. 2023, arXiv:2309.14859)."""
    one = tensors["lokr_w1"] if "lokr_w1" in tensors else tensors["lokr_w1_a"] @ tensors["lokr_w1_b"]
    rank = said.rank if said.always_scaled else None
    if "lokr_w1_b" in tensors:
        rank = len(tensors["lokr_w1_b"])
    if "lokr_w2" in tensors:
        other = tensors["lokr_w2"]
    else:
        a, b = tensors["lokr_w2_a"], tensors["lokr_w2_b"]
        rank = len(b)
        other = (
            _tucker(tensors["lokr_t2"], a, b) if "lokr_t2" in tensors else (a @ b.flatten(1)).unflatten(1, b.shape[1:])
        )
    one = one.reshape(*one.shape, *[1] * (other.ndim - one.ndim))
    return (said.scale(rank) if rank else 1.0) * torch.kron(one, other)


def _tucker(middle: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """middle: [r, r, kh, kw], a: [r, out], b: [r, in] -> [out, in, kh, kw]."""
    return torch.einsum("ijkl,ip,jr->prkl", middle, a, b)


def _added(delta: Callable[[Tensors, Said], Tensor]) -> Makes:
    """A weight and what is added to it, the sum brought to a magnitude where there is one (equation 5 of DoRA)."""

    def makes(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
        change = delta(tensors, said)
        if change.numel() != weight.numel() or len(change) != len(weight):
            raise ValueError(f"a change of {len(change)} x {change.numel() // max(1, len(change))}")
        changed = weight + change.view(weight.shape)
        if "magnitude" in tensors:  # PEFT's is always of the output rows
            return _brought_to(tensors["magnitude"].flatten(), changed)
        if "dora_scale" in tensors:  # LyCORIS' is as it lies
            norms = tensors["dora_scale"]
            if len(norms) == len(weight):
                return _brought_to(norms.flatten(), changed)
            return _brought_to(norms.flatten(), changed.transpose(0, 1)).transpose(0, 1)
        return changed

    return makes


def _brought_to(norms: Tensor, weight: Tensor) -> Tensor:
    """A weight each of whose rows has its own norm. norms: [out]."""
    return weight * _as_rows(norms / weight.flatten(1).norm(dim=1), weight)


# --- those that turn, mirror or scale what is there -------------------------------------------------------------------


def _glora(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
    """W + s (W a1 a2 + b1 b2) (Chavan et al. 2023, arXiv:2306.07967)."""
    a1, a2, b1, b2 = (tensors[name].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    if "bm" in tensors:
        added = torch.einsum("pqkl,qi->pikl", tensors["bm"], b2)
        added = (b1 @ added.flatten(1)).view(weight.shape)
    else:
        added = (b1 @ b2).view(weight.shape)
    within = torch.einsum("oi...,ij->oj...", weight, a1 @ a2)
    return weight + said.scale(len(tensors["a2"])) * (within + added)


def _ia3(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
    """W (1 + l), l over output rows or input columns (Liu et al. 2022, arXiv:2205.05638), as LyCORIS writes it."""
    factor = 1 + tensors["factor"].flatten()
    if tensors["on_input"].any() if not tensors["on_input"].is_meta else len(factor) == weight.shape[1]:
        return (weight.transpose(0, 1) * _as_rows(factor, weight)).transpose(0, 1)
    return weight * _as_rows(factor, weight)


def _peft_ia3(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
    """W l, l over output rows, or over input columns of the layers that the writer names."""
    factor = tensors["ia3_l"].flatten()
    if said.scales_input:
        return (weight.transpose(0, 1) * _as_rows(factor, weight)).transpose(0, 1)
    return weight * _as_rows(factor, weight)


def _peft_ia3_bias(bias: Tensor, tensors: Tensors, said: Said) -> Tensor:
    return bias if said.scales_input else bias * tensors["ia3_l"].flatten()


def _oft(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
    """Rotations of blocks of output rows (Qiu et al. 2023, arXiv:2306.07280); of four dimensions, in butterflies
    (Liu et al. 2023, arXiv:2311.06243)."""
    blocks = tensors["oft_blocks"]
    skew = blocks - blocks.transpose(-1, -2)
    if said.alpha and not skew.is_meta:
        most, norm = said.alpha * len(weight), skew.norm() + 1e-8
        skew = skew * (most / norm).clamp(max=1)
    turns = _cayley(skew)
    if blocks.ndim == 3:
        rows = weight.reshape(len(blocks), blocks.shape[1], -1)
        turned = (turns.transpose(1, 2) @ rows).view(weight.shape)
    else:
        turned = _butterfly(weight, turns)
    return turned * tensors["rescale"].view(-1, *[1] * (weight.ndim - 1)) if "rescale" in tensors else turned


def _cayley(skew: Tensor) -> Tensor:
    """(I + Q) (I - Q)^-1: a rotation for each skew-symmetric Q."""
    one = torch.eye(skew.shape[-1], device=skew.device)
    return (one + skew) @ torch.linalg.inv(one - skew)


def _butterfly(weight: Tensor, turns: Tensor) -> Tensor:
    """turns: [m, blocks, b, b]; stage i turns rows together that lie 2 ** i * b / 2 apart."""
    rows = weight.flatten(1)
    for i, turn in enumerate(turns):
        apart = 2**i * (turns.shape[-1] // 2)
        shuffled = rows.unflatten(0, (-1, 2, apart)).transpose(1, 2).flatten(0, 2)
        turned = (turn @ shuffled.unflatten(0, (-1, turns.shape[-1]))).flatten(0, 1)
        rows = turned.unflatten(0, (-1, apart, 2)).transpose(1, 2).flatten(0, 2)
    return rows.view(weight.shape)


def _peft_oft(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
    """PEFT's: rotations of blocks of inputs, by the upper triangles of Q, [blocks, b (b - 1) / 2]."""
    packed = tensors["oft_R"]
    size = (1 + math.isqrt(1 + 8 * packed.shape[1])) // 2
    skew = torch.zeros(len(packed), size, size, device=packed.device)
    rows, columns = torch.triu_indices(size, size, 1, device=packed.device)
    skew[:, rows, columns] = packed
    skew = skew - skew.transpose(1, 2)
    if said.cayley_terms is None:
        turns = _cayley(-skew)
    else:  # I + 2 Q + 2 Q^2 + … + Q^n
        turns, power = torch.eye(size, device=skew.device).expand_as(skew), skew
        last = max(3, said.cayley_terms - 1)
        for i in range(1, last + 1):
            turns = turns + (2 if i < last else 1) * power
            power = power @ skew
    inputs = weight.flatten(1)
    blocks = inputs.view(len(inputs), -1, size).transpose(0, 1)  # [blocks, out, b]
    return (blocks @ turns.transpose(1, 2)).transpose(0, 1).reshape(weight.shape)


def _peft_boft(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
    """PEFT's with one butterfly factor: rotations of blocks of inputs, and a scale for each output row."""
    blocks = tensors["boft_R"]
    if len(blocks) != 1:
        raise ValueError(f"{len(blocks)} butterfly factors, of which PEFT merges only one")
    turns = _cayley(-0.5 * (blocks[0] - blocks[0].transpose(1, 2)))
    inputs = weight.flatten(1)
    rows = inputs.view(len(inputs), -1, blocks.shape[-1]).transpose(0, 1)
    turned = (rows @ turns.transpose(1, 2)).transpose(0, 1).reshape(weight.shape)
    return turned * tensors["boft_s"].view(-1, *[1] * (weight.ndim - 1))


def _hra(weight: Tensor, tensors: Tensors, said: Said) -> Tensor:
    """Reflections of the inputs, one after the other (Yuan et al. 2024, arXiv:2405.17484). hra_u: [in, r]."""
    mirrors = tensors["hra_u"]
    rows = weight.flatten(1)
    if said.orthogonal:
        mirrors = torch.linalg.qr(mirrors).Q
        return (rows - 2 * (rows @ mirrors) @ mirrors.T).view(weight.shape)
    for mirror in (mirrors / mirrors.norm(dim=0)).T:
        rows = rows - 2 * (rows @ mirror)[:, None] * mirror
    return rows.view(weight.shape)


# --- plain differences, and weights given anew ------------------------------------------------------------------------


def _plus(name: str) -> Makes:
    return lambda weight, tensors, said: weight + tensors[name].view(weight.shape)


def _new(name: str) -> Makes:
    return lambda weight, tensors, said: tensors[name].reshape(weight.shape)


def _up_bias(bias: Tensor, tensors: Tensors, said: Said) -> Tensor:
    return bias + said.scale(len(tensors["down"])) * tensors["up_bias"]


def _as_rows(values: Tensor, weight: Tensor) -> Tensor:
    """[n] -> what multiplies each of n rows of a weight."""
    return values.reshape(-1, *[1] * (weight.ndim - 1))


_SCALED = ("alpha", "magnitude", "dora_scale")
_KINDS = (
    Kind("a weight given anew", _new("new_weight"), ("new_weight",)),
    Kind("a bias given anew", _new("new_bias"), ("new_bias",), of="bias"),
    Kind("LoRA", _added(_lora), ("up", "down"), ("mid", *_SCALED)),
    Kind("LoRA's bias", _up_bias, ("up_bias", "down"), of="bias"),
    Kind(
        "LoHa",
        _added(_loha),
        ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
        ("hada_t1", "hada_t2", *_SCALED),
    ),
    *(
        Kind("LoKr", _added(_lokr), (*one, *other), ("lokr_t2", *_SCALED))
        for one in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
        for other in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))
    ),
    Kind("GLoRA", _glora, ("a1", "a2", "b1", "b2"), ("bm", "alpha")),
    Kind("IA3", _ia3, ("factor", "on_input")),
    Kind("PEFT's IA3", _peft_ia3, ("ia3_l",)),
    Kind("PEFT's IA3", _peft_ia3_bias, ("ia3_l",), of="bias"),
    Kind("OFT", _oft, ("oft_blocks",), ("rescale", "alpha")),
    Kind("PEFT's OFT", _peft_oft, ("oft_R",)),
    Kind("PEFT's BOFT", _peft_boft, ("boft_R", "boft_s")),
    Kind("HRA", _hra, ("hra_u",)),
    Kind("a full difference", _plus("diff"), ("diff",), ("alpha",)),
    Kind("a full difference", _plus("diff_b"), ("diff_b",), of="bias"),
    Kind("a norm's difference", _plus("w_norm"), ("w_norm",), ("alpha",)),
    Kind("a norm's difference", _plus("b_norm"), ("b_norm",), of="bias"),
)
