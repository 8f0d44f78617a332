"""TAESD's decoder against diffusers' AutoencoderTiny with the same random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny

from models.checkpoint import load_part, read_header
from models.tiny_decoder import TinyDecoder, decoded_preview, tiny_decoder_bytes
from tests.models.oracles import relative_error
from tests.models.test_activations import peak_bytes
from tests.tiny_checkpoint import write_tiny_decoder


def the_same_by_diffusers(decoder: TinyDecoder) -> AutoencoderTiny:
    """Their decoder clamps outside of its layers, so that all their numbers are one less."""
    width, channels = decoder.state_dict()["1.weight"].shape[:2]
    peer = AutoencoderTiny(
        latent_channels=channels, encoder_block_out_channels=(width,) * 4, decoder_block_out_channels=(width,) * 4
    )
    parts = [(*name.split(".", 1), tensor) for name, tensor in decoder.state_dict().items()]
    renamed = {f"decoder.layers.{int(number) - 1}.{rest}": tensor for number, rest, tensor in parts}
    missing, unknown = peer.load_state_dict(renamed, strict=False)
    assert not unknown
    assert all(name.startswith("encoder.") for name in missing)
    return peer.eval()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_it_decodes_as_diffusers_does(tmp_path: Path, ending: str) -> None:
    file = write_tiny_decoder(tmp_path / f"taesd_decoder.{ending}")
    decoder = load_part(read_header(file), "tiny_decoder", dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(decoder, TinyDecoder)
    z = torch.randn(2, 4, 5, 7, generator=torch.manual_seed(3)) * 4  # beyond what the soft clamp leaves as it is
    with torch.no_grad():
        theirs = (the_same_by_diffusers(decoder).decode(z).sample + 1) / 2
    assert relative_error(decoder(z), theirs) < 1e-6


def test_a_preview_is_the_first_picture_whatever_comes() -> None:
    decoder = TinyDecoder(4, 8).eval().requires_grad_(False)
    z = torch.randn(2, 4, 3, 5, generator=torch.manual_seed(4))
    shown = decoded_preview(z, decoder)
    assert shown.size == (40, 24)
    red = int((decoder(z[:1])[0, 0, 9, 17] * 255).round().clamp(0, 255))
    assert abs(shown.getchannel("R").tobytes()[9 * 40 + 17] - red) <= 1
    assert decoded_preview(torch.full((1, 4, 1, 1), torch.nan), decoder).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.usefixtures("one_thread")
def test_the_room_for_a_preview_is_what_it_takes_and_not_much_more() -> None:
    decoder = TinyDecoder(4, 32).eval().requires_grad_(False)
    taken = peak_bytes(lambda: decoded_preview(torch.zeros(1, 4, 24, 16), decoder))
    assert taken <= tiny_decoder_bytes(decoder, 24, 16) <= 1.2 * taken
