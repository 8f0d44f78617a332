"""The node types that come with Darkroom."""

from __future__ import annotations

from graph.spec import Registry, collect
from nodes import conditioning, custom_sampling, image, latent, loaders, safety, sampling, scaling


def builtin() -> Registry:
    """All of them."""
    return Registry(collect(loaders, conditioning, latent, sampling, custom_sampling, scaling, image, safety))
