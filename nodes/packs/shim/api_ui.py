"""`comfy_api.latest.ui`: what nodes of the third protocol show, and pictures they save."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from graph.result import Outputs
from models.types import Image
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

    return {
        "SavedResult": SavedResult,
        "SavedImages": SavedImages,
        "PreviewText": PreviewText,
        "PreviewImage": preview_image,
        "PreviewMask": preview_mask,
        "ImageSaveHelper": ImageSaveHelper,
    }
