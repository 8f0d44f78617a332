"""What a node shows while it works -> JPEG."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

from PIL import Image

SIDE = 512
"""Pixels of the longer side; smaller pictures are enlarged to it."""

_logger = logging.getLogger(__name__)


def encode_preview(preview: Callable[[], object]) -> bytes | None:
    """The picture that `preview` computes, a PIL image or bytes that are encoded already; None if it fails."""
    try:
        picture = preview()
        if isinstance(picture, bytes):
            return picture
        if isinstance(picture, Image.Image):
            return _jpeg(picture)
        if picture is not None:
            _logger.warning("a preview is a %s; expected a PIL image or encoded bytes", type(picture).__name__)
    except Exception:
        _logger.exception("a preview could not be made")
    return None


def _jpeg(picture: Image.Image) -> bytes:
    longer = max(picture.size)
    if longer != SIDE:
        width, height = (max(1, round(side * SIDE / longer)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()
