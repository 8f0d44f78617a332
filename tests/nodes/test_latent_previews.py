"""What samplers show while they run: TAESD's pictures where they are asked for, rough ones otherwise."""

from __future__ import annotations

from dataclasses import replace

import PIL.Image
import pytest
import torch

import main
from graph.events import Progress
from graph.spec import Registry
from models.types import Latent
from nodes.loaders import checkpoint_loader_simple
from nodes.sampling import ksampler
from server.options import understand
from tests.nodes.conftest import CHECKPOINT, Workplace
from tests.nodes.one_step import NEGATIVE, POSITIVE
from tests.tiny_checkpoint import write_tiny_decoder


def shown(place: Workplace, *, asked: bool = True) -> PIL.Image.Image:
    """The preview of one step, at 8 x 6 cells; drawn after the node has ended, as a slow client's is."""
    asking = replace(place, services=replace(place.services, decoded_previews=asked))
    model = checkpoint_loader_simple(place.ctx(), ckpt_name=place.file("checkpoints", CHECKPOINT)).model
    ksampler(
        asking.ctx(), model=model, positive=POSITIVE, negative=NEGATIVE, seed=5, steps=1, cfg=1.0,
        sampler_name="euler", scheduler="normal", latent_image=Latent(torch.zeros(1, 4, 8, 6)),
    )  # fmt: skip
    [event] = [event for event in asking.events if isinstance(event, Progress) and event.preview]
    assert event.preview is not None
    picture = event.preview()
    assert isinstance(picture, PIL.Image.Image)
    return picture


@pytest.mark.parametrize("name", ["taesd_decoder.safetensors", "of others/taesd_decoder.pth"])
def test_the_file_of_the_family_decodes_previews(place: Workplace, name: str) -> None:
    write_tiny_decoder(place.base / "models" / "vae_approx" / name)
    assert shown(place).size == (48, 64)
    assert not place.warnings


def test_nobody_asked_for_it(place: Workplace) -> None:
    write_tiny_decoder(place.base / "models" / "vae_approx" / "taesd_decoder.safetensors")
    assert shown(place, asked=False).size == (6, 8)


def test_without_the_file_previews_are_rough_and_it_is_said(place: Workplace) -> None:
    write_tiny_decoder(place.base / "models" / "vae_approx" / "taesdxl_decoder.safetensors")
    assert shown(place).size == (6, 8)
    assert [warning.message for warning in place.warnings] == [
        "previews are rough: there is no taesd_decoder in models/vae_approx"
    ]


@pytest.mark.parametrize("damage", [b"", b"<!doctype html>", None])
def test_a_file_that_is_no_decoder_does_not_stop_the_run(place: Workplace, damage: bytes | None) -> None:
    file = place.base / "models" / "vae_approx" / "taesd_decoder.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(place.file("checkpoints", CHECKPOINT).path.read_bytes() if damage is None else damage)
    assert shown(place).size == (6, 8)
    [warning] = place.warnings
    assert warning.message.startswith("previews are rough: taesd_decoder.safetensors is ")


@pytest.mark.parametrize(
    ("flags", "decodes"),
    [
        ("--preview-method taesd", True),
        ("--preview-method auto", False),
        ("", False),
    ],
)
def test_the_flag_asks_for_it(place: Workplace, flags: str, decodes: bool) -> None:
    options = understand(["serve", "--device", "cpu", *flags.split()])
    assert main.open_services(options, place.folders, Registry([])).decoded_previews is decodes
