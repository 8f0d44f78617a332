"""Texts and encoded prompts as files, and prompts in groups of one size."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.errors import InputError
from models.areas import Area, Share
from models.micro_conditioning import MicroConditioning
from models.types import Cond, Conditioning, Latent
from nodes.conditioning_files import conditioning_loader, save_conditioning
from nodes.latent_batches import resolution_bucket
from nodes.text_files import save_text
from tests.nodes.conftest import Workplace


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("kind", "text", "written"),
    [
        ("txt", "naïve 🐈\n", "naïve 🐈\n"),
        ("json", '{"a":[1,"é"]}', '{\n  "a": [\n    1,\n    "é"\n  ]\n}'),
        ("json", "{no json", "{no json"),
        ("md", "# x", "# x"),
    ],
)
def test_a_text_is_saved_as_it_is(place: Workplace, kind: str, text: str, written: str) -> None:
    shown = save_text(place.ctx(), text=text, filename_prefix="notes/a", format=kind)
    assert shown.value == text and shown.ui["files"][0]["filename"] == f"a_00001_.{kind}"
    assert (place.output / "notes" / f"a_00001_.{kind}").read_bytes() == written.encode()
    with pytest.raises(InputError) as caught:
        save_text(place.ctx(), text=text, filename_prefix="../x", format=kind)
    assert caught.value.input_name == "filename_prefix"


COND = Cond(
    normal(1, 154, 8), normal(1, 8, seed=1), Area(4, 5, 1, 2), 0.7, {"gligen": 3, "list": [normal(2), normal(3)]},
    normal(1, 6, 6).abs(), True, 0.1, 0.9, said=MicroConditioning(640, 480, 3, score=5.5), for_controls=normal(1, 77, 8),
)  # fmt: skip


@pytest.mark.parametrize("area", [None, Area(4, 5, 1, 2), Share(0.5, 0.25, 0.0, 0.125)])
def test_a_prompt_comes_back_as_it_was(place: Workplace, area: Area | Share | None) -> None:
    cond = replace(COND, area=area)
    shown = save_conditioning(place.ctx(), conditioning=Conditioning((cond,)), filename_prefix="c/p")
    path = place.output / "c" / shown.ui["files"][0]["filename"]
    assert torch.equal(load_file(path)["conditioning"], cond.tokens), "by the name that other programs read"
    found = loaded(place, path.read_bytes())
    for name in ("tokens", "pooled", "mask", "for_controls"):
        assert torch.equal(getattr(found, name), getattr(cond, name))
    for name in ("area", "strength", "bounded", "start", "end", "said"):
        assert getattr(found, name) == getattr(cond, name), name
    assert found.extra["gligen"] == 3
    assert [torch.equal(a, b) for a, b in zip(found.extra["list"], cond.extra["list"], strict=True)] == [True, True]  # type: ignore[call-overload]


def loaded(place: Workplace, content: bytes) -> Cond:
    folder = place.folders.roots("embeddings")[0]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kept.safetensors").write_bytes(content)
    read: Conditioning = conditioning_loader(
        place.ctx(), conditioning_name=place.file("embeddings", "kept.safetensors")
    )
    return read.conds[0]


def test_a_file_with_a_prompt_alone_and_files_with_none(place: Workplace) -> None:
    path = place.base / "x.safetensors"
    save_file({"conditioning": normal(1, 77, 8).half()}, path)
    found = loaded(place, path.read_bytes())
    assert found.tokens.dtype == torch.float32 and found.pooled.shape == (1, 8) and found.strength == 1
    for tensors, said in (({"emb": normal(2, 8)}, "lacks the tensor"), ({"conditioning": normal(8)}, "shape")):
        save_file(tensors, path)
        with pytest.raises(InputError, match=said):
            loaded(place, path.read_bytes())
    save_file({"conditioning": normal(1, 77, 8)}, path, {"conditioning_options": json.dumps([1])})
    with pytest.raises(InputError, match="no JSON object"):
        loaded(place, path.read_bytes())
    with pytest.raises(InputError):
        loaded(place, path.read_bytes()[:40])


def test_what_a_file_cannot_keep_is_told(place: Workplace) -> None:
    two = Conditioning((COND, COND))
    for given, said in ((two, "holds 2 prompts"), (Conditioning((replace(COND, extra={"f": print}),)), "a builtin")):
        with pytest.raises(InputError, match=said):
            save_conditioning(place.ctx(), conditioning=given)


def test_latents_are_grouped_by_size_with_their_prompts(place: Workplace) -> None:
    sizes = [(2, 8, 6), (1, 4, 4), (1, 8, 6)]
    latents = [Latent(normal(batch, 4, height, width, seed=batch)) for batch, height, width in sizes]
    prompts = [Conditioning(tuple(Cond(normal(1, 77, 8), normal(1, 8)) for _ in range(batch))) for batch, _, _ in sizes]
    found = resolution_bucket(place.ctx(), latents=latents, conditioning=prompts)
    assert [latent.samples.shape for latent in found.latents] == [(3, 4, 8, 6), (1, 4, 4, 4)]
    assert torch.equal(found.latents[0].samples[2:], latents[2].samples)
    assert found.conditioning[0].conds == (*prompts[0].conds, *prompts[2].conds)
    with pytest.raises(InputError, match="2 values for 3 latents"):
        resolution_bucket(place.ctx(), latents=latents, conditioning=prompts[:2])
    with pytest.raises(InputError, match="1 prompts for a batch of 2"):
        resolution_bucket(place.ctx(), latents=latents[:1], conditioning=prompts[1:2])
