"""A full-size Stable Diffusion v1 checkpoint (fp16, 2 GB) of random weights, the one of the recorded cases.

Every tensor has its own generator, seeded by its name, so any single one can be made alone. A straight path is laid
through the U-Net (first convolution, last skip, last convolution), so that the noise it predicts follows the
noise it is given: without it samplers would only carry the first noise through.

`python -m tests.random_checkpoint` makes the file, once, and prints its path.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 20240601
SHA256 = "815b4ac46d3039ea65f4d00b249d04185b9a899f2269c5cb125db664f34f99cf"  # of names and bytes, names sorted
CACHE = Path(__file__).parents[1] / ".cache"
MANIFEST = Path(__file__).parent / "data" / "sd-v1-manifest.json"

UNET, VAE = "model.diffusion_model.", "first_stage_model."
BASIS = "eps-basis"
GAINS = {  # by the end of the name; 1 for all others
    f"{UNET}output_blocks.11.0.out_layers.3.weight": 0.35,
    f"{UNET}output_blocks.11.1.proj_out.weight": 0.35,
    "attn2.to_out.0.weight": 2.5,
    "attn2.to_q.weight": 1.6,
    f"{VAE}decoder.conv_out.weight": 0.8,
    f"{VAE}post_quant_conv.weight": 0.25,
}


def manifest() -> dict[str, tuple[int, ...]]:
    """Name -> shape of all 1,143 tensors of sd-v1-4.ckpt's state dict."""
    return {name: tuple(shape) for name, shape in json.loads(MANIFEST.read_text()).items()}


def random_checkpoint(folder: Path = CACHE) -> Path:
    """The checkpoint in `folder`, made if it is not there: half a minute."""
    path = folder / "random-sd-v1-fp16.safetensors"
    shapes = manifest()
    arrays = {name: np.dtype(_dtype(name)) for name in sorted(shapes, key=_dtype, reverse=True)}  # int64 comes first
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dtype in arrays.items():
        start, end = end, end + math.prod(shapes[name]) * dtype.itemsize
        tag = {"float16": "F16", "float32": "F32", "int64": "I64"}[dtype.name]
        header[name] = {"dtype": tag, "shape": shapes[name], "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if path.exists() and path.stat().st_size == 8 + len(text) + end:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in arrays:
                file.write(random_tensor(name, shapes[name]).tobytes())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def random_tensor(name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """One tensor of the checkpoint: float16, but the noise schedule's float32 and the position ids' int64."""
    if _dtype(name) == "int64":
        return np.arange(shape[-1]).reshape(shape)
    if _dtype(name) == "float32":
        return schedule()[name].astype(np.float32)
    x = _generator(name).standard_normal(shape, dtype=np.float32)
    if _is_norm(name):
        x = 1.0 + 0.1 * x if name.endswith("weight") else 0.05 * x
    elif "embedding" in name:
        x *= 0.02 if "token" in name else 0.01
    elif len(shape) == 1:
        x *= 0.02
    else:
        gain = next((value for end, value in GAINS.items() if name.endswith(end)), 1.0)
        x *= gain / math.prod(shape[1:]) ** 0.5
    _lay_path(name, x)
    return x.astype(np.float16)


def schedule() -> dict[str, NDArray[np.float64]]:
    """The twelve buffers that a DDPM of 1000 steps carries, from its betas (Ho et al. 2020, equations 4 to 7)."""
    beta = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alpha = 1.0 - beta
    bar = np.cumprod(alpha)
    bar_prev = np.append(1.0, bar[:-1])
    variance = beta * (1.0 - bar_prev) / (1.0 - bar)
    return {
        "betas": beta,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": bar_prev,
        "sqrt_alphas_cumprod": np.sqrt(bar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - bar),
        "log_one_minus_alphas_cumprod": np.log(1.0 - bar),
        "sqrt_recip_alphas_cumprod": np.sqrt(1.0 / bar),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1.0 / bar - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": beta * np.sqrt(bar_prev) / (1.0 - bar),
        "posterior_mean_coef2": (1.0 - bar_prev) * np.sqrt(alpha) / (1.0 - bar),
    }


def _dtype(name: str) -> str:
    if name.endswith("position_ids"):
        return "int64"
    return "float16" if "." in name else "float32"


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([SEED, zlib.crc32(name.encode())])))


def _is_norm(name: str) -> bool:
    *_, parent, module, _ = ["", "", *name.split(".")]
    return module.startswith(("norm", "layer_norm", "final_layer_norm")) or (
        module == "0" and parent in ("in_layers", "out_layers", "out")
    )


def _lay_path(name: str, x: NDArray[np.float32]) -> None:
    """Add the straight path to the tensors that it runs through. silu(y) - silu(-y) = y, so channels go in pairs."""
    basis = _generator(BASIS).standard_normal((160, 4)) * 0.5
    match name.removeprefix(UNET).removeprefix(VAE):
        case "input_blocks.0.0.weight":  # [320, 4, 3, 3]
            x *= 0.2
            x[0::2, :, 1, 1] += basis
            x[1::2, :, 1, 1] -= basis
        case "output_blocks.11.0.skip_connection.weight":  # [320, 640, 1, 1]
            x *= 0.12
            x[np.arange(320), np.arange(320, 640), 0, 0] += 1.0
        case "out.2.weight":  # [4, 320, 3, 3]
            x *= 0.3
            inverse = 1.25 * np.linalg.pinv(basis)
            x[:, 0::2, 1, 1] += inverse
            x[:, 1::2, 1, 1] -= inverse
        case "quant_conv.weight":  # [8, 8, 1, 1]: means, then log variances
            x[:4] *= 7.0
            x[4:] *= 0.1
        case "quant_conv.bias":
            x[4:] -= 10.0


if __name__ == "__main__":
    print(random_checkpoint())
