"""The number formats of a model's parts, as flags and the processor choose them."""

from __future__ import annotations

import pytest
import torch

from models.precision import Precision, choose_precision, computed

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
FP32, FP16, BF16 = torch.float32, torch.float16, torch.bfloat16


def _processor(monkeypatch: pytest.MonkeyPatch, **has: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "architecture": "x86_64", **has})


@pytest.mark.parametrize("wanted", [None, "fp32"])
def test_the_cpu_computes_in_float32_whatever_it_could(monkeypatch: pytest.MonkeyPatch, wanted: str | None) -> None:
    _processor(monkeypatch, avx512_bf16=True)
    assert choose_precision(CPU, wanted) == Precision(FP32, FP32, FP32)


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16"])
def test_auto_is_bfloat16_where_the_processor_computes_in_it(monkeypatch: pytest.MonkeyPatch, feature: str) -> None:
    _processor(monkeypatch, **{feature: True})
    assert choose_precision(CPU, "auto") == Precision(BF16, FP32, BF16)
    assert str(choose_precision(CPU, "auto")) == "U-Net bf16, text fp32, VAE bf16"
    _processor(monkeypatch, **{feature: False})
    assert choose_precision(CPU, "auto") == Precision()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [("bf16", Precision(BF16, FP32, BF16)), ("fp16", Precision(FP16, FP32, FP32))],
)
def test_16_bits_on_a_cpu_are_for_the_parts_that_take_time_and_bear_them(wanted: str, expected: Precision) -> None:
    assert choose_precision(CPU, wanted) == expected


@pytest.mark.parametrize(("has_bf16", "computes"), [(True, BF16), (False, FP32)])
def test_8_bits_are_how_a_unet_is_kept(monkeypatch: pytest.MonkeyPatch, has_bf16: bool, computes: torch.dtype) -> None:
    _processor(monkeypatch, avx512_bf16=has_bf16)
    assert choose_precision(CPU, "int8") == Precision(torch.int8, FP16, computes)
    assert str(choose_precision(CPU, "int8")).startswith("U-Net int8, text fp16")
    assert computed(torch.int8, CPU) == computes
    assert computed(torch.int8, torch.device("mps")) == FP16
    assert choose_precision(torch.device("mps"), "int8").model == torch.int8


def test_an_accelerator_computes_in_half_precision_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision(torch.device("mps")).of("model") == FP16
    assert choose_precision(torch.device("mps"), "fp32") == Precision()
    for has_bf16, vae in ((True, BF16), (False, FP32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True, has=has_bf16: has)
        for wanted in (None, "auto", "fp16"):
            assert choose_precision(CUDA, wanted) == Precision(FP16, FP16, vae)
        assert choose_precision(CUDA, "bf16") == Precision(BF16, BF16, vae)


def test_a_part_of_its_own_format_leaves_the_others() -> None:
    given = Precision(FP16, FP16, BF16)
    assert given.with_parts(model=None, clip=None, vae=None) == given
    assert given.with_parts(model="bf16", clip=None, vae="fp32") == Precision(BF16, FP16, FP32)
    assert given.with_parts(model=None, clip="fp32", vae=None) == Precision(FP16, FP32, BF16)


def test_what_judges_pictures_computes_in_float32() -> None:
    assert Precision(FP16, FP16, BF16).of("safety") == FP32
