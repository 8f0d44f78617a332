"""What packs change of a MODEL, beside the same thing done in another way: by our own nodes, or by another setter."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graph.errors import NodeError
from graph.files import Folders
from models.checkpoint import read_header
from models.inpainting import Beside
from models.types import Cond, Conditioning, Control, Model
from nodes.packs.objects.values import from_pack, to_pack
from tests.nodes.pack_bench import Bench, Written, open_bench
from tests.tiny_checkpoint import tiny_unet, write_tiny_checkpoint

PATCHES = Path(__file__).parents[1] / "data" / "model_packs"
MODEL: Written = {"model": ("CheckpointLoaderSimple", {"ckpt_name": "tiny.safetensors"})}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folders = Folders.standard(tmp_path_factory.mktemp("models") / "base")
    shutil.copytree(PATCHES, folders.base / "custom_nodes", dirs_exist_ok=True)
    write_tiny_checkpoint(folders.roots("checkpoints")[0] / "tiny.safetensors")
    torch.manual_seed(0)
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    lora = {f"{layer}.lora_{end}.weight": torch.randn(shape) for end, shape in (("up", (16, 2)), ("down", (2, 16)))}
    save_file(lora, folders.roots("loras")[0] / "a.safetensors")
    with open_bench(folders) as opened:
        assert [it.problem for it in opened.packs.loaded] == [""]
        pack().SHAPES.update({name: tuple(weight.shape) for name, weight in tiny_unet().state_dict().items()})
        yield opened


def pack() -> Any:
    """The pack itself."""
    return sys.modules["custom_nodes.patches"]


def patched(*changes: tuple[str, float]) -> Written:
    """The tiny model with changes of the pack, one after the other."""
    nodes, last = dict(MODEL), "model"
    for i, (what, amount) in enumerate(changes):
        nodes[f"p{i}"] = ("PatchModel", {"model": [last, 0], "what": what, "amount": amount})
        last = f"p{i}"
    return nodes


def sampled(bench: Bench, nodes: Written, cfg: float = 4.0) -> Tensor:
    """What the last of `nodes` makes of a seed."""
    last = list(nodes)[-1]
    whole: Written = {
        **nodes,
        **{
            name: ("CLIPTextEncode", {"text": text, "clip": ["model", 1]}) for name, text in (("+", "a fox"), ("-", ""))
        },
        "e": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "k": (
            "KSampler",
            {
                "seed": 3,
                "steps": 3,
                "cfg": cfg,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "model": [last, 0],
                "positive": ["+", 0],
                "negative": ["-", 0],
                "latent_image": ["e", 0],
            },
        ),
        "s": ("SaveLatent", {"samples": ["k", 0], "filename_prefix": "it"}),
    }
    return saved_latent(bench, whole)


def near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5 * float(other.abs().max()), rtol=0)


@pytest.fixture(scope="module")
def plain(bench: Bench) -> Tensor:
    return sampled(bench, MODEL)


@pytest.mark.parametrize("changes", [[("plain_cfg", 1.0)], [("wrapper", 1.0)], [("replaced", 1.0)], [("post", 1.0)]])
def test_what_changes_nothing_changes_nothing(bench: Bench, plain: Tensor, changes: list[tuple[str, float]]) -> None:
    assert near(sampled(bench, patched(*changes)), plain)


@pytest.mark.parametrize("changes", [[("post", 0.5)], [("pre", 0.5)], [("plain_cfg", 0.5)]])
def test_functions_before_at_and_after_guidance_are_heeded(
    bench: Bench, plain: Tensor, changes: list[tuple[str, float]]
) -> None:
    made = sampled(bench, patched(*changes))
    assert not near(made, plain)
    if changes[0][0] != "plain_cfg":
        assert near(made, sampled(bench, MODEL, cfg=2.0))
        assert near(sampled(bench, patched(("pre", 0.5), ("post", 0.5)), cfg=8.0), made)


def test_at_a_scale_of_1_functions_run_too_and_may_have_both_estimates(bench: Bench) -> None:
    assert near(sampled(bench, patched(("post_always", 0.5)), cfg=1.0), sampled(bench, MODEL, cfg=0.5))
    assert near(sampled(bench, patched(("post_always", 0.5)), cfg=4.0), sampled(bench, MODEL, cfg=2.0))
    alone = sampled(bench, patched(("post", 0.5)), cfg=1.0)
    assert not near(alone, sampled(bench, MODEL, cfg=1.0)) and not near(alone, sampled(bench, MODEL, cfg=0.5))


def test_a_guidance_function_is_what_our_node_of_its_formula_is(bench: Bench, plain: Tensor) -> None:
    ours: Written = {**MODEL, "r": ("RescaleCFG", {"model": ["model", 0], "multiplier": 0.7})}
    assert near(made := sampled(bench, patched(("rescale", 0.7))), sampled(bench, ours)) and not near(made, plain)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("output1", 0.5)], [("weights", 0.5)]),
        ([("output1", 0.5)], [("direct", 0.5)]),
        ([("before1", 0.25)], [("values", 0.25)]),
        ([("blocks", 1.5)], [("first", 1.5)]),
        ([("skips", 1.5), ("up", 1.5)], [("first", 1.5)]),
    ],
)
def test_a_patch_in_the_network_is_what_changed_weights_are(
    bench: Bench, plain: Tensor, one: list[tuple[str, float]], other: list[tuple[str, float]]
) -> None:
    made = sampled(bench, patched(*one))
    assert near(made, sampled(bench, patched(*other))) and not near(made, plain)


def test_patches_are_told_where_they_are(bench: Bench, plain: Tensor) -> None:
    pack().SEEN.clear()
    assert not near(sampled(bench, patched(("output2", 0.5), ("before2", 2.0))), plain)
    where = [(("input", 1), 2), (("middle", 0), 4), (("output", 2), 2), (("output", 3), 2)]
    assert {repr(it) for it in pack().SEEN} == {repr((block, 0, 8, width, [0, 1])) for block, width in where}


def test_a_wrapper_may_change_what_the_network_says(bench: Bench, plain: Tensor) -> None:
    assert not near(sampled(bench, patched(("wrapper", 0.9))), plain)


@pytest.mark.parametrize(
    "what", ["emb", "middle", "around_model", "around_network", "around_guided", "perturbed", "mask"]
)
def test_what_is_set_changes_nothing_where_it_does_nothing_and_shows_where_it_does(
    bench: Bench, plain: Tensor, what: str
) -> None:
    nothing = 0.0 if what == "perturbed" else 1.0
    assert torch.equal(sampled(bench, patched((what, nothing))), plain)
    if what != "mask":
        assert not near(sampled(bench, patched((what, 0.5))), plain)


def test_perturbed_attention_by_a_pack_is_what_our_node_makes_of_it(bench: Bench, plain: Tensor) -> None:
    ours: Written = {**MODEL, "p": ("PerturbedAttentionGuidance", {"model": ["model", 0], "scale": 2.0})}
    assert near(made := sampled(bench, patched(("perturbed", 2.0))), sampled(bench, ours)) and not near(made, plain)
    both = sampled(bench, patched(("output1", 0.5), ("perturbed", 2.0)))
    weights: Written = {
        **patched(("weights", 0.5)),
        "p": ("PerturbedAttentionGuidance", {"model": ["p0", 0], "scale": 2.0}),
    }
    assert near(both, sampled(bench, weights)) and not near(both, made), "its own patches hold there once, too"


def test_around_a_part_that_is_not_known_is_said(bench: Bench) -> None:
    with pytest.raises(NodeError, match=r"has no .*add_wrapper_with_key.*prepare_sampling"):
        sampled(bench, patched(("around_all", 1.0)))


def parts(bench: Bench, **changes: Any) -> Tensor:
    """What sampling in parts makes of a seed; changes: other nodes for guider, noise and latent."""
    given = {"model": ["model", 0], "positive": ["+", 0], "negative": ["-", 0]}
    whole: Written = {
        **MODEL,
        **{name: ("CLIPTextEncode", {"text": text, "clip": ["model", 1]}) for name, text in (("+", "a fox"), ("-", ""), ("3", "a hare"))},
        "e": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "guider": ("CFGGuider", {**given, "cfg": 4.0}),
        "noise": ("RandomNoise", {"noise_seed": 3}),
        "latent": ("LatentMultiply", {"samples": ["e", 0], "multiplier": 1.0}),
        "sigmas": ("BasicScheduler", {"model": ["model", 0], "scheduler": "normal", "steps": 3, "denoise": 1.0}),
        "sampler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "random": ("RandomNoise", {"noise_seed": 3}),
        **changes,
        "k": ("SamplerCustomAdvanced", {**{name: [name, 0] for name in ("guider", "noise", "sampler", "sigmas")}, "latent_image": ["latent", 0]}),
        "s": ("SaveLatent", {"samples": ["k", 0], "filename_prefix": "in_parts"}),
    }  # fmt: skip
    return saved_latent(bench, whole)


def saved_latent(bench: Bench, nodes: Written) -> Tensor:
    """What `s` has written, now or in an earlier run."""
    entries: Any = bench.run(nodes)["s"].ui["latents"]
    return load_file(bench.folders.output_dir / entries[0]["filename"])["latent_tensor"]


GUIDED = {"model": ["model", 0], "positive": ["+", 0], "negative": ["-", 0], "third": ["3", 0], "cfg": 4.0}


def test_a_guider_of_a_pack_guides_by_its_own_arithmetic(bench: Bench) -> None:
    usual = parts(bench)
    assert torch.equal(parts(bench, guider=("PatchPlainGuide", {**GUIDED, "share": 0.0})), usual)
    assert near(parts(bench, guider=("PatchGuide", {**GUIDED, "share": 0.0})), usual)
    wholly = {"model": ["model", 0], "positive": ["3", 0], "negative": ["-", 0], "cfg": 4.0}
    other = parts(bench, guider=("CFGGuider", wholly))
    assert near(parts(bench, guider=("PatchGuide", {**GUIDED, "share": 1.0})), other) and not near(other, usual)


def test_noise_of_a_pack_is_what_it_draws(bench: Bench) -> None:
    usual = parts(bench)
    assert torch.equal(parts(bench, noise=("PatchNoise", {"noise": ["random", 0], "amount": 1.0})), usual)
    none = parts(bench, noise=("DisableNoise", {}))
    assert torch.equal(parts(bench, noise=("PatchNoise", {"noise": ["random", 0], "amount": 0.0})), none)
    half = parts(bench, noise=("PatchNoise", {"noise": ["random", 0], "amount": 0.5}))
    assert not near(half, usual) and not near(half, none)


def test_a_mask_counts_as_a_pack_s_function_says(bench: Bench) -> None:
    masked: Any = {"m": ("SolidMask", {"value": 1.0, "width": 64, "height": 64}),
                   "latent": ("SetLatentNoiseMask", {"samples": ["e", 0], "mask": ["m", 0]})}  # fmt: skip

    def with_mask(amount: float) -> Tensor:
        model = {"patch": ("PatchModel", {"model": ["model", 0], "what": "mask", "amount": amount})}
        return parts(
            bench,
            **masked,
            **model,
            guider=("CFGGuider", {"model": ["patch", 0], "positive": ["+", 0], "negative": ["-", 0], "cfg": 4.0}),
        )

    whole, nothing = with_mask(1.0), with_mask(0.0)
    assert torch.equal(whole, parts(bench, **masked))
    assert near(nothing, torch.zeros_like(nothing)) or float(nothing.abs().max()) < 1e-4, "nothing may change"


def test_lora_files_and_factors_are_what_our_loader_makes_of_them(bench: Bench, plain: Tensor) -> None:
    given = {"model": ["model", 0], "clip": ["model", 1]}
    ours: Written = {
        **MODEL,
        "l": ("LoraLoader", {**given, "lora_name": "a.safetensors", "strength_model": 0.5, "strength_clip": 0.25}),
    }
    expected = sampled(bench, ours)
    assert not near(expected, plain)
    assert near(sampled(bench, {**MODEL, "l": ("PatchLora", {**given, "name": "a.safetensors"})}), expected)
    assert near(sampled(bench, patched(("factors", 0.5))), expected)


def test_a_model_sampling_of_a_pack_is_what_our_node_makes_of_it(bench: Bench, plain: Tensor) -> None:
    ours: Written = {
        **MODEL,
        "v": ("ModelSamplingDiscrete", {"model": ["model", 0], "sampling": "v_prediction", "zsnr": False}),
    }
    assert near(made := sampled(bench, patched(("velocity", 1.0))), sampled(bench, ours)) and not near(made, plain)


def test_what_a_pack_sets_goes_through_our_nodes_and_other_packs(bench: Bench) -> None:
    nodes = patched(("post", 0.5))
    nodes["r"] = ("RescaleCFG", {"model": ["p0", 0], "multiplier": 0.0})
    assert near(sampled(bench, nodes), sampled(bench, MODEL, cfg=2.0))
    model = Model(read_header(bench.folders.resolve("checkpoints", "tiny.safetensors")), "x")
    held: Any = to_pack(model, bench.packs.host)
    held.set_model_sampler_post_cfg_function(lambda args: args["denoised"])
    held.set_model_attn1_output_patch(lambda out, extra: out)
    first = from_pack(held, "MODEL", bench.packs.host)
    assert isinstance(first, Model) and len(first.steering) == len(first.guiding.after) == 1
    again: Any = to_pack(first, bench.packs.host)
    other = again.clone()
    other.set_model_attn1_output_patch(lambda out, extra: out)
    second = from_pack(other, "MODEL", bench.packs.host)
    assert isinstance(second, Model) and len(second.steering) == len(second.guiding.after) == 1
    options: list[Any] = [made.extra["model_options"] for made in (first, second)]
    assert [len(it["transformer_options"]["patches"]["attn1_output_patch"]) for it in options] == [1, 2]
    assert from_pack(to_pack(model, bench.packs.host), "MODEL", bench.packs.host) == model


def test_pictures_that_steer_go_through_a_pack_s_nodes_with_the_prompt(bench: Bench) -> None:
    handle: Any = None
    control, latent = Control(handle, torch.zeros(1, 8, 8, 3)), torch.zeros(1, 4, 1, 1)
    beside = Beside(latent)
    cond = Cond(torch.zeros(1, 77, 8), torch.zeros(1, 8), controls=(control,), beside=beside)
    theirs: Any = to_pack(Conditioning((cond,)), bench.packs.host)
    copied = [[tokens, {**options, "mine": 1}] for tokens, options in theirs]
    made = from_pack(copied, "CONDITIONING", bench.packs.host)
    assert isinstance(made, Conditioning)
    assert made.conds[0].controls == (control,) and made.conds[0].beside is not None
    shown = made.conds[0].beside
    assert shown.latent is not None and torch.equal(shown.latent, latent) and shown.mask is None
    assert made.conds[0].extra == {"mine": 1}
    depth = torch.rand(1, 1, 8, 8)
    deep = Beside(depth=depth)
    told: Any = to_pack(Conditioning((Cond(cond.tokens, cond.pooled, beside=deep),)), bench.packs.host)
    back = from_pack([[tokens, dict(options)] for tokens, options in told], "CONDITIONING", bench.packs.host)
    assert isinstance(back, Conditioning) and (kept := back.conds[0].beside) is not None
    assert kept.latent is None and kept.depth is not None and torch.equal(kept.depth, depth)
    copied[0][1]["control"] = "its own"
    other = from_pack(copied, "CONDITIONING", bench.packs.host)
    assert isinstance(other, Conditioning) and other.conds[0].extra == {"mine": 1, "control": "its own"}


def test_what_is_not_known_is_said_and_counted(bench: Bench) -> None:
    with pytest.raises(
        NodeError, match=r"a MODEL of Darkroom has no \"set_model_patch\('a_patch_of_tomorrow'\)\" for packs"
    ):
        sampled(bench, patched(("unknown", 1.0)))
    assert "MODEL.set_model_patch('a_patch_of_tomorrow')" in bench.packs.host.missed


def test_packs_may_look_at_a_model(bench: Bench) -> None:
    facts = bench.run({**MODEL, "f": ("PatchFacts", {"model": ["model", 0]})})["f"].ui["facts"]
    assert facts[:2] == pytest.approx([0.0292, 14.6146], abs=1e-4)
    assert list(facts[2:]) == [999.0, 0.18215, 1.0, 4, "cpu", "torch.float32"]
