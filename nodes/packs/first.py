"""A first pack: one node and its test, which `main.py new-node` writes."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

_NODE = '''"""{title}: a pack of one node. Change it, save it: the next run has it."""

from __future__ import annotations

from typing import Annotated

from graph.context import Context
from graph.sockets import Float
from graph.spec import Tip, node
from models.types import Image


@node("{type}", category="{title}", title="{title}")
def {function}(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    amount: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip="How much of the colours goes.")] = 1.0,
) -> Annotated[Image, Tip("The same pictures with less colour.")]:
    """Take colour out of pictures."""
    grey = image.pixels.mean(dim=-1, keepdim=True)
    return Image(image.pixels + (grey - image.pixels) * amount)
'''

_TEST = '''"""`python -m pytest {file}`, from Darkroom's folder, runs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from models.types import Image

spec = importlib.util.spec_from_file_location("{function}", Path(__file__).with_name("__init__.py"))
pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)


def test_without_colour_all_channels_are_equal() -> None:
    made = pack.{function}(None, image=Image(torch.rand(1, 4, 4, 3)), amount=1.0).pixels
    torch.testing.assert_close(made[..., 0], made[..., 2])
'''


def write_first_pack(root: Path, name: str) -> tuple[Path, Path]:
    """Write a pack called `name` below `root`; returns its file and its test's.

    Raises ValueError for a name that a function cannot have, FileExistsError if there is one.
    """
    function = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not function.isidentifier() or keyword.iskeyword(function):
        raise ValueError(f"got {name!r}, expected a name of letters, digits and dashes that begins with a letter")
    folder = root / name
    folder.mkdir(parents=True)
    words = {"function": function, "type": "".join(map(str.title, function.split("_")))}
    words |= {"title": function.replace("_", " ").title()}
    file, test = folder / "__init__.py", folder / f"test_{function}.py"
    file.write_text(_NODE.format(**words), "utf-8")
    test.write_text(_TEST.format(**words, file=test), "utf-8")
    return file, test
