"""Nodes that make pictures for ControlNets by arithmetic alone, with the names that users' workflows have."""

from __future__ import annotations

from typing import Annotated

from graph.sockets import Float, Int
from graph.spec import Tip, node
from models.annotators import dark_parts, lines, luminance, scribbled, shuffled, tiled, with_short_side
from models.types import Image
from nodes.services import Context

PICTURES = Tip("The pictures.")
RESOLUTION = Int(64, 16384, step=64, tooltip="Pixels of the short side of what comes out.")


@node("TilePreprocessor", category="ControlNet Preprocessors/tile", title="Tile")
def tile_preprocessor(
    ctx: Context,
    *,
    image: Annotated[Image, PICTURES],
    pyrUp_iters: Annotated[int, Int(1, 10, step=1, tooltip="How often their size is halved.")] = 3,
    resolution: Annotated[int, RESOLUTION] = 512,
) -> Annotated[Image, Tip("The pictures without detail.")]:
    """Take the detail from pictures, for a ControlNet that draws it anew."""
    return Image(tiled(with_short_side(image.pixels[..., :3], resolution), pyrUp_iters))


@node("ShufflePreprocessor", category="ControlNet Preprocessors/T2IAdapter-only", title="Content Shuffle")
def shuffle_preprocessor(
    ctx: Context,
    *,
    image: Annotated[Image, PICTURES],
    resolution: Annotated[int, RESOLUTION] = 512,
    seed: Annotated[int, Int(0, 2**64 - 1, control_after_generate=True, tooltip="Another seed, another shuffle.")] = 0,
) -> Annotated[Image, Tip("The pictures, shuffled.")]:
    """Shuffle pictures smoothly, for a ControlNet that takes colours and stuff from them, not forms."""
    return Image(shuffled(with_short_side(image.pixels[..., :3], resolution), seed))


@node("BinaryPreprocessor", category="ControlNet Preprocessors/Line Extractors", title="Binary Lines")
def binary_preprocessor(
    ctx: Context,
    *,
    image: Annotated[Image, PICTURES],
    bin_threshold: Annotated[
        int,
        Int(0, 255, tooltip="How bright of 255 a place may be to be white; 0 and 255: as parts dark and light best."),
    ] = 100,
    resolution: Annotated[int, RESOLUTION] = 512,
) -> Annotated[Image, Tip("White where the pictures were dark.")]:
    """Make what is dark in pictures white, and the rest black."""
    return Image(dark_parts(with_short_side(image.pixels[..., :3], resolution), bin_threshold))


@node("ScribblePreprocessor", category="ControlNet Preprocessors/Line Extractors", title="Scribble Lines")
def scribble_preprocessor(
    ctx: Context,
    *,
    image: Annotated[Image, PICTURES],
    resolution: Annotated[int, RESOLUTION] = 512,
) -> Annotated[Image, Tip("White strokes on black.")]:
    """Make drawings on light paper white strokes on black."""
    return Image(scribbled(with_short_side(image.pixels[..., :3], resolution)))


@node("ImageLuminanceDetector", category="ControlNet Preprocessors/Recolor", title="Image Luminance")
def image_luminance_detector(
    ctx: Context,
    *,
    image: Annotated[Image, PICTURES],
    gamma_correction: Annotated[
        float, Float(0.1, 2.0, step=0.001, tooltip="Below 1 brightens, above 1 darkens.")
    ] = 1.0,
    resolution: Annotated[int, RESOLUTION] = 512,
) -> Annotated[Image, Tip("How bright the pictures look.")]:
    """Keep how bright pictures look, for a ControlNet that colours them."""
    return Image(luminance(with_short_side(image.pixels[..., :3], resolution), gamma_correction))


@node("LineartStandardPreprocessor", category="ControlNet Preprocessors/Line Extractors", title="Standard Lineart")
def lineart_standard_preprocessor(
    ctx: Context,
    *,
    image: Annotated[Image, PICTURES],
    guassian_sigma: Annotated[
        float, Float(0.1, 100.0, step=0.01, tooltip="How wide the blur is that lines stand out from.")
    ] = 6.0,
    intensity_threshold: Annotated[
        int, Int(0, 16, tooltip="How dark of 255 a line has to be to count for how bright all are made.")
    ] = 8,
    resolution: Annotated[int, RESOLUTION] = 512,
) -> Annotated[Image, Tip("White lines on black.")]:
    """Make the dark lines of drawings white on black."""
    return Image(lines(with_short_side(image.pixels[..., :3], resolution), guassian_sigma, intensity_threshold))
