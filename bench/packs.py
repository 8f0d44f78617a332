"""What a pack costs: a class of the first protocol beside a function of ours, and a process of its own beside the program.

`python -m bench.packs`: the three kinds of node in turns over one picture of 512×512, each called through its spec as the
engine calls it; medians and their differences.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from graph.context import Context, Run
from graph.document import parse
from graph.files import Folders
from models.precision import Precision
from models.residency import Residency
from models.types import Image
from nodes.packs.collection import Packs, open_packs
from nodes.packs.found import Pack
from nodes.packs.trust import Answer, Standing
from nodes.registry import builtin
from nodes.services import Services

ROUNDS, CALLS = 40, 25
PACK = """
class Same:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "go"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "a": ("INT", {"default": 1}), "b": ("FLOAT", {"default": 1.0})}}
    def go(self, image, a, b):
        return (image,)

class Number(Same):
    RETURN_TYPES = ("INT",)
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {"default": 1}), "b": ("INT", {"default": 1})}}
    def go(self, a, b):
        return (a + b,)

NODE_CLASS_MAPPINGS = {"Same": Same, "Number": Number}
"""
OURS = """
from graph.spec import node
from nodes.services import Context

@node("OurNumber", category="x")
def number(ctx: Context, *, a: int = 1, b: int = 1) -> int:
    return a + b
"""


def main() -> None:
    """Measure, and print a table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folders = Folders.standard(Path(place) / "base")
        for name, text in (
            ("inside", PACK),
            ("apart", PACK.replace('"Same": Same, "Number": Number', '"Apart": Same')),
            ("ours", OURS),
        ):
            folder = folders.base / "custom_nodes" / name
            folder.mkdir()
            (folder / "__init__.py").write_text(text)
        (folders.base / "packs.toml").write_text("[packs.apart]\nenabled = 'ask'\nmode = 'isolated'\n")
        with open_packs(folders, builtin(), _yes) as packs, torch.inference_mode():
            _report(packs, Services(Residency(torch.device("cpu"), Precision(), 2**30), folders))
        shutil.rmtree(folders.base / "isolated", ignore_errors=True)


def _yes(pack: Pack, standing: Standing) -> Answer:
    return Answer.YES


def _report(packs: Packs, services: Services) -> None:
    specs = {spec.type: spec for spec in packs.specs}
    document = parse("{}")
    context = Context("n", Run("run", document), services)
    image = Image(torch.rand(1, 512, 512, 3))

    def calls(name: str, **inputs: object) -> Callable[[], float]:
        def measure() -> float:
            begun = time.perf_counter()
            for _ in range(CALLS):
                specs[name].run(context, inputs)
            return (time.perf_counter() - begun) / CALLS * 1e6

        return measure

    async def apart(**inputs: object) -> float:
        begun = time.perf_counter()
        for _ in range(CALLS):
            await specs["Apart"].run(context, inputs)
        return (time.perf_counter() - begun) / CALLS * 1e6

    rows: dict[str, Callable[[], float]] = {
        "a function of ours, two numbers": calls("OurNumber", a=1, b=2),
        "a class of a pack, two numbers": calls("Number", a=1, b=2),
        "a class of a pack, 512×512": calls("Same", image=image, a=1, b=1.0),
        "a process of its own, 512×512": lambda: asyncio.run(apart(image=image, a=1, b=1.0)),
    }
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, measure in rows.items():
            found[name].append(measure())
    middle = {name: statistics.median(times) for name, times in found.items()}
    for name, value in middle.items():
        print(f"{name:36} {value:9.1f} µs (least {min(found[name]):.1f})")
    ours, theirs, inside, outside = middle.values()
    print(f"{'adapted over ours':36} {theirs - ours:9.1f} µs, {theirs / ours:.1f} times")
    least = {name: min(times) for name, times in found.items()}
    *_, inside_least, outside_least = least.values()
    best = (outside_least - inside_least) / 1000
    print(f"{'its own process over inside':36} {(outside - inside) / 1000:9.2f} ms (of the least of both: {best:.2f})")


if __name__ == "__main__":
    main()
