"""Models, text encoders and autoencoders as packs hold them: objects with methods around handles that never change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, Never, Self, TypeVar

from torch import Tensor

from graph.result import Outputs
from models.types import Clip, Conditioning, Image, Latent, Model, Vae
from nodes.packs.host import Host

H = TypeVar("H", Model, Clip, Vae)


class Handle(Generic[H]):
    """What all three have. A pack that asks for what is not here is told so by name."""

    def __init__(self, handle: H, host: Host) -> None:
        self._own: H = handle
        self._host = host

    @property
    def handle(self) -> H:
        """The value that travels on links."""
        return self._own

    def clone(self) -> Self:
        """Another object for the same weights."""
        return type(self)(self._own, self._host)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._missed(name)

    def _missed(self, name: str) -> Never:
        """Raises AttributeError for what packs ask for in vain, and counts it."""
        socket = type(self._own).socket
        self._host.miss(f"{socket}.{name}")
        raise AttributeError(f"a {socket} of Darkroom has no {name!r} for packs")

    def _ran(self, type_name: str, **inputs: object) -> object:
        """The first output of one of our nodes, run as part of the node that runs now."""
        result = self._host.specs[type_name].run(self._host.context, inputs)
        assert isinstance(result, Outputs)
        return result.values[0]


@dataclass(frozen=True)
class Tokens:
    """A text that `tokenize` was given, for `encode_from_tokens`."""

    text: str


class PackClip(Handle[Clip]):
    """A CLIP."""

    def tokenize(self, text: str, return_word_ids: bool = False, **_: object) -> Tokens:
        """The text, for the encoder to take apart."""
        return Tokens(text)

    def encode_from_tokens_scheduled(self, tokens: Tokens, add_dict: Any = None, **_: object) -> list[list[Any]]:
        """CONDITIONING of the text; `add_dict` goes with every entry."""
        [entry] = self._encoded(tokens)
        return [[entry[0], {**entry[1], **(add_dict or {})}]]

    def encode_from_tokens(self, tokens: Tokens, return_pooled: object = False, return_dict: bool = False) -> Any:
        """The text's vectors, with the pooled one if it is wanted."""
        [(cond, options)] = self._encoded(tokens)
        pooled = options["pooled_output"]
        if return_dict:
            return {"cond": cond, "pooled_output": pooled}
        return (cond, pooled) if return_pooled else cond

    def encode(self, text: str) -> Tensor:
        """The text's vectors."""
        vectors: Tensor = self.encode_from_tokens(self.tokenize(text))
        return vectors

    def _encoded(self, tokens: Tokens) -> list[list[Any]]:
        made = self._ran("CLIPTextEncode", text=tokens.text, clip=self.handle)
        assert isinstance(made, Conditioning)
        return [[cond.tokens.clone(), {"pooled_output": cond.pooled.clone()}] for cond in made.conds]


class PackVae(Handle[Vae]):
    """A VAE."""

    def encode(self, pixels: Tensor) -> Tensor:
        """[B, H, W, C] -> latents [B, 4, h, w]."""
        made = self._ran("VAEEncode", pixels=Image(pixels.float().cpu()), vae=self.handle)
        assert isinstance(made, Latent)
        return made.samples.clone()

    def decode(self, samples: Tensor) -> Tensor:
        """Latents -> [B, H, W, C]."""
        made = self._ran("VAEDecode", samples=Latent(samples.float().cpu()), vae=self.handle)
        assert isinstance(made, Image)
        return made.pixels.clone()

    @property
    def downscale_ratio(self) -> int:
        """Pixels a side for one cell of a latent."""
        return self.handle.family.latent.factor

    @property
    def latent_channels(self) -> int:
        """Channels of a latent."""
        return self.handle.family.latent.channels

    def spacial_compression_decode(self) -> int:
        """Pixels a side for one cell of a latent."""
        return self.downscale_ratio
