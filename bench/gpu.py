"""Steps of Stable Diffusion's U-Nets on a GPU, ours and diffusers': `python -m bench.gpu [--device NAME] [--narrow]`.

A step is what a sampler does each time: the network for cond and uncond, guidance, Euler's update of the latent. Weights are
random, which costs the same. Eager, with a CUDA graph over the whole step, and compiled; beside them what the device's
arithmetic and memory allow. `--narrow` takes small networks, to try the script where there is no GPU.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.peer import unet_config
from models.config import UNetConfig
from models.machine import device_name
from models.reading import Reading
from models.unet import UNet

ROUNDS = 5
CFG = 7.0
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}

SD1 = UNetConfig()
XL = UNetConfig(4, 4, 320, (1, 2, 4), 2, (0, 2, 10), 10, 2048, linear=True, vector_dim=2816)
NARROW = UNetConfig(model_channels=32, channel_mult=(1, 2), transformer_depth=(1, 0), context_dim=32)


class Peak(NamedTuple):
    """What a device can do, dense, in 16 bits: floating-point operations and bytes of its memory in a second."""

    flops: float
    bytes: float


PEAKS: Sequence[tuple[str, Peak]] = (  # from the makers' data sheets
    ("H200", Peak(989e12, 4.8e12)),
    ("H100", Peak(989e12, 3.35e12)),
    ("A100", Peak(312e12, 2.04e12)),
    ("RTX 4090", Peak(165e12, 1.01e12)),
)


@dataclass(frozen=True)
class Case:
    """A network at work. side: of the pictures, in pixels; steps: of one picture."""

    name: str
    config: UNetConfig
    side: int
    batch: int
    steps: int


CASES = (
    Case("SD 1, 512x512", SD1, 512, 1, 20),
    Case("SD 1, 512x512, 8 at once", SD1, 512, 8, 20),
    Case("SDXL, 1024x1024", XL, 1024, 1, 30),
)
TRIAL = (Case("narrow, 64x64", NARROW, 64, 1, 2),)

Network = Callable[[Tensor, Tensor], Tensor]
"""(latents [2 B, 4, h, w], times [2 B]) -> what the network says of them."""


class Given(NamedTuple):
    """What a step changes and reads, in memory that stays where it is: the latent, its level and the next, the time step."""

    x: Tensor
    sigma: Tensor
    sigma_next: Tensor
    t: Tensor


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda")
    options.add_argument("--narrow", action="store_true")
    given = options.parse_args()
    device = torch.device(given.device)
    print(f"{device_name(device)}, torch {torch.__version__}\n")
    print(
        "| | | ms a step | pictures a second | peak | of the roofline | ÷ diffusers eager |\n|---|---|---|---|---|---|---|"
    )
    for case in TRIAL if given.narrow else CASES:
        for name, dtype in DTYPES.items():
            for line in lines(case, dtype, device):
                print(f"| {case.name}, {name} {line}", flush=True)


def lines(case: Case, dtype: torch.dtype, device: torch.device) -> Iterator[str]:
    """The rows of one case; each way is measured by itself, after the one it is compared with."""
    roof = roofline(case, dtype, device)
    eager: float | None = None
    for name, make in (
        ("diffusers eager", partial(theirs, case, dtype, device)),
        ("diffusers compiled", partial(_compiled, theirs, case, dtype, device)),
        ("ours eager", partial(ours, case, dtype, device)),
        ("ours, CUDA graph", partial(ours, case, dtype, device)),
        ("ours compiled", partial(_compiled, ours, case, dtype, device)),
    ):
        if "graph" in name and device.type != "cuda":
            yield f"| {name} | absent: no CUDA | | | | |"
            continue
        _forget(device)
        with torch.inference_mode():
            step = stepped(make(), case, dtype, device)
            milliseconds = 1000 * measured(recorded(step) if "graph" in name else step, device, case.steps)
        eager = eager or milliseconds
        peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0
        share = f"{100 * roof / milliseconds:.0f} %" if roof else "unknown"
        rate = 1000 * case.batch / (milliseconds * case.steps)
        yield f"| {name} | {milliseconds:.2f} | {rate:.2f} | {peak:.2f} GiB | {share} | {milliseconds / eager:.2f} |"


def ours(case: Case, dtype: torch.dtype, device: torch.device) -> Network:
    """Our network."""
    with device:
        network = _ready(UNet(case.config), dtype)
        text, vector = _texts(case, dtype, device)
    return lambda x, t: network(x, t, Reading(text, vector=vector))


def theirs(case: Case, dtype: torch.dtype, device: torch.device) -> Network:
    """diffusers'."""
    from diffusers import UNet2DConditionModel

    with device:
        network = _ready(UNet2DConditionModel(**unet_config(case.config)), dtype)
        text, vector = _texts(case, dtype, device)
    more: dict[str, Any] = {}
    if vector is not None:  # 1280 numbers of pooled text, and six of sizes
        times = torch.tensor([[1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0]] * len(text), device=device, dtype=dtype)
        more = {"added_cond_kwargs": {"text_embeds": vector[:, :1280], "time_ids": times}}
    return lambda x, t: network(x, t, text, return_dict=False, **more)[0]


def _compiled(make: Callable[[Case, torch.dtype, torch.device], Network], *given: Any) -> Network:
    return torch.compile(make(*given))


def _ready(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    return network.to(dtype).to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


def _texts(case: Case, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor | None]:
    both = 2 * case.batch
    text = torch.randn(both, 77, case.config.context_dim, device=device, dtype=dtype)
    width = case.config.vector_dim
    return text, torch.randn(both, width, device=device, dtype=dtype) if width else None


def stepped(network: Network, case: Case, dtype: torch.dtype, device: torch.device) -> Callable[[], None]:
    """One step, which leaves the latent where it was, changed. The latent is float32, as in sampling."""
    side = case.side // 8
    given = Given(
        torch.randn(case.batch, 4, side, side, device=device),
        torch.tensor(1.1, device=device),
        torch.tensor(1.0, device=device),
        torch.full((2 * case.batch,), 500.0, device=device),
    )

    def step() -> None:
        scaled = (given.x / (given.sigma**2 + 1).sqrt()).to(dtype)
        positive, negative = network(torch.cat([scaled, scaled]), given.t).float().chunk(2)
        noise = negative + CFG * (positive - negative)
        given.x.add_(noise * (given.sigma_next - given.sigma)).clamp_(-10, 10)  # random weights guide nowhere

    return step


def recorded(step: Callable[[], None]) -> Callable[[], None]:
    """The same as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measured(step: Callable[[], None], device: torch.device, steps: int) -> float:
    """Seconds of a step: the median of some rounds of `steps`, between which alone the device is waited for."""
    seconds = []
    for _ in range(ROUNDS + 1):  # the first is not counted
        _wait(device)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        _wait(device)
        seconds.append((time.perf_counter() - start) / steps)
    return statistics.median(seconds[1:])


def roofline(case: Case, dtype: torch.dtype, device: torch.device) -> float:
    """Milliseconds that a step takes at least: its products at full speed, or its weights read once. 0: not known."""
    peak = next((peak for name, peak in PEAKS if name in device_name(device)), None)
    if peak is None:
        return 0.0
    meta = torch.device("meta")
    network = ours(case, dtype, meta)
    side = case.side // 8
    x, t = (
        torch.empty(2 * case.batch, 4, side, side, dtype=dtype, device=meta),
        torch.empty(2 * case.batch, device=meta),
    )
    with FlopCounterMode(display=False) as counted:
        network(x, t)
    with meta:
        weights = sum(tensor.numel() for tensor in UNet(case.config).parameters())
    return 1000 * max(counted.get_total_flops() / peak.flops, weights * dtype.itemsize / peak.bytes)


def _forget(device: torch.device) -> None:
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
