"""Textual-inversion files: the forms that trainers write."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from models.embeddings import load_embedding
from models.weights import CheckpointError
from tests.models.golden import GOLDEN

WIDTH = 16
VECTORS = torch.arange(2.0 * WIDTH).reshape(2, WIDTH)


def saved(path: Path, content: object) -> Path:
    if path.suffix == ".safetensors":
        assert isinstance(content, dict)
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("kohya.safetensors", {"emb_params": VECTORS}),
        ("clip_l.safetensors", {"clip_l": VECTORS}),
        ("sdxl.safetensors", {"clip_g": torch.zeros(2, 1280), "clip_l": VECTORS}),
        ("half.safetensors", {"emb_params": VECTORS.half()}),
        ("a1111.pt", {"string_to_token": {"*": 265}, "string_to_param": {"*": VECTORS}, "name": "x", "step": 500}),
        ("diffusers.bin", {"<token>": VECTORS}),
        ("tensor.pt", VECTORS),
        ("trained.pt", {"string_to_param": {"*": torch.nn.Parameter(VECTORS)}}),
        ("scalars.pt", {"step": torch.tensor(5), "nothing": torch.zeros(0), "emb_params": VECTORS}),
    ],
)
def test_what_trainers_write_is_read(tmp_path: Path, name: str, content: Any) -> None:
    vectors = load_embedding(saved(tmp_path / name, content), WIDTH)
    torch.testing.assert_close(vectors, VECTORS)
    assert vectors.dtype == torch.float32 and not vectors.requires_grad


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_the_first_trainer_s_parameter_dict_is_read(tmp_path: Path, zipped: bool) -> None:
    held = torch.nn.ParameterDict({"*": torch.nn.Parameter(VECTORS)})
    content = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": held}
    torch.save(content, tmp_path / "first.pt", _use_new_zipfile_serialization=zipped)
    torch.testing.assert_close(load_embedding(tmp_path / "first.pt", WIDTH), VECTORS)


class _Unheard:
    """What no weight file needs."""


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_no_refusal_gives_torch_s_advice_to_switch_its_protection_off(tmp_path: Path, zipped: bool) -> None:
    torch.save({"string_to_param": _Unheard()}, tmp_path / "odd.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError) as caught:
        load_embedding(tmp_path / "odd.pt", WIDTH)
    said = str(caught.value)
    assert "_Unheard" in said and "no" in said
    assert not any(word in said for word in ("weights_only", "safe_globals", "allowlist", "trust"))


@pytest.mark.parametrize("name", ["one.pt", "one.safetensors"])
def test_a_single_vector_is_one_row(tmp_path: Path, name: str) -> None:
    vectors = load_embedding(saved(tmp_path / name, {"emb_params": VECTORS[0].clone()}), WIDTH)
    torch.testing.assert_close(vectors, VECTORS[:1])


def test_parts_of_a_list_are_joined(tmp_path: Path) -> None:
    content = [{"a": VECTORS}, {"b": torch.zeros(1, 1280), "c": VECTORS[:1].clone()}]
    vectors = load_embedding(saved(tmp_path / "list.pt", content), WIDTH)
    torch.testing.assert_close(vectors, torch.cat([VECTORS, VECTORS[:1]]))


@pytest.mark.parametrize("key", ["string_to_param.*", "clip_l"])
def test_an_embedding_is_found_in_the_lora_it_came_with(tmp_path: Path, key: str) -> None:
    content = {"a_lora.lora_up.weight": torch.zeros(4, 4), f"bundle_emb.mine.{key}": VECTORS}
    vectors = load_embedding(saved(tmp_path / "bundle.safetensors", content), WIDTH)
    torch.testing.assert_close(vectors, VECTORS)


def test_the_recorded_embedding_has_two_vectors() -> None:
    assert load_embedding(GOLDEN / "random_embedding.safetensors", 768).shape == (2, 768)


def test_another_text_encoder_s_embedding_is_refused_by_its_width(tmp_path: Path) -> None:
    path = saved(tmp_path / "sd2.safetensors", {"emb_params": torch.zeros(3, 1024)})
    with pytest.raises(CheckpointError, match=r"sd2.safetensors.*1024.*16"):
        load_embedding(path, WIDTH)


@pytest.mark.parametrize(("name", "content"), [("a.pt", {"note": "none"}), ("b.pt", []), ("c.pt", 5)])
def test_a_file_without_vectors_says_so(tmp_path: Path, name: str, content: object) -> None:
    with pytest.raises(CheckpointError, match=f"{name} holds no embedding"):
        load_embedding(saved(tmp_path / name, content), WIDTH)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not at all", b"\x80\x02garbage", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=f"broken{suffix}"):
        load_embedding(path, WIDTH)


@given(st.data())
@settings(derandomize=True, deadline=None, max_examples=150)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_flipped_bytes_give_vectors_or_an_error_for_people(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    legacy = folder / "legacy.pt"
    torch.save({"a": VECTORS}, legacy, _use_new_zipfile_serialization=False)
    paths = [saved(folder / "a.pt", {"a": VECTORS}), saved(folder / "a.safetensors", {"a": VECTORS}), legacy]
    path = data.draw(st.sampled_from(paths))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        assert load_embedding(path, WIDTH).shape[1] == WIDTH
    except CheckpointError as error:
        assert path.name in str(error)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)

    def __init__(self, target: Path) -> None:
        self.target = target


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    zipped, plain = tmp_path / "zipped.pt", tmp_path / "plain.pt"
    torch.save({"string_to_param": {"*": VECTORS}, "extra": Bomb(target)}, zipped)
    plain.write_bytes(pickle.dumps(Bomb(target), protocol=2))
    for path in (zipped, plain):
        with pytest.raises(CheckpointError, match=path.name):
            load_embedding(path, WIDTH)
    assert not target.exists()


def test_several_parameter_dicts_in_one_old_file_are_read(tmp_path: Path) -> None:
    held = [torch.nn.ParameterDict({"*": torch.nn.Parameter(VECTORS + i)}) for i in range(2)]
    content = [{"a": VECTORS}, {"string_to_param": held[0], "more": held[1], "b": VECTORS}]
    torch.save(content, tmp_path / "two.pt", _use_new_zipfile_serialization=False)
    torch.testing.assert_close(load_embedding(tmp_path / "two.pt", WIDTH), torch.cat([VECTORS, VECTORS]))
