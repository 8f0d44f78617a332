"""CLIP's byte-pair tokenizer, offline: its vocabulary is data of the project (see NOTICE)."""

from __future__ import annotations

import gzip
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MERGES = Path(__file__).parent / "vocabulary" / "clip_bpe.txt.gz"
BOS = 49406  # <|startoftext|>
EOS = 49407  # <|endoftext|>, which is also clip-l's padding
WORD_END = "</w>"


def merges() -> list[tuple[str, str]]:
    """CLIP's 48,894 byte-pair merges, best first."""
    lines = gzip.decompress(MERGES.read_bytes()).decode("utf-8").split("\n")
    pairs = (line.split() for line in lines[1 : 49152 - 256 - 2 + 1])
    return [(left, right) for left, right in pairs]


def vocabulary() -> dict[str, int]:
    """Piece -> token id, 49,408 of them: bytes, bytes that end a word, merges in order, two marks."""
    letters = list(_byte_letters().values())
    pieces = letters + [letter + WORD_END for letter in letters]
    pieces += [left + right for left, right in merges()]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    return {piece: i for i, piece in enumerate(pieces)}


def _byte_letters() -> dict[int, str]:
    """Byte -> a printable letter, in the order GPT-2 and CLIP number them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


class ClipTokenizer:
    """Text -> token ids, without marks or padding."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text`: lower-cased, white space folded, split into words, byte-pair merged.

        The two marks are themselves when written out. Half a surrogate pair, which JSON can carry, is read as U+FFFD.
        """
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

        tokenizer = Tokenizer(
            models.BPE(vocabulary(), merges(), end_of_word_suffix=WORD_END, unk_token="<|endoftext|>")
        )
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        marks = ("<|startoftext|>", "<|endoftext|>")
        tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in marks])
        return tokenizer
