"""From how a picture was made to a workflow that makes such a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graph.document import DocNode, Document, Link
from graph.generation import Generation, Hires

Names = Callable[[str], Sequence[str]]
"""The names of the files in a model folder."""

_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_MOST_STEPS, _WIDEST = 10_000, 16_384


@dataclass(frozen=True, slots=True)
class Composed:
    """A workflow, and sentences about what it cannot carry over."""

    document: Document
    notes: tuple[str, ...]


def compose(made: Generation, names: Names) -> Composed:
    """Text to picture with its LoRA files, and a second pass if there was one. `names` finds the files that are meant."""
    return _Composing(made, names).all()


class _Composing:
    def __init__(self, made: Generation, names: Names) -> None:
        self._made = made
        self._names = names
        self._notes = list(made.notes)
        self._nodes: dict[str, DocNode] = {}

    def all(self) -> Composed:
        """Nodes have the numbers of the example that everybody knows."""
        made = self._made
        self._add("4", "CheckpointLoaderSimple", {"ckpt_name": self._file("checkpoints", made.model, "the model")})
        model, clip = self._with_loras(Link("4", 0), Link("4", 1))
        if made.clip_skip > 1:
            clip = self._add("10", "CLIPSetLastLayer", {"clip": clip, "stop_at_clip_layer": -min(made.clip_skip, 24)})
        vae = Link("4", 2)
        if made.vae and made.vae.lower() not in ("automatic", "none", "default"):
            vae = self._add("11", "VAELoader", {"vae_name": self._file("vae", made.vae, "the VAE")})
        good = self._add("6", "CLIPTextEncode", {"text": made.prompt, "clip": clip}, "Positive")
        bad = self._add("7", "CLIPTextEncode", {"text": made.negative, "clip": clip}, "Negative")
        sides = {"width": self._side(made.width), "height": self._side(made.height)}
        empty = self._add("5", "EmptyLatentImage", {**sides, "batch_size": max(1, min(made.batch, 64))})
        read = {"model": model, "positive": good, "negative": bad}
        samples = self._sample("3", {**read, "latent_image": empty}, made.steps, 1.0)
        if made.hires:
            larger = self._enlarged(made.hires, samples, sides["width"], sides["height"])
            steps = made.hires.steps or made.steps
            samples = self._sample("13", {**read, "latent_image": larger}, steps, made.hires.denoise)
        image = self._add("8", "VAEDecode", {"samples": samples, "vae": vae})
        self._add("9", "SaveImage", {"images": image, "filename_prefix": "ComfyUI"})
        return Composed(Document(self._nodes), tuple(dict.fromkeys(self._notes)))

    def _add(self, node_id: str, type_name: str, inputs: Mapping[str, object], title: str = "") -> Link:
        self._nodes[node_id] = DocNode(type_name, inputs, {"title": title} if title else {})
        return Link(node_id, 0)

    def _with_loras(self, model: Link, clip: Link) -> tuple[Link, Link]:
        for number, lora in enumerate(self._made.loras, start=20):
            inputs = {
                "lora_name": self._file("loras", lora.name, "the LoRA"),
                "strength_model": lora.model,
                "strength_clip": lora.clip,
                "model": model,
                "clip": clip,
            }
            model = self._add(str(number), "LoraLoader", inputs)
            clip = Link(str(number), 1)
        return model, clip

    def _sample(self, node_id: str, read: Mapping[str, Link], steps: int, denoise: float) -> Link:
        made = self._made
        settings = {
            "seed": made.seed % 2**64,
            "steps": max(1, min(steps, _MOST_STEPS)),
            "cfg": max(0.0, min(made.cfg, 100.0)),
            "sampler_name": made.sampler,
            "scheduler": made.scheduler,
            "denoise": max(0.0, min(denoise, 1.0)),
        }
        return self._add(node_id, "KSampler", {**settings, **read})

    def _enlarged(self, hires: Hires, samples: Link, width: int, height: int) -> Link:
        if hires.upscaler and not hires.upscaler.startswith("Latent"):
            self._notes.append(f"the picture was enlarged by {hires.upscaler} in between: its latents are, here")
        wide, high = hires.size or (round(width * hires.scale), round(height * hires.scale))
        inputs = {
            "samples": samples,
            "upscale_method": "bilinear",
            "width": self._side(wide),
            "height": self._side(high),
            "crop": "disabled",
        }
        return self._add("12", "LatentUpscale", inputs)

    def _side(self, pixels: int) -> int:
        fitting = max(16, min(pixels - pixels % 8, _WIDEST))
        if fitting != pixels:
            self._notes.append(f"{pixels} pixels of a side became {fitting}: sides are multiples of 8")
        return fitting

    def _file(self, folder: str, name: str, what: str) -> str:
        """The file that another program calls `name`: by its own name, or without folder and suffix."""
        known = list(self._names(folder))
        if not name:
            self._notes.append(f"{what} is not named: the first one stands for it")
            return known[0] if known else ""
        wanted = _stem(name)
        for found in known:
            if found == name or _stem(found) == wanted:
                return found
        self._notes.append(f"{what} {name} is not in {folder}")
        return name if name.endswith(_SUFFIXES) else f"{name}.safetensors"


def _stem(name: str) -> str:
    """A file's name as people know it: without folders, suffix and case."""
    base = name.replace("\\", "/").rsplit("/", 1)[-1].lower()
    for suffix in _SUFFIXES:
        base = base.removesuffix(suffix)
    return base
