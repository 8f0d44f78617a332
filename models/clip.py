"""CLIP's text tower, and the layers that its vision tower shares (Radford et al. 2021, arXiv:2103.00020).

Attribute names are the checkpoint's key names below `cond_stage_model.transformer.`, so `load_state_dict` needs
no map. transformers' CLIPTextModel is the oracle of the tests; importing its modelling code takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.attention import attention
from models.config import ClipConfig, TowerConfig
from models.repeatable import gelu, sigmoid

Tick = Callable[[], None]


class Embeddings(nn.Module):
    """Token and position tables."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab, config.width)
        self.position_embedding = nn.Embedding(config.positions, config.width)


class SelfAttention(nn.Module):
    """Self-attention; causal, if a token is to see only those before it."""

    def __init__(self, config: TowerConfig, causal: bool) -> None:
        super().__init__()
        self.heads = config.heads
        self.causal = causal
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.q_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]. mask: which of [B, 1, T, T] is looked at, instead of all or all before."""
        causal = self.causal and mask is None
        return self.out_proj(attention(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.heads, causal, mask))


class MLP(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.quick = config.activation == "quick_gelu"
        self.fc1 = nn.Linear(config.width, config.intermediate)
        self.fc2 = nn.Linear(config.intermediate, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        h = self.fc1(x)
        return self.fc2(h * sigmoid(1.702 * h) if self.quick else gelu(h))


class EncoderLayer(nn.Module):
    """Attention and MLP, each behind a norm and added to what came in."""

    def __init__(self, config: TowerConfig, causal: bool) -> None:
        super().__init__()
        self.self_attn = SelfAttention(config, causal)
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.mlp = MLP(config)
        self.layer_norm2 = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]. mask: which of [B, 1, T, T] is looked at."""
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: TowerConfig, causal: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config, causal) for _ in range(config.layers))

    def forward(self, x: Tensor, tick: Tick = lambda: None) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        for layer in self.layers:
            tick()
            x = layer(x)
        return x


class TextTransformer(nn.Module):
    """What CLIP's checkpoints call `text_model`."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(config.width)


class TextModel(nn.Module):
    """Token ids -> one vector a token, each aware of the tokens before it."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextTransformer(config)
        if config.projection:
            self.text_projection = nn.Linear(config.width, config.projection, bias=False)

    def embed(self, tokens: Tensor) -> Tensor:
        """Look token ids up, without positions. tokens: [B, T] int64 -> [B, T, D]."""
        return self.text_model.embeddings.token_embedding(tokens)

    def encode(self, vectors: Tensor, tick: Tick = lambda: None) -> Tensor:
        """Last hidden state after the final norm, of token vectors from `embed` or a file. [B, T, D] -> [B, T, D]."""
        return self.encode_until(vectors, -1, tick)[1]

    def encode_until(
        self,
        vectors: Tensor,
        layer: int,
        tick: Tick = lambda: None,
        normed: bool = True,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`encode` twice: after the layer `layer`, counted from the end as -1, -2, …, and after all of them.

        The second is behind the final norm, and so is the first, unless `normed` is false. A count that goes beyond the
        first layer means the last one, behind the norm. seen: [B, T], which vectors others may look at.
        """
        x = vectors + self.text_model.embeddings.position_embedding.weight[: vectors.shape[1]]
        layers = self.text_model.encoder.layers
        chosen, at = x, len(layers) + (layer if -layer <= len(layers) else -1)
        mask = None
        if seen is not None:
            before = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
            mask = before & seen[:, None, None, :]
        for i, block in enumerate(layers):
            tick()
            x = block(x, mask)
            chosen = x if i == at else chosen
        last = self.text_model.final_layer_norm(x)
        if not normed and -layer <= len(layers):
            return chosen, last
        return (last if at == len(layers) - 1 else self.text_model.final_layer_norm(chosen)), last

    def project(self, pooled: Tensor) -> Tensor:
        """A pooled vector in the space where texts are compared with pictures, if the tower has one. [B, D] -> [B, P]."""
        return self.text_projection(pooled) if self.config.projection else pooled

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: [B, T] int64, T at most 77 -> [B, T, D], the last hidden state after the final norm."""
        return self.encode(self.embed(tokens))
