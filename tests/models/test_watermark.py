"""The watermark of the v1 scripts, bit for bit against the package that wrote it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from models.watermark import FEWEST_PIXELS, V1, Bytes, blocks_of, embed, read

TEXT = V1.encode()


def picture(height: int, width: int, kind: str, seed: int = 0) -> Bytes:
    """Noise, a smooth picture, or one whose colours are at the ends of their range."""
    generator = np.random.default_rng(seed)
    if kind == "noise":
        return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "extreme":
        return (generator.integers(0, 2, (height, width, 3)) * 255).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    smooth = 60 + np.stack([x * 120 / width, y * 120 / height, (x + y) * 60 / width], axis=-1)
    return (smooth + generator.normal(0, 2, smooth.shape)).clip(0, 255).astype(np.uint8)


def theirs(image: Bytes) -> Bytes:
    """As scripts/txt2img.py of Stable Diffusion v1 called it."""
    from imwatermark import WatermarkEncoder

    encoder = WatermarkEncoder()
    encoder.set_watermark("bytes", TEXT)
    with warnings.catch_warnings(action="ignore"):  # numpy's, about levels that leave 0..255
        return encoder.encode(image[..., ::-1].copy(), "dwtDct")[..., ::-1]


def their_reading(image: Bytes, length: int) -> bytes:
    from imwatermark import WatermarkDecoder

    return WatermarkDecoder("bytes", 8 * length).decode(image[..., ::-1].copy(), "dwtDct")


@pytest.mark.parametrize("kind", ["noise", "smooth", "extreme"])
@pytest.mark.parametrize("size", [(512, 512), (256, 256), (301, 263), (258, 511)])
def test_it_is_what_the_package_writes_and_reads(size: tuple[int, int], kind: str) -> None:
    image = picture(*size, kind)
    marked = embed(image, TEXT)
    assert np.array_equal(marked, theirs(image))
    assert read(marked, len(TEXT)) == their_reading(marked, len(TEXT))
    assert read(image, len(TEXT)) == their_reading(image, len(TEXT))
    assert np.array_equal(image, picture(*size, kind)), "the picture itself stays as it is"


def test_what_was_written_is_read_again_and_is_not_there_before() -> None:
    image = picture(512, 512, "smooth")
    assert read(embed(image, TEXT), len(TEXT)) == TEXT
    assert read(image, len(TEXT)) != TEXT


def test_a_plain_picture_of_the_smallest_size_has_room_for_every_bit() -> None:
    grey = np.full((256, 256, 3), 128, np.uint8)
    assert grey.size // 3 == FEWEST_PIXELS and blocks_of(256, 256) == 1024
    assert read(embed(grey, TEXT), len(TEXT)) == TEXT == their_reading(theirs(grey), len(TEXT))
