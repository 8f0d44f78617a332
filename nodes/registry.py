"""The node types that come with Darkroom."""

from __future__ import annotations

from graph.spec import Registry, collect
from nodes import (
    compare,
    conditioning,
    custom_sampling,
    image,
    latent,
    loaders,
    lora,
    quality,
    safety,
    sampling,
    scaling,
    watermark,
)


def builtin() -> Registry:
    """All of them."""
    return Registry(
        collect(
            loaders,
            lora,
            conditioning,
            latent,
            sampling,
            custom_sampling,
            scaling,
            image,
            safety,
            quality,
            compare,
            watermark,
        )
    )
