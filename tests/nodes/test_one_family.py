"""Files of different families in one graph are an error before anything runs, and the error names both."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from graph.build import build
from graph.cache import Cache
from graph.context import Run
from graph.document import parse
from graph.errors import GraphError, GraphErrors
from graph.execute import Executor
from graph.files import Folders
from main import open_engine
from models.checkpoint import Weights, read_header
from models.ip_adapter import IPAdapter, IPAdapterConfig
from models.precision import Precision
from models.residency import Residency
from models.types import nbytes
from nodes.one_family import OneFamily
from nodes.origins import Origins
from nodes.registry import builtin
from nodes.services import Services
from server.options import understand
from tests.models.oracles import randomized
from tests.models.steering_peers import narrow_controlnet
from tests.tiny_checkpoint import UNET, write_tiny_checkpoint
from tests.tiny_families import SD2_UNET, XL_UNET, write_family

SD1, XL, SD2, REFINER = "old.safetensors", "xl.safetensors", "two.safetensors", "refiner.safetensors"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    folders = Folders.standard(tmp_path_factory.mktemp("base"))
    root = folders.roots("checkpoints")[0]
    write_tiny_checkpoint(root / SD1)
    write_family(root / XL, "xl")
    write_family(root / SD2, "sd2")
    write_family(root / REFINER, "refiner")
    for folder, part, name in (("vae", "first_stage_model.", "vae"), ("text_encoders", "cond_stage_model.", "text")):
        state = {key.removeprefix(part): x for key, x in load_file(root / SD1).items() if key.startswith(part)}
        target = folders.roots(folder)[0]
        target.mkdir(parents=True, exist_ok=True)
        save_file({key.removeprefix("transformer."): x for key, x in state.items()}, target / f"{name}.safetensors")
    return folders


def graph(model: str, text: str, vae: str, **changes: Any) -> str:
    """Text to image, with parts from three checkpoints."""
    sampling = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0}
    wires = {"model": ["1", 0], "positive": ["5", 0], "negative": ["5", 0], "latent_image": ["4", 0]}
    nodes: dict[str, Any] = {
        node: {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}
        for node, name in (("1", model), ("2", text), ("3", vae))
    }
    nodes |= {
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}},
        "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["2", 1]}},
        "6": {"class_type": "KSampler", "inputs": wires | sampling},
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["3", 2]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "x"}},
    }
    for node, change in changes.items():
        nodes[node.removeprefix("n")] = change
    return json.dumps(nodes)


def problems(folders: Folders, text: str) -> list[GraphError]:
    bound = build(parse(text), builtin(), folders, rules=(OneFamily(Origins()),))
    return [problem for problem in bound.problems if problem.code == "families_differ"]


@pytest.mark.parametrize("name", [SD1, XL, SD2, REFINER])
def test_one_file_fits_itself(folders: Folders, name: str) -> None:
    assert build(parse(graph(name, name, name)), builtin(), folders, rules=(OneFamily(Origins()),)).problems == ()


def test_a_text_encoder_of_another_family(folders: Folders) -> None:
    found = problems(folders, graph(XL, SD1, XL))
    assert {(problem.node_id, problem.input_name) for problem in found} == {("6", "positive"), ("6", "negative")}
    assert all(f"{SD1} (Stable Diffusion 1)" in p.message and f"{XL} (SDXL)" in p.message for p in found)


@pytest.mark.parametrize(("model", "text"), [(XL, REFINER), (REFINER, XL), (XL, SD2), (SD2, XL), (SD1, XL), (SD2, SD1)])
def test_a_text_of_any_other_family(folders: Folders, model: str, text: str) -> None:
    found = problems(folders, graph(model, text, model))
    assert {(problem.node_id, problem.input_name) for problem in found} == {("6", "positive"), ("6", "negative")}
    assert all(text in problem.message and model in problem.message for problem in found)


def test_a_unet_and_a_text_encoder_by_themselves(folders: Folders) -> None:
    for name, whole in (("xl_unet", XL), ("old_unet", SD1)):
        state = load_file(folders.roots("checkpoints")[0] / whole)
        start = "model.diffusion_model."
        unet = {key.removeprefix(start): x for key, x in state.items() if key.startswith(start)}
        put(folders, "diffusion_models", f"{name}.safetensors", unet)

    def found(name: str) -> list[GraphError]:
        sampler = json.loads(graph(XL, XL, XL))["6"]
        sampler["inputs"]["model"] = ["9", 0]
        inputs = {"unet_name": f"{name}.safetensors", "weight_dtype": "default"}
        encoder = {"clip_name": "text.safetensors", "type": "stable_diffusion"}
        return problems(
            folders,
            graph(
                SD1, SD1, SD1, n6=sampler, n9={"class_type": "UNETLoader", "inputs": inputs},
                n10={"class_type": "CLIPLoader", "inputs": encoder},
                n5={"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["10", 0]}},
            ),
        )  # fmt: skip

    assert found("old_unet") == []
    told = {(problem.node_id, problem.input_name): problem.message for problem in found("xl_unet")}
    assert told.keys() == {("6", "positive"), ("6", "negative"), ("7", "vae")}
    assert all("text.safetensors" in told["6", side] for side in ("positive", "negative"))
    assert all("xl_unet.safetensors (SDXL)" in message for message in told.values()) and SD1 in told["7", "vae"]


def test_an_autoencoder_of_another_family(folders: Folders) -> None:
    [problem] = problems(folders, graph(XL, XL, SD1))
    assert (problem.node_id, problem.input_name) == ("7", "vae")
    assert SD1 in problem.message and XL in problem.message
    assert problems(folders, graph(SD2, SD2, SD1)) == [], "both have the same latents"
    for model, vae in ((SD1, XL), (SD2, XL), (REFINER, SD2)):
        [problem] = problems(folders, graph(model, model, vae))
        assert (problem.node_id, problem.input_name) == ("7", "vae")
        assert vae in problem.message and model in problem.message
    assert problems(folders, graph(REFINER, REFINER, XL)) == []


def test_a_picture_that_another_family_encoded(folders: Folders) -> None:
    image = {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 1, "color": 0}}
    encode = {"class_type": "VAEEncode", "inputs": {"pixels": ["9", 0], "vae": ["3", 2]}}
    if "EmptyImage" not in builtin():
        pytest.skip("no node makes a picture of nothing")
    found = problems(folders, graph(XL, XL, SD1, n9=image, n4=encode))
    assert ("6", "latent_image") in {(problem.node_id, problem.input_name) for problem in found}


def test_it_is_followed_through_nodes_between(folders: Folders) -> None:
    skip = {"class_type": "CLIPSetLastLayer", "inputs": {"clip": ["2", 1], "stop_at_clip_layer": -2}}
    encode = {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["10", 0]}}
    zero = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["11", 0]}}
    found = problems(folders, graph(XL, SD1, XL, n10=skip, n11=encode, n5=zero))
    assert {problem.input_name for problem in found} == {"positive", "negative"}


@pytest.mark.parametrize(
    ("type_name", "inputs"),
    [("VAELoader", {"vae_name": "vae.safetensors"})],
)
def test_an_autoencoder_alone_does_not_tell_its_family(
    folders: Folders, type_name: str, inputs: Mapping[str, str]
) -> None:
    decode = {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["10", 0]}}
    loader = {"class_type": type_name, "inputs": dict(inputs)}
    assert problems(folders, graph(XL, XL, XL, n10=loader, n7=decode)) == []


def test_a_text_encoder_alone_does(folders: Folders) -> None:
    loader = {"class_type": "CLIPLoader", "inputs": {"clip_name": "text.safetensors", "type": "stable_diffusion"}}
    encode = {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["10", 0]}}
    assert problems(folders, graph(SD1, SD1, SD1, n10=loader, n5=encode)) == []
    [problem, _] = problems(folders, graph(XL, XL, XL, n10=loader, n5=encode))
    assert "text.safetensors (Stable Diffusion 1)" in problem.message


def test_nothing_runs_and_nothing_is_loaded(folders: Folders) -> None:
    services = Services(Residency(torch.device("cpu"), Precision(), budget=2**30), folders)
    executor = Executor(services, builtin(), folders, Cache(2**28, nbytes), checks=(OneFamily(Origins()),))
    events: list[object] = []
    with pytest.raises(GraphErrors, match=r"old\.safetensors .*xl\.safetensors"):
        executor.execute(Run("run", parse(graph(XL, SD1, XL)), events.append))
    assert events == [] and services.residency.resident_bytes == 0
    executor.close()


def test_a_file_is_read_once_until_it_changes(folders: Folders) -> None:
    read: list[Path] = []

    def header(path: Path) -> Weights:
        read.append(path)
        return read_header(path)

    origins, bound = Origins(header), build(parse(graph(XL, XL, XL)), builtin(), folders)
    for _ in range(3):
        assert origins(bound)
    assert len(read) == 1
    path = folders.roots("checkpoints")[0] / XL
    os.utime(path, ns=(1, 1))
    assert origins(bound) and len(read) == 2
    assert not [*OneFamily(Origins(header))(bound)] and len(read) == 2  # one file alone is at odds with nothing


def put(folders: Folders, folder: str, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
    path = folders.roots(folder)[0] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), path)


def lora(layer: str, reads: int) -> dict[str, torch.Tensor]:
    return {f"{layer}.lora_up.weight": torch.zeros(8, 2), f"{layer}.lora_down.weight": torch.zeros(2, reads)}


@pytest.mark.parametrize(
    "layer",
    [
        "lora_unet_middle_block_1_transformer_blocks_0_attn2_to_k",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k",
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
    ],
)
def test_a_lora_of_another_family(folders: Folders, layer: str) -> None:
    for name, reads in (("for_old", 8), ("for_two", SD2_UNET.context_dim), ("for_xl", XL_UNET.context_dim)):
        put(folders, "loras", f"{name}.safetensors", lora(layer, reads))

    def found(model: str, name: str) -> list[GraphError]:
        inputs = {"model": ["1", 0], "lora_name": f"{name}.safetensors", "strength_model": 1.0}
        sampler = json.loads(graph(model, model, model))["6"]
        sampler["inputs"]["model"] = ["9", 0]
        return problems(
            folders,
            graph(model, model, model, n9={"class_type": "LoraLoaderModelOnly", "inputs": inputs}, n6=sampler),
        )

    assert found(XL, "for_xl") == [] and found(SD1, "for_old") == []
    [problem] = found(XL, "for_old")
    assert (problem.node_id, problem.input_name) == ("9", "lora_name")
    assert problem.message.startswith(f"for_old.safetensors was made for texts of width 8, but goes with {XL} (SDXL)")
    [problem] = found(SD1, "for_xl")
    assert "width 32" in problem.message and SD1 in problem.message
    for model, name in ((XL, "for_two"), (SD2, "for_xl"), (REFINER, "for_xl")):
        [problem] = found(model, name)
        assert f"{name}.safetensors" in problem.message and model in problem.message


def test_a_controlnet_and_an_ip_adapter_of_another_family(folders: Folders) -> None:
    net = narrow_controlnet(UNET)
    put(folders, "controlnet", "control_v11p_sd15_canny.safetensors", net.state_dict())
    put(folders, "ipadapter", "ip-adapter_sd15.safetensors", adapter_for(UNET.context_dim))
    wires = {"positive": ["5", 0], "negative": ["5", 0], "control_net": ["9", 0], "image": ["11", 0]}
    ranges = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}

    def found(model: str) -> set[tuple[str, str]]:
        sampler = json.loads(graph(model, model, model))["6"]
        sampler["inputs"] |= {"model": ["12", 0], "positive": ["10", 0], "negative": ["10", 1]}
        adapted = {
            "model": ["1", 0], "ipadapter": ["13", 0], "image": ["11", 0], "weight": 1.0, "weight_type": "linear",
            "combine_embeds": "concat", "start_at": 0.0, "end_at": 1.0, "embeds_scaling": "V only",
        }  # fmt: skip
        text = graph(
            model, model, model, n6=sampler,
            n9={
                "class_type": "ControlNetLoader",
                "inputs": {"control_net_name": "control_v11p_sd15_canny.safetensors"},
            },
            n10={"class_type": "ControlNetApplyAdvanced", "inputs": wires | ranges},
            n11={"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
            n12={"class_type": "IPAdapterAdvanced", "inputs": adapted},
            n13={"class_type": "IPAdapterModelLoader", "inputs": {"ipadapter_file": "ip-adapter_sd15.safetensors"}},
        )  # fmt: skip
        told = problems(folders, text)
        assert all("sd15" in problem.message and model in problem.message for problem in told)
        return {(problem.node_id, problem.input_name) for problem in told}

    assert found(SD1) == set()
    assert found(XL) == {("6", "positive"), ("6", "negative"), ("12", "ipadapter")}


def test_a_controlnet_of_sdxl(folders: Folders) -> None:
    put(folders, "controlnet", "lines_xl.safetensors", narrow_controlnet(XL_UNET).state_dict())

    def found(model: str) -> list[GraphError]:
        sampler = json.loads(graph(model, model, model))["6"]
        sampler["inputs"] |= {"positive": ["10", 0], "negative": ["10", 1]}
        wires = {"positive": ["5", 0], "negative": ["5", 0], "control_net": ["9", 0], "image": ["11", 0]}
        ranges = {"strength": 1.0, "start_percent": 0.0, "end_percent": 1.0}
        text = graph(
            model, model, model, n6=sampler,
            n9={"class_type": "ControlNetLoader", "inputs": {"control_net_name": "lines_xl.safetensors"}},
            n10={"class_type": "ControlNetApplyAdvanced", "inputs": wires | ranges},
            n11={"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
        )  # fmt: skip
        return problems(folders, text)

    assert found(XL) == []
    for model in (SD1, SD2, REFINER):
        told = found(model)
        assert {(problem.node_id, problem.input_name) for problem in told} == {("6", "positive"), ("6", "negative")}
        assert all("lines_xl.safetensors" in problem.message and model in problem.message for problem in told)


def adapter_for(width: int) -> Mapping[str, torch.Tensor]:
    with torch.device("meta"):
        network = IPAdapter(IPAdapterConfig("vector", 16, 4, width, 0, 0, ((1, 16), (3, 16))))
    return randomized(network).state_dict()


def test_the_server_refuses_what_does_not_fit_when_it_is_submitted(folders: Folders) -> None:
    """Not when its turn comes: the rule is one of those that submissions are held to."""
    options = understand(["serve", "--base-directory", str(folders.base), "--cpu"])
    engine = open_engine(options, folders)
    try:
        bound = build(parse(graph(XL, SD1, XL)), engine.registry, folders, rules=engine.rules)
        assert {problem.code for problem in bound.problems} == {"families_differ"} and not bound.targets
    finally:
        engine.executor.close()
        engine.close()
