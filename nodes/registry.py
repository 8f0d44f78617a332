"""The node types that come with Darkroom."""

from __future__ import annotations

from graph.spec import Registry, collect
from nodes import (
    batches,
    compare,
    compositing,
    conditioning,
    contact_sheet,
    custom_sampling,
    effects,
    guidance,
    image,
    inpainting,
    latent,
    latent_batches,
    lists,
    loaders,
    logic,
    loops,
    lora,
    masks,
    merging,
    primitives,
    prompt_ranges,
    quality,
    safety,
    samplers,
    sampling,
    saving,
    scaling,
    schedulers,
    strings,
    transforms,
    upscaling,
    watermark,
)


def builtin() -> Registry:
    """All of them."""
    return Registry(
        collect(
            loaders,
            lora,
            merging,
            saving,
            conditioning,
            latent,
            sampling,
            custom_sampling,
            scaling,
            upscaling,
            image,
            safety,
            quality,
            compare,
            contact_sheet,
            watermark,
            masks,
            compositing,
            transforms,
            effects,
            batches,
            strings,
            primitives,
            logic,
            lists,
            loops,
            prompt_ranges,
            schedulers,
            samplers,
            guidance,
            inpainting,
            latent_batches,
        )
    )
