"""Nodes that draw faster than a model's arithmetic allows, by leaving some of it out: what each costs is measured."""

from __future__ import annotations

from typing import Annotated

from graph.sockets import Float, Int, Toggle
from graph.spec import Tip, node
from models.deep_cache import DeepCache
from models.hypertile import HyperTile
from models.step_caching import EasyCache, LazyCache
from models.token_downsampling import TokenDownsampling
from models.token_merging import TokenMerging
from models.types import Model
from nodes.attention import UNET, steered
from nodes.services import Context

FASTER = Tip("The model, which draws faster.")
FIRST = "From which part of the way from noise to picture on it is done."
LAST = "Up to which part of the way."
THRESHOLD = Float(0.0, 3.0, step=0.01, tooltip="How far off an estimate may be that is not computed; 0 computes all.")
VERBOSE = Toggle(tooltip="Whether the log tells of each step whether it was computed.")


@node("HyperTile", category="model_patches/unet")
def hyper_tile(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    tile_size: Annotated[int, Int(1, 2048, tooltip="Pixels a side of the smallest tile.")] = 256,
    swap_size: Annotated[
        int, Int(1, 128, tooltip="How many sizes of tiles are taken by turns, so that no seam shows.")
    ] = 2,
    max_depth: Annotated[int, Int(0, 10, tooltip="Up to which halving of the picture's size it is done.")] = 0,
    scale_depth: Annotated[bool, Toggle(tooltip="Whether tiles show as much of the picture at every depth.")] = False,
) -> Annotated[Model, Tip("The model, which looks within tiles.")]:
    """Draw large pictures faster: places look only at others of the same tile."""
    return steered(model, HyperTile(tile_size, swap_size, max_depth, scale_depth))


@node("TomePatchModel", category="model_patches/unet")
def tome_patch_model(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    ratio: Annotated[
        float, Float(0.0, 1.0, step=0.01, tooltip="The share of places that do not look for themselves.")
    ] = 0.3,
) -> Annotated[Model, Tip("The model, whose places look together.")]:
    """Draw faster: places that are alike look together."""
    return steered(model, TokenMerging(ratio))


@node("ToDoPatchModel", category="model_patches/unet", title="Token Downsampling (ToDo)")
def todo_patch_model(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    factor: Annotated[int, Int(1, 4, tooltip="At full size: places look at every so many-th row and column.")] = 2,
    factor_halved: Annotated[int, Int(1, 4, tooltip="The same at half the size.")] = 1,
) -> Annotated[Model, Tip("The model, whose places look at fewer others.")]:
    """Draw large pictures faster: places look at some of the others only."""
    return steered(model, TokenDownsampling((factor, factor_halved)))


@node("DeepCache", category="model_patches/unet")
def deep_cache(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    cache_interval: Annotated[int, Int(1, 100, tooltip="The deep part is computed in every so many-th step.")] = 3,
    cache_depth: Annotated[
        int, Int(0, 20, tooltip="How many blocks are computed in every step, besides the first and the last.")
    ] = 0,
    start_percent: Annotated[float, Float(0.0, 1.0, step=0.001, tooltip=FIRST)] = 0.0,
    end_percent: Annotated[float, Float(0.0, 1.0, step=0.001, tooltip=LAST)] = 1.0,
) -> Annotated[Model, FASTER]:
    """Draw faster: what the deep part of the U-Net makes, which changes slowly, is kept for some steps."""
    return steered(model, DeepCache(cache_interval, cache_depth, start_percent, end_percent))


@node("EasyCache", category="advanced/debug/model", experimental=True)
def easy_cache(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    reuse_threshold: Annotated[float, THRESHOLD] = 0.2,
    start_percent: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip=FIRST)] = 0.15,
    end_percent: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip=LAST)] = 0.95,
    verbose: Annotated[bool, VERBOSE] = False,
) -> Annotated[Model, FASTER]:
    """Draw faster: steps at which the network's answer can be told from the last ones are not computed."""
    return steered(model, EasyCache(reuse_threshold, start_percent, end_percent, verbose))


@node("LazyCache", category="advanced/debug/model", experimental=True)
def lazy_cache(
    ctx: Context,
    *,
    model: Annotated[Model, UNET],
    reuse_threshold: Annotated[float, THRESHOLD] = 0.2,
    start_percent: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip=FIRST)] = 0.15,
    end_percent: Annotated[float, Float(0.0, 1.0, step=0.01, tooltip=LAST)] = 0.95,
    verbose: Annotated[bool, VERBOSE] = False,
) -> Annotated[Model, FASTER]:
    """Draw faster: as EasyCache does, but with the guided estimate of a whole step, whatever it is made of."""
    return steered(model, LazyCache(reuse_threshold, start_percent, end_percent, verbose))
