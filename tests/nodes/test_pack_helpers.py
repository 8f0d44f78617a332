"""What packs do by ComfyUI's own modules, beside the same thing done by our nodes: core nodes as helpers, files, networks."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from graph.errors import NodeError
from graph.events import NodeWarned
from graph.files import Folders
from models.config import VisionConfig
from models.upscaler import CompactNet, UpscalerConfig
from models.vision import VisionModel
from nodes.packs.found import find_packs
from tests.models.oracles import randomized
from tests.models.steering_peers import narrow_controlnet
from tests.nodes.pack_bench import Bench, Written, open_bench
from tests.tiny_checkpoint import UNET, tiny_unet, write_tiny_checkpoint
from tests.tiny_families import Kind, write_family

DATA = Path(__file__).parents[1] / "data"
TOWER = VisionConfig(width=64, layers=3, intermediate=96, patch=8, grid=4, projection=32)
LOADED: Written = {
    "model": ("CheckpointLoaderSimple", {"ckpt_name": "tiny.safetensors"}),
    "+": ("CLIPTextEncode", {"text": "a (red:1.3) fox", "clip": ["model", 1]}),
    "-": ("CLIPTextEncode", {"text": "", "clip": ["model", 1]}),
    "e": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
    "image": ("LoadImage", {"image": "it.png"}),
    "mask": ("SolidMask", {"value": 1.0, "width": 64, "height": 32}),
}
SAMPLED = {"seed": 3, "steps": 3, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
TEXTS = {"positive": ["+", 0], "negative": ["-", 0]}


def stored(folders: Folders, folder: str, name: str, network: nn.Module) -> None:
    path = folders.roots(folder)[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: tensor.clone() for key, tensor in network.state_dict().items()}, path)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    from PIL import Image

    folders = Folders.standard(tmp_path_factory.mktemp("helpers") / "base")
    for packs in ("helper_packs", "packs"):
        shutil.copytree(DATA / packs, folders.base / "custom_nodes", dirs_exist_ok=True)
    write_tiny_checkpoint(folders.roots("checkpoints")[0] / "tiny.safetensors")
    write_tiny_checkpoint(folders.roots("checkpoints")[0] / "other.safetensors", seed=1)
    torch.manual_seed(0)
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    lora = {f"{layer}.lora_{end}.weight": torch.randn(shape) for end, shape in (("up", (16, 2)), ("down", (2, 16)))}
    folders.roots("loras")[0].mkdir(parents=True, exist_ok=True)
    save_file(lora, folders.roots("loras")[0] / "a.safetensors")
    stored(folders, "controlnet", "control.safetensors", narrow_controlnet(UNET))
    with torch.device("meta"):
        tower = VisionModel(TOWER)
    stored(folders, "clip_vision", "tower.safetensors", randomized(tower))
    stored(
        folders, "upscale_models", "x3.safetensors", CompactNet(UpscalerConfig(scale=3, width=4, blocks=1, growth=0))
    )
    folders.input_dir.mkdir(parents=True, exist_ok=True)
    noise = (torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2)) * 255).byte().numpy()
    Image.fromarray(noise).save(folders.input_dir / "it.png")
    with open_bench(folders) as opened:
        assert [it.problem for it in opened.packs.loaded] == [""] * len(
            list(find_packs([folders.base / "custom_nodes"]))
        )
        yield opened


def pack() -> Any:
    """The pack itself."""
    return sys.modules["custom_nodes.helpers_pack"]


def helped(what: str, **given: Any) -> tuple[str, dict[str, Any]]:
    """A node of the pack."""
    return "HelpOne", {"what": what, **given}


def kept(bench: Bench, value: tuple[str, int], **nodes: Any) -> Any:
    """What an output comes to, as packs know it."""
    pack().KEPT.clear()
    bench.run({**LOADED, **nodes, "keep": ("HelpKeep", {"name": "it", "value": list(value)})})
    return pack().KEPT["it"]


def picture(bench: Bench, model: tuple[str, int] = ("model", 0), **nodes: Any) -> Tensor:
    """What KSampler makes of a seed. nodes: others, of which `+` and `-` may be the texts."""
    k = {**SAMPLED, **TEXTS, "model": list(model), "latent_image": ["e", 0]}
    made: Tensor = kept(bench, ("k", 0), **{**nodes, "k": ("KSampler", {**k, **nodes.get("k", {})})})["samples"]
    return made


def near(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-5 * float(other.abs().max()), rtol=0)


@pytest.fixture(scope="module")
def usual(bench: Bench) -> Tensor:
    return picture(bench)


def test_core_nodes_take_arguments_in_the_order_of_their_methods(bench: Bench) -> None:
    image, vae = {"image": ["image", 0]}, {"vae": ["model", 2]}
    there: Written = {
        "l": ("VAEEncode", {"pixels": ["image", 0], **vae}),
        "d": ("VAEDecode", {"samples": ["l", 0], **vae}),
    }
    assert torch.equal(
        kept(bench, ("x", 0), x=helped("there_and_back", **image, **vae)), kept(bench, ("d", 0), **there)
    )
    tiles: dict[str, Any] = {"tile_size": 64, "overlap": 16, "temporal_size": 64, "temporal_overlap": 8}
    there = {
        "l": ("VAEEncodeTiled", {"pixels": ["image", 0], **vae, **tiles}),
        "d": ("VAEDecodeTiled", {"samples": ["l", 0], **vae, **tiles}),
    }
    assert torch.equal(kept(bench, ("x", 0), x=helped("in_tiles", **image, **vae)), kept(bench, ("d", 0), **there))
    text = helped("text", clip=["model", 1], name="a (red:1.3) fox")
    assert torch.equal(kept(bench, ("x", 1), x=text)[0][0], kept(bench, ("+", 0))[0][0])
    sample = helped("sample", model=["model", 0], **TEXTS, latent=["e", 0])
    two = picture(bench, k={"steps": 2})
    assert torch.equal(kept(bench, ("x", 0), x=sample)["samples"], two)
    [[_, options]] = kept(bench, ("x", 1), x=helped("masked", positive=["+", 0], mask=["mask", 0]))
    ours = (
        "ConditioningSetMask",
        {"conditioning": ["+", 0], "mask": ["mask", 0], "strength": 0.5, "set_cond_area": "default"},
    )
    [[_, expected]] = kept(bench, ("o", 0), o=ours)
    assert torch.equal(options["mask"], expected["mask"]) and not options["set_area_to_bounds"]
    ours = ("VAEEncodeForInpaint", {"pixels": ["image", 0], **vae, "mask": ["mask", 0], "grow_mask_by": 2})
    theirs = kept(bench, ("x", 0), x=helped("inpaint", **image, **vae, mask=["mask", 0]))
    assert torch.equal(theirs["samples"], kept(bench, ("o", 0), o=ours)["samples"]) and "noise_mask" in theirs


def test_a_text_in_tokens_is_what_our_node_makes_of_it(bench: Bench) -> None:
    def encoded(what: str, text: str, **given: Any) -> Any:
        return kept(bench, ("x", 1), x=helped(what, clip=["model", 1], name=text, **given))[0]

    def ours(text: str, **nodes: Any) -> Any:
        clip = ["c", 0] if nodes else ["model", 1]
        return kept(bench, ("t", 0), **nodes, t=("CLIPTextEncode", {"text": text, "clip": clip}))[0]

    words = " ".join(["a (red:1.3) fox"] * 30)  # more than one chunk
    for text in ("", "a (red:1.3) fox", words):
        (tokens, options), (expected, theirs) = encoded("tokens", text), ours(text)
        assert torch.equal(tokens, expected) and torch.equal(options["pooled_output"], theirs["pooled_output"])
    assert near(encoded("heavier", "a red fox", amount=1.3)[0], ours("(a red fox:1.3)")[0])
    layer = ("CLIPSetLastLayer", {"clip": ["model", 1], "stop_at_clip_layer": -2})
    assert torch.equal(encoded("layer", "a fox")[0], ours("a fox", c=layer)[0])


@pytest.mark.parametrize(("kind", "towers"), [("xl", ["g", "l"]), ("sd2", ["h"])])
def test_texts_of_other_towers_are_tokens_too(bench: Bench, kind: Kind, towers: list[str]) -> None:
    write_family(bench.folders.roots("checkpoints")[0] / f"{kind}.safetensors", kind)
    save_file({"emb_params": torch.ones(2, 16)}, bench.folders.roots("embeddings")[0] / "mine.safetensors")
    text = "embedding:mine a (red:1.3) fox" if kind == "sd2" else "a (red:1.3) fox"
    other: Written = {"m": ("CheckpointLoaderSimple", {"ckpt_name": f"{kind}.safetensors"})}
    ours = kept(bench, ("t", 0), **other, t=("CLIPTextEncode", {"text": text, "clip": ["m", 1]}))[0]
    theirs = kept(bench, ("x", 1), **other, x=helped("tokens", clip=["m", 1], name=text))[0]
    assert torch.equal(theirs[0], ours[0]) and torch.equal(theirs[1]["pooled_output"], ours[1]["pooled_output"])
    assert pack().SEEN[-1] == towers


def test_files_are_opened_as_our_nodes_open_them(bench: Bench, usual: Tensor) -> None:
    assert torch.equal(picture(bench, ("x", 0), x=helped("from_file", name="tiny.safetensors")), usual)
    tiles = {"tile_size": 64, "overlap": 16, "temporal_size": 64, "temporal_overlap": 8}
    there = {
        "l": ("VAEEncodeTiled", {"pixels": ["image", 0], "vae": ["model", 2], **tiles}),
        "d": ("VAEDecodeTiled", {"samples": ["l", 0], "vae": ["model", 2], **tiles}),
    }
    theirs = kept(bench, ("x", 0), x=helped("vae_of", image=["image", 0], name="tiny.safetensors"))
    assert torch.equal(theirs, kept(bench, ("d", 0), **there))
    steps = helped("lora_in_steps", model=["model", 0], clip=["model", 1], name="a.safetensors")
    whole = ("LoraLoaderModelOnly", {"model": ["model", 0], "lora_name": "a.safetensors", "strength_model": 0.5})
    changed = picture(bench, ("x", 0), x=whole)
    assert torch.equal(picture(bench, ("x", 0), x=steps), changed) and not near(changed, usual)


def test_a_control_that_a_pack_applies_steers_as_our_node_has_it(bench: Bench, usual: Tensor) -> None:
    net = ("ControlNetLoader", {"control_net_name": "control.safetensors"})
    given = {**TEXTS, "control_net": ["net", 0], "image": ["image", 0]}

    def applied(strength: float, texts: Any) -> tuple[str, dict[str, Any]]:
        half = {"strength": strength, "start_percent": 0.0, "end_percent": 0.5}
        return "ControlNetApplyAdvanced", {**given, **half, **texts}

    def steered(**nodes: Any) -> Tensor:
        last = list(nodes)[-1]
        both = {"positive": [last, nodes[last][0] == "HelpOne"], "negative": [last, 1 + (nodes[last][0] == "HelpOne")]}
        both = {key: [node, int(slot)] for key, (node, slot) in both.items()}
        return picture(bench, net=net, **nodes, k=both)

    ours = steered(a=applied(0.75, {}))
    assert not near(ours, usual)
    pack().SEEN.clear()
    assert torch.equal(steered(x=helped("control", **given, amount=0.75)), ours) and pack().SEEN == [1]
    assert torch.equal(steered(x=helped("keyed", **given)), ours)
    behind = {**given, "positive": ["a", 0], "negative": ["a", 1]}
    twice = steered(a=applied(0.75, {}), b=applied(0.5, {"positive": ["a", 0], "negative": ["a", 1]}))
    assert torch.equal(steered(a=applied(0.75, {}), x=helped("control", **behind, amount=0.5)), twice)
    assert pack().SEEN == [1, 1], "both texts hold the same one, which is met again"


def test_a_vision_tower_says_to_packs_what_it_says_to_us(bench: Bench) -> None:
    tower = ("CLIPVisionLoader", {"clip_name": "tower.safetensors"})
    ours = ("CLIPVisionEncode", {"clip_vision": ["t", 0], "image": ["image", 0], "crop": "center"})
    seen = kept(bench, ("o", 0), t=tower, o=ours)
    look = helped("look", clip_vision=["t", 0], image=["image", 0])
    theirs = kept(bench, ("x", 0), t=tower, x=look)
    assert torch.equal(theirs.image_embeds, seen.image_embeds) and theirs.last_hidden_state.shape == (1, 17, 64)
    doubled = helped("looked", clip_vision_output=["x", 0])
    twice = kept(bench, ("y", 0), t=tower, x=look, y=doubled)
    assert torch.equal(twice.image_embeds, 2 * seen.image_embeds)
    prompt = {
        "conditioning": ["+", 0],
        "clip_vision_output": ["y", 0],
        "strength": 0.5,
        "noise_augmentation": 0.1,
    }
    [[_, options]] = kept(bench, ("u", 0), t=tower, x=look, y=doubled, u=("unCLIPConditioning", prompt))
    [shown] = options["unclip_conditioning"]
    assert torch.equal(shown["clip_vision_output"].image_embeds, twice.image_embeds) and shown["strength"] == 0.5


def test_pictures_are_enlarged_by_packs_as_by_our_node(bench: Bench) -> None:
    loader = ("UpscaleModelLoader", {"model_name": "x3.safetensors"})
    ours = kept(
        bench, ("o", 0), m=loader, o=("ImageUpscaleWithModel", {"upscale_model": ["m", 0], "image": ["image", 0]})
    )
    assert ours.shape == (1, 192, 192, 3)
    theirs = kept(bench, ("x", 0), m=loader, x=helped("enlarge", upscale_model=["m", 0], image=["image", 0]))
    assert near(theirs, ours)
    by_node = kept(bench, ("x", 0), x=helped("enlarge_by_node", name="x3.safetensors", image=["image", 0]))
    assert torch.equal(by_node, ours)


def test_what_is_done_to_latents_is_a_function_to_packs(bench: Bench) -> None:
    sharpen = {"sharpen_radius": 1, "sigma": 1.0, "alpha": 0.5}
    operation = ("LatentOperationSharpen", sharpen)
    latent = {"l": ("VAEEncode", {"pixels": ["image", 0], "vae": ["model", 2]})}
    ours = ("LatentApplyOperation", {"samples": ["l", 0], "operation": ["op", 0]})
    theirs = helped("operate", latent_operation=["op", 0], latent=["l", 0])
    expected = kept(bench, ("o", 0), **latent, op=operation, o=ours)["samples"]
    assert torch.equal(kept(bench, ("x", 0), **latent, op=operation, x=theirs)["samples"], expected)


def test_what_networks_see_beside_latents_is_two_keys_of_a_prompt(bench: Bench) -> None:
    latent = {"l": ("VAEEncode", {"pixels": ["image", 0], "vae": ["model", 2]})}
    given = helped("beside", positive=["+", 0], latent=["l", 0], mask=["mask", 0])
    [[_, options]] = kept(bench, ("x", 1), **latent, x=given)
    assert torch.equal(options["concat_latent_image"], kept(bench, ("l", 0), **latent)["samples"])
    assert options["concat_mask"].shape == (1, 1, 32, 64)


def test_what_a_pack_sets_of_a_prompt_in_vain_is_told(bench: Bench) -> None:
    kept(bench, ("x", 1), x=helped("hooked", positive=["+", 0]))
    told = [event.warning.message for event in bench.events if isinstance(event, NodeWarned)]
    assert told == ["what a pack has set of a prompt counts for nothing here: hooks"]


def test_packs_see_what_a_model_is(bench: Bench) -> None:
    pack().SEEN.clear()
    kept(bench, ("x", 0), x=helped("facts", model=["model", 0]))
    assert pack().SEEN == [("EPS", [True, False], False, 1000, 1000)]


def test_weights_of_another_model_are_merged_as_our_node_merges_them(bench: Bench, usual: Tensor) -> None:
    other: Written = {"b": ("CheckpointLoaderSimple", {"ckpt_name": "other.safetensors"})}
    ours = ("ModelMergeSimple", {"model1": ["model", 0], "model2": ["b", 0], "ratio": 0.25})
    expected = picture(bench, ("m", 0), **other, m=ours)
    theirs = helped("merged", model=["model", 0], name="other.safetensors", amount=0.25)
    assert near(picture(bench, ("x", 0), x=theirs), expected) and not near(expected, usual)


def test_packs_read_weights_and_are_told_what_they_cannot_reach(bench: Bench) -> None:
    pack().SEEN.clear()
    kept(bench, ("x", 0), x=helped("read", model=["model", 0]))
    assert near(pack().SEEN[0], tiny_unet().state_dict()["input_blocks.0.0.weight"].half().float())
    with pytest.raises(NodeError, match=r"has no 'model\.diffusion_model\.input_blocks'"):
        kept(bench, ("x", 0), x=helped("network", model=["model", 0]))
    assert pack().SEEN[1] == (torch.float32, 4, UNET.num_res_blocks)


def test_levels_between_any_two_are_what_our_node_makes_of_them(bench: Bench, usual: Tensor) -> None:
    settings = {"sampling": "v_prediction", "sigma_max": 120.0, "sigma_min": 0.002}
    ours = picture(bench, ("m", 0), m=("ModelSamplingContinuousEDM", {"model": ["model", 0], **settings}))
    theirs = picture(bench, ("x", 0), x=helped("continuous", model=["model", 0]))
    assert near(theirs, ours) and not near(ours, usual)
    with pytest.raises(NodeError, match=r"lays noise upon latents otherwise than x \+ sigma \* noise"):
        picture(bench, ("x", 0), x=helped("flow", model=["model", 0]))


def test_ksampler_as_an_object_and_what_packs_add_to_its_choices(bench: Bench, usual: Tensor) -> None:
    given = {"model": ["model", 0], **TEXTS, "latent": ["e", 0]}
    assert near(kept(bench, ("x", 0), x=helped("ksampler", **given))["samples"], usual)
    karras = picture(bench, k={"scheduler": "karras"})
    assert near(kept(bench, ("x", 0), x=helped("added", **given))["samples"], karras)


def test_small_helpers_compute_what_they_say(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    kept(bench, ("x", 0), x=helped("small", image=["image", 0], mask=["mask", 0]))
    assert bench.packs.host.missed["comfy.cli_args.args.flag_of_tomorrow"] == 1
    assert bench.packs.web["helpers-elsewhere"].name == "scripts"
    assert [it.message.partition(":")[0] for it in caplog.records] == [
        "a pack adds /another/folder to the folders of loras"
    ], "nothing is said of a folder of the pack's own"


def test_packs_have_a_loop_for_what_they_do_beside_nodes(bench: Bench) -> None:
    bench.sent.clear()
    kept(bench, ("x", 0), x=helped("beside_nodes"))
    assert bench.sent == [("help.later", {"n": 1}), ("help.later", {"n": 2})]
    assert kept(bench, ("x", 0), x=helped("of_another", name="PlainShout")) == "HO!"


def test_packs_find_each_other_s_nodes_and_may_put_some_there(bench: Bench) -> None:
    assert kept(bench, ("x", 0), x=("HelpPutThere", {})) == "there"
    classes = bench.packs.host.classes
    assert {"HelpOne", "HelpPutThere", "PlainShout", "KSampler"} <= classes.keys()
    assert classes["PlainShout"] is sys.modules["custom_nodes.plain"].NODE_CLASS_MAPPINGS["PlainShout"]


def test_choices_stay_the_numbers_and_truths_that_they_are(bench: Bench) -> None:
    def chosen(**given: Any) -> Any:
        whole = {"scale": 2, "rate": 0.5, "on": False, "name": "a", **given}
        return kept(bench, ("x", 0), x=("HelpChoose", whole))

    assert chosen() == "(2, 0.5, False, 'a')"
    assert chosen(scale="4", rate="1.5", on="True") == "(4, 1.5, True, 'a')", "as other programs have saved it"
    assert chosen(name="later") == "(2, 0.5, False, 'later')"
    assert bench.build({"x": ("HelpChoose", {"scale": 3, "rate": 0.5, "on": True, "name": "c"})}).errors[0].code == (
        "value_not_in_list"
    )


def test_choices_are_offered_also_where_the_class_checks_them(bench: Bench) -> None:
    from graph.object_info import describe

    inputs: Any = describe(bench.registry["HelpChoose"], bench.folders)["input"]
    offered = {name: entry[0] for name, entry in inputs["required"].items()}
    assert offered == {"scale": [1, 2, 4], "rate": [0.5, 1.5], "on": [True, False], "name": ["a", "b"]}
