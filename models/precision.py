"""In which number format each part of a model is kept and computes, chosen for a device."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import get_args

import torch

from models.eight_bits import bytes_of
from models.family import TOWERS
from models.layouts import Part, Steering

FORMATS = MappingProxyType({"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8})
"""The formats that can be asked for, by the names that flags give them. int8 is how weights are kept: see eight_bits.py."""


@dataclass(frozen=True)
class Precision:
    """The dtype of each part's weights. Sampling itself is always float32."""

    model: torch.dtype = torch.float32
    clip: torch.dtype = torch.float32
    vae: torch.dtype = torch.float32

    def of(self, part: Part) -> torch.dtype:
        """The dtype of one part; of those that judge pictures always float32: their verdicts hang on thousandths."""
        steering: dict[Part, torch.dtype] = dict.fromkeys(get_args(Steering), self.model)
        of_text: dict[Part, torch.dtype] = dict.fromkeys(TOWERS, self.clip)
        return ({"model": self.model, "vae": self.vae} | of_text | steering).get(part, torch.float32)

    def with_parts(self, model: str | None, clip: str | None, vae: str | None) -> Precision:
        """The same but for those parts that one of FORMATS is named for."""
        return Precision(
            FORMATS[model] if model else self.model,
            FORMATS[clip] if clip else self.clip,
            FORMATS[vae] if vae else self.vae,
        )

    def __str__(self) -> str:
        """`U-Net bf16, text fp32, VAE bf16`."""
        names = {dtype: name for name, dtype in FORMATS.items()}
        return f"U-Net {names[self.model]}, text {names[self.clip]}, VAE {names[self.vae]}"


def choose_precision(device: torch.device, wanted: str | None = None) -> Precision:
    """float32 on the CPU; half precision on accelerators, whose VAE needs bfloat16's range or float32.

    wanted: one of FORMATS for all parts, but a VAE never computes in float16 nor a text encoder on the CPU in 16 bits,
    where it takes no time; or "auto": on a CPU that computes in bfloat16, bfloat16, which is two to four times as fast
    and changes pictures a little. "int8" is for the least memory: the U-Net is kept in 8 bits, the text encoder in 16, the
    VAE as "auto" has it.
    """
    if device.type == "cpu":
        auto = "bf16" if computes_in_bfloat16() else "fp32"
        vae = FORMATS[auto]
        return {
            "bf16": Precision(torch.bfloat16, vae=torch.bfloat16),
            "fp16": Precision(torch.float16),
            "int8": Precision(torch.int8, torch.float16, vae),
        }.get(auto if wanted == "auto" else wanted or "fp32", Precision())
    if wanted == "fp32":
        return Precision()
    half = torch.bfloat16 if wanted == "bf16" else torch.float16
    wide = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision(torch.int8 if wanted == "int8" else half, half, torch.bfloat16 if wide else torch.float32)


def computed(kept: torch.dtype, device: torch.device) -> torch.dtype:
    """The format that weights kept in `kept` compute in. A CPU takes four to nine times as long in float16 as in float32,
    also where it has instructions for it."""
    if kept == torch.int8:
        return choose_precision(device, "auto").model
    return torch.float32 if device.type == "cpu" and kept == torch.float16 else kept


def kept_bytes(numbers: int, kept: torch.dtype) -> int:
    """Bytes of as many weights as they are kept."""
    return bytes_of(numbers) if kept == torch.int8 else numbers * kept.itemsize


def computes_in_bfloat16() -> bool:
    """Whether this processor has arithmetic for bfloat16 (AVX-512 BF16, AMX, ARMv8.6 BF16), as torch tells."""
    return any(there for name, there in torch.cpu.get_capabilities().items() if name.endswith("bf16"))
