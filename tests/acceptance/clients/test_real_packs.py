"""Public packs from PyPI, as their authors wrote them: which load, and nodes of them at work."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from graph.files import Folders
from tests.nodes.pack_bench import Bench, Written, open_bench

pytestmark = pytest.mark.acceptance


@dataclass(frozen=True)
class Real:
    """A pack on PyPI. folder: where it is in its wheel; needs: packages that it imports, without what they depend on."""

    pinned: str
    folder: str
    nodes: int
    needs: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The folder that it is put into, which is also what some import themselves by."""
        return self.folder.rpartition("/")[2] or self.pinned.partition("==")[0]


REAL = (
    Real("comfyui-ib-customnodes==0.2.3", "ComfyUI_Ib_CustomNodes", 4),
    Real("comfyui-tooling-nodes==0.1.0", "comfyui_tooling_nodes", 5),
    Real("civitai-comfy-nodes==0.2.0", "civitai_comfy_nodes", 2),
    Real("zmongo-nodes==0.1.3", "", 91),
    Real("kumiho-comfyui==1.0.2", "kumiho_nodes", 7),
    Real("comfyui-fluxflow==0.8.0", "comfyui_fluxflow", 7, ("fluxflow==0.8.0", "einops==0.8.1")),
    Real("comfyui-orbitquant==0.9.0", "comfyui_orbitquant", 11, ("orbitquant==0.13.0",)),
    Real("bizytrd==0.1.24", "bizytrd", 100, ("bizytrd==0.1.24", "platformdirs==4.14.8")),
)


LIBRARIES = (
    Real("comfyui-easynodes==1.2.7", "easy_example", 2, (
        "coloredlogs==15.0.1", "humanfriendly==10.0", "colorama==0.4.6", "ansi2html==1.9.5", "openai==3.57.0",
        "sniffio==1.3.1", "distro==1.9.0", "jiter==0.19.0",
    )),
    Real("comfyui-types==1.4.1", "typed_example", 2),
    Real("yors-comfyui-node-setup==0.11.0", "yors_example", 2),
    Real("yors-comfyui-node-as-x-type==0.2.1", "as_types", 11),
)  # fmt: skip
"""Libraries that packs are written with, and packs written as they say."""
WRITTEN_WITH = Path(__file__).parents[2] / "data" / "library_packs"


def fetched(place: Path, *pinned: str) -> list[Path]:
    """The wheels of these, without what they depend on; skips, in words, if there is no PyPI."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(place)]
    done = subprocess.run([*command, *pinned], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the packs cannot be had from PyPI: {done.stderr[-300:]}")
    return sorted(place.glob("*.whl"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    place = tmp_path_factory.mktemp("real")
    folders = Folders.standard(place / "base")
    site = place / "site"
    for real in REAL:
        wheels = place / real.name
        for wheel in fetched(wheels, real.pinned):
            with zipfile.ZipFile(wheel) as file:
                file.extractall(wheels / "all")
        (wheels / "all" / real.folder).rename(folders.base / "custom_nodes" / real.name)
        for wheel in fetched(place / f"{real.name} needs", *real.needs) if real.needs else ():
            with zipfile.ZipFile(wheel) as file:
                file.extractall(site)
    for real in LIBRARIES:
        for wheel in fetched(place / f"{real.name} library", real.pinned, *real.needs):
            with zipfile.ZipFile(wheel) as file:
                file.extractall(site)
        shutil.copytree(WRITTEN_WITH / real.folder, folders.base / "custom_nodes" / real.name)
    shutil.copytree(WRITTEN_WITH / "model_objects", folders.base / "custom_nodes" / "model_objects")
    PIL.Image.new("RGB", (8, 8), (255, 0, 0)).save(folders.input_dir / "red.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        with open_bench(folders) as opened:
            yield opened


@pytest.mark.parametrize("real", [*REAL, *LIBRARIES], ids=lambda real: real.pinned)
def test_a_public_pack_loads_with_its_nodes(bench: Bench, real: Real) -> None:
    [it] = [it for it in bench.packs.loaded if it.pack.name == real.name]
    assert it.problem == "" and len(it.specs) >= real.nodes


def red() -> str:
    """A red picture, as text."""
    file = BytesIO()
    PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def saved(bench: Bench, nodes: Written, last: str, slot: int = 0) -> Any:
    """The colour of the middle of a picture, and its size."""
    results = bench.run({**nodes, "s": ("SaveImage", {"images": [last, slot], "filename_prefix": "it"})})
    entry: Any = results["s"].ui["images"][-1]
    with PIL.Image.open(bench.folders.output_dir / entry["filename"]) as picture:
        return picture.getpixel((picture.width // 2, picture.height // 2)), picture.size


def test_pictures_go_through_ib_custom_nodes(bench: Bench) -> None:
    path = str(bench.folders.input_dir / "red.png")
    nodes: Written = {
        "l": ("LoadImageFromPath", {"image": path}),
        "p": ("ImageToPIL", {"images": ["l", 0]}),
        "i": ("PILToImage", {"images": ["p", 0]}),
    }
    assert saved(bench, nodes, "i") == ((255, 0, 0), (8, 8))


def test_pictures_go_through_the_tooling_nodes(bench: Bench) -> None:
    nodes: Written = {
        "l": ("ETN_LoadImageBase64", {"image": red()}),
        "c": ("ETN_CropImage", {"image": ["l", 0], "x": 2, "y": 2, "width": 4, "height": 2}),
        "m": ("ETN_ApplyMaskToImage", {"image": ["l", 0], "mask": ["l", 1]}),
    }
    assert saved(bench, nodes, "c") == ((255, 0, 0), (4, 2))
    colour, size = saved(bench, nodes, "m")
    assert size == (8, 8) and colour[:3] == (255, 0, 0)


def test_texts_and_lists_go_through_zmongo(bench: Bench) -> None:
    pick: Written = {
        "j": (
            "ZMongoApiJsonPickNode",
            {"json_text": '{"data": [{"word": "hello"}]}', "path": "data.0.word", "fallback": ""},
        ),
        "n": (
            "ZMongoApiSelectNthItemNode",
            {
                "items_list": ["l", 0],
                "index": 1,
                "fallback": "",
                "selection": "",
                "mode": "auto",
                "include_end": True,
                "dedupe": True,
            },
        ),
        **{word: ("PrimitiveString", {"value": word}) for word in ("a", "b")},
        "l": ("CreateList", {"inputs.input0": ["a", 0], "inputs.input1": ["b", 0]}),
    }
    for last, expected in (("j", "hello"), ("n", "b")):
        shown = bench.run({**pick, "p": ("PreviewAny", {"source": [last, 0]})})["p"].ui["text"]
        assert list(shown) == [expected]


def test_graphs_go_through_kumiho(bench: Bench) -> None:
    nodes: Written = {
        "t": ("KumihoTagRevision", {"revision_kref": "kref://it", "tag": "approved"}),
        "d": ("KumihoGetDependencies", {"revision_kref": "kref://it", "max_depth": 2, "edge_types": ""}),
    }
    results = bench.run({**nodes, "p": ("PreviewAny", {"source": ["d", 0]})})
    assert results["t"].values == (True,) and results["p"].ui["text"] == ['{"dependencies": [], "depth": 0}']


WHITE: Written = {"e": ("EmptyImage", {"width": 8, "height": 8, "batch_size": 1, "color": 0xFFFFFF})}


def test_prompts_go_through_bizytrd(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its nodes for language models, with none chosen, which is what they offer without its cloud."""
    monkeypatch.setenv("BIZYAIR_API_KEY", "none")
    settings = {"system_prompt": "", "max_tokens": 512, "temperature": 0.7}
    nodes: Written = {
        **WHITE,
        "a": ("BizyAirSiliconCloudLLMAPI", {**settings, "model": "No LLM Enhancement", "user_prompt": "a fox"}),
        "b": ("BizyAirSiliconCloudVLMAPI", {
            **settings, "model": "No VLM Enhancement", "user_prompt": ["a", 0], "images": ["e", 0], "detail": "auto",
        }),
    }  # fmt: skip
    assert shown(bench, nodes, "b") == "a fox"


def test_pictures_go_through_fluxflow(bench: Bench) -> None:
    """Its autoencoder with random weights: the nodes give what the package itself gives."""
    nodes: Written = {
        "e": ("EmptyImage", {"width": 64, "height": 64, "batch_size": 1, "color": 0x3366CC}),
        "m": ("FluxFlowModel", {}),
        "z": ("FluxFlowVAEEncode", {"model": ["m", 0], "image": ["e", 0]}),
        "d": ("FluxFlowVAEDecode", {"model": ["m", 0], "latent": ["z", 0], "use_context": "true"}),
        "n": ("FluxFlowEmptyLatent", {"model": ["m", 0], "width": 128, "height": 64, "batch_size": 1, "seed": 3}),
        "x": ("FluxFlowVAEDecode", {"model": ["m", 0], "latent": ["n", 0], "use_context": "false"}),
    }
    model = sys.modules["custom_nodes.model_objects"].Autoencoder().eval()
    colour = torch.tensor([0x33, 0x66, 0xCC]) / 255
    with torch.inference_mode():
        made = model.expander(model.compressor(colour[None, :, None, None].expand(1, 3, 64, 64) * 2 - 1))
    expected = ((made[0, :, 32, 32] + 1) / 2).clamp(0, 1) * 255
    pixel, size = saved(bench, nodes, "d")
    assert size == (64, 64) and torch.allclose(torch.tensor(pixel).float(), expected, atol=1.5)
    assert saved(bench, nodes, "x")[1] == (128, 64)


def test_weights_go_through_orbitquant(bench: Bench) -> None:
    """An artifact of one layer, written by the package itself, looked at and put into a pipeline."""
    from orbitquant.config import OrbitQuantConfig  # type: ignore[import-not-found]  # from the wheel
    from orbitquant.pipeline import quantize_pipeline, save_quantized_pipeline_component  # type: ignore[import-not-found]

    pipeline, config = sys.modules["custom_nodes.model_objects"].Pipeline(), OrbitQuantConfig()
    summary = quantize_pipeline(pipeline, config, quantization_device="cpu")
    place = str(bench.folders.base / "artifact")
    said = {"source_model_id": "a/b", "source_revision": "1", "source_license": "mit"}
    save_quantized_pipeline_component(pipeline, place, config=config, summary=summary, **said)
    nodes: Written = {
        "i": ("OrbitQuantArtifactInspector", {"artifact_path": place}),
        "m": ("MakePipeline", {}),
        "l": ("OrbitQuantPipelineComponentLoader", {
            "pipeline": ["m", 0], "artifact_path": place, "component": "transformer", "strict": True,
            "runtime_mode": "auto_fused", "activation_kernel_backend": "auto",
        }),
        "w": ("PipelineLayer", {"pipeline": ["l", 0]}),
    }  # fmt: skip
    text = shown(bench, nodes, "i")
    assert text.startswith("Source: a/b") and "Bits: W4A4" in text and "Quantized modules: 1" in text
    assert shown(bench, nodes, "w") == "OrbitQuantLinear"


def shown(bench: Bench, nodes: Written, last: str) -> str:
    """What PreviewAny shows of it."""
    return str(bench.run({**nodes, "p": ("PreviewAny", {"source": [last, 0]})})["p"].ui["text"][0])


def test_nodes_written_with_easynodes(bench: Bench) -> None:
    nodes: Written = {
        **WHITE,
        "t": ("ThresholdImage", {"image": ["e", 0], "threshold": 0.5}),
        "s": ("Say", {"mask": ["t", 1], "words": "ho", "how": "loud"}),
    }
    assert shown(bench, nodes, "s") == "HO"
    assert list(bench.run(nodes)["s"].ui["text"]) == ["ho 1.0"]


def test_nodes_written_with_comfyui_types(bench: Bench) -> None:
    assert shown(bench, {"w": ("Words", {"text": "ho", "times": 3})}, "w") == "ho ho ho"
    assert saved(bench, {**WHITE, "d": ("Dim", {"image": ["e", 0], "by": 0.2})}, "d")[0] == (51, 51, 51)


def test_nodes_written_with_yors_and_types_that_equal_everything_and_have_no_hash(bench: Bench) -> None:
    nodes: Written = {
        "t": ("ymc/text/multiline text", {"text": "hello"}),
        "w": ("ymc/text/text twice", {"text": ["t", 0]}),
        "a": ("NodeSetItAsAny", {"a": ["w", 0]}),
        "s": ("NodeSetItAsString", {"a": ["a", 0]}),
    }
    assert shown(bench, nodes, "s") == "hellohello"
    again: Written = {**WHITE, "a": ("NodeSetItAsAny", {"a": ["e", 0]}), "i": ("NodeSetItAsImage", {"a": ["a", 0]})}
    assert saved(bench, again, "i") == ((255, 255, 255), (8, 8))
