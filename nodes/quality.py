"""Nodes that say how good pictures are: how well they fit a text, whether people would like them, FID, KID and CMMD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from graph.errors import InputError
from graph.files import FileRef
from graph.result import Shown
from graph.sockets import Choice, File, Int, Text
from graph.spec import Tip, node
from models.discrepancy import cmmd, kid
from models.frechet import frechet_distance, gathered
from models.inception import Inception
from models.types import (
    AestheticModel,
    ClipModel,
    Features,
    FeatureVectors,
    Image,
    InceptionModel,
    ModelHandle,
    OpenClipModel,
)
from models.vision import ContrastiveModel
from nodes.picture_folders import pictures_in, stamps
from nodes.pictures import NO_PICTURE, read_picture
from nodes.services import Context
from nodes.weights import opened


@node("CLIPModelLoader", category="loaders", title="Load CLIP Model", lane="io")
def clip_model_loader(
    ctx: Context,
    *,
    clip_model: Annotated[
        FileRef,
        File(
            "clip_vision",
            tooltip="A file of models/clip_vision that holds both towers of a CLIP, in the layout of transformers.",
            when_empty="put model.safetensors of openai/clip-vit-large-patch14 there, for example",
        ),
    ],
    activation: Annotated[
        str, Choice(("quick_gelu", "gelu"), tooltip="OpenAI's files and Darkroom's own: quick_gelu; LAION's: gelu.")
    ] = "quick_gelu",
) -> Annotated[ClipModel, Tip("Both towers: for texts and for pictures.")]:
    """Open a CLIP that judges how well pictures and texts fit."""
    kind = ClipModel if activation == "quick_gelu" else OpenClipModel
    return kind(*opened(ctx, clip_model, "clip_model", kind.part, "is not a CLIP with both towers"))


@node("InceptionLoader", category="loaders", title="Load Inception Network", lane="io")
def inception_loader(
    ctx: Context,
    *,
    inception: Annotated[
        FileRef,
        File(
            "inception",
            tooltip="A file of models/inception: pt_inception-2015-12-05-6726825d.pth of pytorch-fid.",
            when_empty="put pt_inception-2015-12-05-6726825d.pth there (from the releases of mseitzer/pytorch-fid)",
        ),
    ],
) -> Annotated[InceptionModel, Tip("What FID sees pictures with.")]:
    """Open the network that FID is measured with."""
    return InceptionModel(*opened(ctx, inception, "inception", InceptionModel.part, "is not FID's Inception network"))


@node("AestheticPredictorLoader", category="loaders", title="Load Aesthetic Predictor", lane="io")
def aesthetic_predictor_loader(
    ctx: Context,
    *,
    aesthetic: Annotated[
        FileRef,
        File(
            "aesthetic",
            tooltip="A file of models/aesthetic: LAION's predictor, version 2.",
            when_empty="put sac+logos+ava1-l14-linearMSE.pth of christophschuhmann/improved-aesthetic-predictor there",
        ),
    ],
) -> Annotated[AestheticModel, Tip("The predictor.")]:
    """Open an aesthetic predictor."""
    return AestheticModel(*opened(ctx, aesthetic, "aesthetic", AestheticModel.part, "is not an aesthetic predictor"))


@node("CLIPScore", category="image/quality", title="CLIP Score", terminal=True)
def clip_score(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    clip_model: Annotated[ClipModel, Tip("The CLIP that judges.")],
    text: Annotated[str, Text(multiline=True, tooltip="What they should show.")],
) -> Shown[Annotated[float, Tip("The mean over the pictures: 100 times the cosine of picture and text, at least 0.")]]:
    """Say how well pictures fit a text (Hessel et al. 2021): about 20 is anything, above 30 a very good fit."""
    with ctx.services.use(clip_model, "clip_model") as clip:
        wanted = clip.read(ctx.services.tokenizer.encode(text), ctx.check)
        seen = torch.stack([clip.see(picture, ctx.check) for picture in _colours(image)])
    scores = (100 * F.cosine_similarity(seen, wanted[None])).clamp(min=0).tolist()
    return _shown("CLIP score", scores, "clip_model")


@node("AestheticScore", category="image/quality", title="Aesthetic Score", terminal=True)
def aesthetic_score(
    ctx: Context,
    *,
    image: Annotated[Image, Tip("The pictures.")],
    clip_model: Annotated[ClipModel, Tip("The CLIP that the predictor was trained on: ViT-L/14 of OpenAI.")],
    aesthetic_model: Annotated[AestheticModel, Tip("The predictor.")],
) -> Shown[Annotated[float, Tip("The mean over the pictures, about 1 to 10; people like what is above 6.")]]:
    """Guess how much people would like pictures."""
    with (
        ctx.services.use(clip_model, "clip_model") as clip,
        ctx.services.use(aesthetic_model, "aesthetic_model") as predictor,
    ):
        if predictor.width != clip.vision.projection:
            raise InputError(
                "clip_model", f"sees vectors of {clip.vision.projection}, the predictor reads {predictor.width}"
            )
        scores = predictor(torch.stack([clip.see(picture, ctx.check) for picture in _colours(image)])).tolist()
    return _shown("aesthetic score", scores, "aesthetic_model")


PICTURES = Text(tooltip="A folder of pictures in the input directory; `NAME [output]` is one of the output directory.")
Seer = Annotated[
    InceptionModel | ClipModel, Tip("What sees the pictures: Inception as everyone's FID has it, or a CLIP.")
]
Both = Features | FeatureVectors


@node("FolderFeatures", category="image/quality", title="Features of a Folder", freshness=stamps)
def folder_features(
    ctx: Context, *, model: Seer, folder: Annotated[str, PICTURES]
) -> Annotated[Features, Tip("How what the network sees is spread over the pictures.")]:
    """Look at all pictures of a folder, for FID to compare with another's."""
    with _seen(ctx, model, folder) as vectors:
        features = gathered(vectors)
    if not features.covariance.isfinite().all():
        raise InputError("model", "sees no numbers in these pictures: its weights are damaged")
    return features


@node("FolderVectors", category="image/quality", title="Feature Vectors of a Folder", freshness=stamps)
def folder_vectors(
    ctx: Context, *, model: Seer, folder: Annotated[str, PICTURES]
) -> Annotated[FeatureVectors, Tip("What the network sees in each of the pictures.")]:
    """Look at all pictures of a folder, for KID, CMMD or FID to compare with another's."""
    with _seen(ctx, model, folder) as vectors:
        found = torch.stack([vector.float().cpu() for vector in vectors])
    if not found.isfinite().all():
        raise InputError("model", "sees no numbers in these pictures: its weights are damaged")
    return FeatureVectors(found)


@contextmanager
def _seen(ctx: Context, handle: ModelHandle[Inception | ContrastiveModel], folder: str) -> Iterator[Iterator[Tensor]]:
    """What a network sees in each picture of a folder, one after the other."""
    pictures = pictures_in(folder, ctx.services.folders, "folder")
    if len(pictures) < 2:
        raise InputError(
            "folder", f"{folder!r} holds one picture; a spread takes two or more, and a good FID thousands"
        )
    with ctx.services.use(handle, "model") as network:

        def seen() -> Iterator[Tensor]:
            for done, path in enumerate(pictures, 1):
                try:
                    pixels, _ = read_picture(path)
                except NO_PICTURE as error:
                    raise InputError("folder", f"{path.name} cannot be read as a picture: {error}") from error
                yield network.see(pixels[0])
                ctx.progress(done, len(pictures))

        yield seen()


@node("FID", category="image/quality", title="FID of Two Folders", terminal=True)
def fid(
    ctx: Context,
    *,
    features: Annotated[Both, Tip("Of the pictures in question.")],
    reference: Annotated[Both, Tip("Of the pictures they should be like, seen by the same network.")],
) -> Shown[Annotated[float, Tip("The distance: 0 for the same spread. Compare only FIDs of equally many pictures.")]]:
    """Say how far the pictures of one folder are from those of another: Fréchet inception distance."""
    given, wanted = (gathered(it.vectors) if isinstance(it, FeatureVectors) else it for it in (features, reference))
    _check_widths(len(given.mean), len(wanted.mean))
    distance = frechet_distance(given, wanted)
    text = f"FID {distance:.3f} ({given.count} pictures against {wanted.count})"
    return Shown(distance, {"text": [text], "scores": [distance]})


@node("KID", category="image/quality", title="KID of Two Folders", terminal=True)
def kernel_inception_distance(
    ctx: Context,
    *,
    features: Annotated[FeatureVectors, Tip("Of the pictures in question, seen by Inception.")],
    reference: Annotated[FeatureVectors, Tip("Of the pictures they should be like, seen by the same network.")],
    subsets: Annotated[int, Int(1, 1000, tooltip="How many subsets to compare.")] = 100,
    subset_size: Annotated[int, Int(2, 10_000, tooltip="How many pictures each has; no more than there are.")] = 1000,
) -> Shown[Annotated[float, Tip("The distance: about 0 for pictures alike, below it by chance.")]]:
    """Say how far the pictures of one folder are from those of another; right on average also of few: KID."""
    _check_widths(features.vectors.shape[1], reference.vectors.shape[1])
    mean, deviation = kid(features.vectors, reference.vectors, subsets, subset_size)
    counts = f"{len(features.vectors)} pictures against {len(reference.vectors)}"
    return Shown(mean, {"text": [f"KID {mean:.5f} ± {deviation:.5f} ({counts})"], "scores": [mean]})


@node("CMMD", category="image/quality", title="CMMD of Two Folders", terminal=True)
def clip_mean_discrepancy(
    ctx: Context,
    *,
    features: Annotated[FeatureVectors, Tip("Of the pictures in question, seen by a CLIP.")],
    reference: Annotated[FeatureVectors, Tip("Of the pictures they should be like, seen by the same network.")],
) -> Shown[Annotated[float, Tip("The distance: about 0 for pictures alike, below it by chance.")]]:
    """Say how far the pictures of one folder are from those of another by a CLIP, assuming nothing of their spread."""
    _check_widths(features.vectors.shape[1], reference.vectors.shape[1])
    distance = cmmd(features.vectors, reference.vectors)
    counts = f"{len(features.vectors)} pictures against {len(reference.vectors)}"
    return Shown(distance, {"text": [f"CMMD {distance:.4f} ({counts})"], "scores": [distance]})


def _check_widths(given: int, wanted: int) -> None:
    if given != wanted:
        raise InputError("reference", f"was seen by another network: {wanted} numbers, not {given}")


def _colours(image: Image) -> Tensor:
    if (channels := image.pixels.shape[-1]) != 3:
        raise InputError("image", f"has {channels} channels, expected 3: colours without transparency")
    return image.pixels


def _shown(what: str, scores: Sequence[float], blamed: str) -> Shown[float]:
    """The mean of the scores; the node shows them all."""
    mean = sum(scores) / len(scores)
    if mean != mean:
        raise InputError(blamed, "gives scores that are no numbers: its weights are damaged")
    each = f" ({', '.join(f'{score:.2f}' for score in scores)})" if len(scores) > 1 else ""
    ui: Mapping[str, Sequence[object]] = {"text": [f"{what} {mean:.2f}{each}"], "scores": scores}
    return Shown(mean, ui)
