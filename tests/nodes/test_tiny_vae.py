"""TAESD as an autoencoder against diffusers' AutoencoderTiny, which wrote the same random weights."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

from graph.build import build
from graph.document import parse
from graph.errors import InputError
from graph.sockets import File
from models.types import Image, Latent, TinyVae
from nodes.latent import vae_decode, vae_decode_tiled, vae_encode
from nodes.loaders import vae_loader
from nodes.one_family import OneFamily
from nodes.origins import Origins
from nodes.registry import builtin
from nodes.saving import vae_save
from tests.models.oracles import relative_error
from tests.nodes.conftest import CHECKPOINT, Workplace

WIDTH = 8
SCALES = {"taesd": 0.18215, "taesdxl": 0.13025}
NAMES = next(each.widget for each in builtin()["VAELoader"].inputs if each.name == "vae_name")


def placed(place: Workplace, name: str, *halves: str) -> AutoencoderTiny:
    """diffusers' network; its weights lie in TAESD's own two files, whose decoder counts its clamp as a layer."""
    torch.manual_seed(5)
    peer = AutoencoderTiny(encoder_block_out_channels=(WIDTH,) * 4, decoder_block_out_channels=(WIDTH,) * 4).eval()
    folder = place.base / "models" / "vae_approx"
    folder.mkdir(parents=True, exist_ok=True)
    for half in halves or ("encoder", "decoder"):
        more = int(half == "decoder")
        parts = [(*key.split(".", 3), t) for key, t in peer.state_dict().items() if key.startswith(half)]
        save_file({f"{int(at) + more}.{rest}": t for _, _, at, rest, t in parts}, folder / f"{name}_{half}.safetensors")
    return peer


def opened(place: Workplace, name: str) -> TinyVae:
    assert isinstance(NAMES, File)
    vae = vae_loader(place.ctx(), vae_name=NAMES.coerce(name, place.folders))
    assert isinstance(vae, TinyVae)
    return vae


@pytest.mark.parametrize("name", SCALES)
def test_it_goes_both_ways_as_diffusers_does(place: Workplace, name: str) -> None:
    peer, vae = placed(place, name), opened(place, name)
    pixels = torch.rand(2, 32, 48, 3, generator=torch.manual_seed(1))
    latents = vae_encode(place.ctx(), pixels=Image(pixels), vae=vae).samples
    with torch.no_grad():
        scaled = peer.encode(pixels.movedim(-1, 1) * 2 - 1).latents
        expected = (peer.decode(scaled).sample.movedim(1, -1) / 2 + 0.5).clamp(0, 1)
    assert relative_error(latents * SCALES[name], scaled) <= 1e-5
    pictures = vae_decode(place.ctx(), samples=Latent(latents), vae=vae).pixels
    assert (pictures - expected).abs().max() <= 1e-5
    tiled = vae_decode_tiled(place.ctx(), samples=Latent(latents.repeat(1, 1, 4, 4)), vae=vae, tile_size=64, overlap=32)
    assert tiled.pixels.shape == (2, 128, 192, 3)


def test_it_is_on_offer_where_both_its_files_are(place: Workplace) -> None:
    assert isinstance(NAMES, File)
    placed(place, "taesd")
    placed(place, "taesdxl", "decoder")
    assert list(NAMES.options(place.folders)) == ["taesd"]


def test_a_file_that_is_no_half_of_it_is_named(place: Workplace) -> None:
    placed(place, "taesd")
    folder = place.base / "models" / "vae_approx"
    (folder / "taesd_encoder.safetensors").write_bytes((folder / "taesd_decoder.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"taesd_encoder\.safetensors is no encoder of TAESD") as caught:
        opened(place, "taesd")
    assert caught.value.input_name == "vae_name"


def test_another_encoder_beside_the_same_decoder_is_another_result(place: Workplace) -> None:
    spec = builtin()["VAELoader"]
    placed(place, "taesd")
    assert spec.freshness and isinstance(NAMES, File)
    chosen = {"vae_name": NAMES.coerce("taesd", place.folders)}
    before = spec.freshness("1", chosen, place.folders)
    encoder = place.base / "models" / "vae_approx" / "taesd_encoder.safetensors"
    encoder.write_bytes(encoder.read_bytes()[:-4] + b"abcd")
    assert spec.freshness("1", chosen, place.folders) != before
    assert spec.freshness("1", {"vae_name": place.file("checkpoints", CHECKPOINT)}, place.folders) is None


def test_it_is_saved_by_nobody_else(place: Workplace) -> None:
    placed(place, "taesd")
    with pytest.raises(InputError, match="half of TAESD") as caught:
        vae_save(place.ctx(), vae=opened(place, "taesd"), filename_prefix="x")
    assert caught.value.input_name == "vae"


@pytest.mark.parametrize(("name", "fits"), [("taesd", True), ("taesdxl", False)])
def test_one_for_another_family_is_found_before_anything_runs(place: Workplace, name: str, fits: bool) -> None:
    placed(place, name)
    nodes = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "2": {"class_type": "VAELoader", "inputs": {"vae_name": name}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 32, "height": 32, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {
            "model": ["1", 0], "positive": ["3", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": 1,
            "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
        }},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["2", 0]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "x"}},
    }  # fmt: skip
    told = build(parse(json.dumps(nodes)), builtin(), place.folders, rules=(OneFamily(Origins()),)).problems
    assert (told == ()) is fits
    assert fits or "is that of taesdxl (SDXL)" in str(told[0])
