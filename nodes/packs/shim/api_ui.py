"""`comfy_api.latest.ui`: what nodes of the third protocol show, and pictures they save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from graph.result import Outputs
from models.types import Image
from nodes.animation import EFFORTS
from nodes.packs.host import Host


@dataclass(frozen=True)
class SavedResult:
    """A file that was written."""

    filename: str
    subfolder: str
    type: str

    def as_entry(self) -> dict[str, str]:
        """As clients know it."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": str(self.type)}


@dataclass(frozen=True)
class SavedImages:
    """Pictures that were written."""

    results: Sequence[SavedResult]
    is_animated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """What clients show."""
        shown: dict[str, Any] = {"images": [it.as_entry() for it in self.results]}
        return shown | ({"animated": (True,)} if self.is_animated else {})


@dataclass(frozen=True)
class PreviewText:
    """A text to show."""

    value: str

    def as_dict(self) -> dict[str, Any]:
        """What clients show."""
        return {"text": (self.value,)}


@dataclass(frozen=True)
class _Shown:
    ui: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """What clients show."""
        return dict(self.ui)


def _first(ui: Mapping[str, Any]) -> SavedResult:
    entry = ui["images"][0]
    return SavedResult(entry["filename"], entry["subfolder"], entry["type"])


def _image_save_helper(saved: Callable[..., Mapping[str, Any]]) -> type:
    """`ImageSaveHelper`. saved: saves pictures by a node of ours, and says what clients show of them."""

    class ImageSaveHelper:
        """Saving pictures as SaveImage does."""

        @staticmethod
        def save_images(images: Tensor, filename_prefix: str, **_: object) -> list[SavedResult]:
            """Write them into the output directory, with the workflow."""
            entries = saved("SaveImage", images, filename_prefix=filename_prefix)["images"]
            return [SavedResult(it["filename"], it["subfolder"], it["type"]) for it in entries]

        @staticmethod
        def get_save_images_ui(images: Tensor, filename_prefix: str, **_: object) -> SavedImages:
            """Write them, and what clients show of it."""
            return SavedImages(ImageSaveHelper.save_images(images, filename_prefix))

        @staticmethod
        def save_animated_png(
            images: Tensor, filename_prefix: str, folder_type: object = None, cls: object = None, fps: float = 6.0,
            compress_level: int = 4,
        ) -> SavedResult:  # fmt: skip
            """Write them into the output directory as one moving picture."""
            settings = {"filename_prefix": filename_prefix, "fps": fps, "compress_level": compress_level}
            return _first(saved("SaveAnimatedPNG", images, **settings))

        @staticmethod
        def save_animated_webp(
            images: Tensor, filename_prefix: str, folder_type: object = None, cls: object = None, fps: float = 6.0,
            lossless: bool = True, quality: int = 80, method: int = 4,
        ) -> SavedResult:  # fmt: skip
            """The same as WebP. method: 0 to 6, how long to look for a smaller file."""
            effort = min(EFFORTS, key=lambda name: abs(EFFORTS[name] - method))
            settings = {"filename_prefix": filename_prefix, "fps": fps, "lossless": lossless, "quality": quality}
            return _first(saved("SaveAnimatedWEBP", images, **settings, method=effort))

        @staticmethod
        def get_save_animated_png_ui(
            images: Tensor, filename_prefix: str, cls: object = None, fps: float = 6.0, compress_level: int = 4
        ) -> SavedImages:
            """Write them, and what clients show of it."""
            made = ImageSaveHelper.save_animated_png(images, filename_prefix, None, cls, fps, compress_level)
            return SavedImages([made], is_animated=len(images) > 1)

        @staticmethod
        def get_save_animated_webp_ui(
            images: Tensor, filename_prefix: str, cls: object = None, fps: float = 6.0, lossless: bool = True,
            quality: int = 80, method: int = 4,
        ) -> SavedImages:  # fmt: skip
            """Write them, and what clients show of it."""
            made = ImageSaveHelper.save_animated_webp(
                images, filename_prefix, None, cls, fps, lossless, quality, method
            )
            return SavedImages([made], is_animated=len(images) > 1)

    return ImageSaveHelper


def names(host: Host) -> Mapping[str, object]:
    """What the module holds."""

    def saved(type_name: str, images: Tensor, **inputs: object) -> Mapping[str, Any]:
        result = host.specs[type_name].run(host.context, {"images": Image(images.float().cpu()), **inputs})
        assert isinstance(result, Outputs)
        return result.ui

    def preview_image(image: Tensor, animated: bool = False, cls: object = None, **_: object) -> _Shown:
        return _Shown(saved("PreviewImage", image))

    def preview_mask(mask: Tensor, animated: bool = False, cls: object = None, **_: object) -> _Shown:
        return _Shown(saved("PreviewImage", mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3)))

    return {
        "SavedResult": SavedResult,
        "SavedImages": SavedImages,
        "PreviewText": PreviewText,
        "PreviewImage": preview_image,
        "PreviewMask": preview_mask,
        "ImageSaveHelper": _image_save_helper(saved),
    }
