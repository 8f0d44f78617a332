"""Fast nodes that stand in for the real ones: numbers instead of latents."""

from __future__ import annotations

import io
import json
import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from PIL import Image

from graph.cache import Cache
from graph.calls import Relief
from graph.context import Context
from graph.errors import InputError
from graph.execute import Executor
from graph.files import FileRef, Folders
from graph.result import Outputs
from graph.sockets import Choice, File, Float, Int, Text
from graph.spec import ALIKE, Batch, Each, Items, NodeSpec, Registry, node
from graph.sweep import Gathered
from graph.thrift import Thrift
from server.backend import Device, Engine


@dataclass(frozen=True)
class Part:
    """A value of its own type."""

    name: str
    socket = "PART"


@dataclass(frozen=True)
class Row:
    """A batch of numbers."""

    numbers: tuple[int, ...]
    socket = "ROW"


@node("RowPart", category="stub")
def row_part(ctx: Context[Any], *, row: Row, number: int, of: int) -> Row:
    """Some of the numbers."""
    count = len(row.numbers)
    return Row(row.numbers[count * number // of : count * (number + 1) // of])


@node("Halved", category="stub")
def halved(ctx: Context[Any], *, values: int) -> float:
    """What a sum holds of one cell."""
    return values / 2


def specs(folders: Folders) -> list[NodeSpec]:
    """The stub node types."""

    @node("Value", category="stub", items=ALIKE)
    def value(ctx: Context[Any], *, value: Annotated[int, Int(0, 100_000)] = 1) -> int:
        """A number."""
        return value

    @node("Load", category="stub")
    def load(ctx: Context[Any], *, name: Annotated[FileRef, File("checkpoints")]) -> Part:
        """A part, from a file."""
        return Part(name.name)

    @node("Add", category="stub")
    def add(ctx: Context[Any], *, a: int, b: Annotated[int, Int(0, 1000)] = 1) -> int:
        """The sum."""
        return a + b

    @node("Steps", category="stub")
    def steps(
        ctx: Context[Any],
        *,
        value: int,
        seed: Annotated[int, Int(0, 2**64 - 1)] = 0,
        steps: Annotated[int, Int(1, 10_000)] = 3,
        cfg: Annotated[float, Float(0.0, 100.0)] = 7.5,
        kind: Annotated[str, Choice(["euler", "heun"])] = "euler",
        seconds: Annotated[float, Float(0.0, 10.0)] = 0.0,
    ) -> int:
        """Counts, and shows what it does."""
        for step in range(steps):
            time.sleep(seconds)
            ctx.progress(step + 1, steps, preview=partial(Image.new, "RGB", (8, 8), (step % 256, 0, 0)))
        return value + seed

    @node("Fail", category="stub")
    def fail(ctx: Context[Any], *, value: int, how: Annotated[str, Choice(["raise", "blame"])] = "raise") -> int:
        """Fails, with a path in its words."""
        if how == "blame":
            raise InputError("value", f"cannot use {folders.output_dir}/secret")
        raise OSError(2, "No such file", str(Path(__file__).resolve()))

    @node("Warn", category="stub")
    def warn(ctx: Context[Any], *, value: int) -> int:
        """Leaves something out, with a path in its words."""
        ctx.warn(f"half of {folders.output_dir}/secret is not used", "value")
        return value

    @node("Hungry", category="stub")
    def hungry(ctx: Context[Any], *, value: int) -> int:
        """Runs out of memory until it is called thriftily enough."""
        ctx.progress(1, 2)
        if ctx.thrift < Thrift.TILE:
            raise MemoryError(f"no room beside {folders.output_dir}")
        return value

    @node("Sum", category="stub")
    def total(ctx: Context[Any], *, values: Annotated[Gathered[float], Each(halved)]) -> int:
        """A number for all cells."""
        return round(sum(at * value for at, value in enumerate(values.values, 1)))

    @node("Row", category="stub", batch=Batch("count", row_part))
    def row(ctx: Context[Any], *, count: Annotated[int, Int(1, 100)] = 1) -> Row:
        """Numbers from 0."""
        return Row(tuple(range(count)))

    @node("Draw", category="stub", items=Items(("row",), unless={"kind": ("together",)}))
    def draw(
        ctx: Context[Any],
        *,
        row: Row,
        value: int = 0,
        steps: Annotated[int, Int(1, 10_000)] = 3,
        seconds: Annotated[float, Float(0.0, 10.0)] = 0.0,
        kind: Annotated[str, Choice(["each", "together"])] = "each",
    ) -> Row:
        """Adds to each number, and notes in a file what it had."""
        for step in range(steps):
            time.sleep(seconds)
            ctx.progress(step + 1, steps)
        with (folders.output_dir / "drawn.txt").open("a") as file:
            file.write(f"{os.getpid()} {row.numbers[0]}-{row.numbers[-1]}\n")
        return Row(tuple(number + value for number in row.numbers))

    @node("SaveRow", category="stub", terminal=True, lane="io")
    def save_row(ctx: Context[Any], *, row: Row) -> Outputs:
        """Shows all numbers of a batch."""
        return Outputs(ui={"text": [str(number) for number in row.numbers]})

    @node("Die", category="stub")
    def die(ctx: Context[Any], *, value: int) -> int:
        """Takes the process with it."""
        os._exit(9)

    @node("Save", category="stub", terminal=True, lane="io")
    def save(ctx: Context[Any], *, value: int, prefix: Annotated[str, Text(dynamic_prompts=True)] = "out") -> Outputs:
        """Writes a picture whose name tells its value."""
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16), (value % 256, 0, 0)).save(buffer, format="PNG")
        name = f"{prefix}_{value}_{uuid.uuid4().hex[:6]}.png"
        part = folders.output_dir / f".{name}.part"
        part.write_bytes(buffer.getvalue())
        part.rename(folders.output_dir / name)
        return Outputs(ui={"images": [{"filename": name, "subfolder": "", "type": "output"}]})

    @node("Sink", category="stub", terminal=True)
    def sink(ctx: Context[Any], *, part: Part) -> Outputs:
        """Takes a part."""
        return Outputs()

    return [value, load, add, steps, fail, warn, hungry, total, row, draw, save_row, die, save, sink]


def factory(folders: Folders, wait: Callable[[], object] | None = None) -> Callable[[], Engine]:
    """What builds an engine over the stub nodes; `wait` stands in for a slow import."""

    def build() -> Engine:
        if wait is not None:
            wait()
        registry = Registry(specs(folders))
        cache = Cache(2**26, lambda value: 8)
        relief = Relief(lambda error: isinstance(error, MemoryError), cache.clear)
        executor = Executor(None, registry, folders, cache, relief=relief)

        def devices() -> Sequence[Device]:
            return [Device("stub", "cpu", None, 1, 1)]

        def free(unload_models: bool, free_memory: bool) -> None:
            if free_memory:
                cache.clear()

        def pack(outputs: Outputs) -> bytes:
            values = [{"row": it.numbers} if isinstance(it, Row) else it for it in outputs.values]
            return json.dumps(values).encode()

        def unpack(content: bytes) -> Outputs:
            values = json.loads(content)
            return Outputs(tuple(Row(tuple(it["row"])) if isinstance(it, dict) else it for it in values))

        def join(parts: Sequence[Outputs]) -> Outputs:
            rows = [it for part in parts for it in part.values if isinstance(it, Row)]
            return Outputs((Row(tuple(number for row in rows for number in row.numbers)),))

        return Engine(
            executor,
            registry,
            (),
            {"torch": "none"},
            devices,
            free,
            lambda: {"results": cache.used_bytes},
            pack=pack,
            unpack=unpack,
            join=join,
        )

    return build
