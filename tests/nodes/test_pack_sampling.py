"""Packs that sample: samplers, guiders and wrappers of their own, beside the same thing done by nodes of ours."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from graph.errors import NodeError
from graph.events import Progress
from graph.files import Folders
from tests.nodes.pack_bench import Bench, Written, open_bench
from tests.tiny_checkpoint import write_tiny_checkpoint

CONDUCT = Path(__file__).parents[1] / "data" / "sampling_packs"
TEXTS = {"positive": ["+", 0], "negative": ["-", 0]}
GUIDED = {"model": ["model", 0], **TEXTS, "cfg": 4.0}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folders = Folders.standard(tmp_path_factory.mktemp("sampling") / "base")
    shutil.copytree(CONDUCT, folders.base / "custom_nodes", dirs_exist_ok=True)
    write_tiny_checkpoint(folders.roots("checkpoints")[0] / "tiny.safetensors")
    with open_bench(folders) as opened:
        assert [it.problem for it in opened.packs.loaded] == [""]
        yield opened


def seen() -> list[Any]:
    """What the pack has noted."""
    noted: list[Any] = sys.modules["custom_nodes.conduct"].SEEN
    return noted


def made(bench: Bench, **changes: Any) -> Tensor:
    """What sampling in parts makes of a seed; changes: other nodes for its parts."""
    whole: Written = {
        "model": ("CheckpointLoaderSimple", {"ckpt_name": "tiny.safetensors"}),
        **{name: ("CLIPTextEncode", {"text": text, "clip": ["model", 1]}) for name, text in (("+", "a fox"), ("-", ""))},
        "e": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "latent": ("LatentMultiply", {"samples": ["e", 0], "multiplier": 1.0}),
        "guider": ("CFGGuider", GUIDED),
        "noise": ("RandomNoise", {"noise_seed": 3}),
        "sigmas": ("BasicScheduler", {"model": ["model", 0], "scheduler": "normal", "steps": 3, "denoise": 1.0}),
        "sampler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "k": ("SamplerCustomAdvanced", PARTS),
        **changes,
        "s": ("SaveLatent", {"samples": ["k", 0], "filename_prefix": "it"}),
    }  # fmt: skip
    seen().clear()
    entries: Any = bench.run(whole)["s"].ui["latents"]
    return load_file(bench.folders.output_dir / entries[0]["filename"])["latent_tensor"]


PARTS = {**{name: [name, 0] for name in ("guider", "noise", "sampler", "sigmas")}, "latent_image": ["latent", 0]}


def near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5 * float(other.abs().max()), rtol=0)


def on_picture() -> dict[str, Any]:
    """A latent that is not blank, of which a half may change, and levels from the middle."""
    return {
        "mask": ("SolidMask", {"value": 1.0, "width": 64, "height": 32}),
        "none": ("SolidMask", {"value": 0.0, "width": 64, "height": 64}),
        "half": ("MaskComposite", {"destination": ["none", 0], "source": ["mask", 0], "x": 0, "y": 0, "operation": "add"}),
        "first": ("KSampler", {"seed": 5, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                               "model": ["model", 0], **TEXTS, "latent_image": ["e", 0]}),
        "latent": ("SetLatentNoiseMask", {"samples": ["first", 0], "mask": ["half", 0]}),
        "sigmas": ("BasicScheduler", {"model": ["model", 0], "scheduler": "normal", "steps": 3, "denoise": 0.6}),
    }  # fmt: skip


@pytest.fixture(scope="module")
def usual(bench: Bench) -> Tensor:
    return made(bench)


@pytest.mark.parametrize("what", ["mine", "silent", "looking", "class", "named"])
def test_a_sampler_of_a_pack_is_what_it_computes(bench: Bench, usual: Tensor, what: str) -> None:
    sampler = {"sampler": ("ConductSampler", {"what": what})}
    assert near(made(bench, **sampler), usual)
    if what == "looking":
        assert seen() == [(pytest.approx(14.6146, abs=1e-4), ["model_options", "seed"], 4.0, 1)]
    assert near(made(bench, **on_picture(), **sampler), made(bench, **on_picture()))


def test_settings_of_a_sampler_s_function_reach_it_and_its_steps_are_counted(bench: Bench, usual: Tensor) -> None:
    half = made(bench, sampler=("ConductSampler", {"what": "half"}))
    assert not near(half, usual)
    progress = [(it.done, it.total) for it in bench.events if isinstance(it, Progress) and it.node_id == "k"]
    assert progress == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "euler_ancestral", "dpmpp_sde", "euler_cfg_pp", "lms"])
def test_a_sampler_of_ours_may_be_called_by_one_of_a_pack(bench: Bench, name: str) -> None:
    ours = {"inner": ("KSamplerSelect", {"sampler_name": name})}
    expected = made(bench, sampler=ours["inner"])
    for what in ("given", "around"):
        chosen = ("ConductSampler", {"what": what, "sampler": ["inner", 0]})
        assert near(made(bench, **ours, sampler=chosen), expected)


@pytest.mark.parametrize("cfg", [4.0, 1.0])
def test_an_estimate_with_options_of_its_own_is_one_with_these(bench: Bench, usual: Tensor, cfg: float) -> None:
    guider = {"guider": ("CFGGuider", {**GUIDED, "cfg": cfg})}
    ours = made(bench, **guider, sampler=("KSamplerSelect", {"sampler_name": "euler_cfg_pp"}))
    assert near(made(bench, **guider, sampler=("ConductSampler", {"what": "cfg_pp"})), ours)
    told = ("ConductGuider", {**GUIDED, "cfg": cfg, "what": "telling"})
    expected = made(bench, guider=("CFGGuider", {**GUIDED, "cfg": cfg, "model": ["w", 0]}), w=wrapped("half"))
    assert near(made(bench, guider=told), expected) and not near(expected, usual)


@pytest.mark.parametrize("what", ["asking", "combining"])
def test_a_guider_may_ask_for_what_guidance_makes_of_two_texts(bench: Bench, usual: Tensor, what: str) -> None:
    assert near(made(bench, guider=("ConductGuider", {**GUIDED, "what": what})), usual)
    half = {"w": wrapped("half")}
    ours = made(bench, **half, guider=("CFGGuider", {**GUIDED, "model": ["w", 0]}))
    theirs = ("ConductGuider", {**GUIDED, "model": ["w", 0], "what": what})
    assert near(made(bench, **half, guider=theirs), ours)


def test_scales_of_a_model_s_own_stay_with_it_through_a_pack(bench: Bench, usual: Tensor) -> None:
    own = {"o": ("CFGOverride", {"model": ["model", 0], "cfg": 2.0, "start_percent": 0.0, "end_percent": 1.0})}
    less = made(bench, **own, guider=("CFGGuider", {**GUIDED, "model": ["o", 0]}))
    through = {"w": ("ConductWrapped", {"model": ["o", 0], "what": "nothing", "amount": 1.0})}
    assert torch.equal(made(bench, **own, **through, guider=("CFGGuider", {**GUIDED, "model": ["w", 0]})), less)
    assert not near(less, usual)


def test_a_sampler_that_fails_is_told_with_what_it_raised(bench: Bench, usual: Tensor) -> None:
    with pytest.raises(NodeError, match=r"node k \(SamplerCustomAdvanced\).*no second step"):
        made(bench, sampler=("ConductSampler", {"what": "failing"}))
    assert near(made(bench, sampler=("ConductSampler", {"what": "mine"})), usual)


def test_a_guider_of_a_pack_may_sample_as_it_likes(bench: Bench, usual: Tensor) -> None:
    given = {**GUIDED, "what": "two"}
    assert near(made(bench, guider=("ConductGuider", given)), usual) and seen() == [3]
    whole = {**on_picture(), "latent": ("LatentMultiply", {"samples": ["first", 0], "multiplier": 1.0})}
    assert near(made(bench, **whole, guider=("ConductGuider", given)), made(bench, **whole))
    quiet = made(bench, guider=("ConductGuider", {**GUIDED, "what": "quiet"}))
    less = made(bench, guider=("CFGGuider", {**GUIDED, "model": ["w", 0]}), w=wrapped("outer", 0.5))
    assert near(quiet, less) and not near(quiet, usual)


def test_a_guider_of_ours_may_be_changed_by_a_pack(bench: Bench, usual: Tensor) -> None:
    def changed(what: str) -> Tensor:
        ours: Any = {"ours": ("CFGGuider", GUIDED)}
        return made(bench, **ours, guider=("ConductChanged", {"guider": ["ours", 0], "what": what}))

    assert torch.equal(changed("nothing"), usual)
    assert near(changed("cfg"), made(bench, guider=("CFGGuider", {**GUIDED, "cfg": 2.0})))
    round_ = {**GUIDED, "positive": ["-", 0], "negative": ["+", 0]}
    assert near(changed("round"), made(bench, guider=("CFGGuider", round_)))
    assert near(changed("model"), made(bench, guider=("CFGGuider", {**GUIDED, "cfg": 1.0})))


def test_a_node_of_a_pack_samples_with_what_others_gave_it(bench: Bench, usual: Tensor) -> None:
    own = {"k": ("ConductSample", PARTS)}
    assert near(made(bench, **own), usual)
    assert seen() == [[(0, 3, True), (1, 3, True), (2, 3, True)]]
    assert near(made(bench, **own, **on_picture()), made(bench, **on_picture()))
    both: Any = {
        "guider": ("ConductGuider", {**GUIDED, "what": "two"}),
        "sampler": ("ConductSampler", {"what": "mine"}),
    }
    assert near(made(bench, **own, **both), usual)


@pytest.mark.parametrize("name", ["euler", "dpm_2"])
def test_comfy_sample_is_what_our_sampler_nodes_do(bench: Bench, name: str) -> None:
    shared = {"model": ["model", 0], **TEXTS, "latent_image": ["e", 0], "sampler_name": name}
    steps = {"steps": 3, "cfg": 4.0, "scheduler": "normal"}
    ours = made(bench, k=("KSampler", {**shared, **steps, "seed": 3, "denoise": 1.0}))
    assert near(made(bench, k=("ConductPlain", {**shared, "start": 0, "end": 1000})), ours)
    some = {
        "noise_seed": 3,
        "add_noise": "enable",
        "start_at_step": 1,
        "end_at_step": 2,
        "return_with_leftover_noise": "disable",
    }
    ours = made(bench, k=("KSamplerAdvanced", {**shared, **steps, **some}))
    assert near(made(bench, k=("ConductPlain", {**shared, "start": 1, "end": 2})), ours)


def wrapped(what: str, amount: float = 1.0) -> tuple[str, dict[str, Any]]:
    return "ConductWrapped", {"model": ["model", 0], "what": what, "amount": amount}


def with_wrapped(bench: Bench, what: str, amount: float = 1.0, **changes: Any) -> Tensor:
    guider = ("CFGGuider", {**GUIDED, "model": ["w", 0]})
    return made(bench, **{"guider": guider, "w": wrapped(what, amount), **changes})


def test_wrappers_around_a_sampling_and_around_its_sampler_are_called(bench: Bench, usual: Tensor) -> None:
    assert torch.equal(with_wrapped(bench, "outer"), usual)
    assert seen() == [(3, 4, 4.0, ["negative", "positive"])]
    assert near(with_wrapped(bench, "sampler"), usual)
    less = with_wrapped(bench, "outer", 0.5)
    assert near(with_wrapped(bench, "sampler", 0.5), less) and not near(less, usual)
    assert near(with_wrapped(bench, "scaled", 2.0), made(bench, guider=("CFGGuider", {**GUIDED, "cfg": 2.0})))
    chosen = ("ConductSampler", {"what": "mine"})
    assert near(with_wrapped(bench, "sampler", 0.5, sampler=chosen), less)
    theirs = ("ConductGuider", {**GUIDED, "model": ["w", 0], "what": "two"})
    assert near(with_wrapped(bench, "outer", guider=theirs), usual)
    assert seen() == [(3, 3, 4.0, ["negative", "positive"]), 3, (3, 2, 4.0, ["negative", "positive"])]


def test_a_wrapper_around_the_estimates_may_exchange_them(bench: Bench) -> None:
    round_ = {**GUIDED, "positive": ["-", 0], "negative": ["+", 0]}
    assert near(with_wrapped(bench, "swapped"), made(bench, guider=("CFGGuider", round_)))


def test_callbacks_and_injections_are_called_around_a_sampling(bench: Bench, usual: Tensor) -> None:
    assert torch.equal(with_wrapped(bench, "called"), usual)
    around = ["on_pre_run", "in", "on_inject_model", "out", "on_eject_model", "on_cleanup"]
    assert seen() == ["cloned", *around]
    with pytest.raises(NodeError, match=r"ValueError|no second step"):
        with_wrapped(bench, "called", sampler=("ConductSampler", {"what": "failing"}))
    assert seen() == around, "also where it fails; the model was at hand"
    with pytest.raises(NodeError, match=r"has no .*add_callback_with_key.*on_load_after"):
        with_wrapped(bench, "never")
