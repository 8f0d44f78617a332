"""The invisible watermark that the scripts of Stable Diffusion v1 put into their pictures.

Bits are hidden in one of the two colour channels of YUV, in the largest number of each 4 x 4 block of its Haar
transform (the "dwtDct" of the package invisible-watermark, which takes no cosine transform). Bit for bit what that
package does with OpenCV and PyWavelets: OpenCV's colour arithmetic in 14 bits, the two directions of detail changed
over on the way back, and the fractional part cut off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

V1 = "StableDiffusionV1"
"""What the v1 scripts wrote."""

FEWEST_PIXELS = 256 * 256
BLOCK = 4  # cells a side
SCALE = 36  # levels; a bit moves a number within its interval of so many
HAAR = 2**-0.5
SHIFT = 14  # bits behind the point in OpenCV's colour arithmetic
HALF = 1 << SHIFT - 1

Bytes = NDArray[np.uint8]
Levels = NDArray[np.float64]


def embed(picture: Bytes, text: bytes) -> Bytes:
    """A picture [H, W, 3] RGB with `text` in it, again and again. The picture has FEWEST_PIXELS or more."""
    bits = np.unpackbits(np.frombuffer(text, np.uint8))
    y, u, v = _yuv(picture)
    height, width = _whole(u)
    average, vertical, horizontal, diagonal = _haar(u[:height, :width].astype(np.float64))
    blocks = _blocks(average)
    rows = np.arange(len(blocks))
    places = _loudest(blocks)
    value = blocks[rows, places]
    marked = (np.abs(value) // SCALE + 0.25 + 0.5 * bits[rows % len(bits)]) * SCALE
    blocks[rows, places] = np.where(value >= 0, marked, -marked)
    restored = _unhaar(_unblocked(blocks, average), horizontal, vertical, diagonal)  # changed over, as the package does
    u[:height, :width] = restored.astype(np.int64) & 255  # cut off, and carried over at both ends
    return _rgb(y, u, v)


def read(picture: Bytes, length: int) -> bytes:
    """The `length` bytes that a picture [H, W, 3] RGB says, whether or not anyone wrote them."""
    _, u, _ = _yuv(picture)
    height, width = _whole(u)
    blocks = _blocks(_haar(u[:height, :width].astype(np.float64))[0])
    rows = np.arange(len(blocks))
    votes = np.abs(blocks[rows, _loudest(blocks)]) % SCALE > SCALE / 2
    bits = np.array([votes[bit :: 8 * length].mean() * 255 > 127 for bit in range(8 * length)])
    return np.packbits(bits).tobytes()


def blocks_of(height: int, width: int) -> int:
    """How many bits a picture has room for."""
    return (height // 4 * 4 // 2 // BLOCK) * (width // 4 * 4 // 2 // BLOCK)


def _whole(channel: NDArray[np.int64]) -> tuple[int, int]:
    height, width = channel.shape
    return height // 4 * 4, width // 4 * 4


def _blocks(frame: Levels) -> Levels:
    """[h, w] -> [blocks, 16], row by row; what fills no block is left out."""
    rows, columns = (side // BLOCK for side in frame.shape)
    cut = frame[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return cut.swapaxes(1, 2).reshape(rows * columns, BLOCK * BLOCK)


def _unblocked(blocks: Levels, frame: Levels) -> Levels:
    """`frame` with `blocks` in their places."""
    rows, columns = (side // BLOCK for side in frame.shape)
    cut = blocks.reshape(rows, columns, BLOCK, BLOCK).swapaxes(1, 2)
    whole = frame.copy()
    whole[: rows * BLOCK, : columns * BLOCK] = cut.reshape(rows * BLOCK, columns * BLOCK)
    return whole


def _loudest(blocks: Levels) -> NDArray[np.intp]:
    """Where the largest number of each block is, its first cell aside."""
    return np.abs(blocks[:, 1:]).argmax(axis=1) + 1


def _haar(x: Levels) -> tuple[Levels, Levels, Levels, Levels]:
    """Averages, and the details from row to row, from column to column, and of both."""
    low, high = _halved(x)
    average, columns = (part.T for part in _halved(low.T))
    rows, diagonal = (part.T for part in _halved(high.T))
    return average, rows, columns, diagonal


def _unhaar(average: Levels, rows: Levels, columns: Levels, diagonal: Levels) -> Levels:
    """The way back."""
    return _joined(_joined(average.T, columns.T).T, _joined(rows.T, diagonal.T).T)


def _halved(x: Levels) -> tuple[Levels, Levels]:
    """Sums and differences of each two rows."""
    even, odd = x[::2] * HAAR, x[1::2] * HAAR
    return even + odd, even - odd


def _joined(low: Levels, high: Levels) -> Levels:
    """Rows from their sums and differences."""
    return np.stack([low * HAAR + high * HAAR, low * HAAR - high * HAAR], axis=1).reshape(-1, low.shape[1])


def _yuv(picture: Bytes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    r, g, b = (picture[..., i].astype(np.int64) for i in range(3))
    y = (4899 * r + 9617 * g + 1868 * b + HALF) >> SHIFT
    u = ((b - y) * 8061 + (128 << SHIFT) + HALF) >> SHIFT
    v = ((r - y) * 14369 + (128 << SHIFT) + HALF) >> SHIFT
    return y, u.clip(0, 255), v.clip(0, 255)


def _rgb(y: NDArray[np.int64], u: NDArray[np.int64], v: NDArray[np.int64]) -> Bytes:
    u, v = u - 128, v - 128
    r = y + ((18678 * v + HALF) >> SHIFT)
    g = y + ((-6472 * u - 9519 * v + HALF) >> SHIFT)
    b = y + ((33292 * u + HALF) >> SHIFT)
    return np.stack([r, g, b], axis=-1).clip(0, 255).astype(np.uint8)
