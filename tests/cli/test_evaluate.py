"""`main.py evaluate` with real, tiny networks: what it draws, measures, keeps and reports."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import main
from models.discrepancy import cmmd
from models.frechet import frechet_distance, gathered
from models.tokenizer import ClipTokenizer
from nodes.pictures import read_picture
from server.curves import HEIGHT, WIDTH, Curve, chart
from tests.tiny_checkpoint import write_tiny_checkpoint
from tests.tiny_judges import tiny_clip_model, write

PROMPTS = ("three birds", "a boat & <b>two</b> houses")
CHECKPOINTS = ("a.safetensors", "b.safetensors")

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def base(tmp_path: Path, one_thread: None) -> Path:
    """Two checkpoints, a CLIP, a folder of reference pictures and a list of prompts."""
    for seed, name in enumerate(CHECKPOINTS):
        write_tiny_checkpoint(tmp_path / "models/checkpoints" / name, seed)
    write(tmp_path / "models/clip_vision/clip.safetensors", tiny_clip_model())
    (tmp_path / "input/real").mkdir(parents=True)
    for i in range(3):
        PIL.Image.effect_noise((32, 32), 40 + 30 * i).convert("RGB").save(tmp_path / f"input/real/{i}.png")
    (tmp_path / "prompts.txt").write_text("# two of them\n\n" + "\n".join(PROMPTS) + "\n")
    return tmp_path


@pytest.fixture
def evaluate(base: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call it; gives the exit status, standard output and standard error. Later options replace earlier ones."""

    def call(*options: object, judged: bool = True) -> tuple[int, str, str]:
        small = ["--size", "32x32", "--steps", "1", "--cfg", "1", "4", "--checkpoints", *CHECKPOINTS]
        judges = ["--clip-model", "clip.safetensors", "--reference", "real"] if judged else []
        command = ["evaluate", base / "prompts.txt", "--base-directory", base, "--cpu", *small, *judges, *options]
        return (main.main([str(word) for word in command]), *capsys.readouterr())

    return call


def pictures(base: Path) -> dict[str, tuple[bytes, int]]:
    """Below the report: what each picture's file holds, and when it was written."""
    root = base / "output/evaluate/report"
    return {str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*.png")}


def figures(base: Path) -> Any:
    return json.loads((base / "output/evaluate/report/figures.json").read_text("utf-8"))


def seen(path: Path) -> Tensor:
    return tiny_clip_model().see(read_picture(path)[0][0])


@torch.inference_mode()
def test_it_draws_and_judges_every_pair_and_writes_one_page(base: Path, evaluate: Call) -> None:
    status, out, err = evaluate()
    page = base / "output/evaluate/report/index.html"
    assert (status, out) == (0, f"{page}\n"), err
    assert sorted(pictures(base)) == sorted(
        f"{name}/cfg-{cfg}/0000{i}_00001_.png" for name in CHECKPOINTS for cfg in (1, 4) for i in (0, 1)
    )
    known = figures(base)
    assert [(point["checkpoint"], point["cfg"]) for point in known["points"]] == [
        (name, cfg) for name in CHECKPOINTS for cfg in (1.0, 4.0)
    ]
    real = [seen(path) for path in sorted((base / "input/real").iterdir())]
    reference = gathered(real)
    clip, tokenizer = tiny_clip_model(), ClipTokenizer()
    for point in known["points"]:
        drawn = sorted((page.parent / point["checkpoint"] / f"cfg-{point['cfg']:g}").iterdir())
        vectors = [seen(path) for path in drawn]
        texts = [clip.read(tokenizer.encode(prompt)) for prompt in PROMPTS]
        scores = [max(0.0, 100 * F.cosine_similarity(a, b, dim=0).item()) for a, b in zip(vectors, texts, strict=True)]
        assert point["clip_scores"] == pytest.approx(scores, abs=1e-3)
        assert point["clip_score"] == pytest.approx(sum(scores) / 2, abs=1e-3)
        assert point["clip_fid"] == pytest.approx(frechet_distance(gathered(vectors), reference), rel=1e-4)
        assert point["cmmd"] == pytest.approx(cmmd(torch.stack(vectors), torch.stack(real)), rel=1e-4, abs=1e-4)
    html = page.read_text("utf-8")
    addresses = set(re.findall(r'(?:src|href)="([^"]+)"', html))
    assert len(addresses) == 8 and all((page.parent / address).is_file() for address in addresses)
    assert "http" not in html and "<b>two" not in html and "a boat &amp; &lt;b&gt;two" in html
    assert html.count("<svg") == 5  # CLIP score, FID, CMMD, and both distances against the score


def test_what_is_there_is_kept_and_only_what_is_missing_is_drawn(base: Path, evaluate: Call) -> None:
    evaluate()
    before, known = pictures(base), figures(base)
    gone = "b.safetensors/cfg-4/00001_00001_.png"
    (base / "output/evaluate/report" / gone).unlink()
    damaged = "a.safetensors/cfg-1/00000_00001_.png"
    (base / "output/evaluate/report" / damaged).write_bytes(before[damaged][0][:200])
    short = "a.safetensors/cfg-4/00000_00001_.png"
    (base / "output/evaluate/report" / short).write_bytes(before[short][0][:-300])
    assert evaluate()[0] == 0
    after = pictures(base)
    assert {name: content for name, (content, _) in after.items()} == {n: content for n, (content, _) in before.items()}
    assert {name for name in before if before[name][1] != after[name][1]} == {gone, damaged, short}
    assert figures(base)["points"] == known["points"]


@pytest.mark.parametrize("change", [("--steps", "2"), ("--seed", "5"), ("--negative", "snow")])
def test_other_settings_draw_anew(base: Path, evaluate: Call, change: tuple[str, str]) -> None:
    evaluate("--checkpoints", "a.safetensors", judged=False)
    before = pictures(base)
    evaluate("--checkpoints", "a.safetensors", *change, judged=False)
    after = pictures(base)
    assert before.keys() == after.keys()
    assert all(before[name][1] != after[name][1] for name in before)


def test_another_checkpoint_of_the_same_name_draws_anew(base: Path, evaluate: Call) -> None:
    evaluate("--checkpoints", "a.safetensors", judged=False)
    before = pictures(base)
    write_tiny_checkpoint(base / "models/checkpoints/a.safetensors", seed=7)
    evaluate("--checkpoints", "a.safetensors", judged=False)
    assert all(before[name][0] != content for name, (content, _) in pictures(base).items())


def test_pictures_of_prompts_that_are_no_more_go_and_those_of_others_stay(base: Path, evaluate: Call) -> None:
    evaluate("--checkpoints", "a.safetensors", judged=False)
    folder = base / "output/evaluate/report/a.safetensors/cfg-1"
    (folder / "mine.png").write_bytes(b"mine")
    (base / "prompts.txt").write_text(PROMPTS[0])
    evaluate("--checkpoints", "a.safetensors", judged=False)
    assert sorted(path.name for path in folder.iterdir()) == ["00000_00001_.png", "mine.png"]
    assert figures(base)["points"][0].keys() == {"checkpoint", "cfg", "clip_scores"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--checkpoints", "c.safetensors"), "c.safetensors"),
        (("--sampler", "dpmpp_3m"), "sampler_name"),
        (("--size", "8x32"), "width"),
        (("--cfg", "-1"), "cfg"),
        (("--clip-model", "a.safetensors"), "a.safetensors"),
        (("--reference", "nowhere"), "no folder 'nowhere' in the input directory"),
        (("--name", "../elsewhere"), "no way up"),
        (("--inception", "pt_inception.pth"), "pt_inception.pth"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_drawn(
    base: Path, evaluate: Call, options: tuple[str, ...], said: str
) -> None:
    status, out, err = evaluate(*options)
    assert status in (1, 2) and out == "" and said in err
    assert not pictures(base) and "Traceback" not in err


def test_a_clip_of_another_kind_is_said_before_anything_is_drawn(base: Path, evaluate: Call) -> None:
    write_tiny_checkpoint(base / "models/clip_vision/other.safetensors")
    status, _, err = evaluate("--clip-model", "other.safetensors", judged=False)
    assert status == 1 and "other.safetensors is not a CLIP with both towers" in err
    assert not pictures(base)


def test_checkpoints_that_would_share_a_folder_are_refused(base: Path, evaluate: Call) -> None:
    for name in ("a/b.safetensors", "a_b.safetensors"):
        write_tiny_checkpoint(base / "models/checkpoints" / name)
    status, _, err = evaluate("--checkpoints", "a/b.safetensors", "a_b.safetensors")
    assert status == 2 and "would lie in a_b.safetensors/cfg-1" in err
    assert not pictures(base)


def test_a_network_of_another_kind_is_said_before_anything_is_drawn(base: Path, evaluate: Call) -> None:
    write_tiny_checkpoint(base / "models/inception/inception.safetensors")
    status, _, err = evaluate("--inception", "inception.safetensors")
    assert status == 1 and "inception.safetensors is not FID's Inception network" in err
    assert not pictures(base)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("# nothing\n", (), "holds no prompt"),
        ("one\n", ("--clip-model", "clip.safetensors", "--reference", "real"), "two prompts or more"),
        ("one\ntwo\n", ("--reference", "real"), "needs a network that looks at it"),
        ("one\ntwo\n", ("--inception", "x.pth"), "only together with --reference"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    base: Path, evaluate: Call, text: str, options: tuple[str, ...], said: str
) -> None:
    (base / "prompts.txt").write_text(text)
    status, _, err = evaluate(*options, judged=False)
    assert status == 2 and said in err


def test_a_missing_list_of_prompts_is_named(base: Path, evaluate: Call) -> None:
    (base / "prompts.txt").unlink()
    status, _, err = evaluate()
    assert status == 2 and "prompts.txt" in err


@pytest.mark.parametrize("values", [(3.0, 3.0), (0.0, 0.0), (-5.0, 1e6), (0.001, 0.0013), (27.1, 31.9), (1e-12, 3e-12)])
def test_every_dot_lies_within_the_chart(values: tuple[float, float]) -> None:
    svg = chart(
        [Curve("<one>", tuple((x, y, "1") for x in values for y in values)), Curve("two", ((1.0, 1.0, "2"),))], "x", "y"
    )
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="3.5"', svg)]
    assert len(dots) == 5 and all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in dots)
    assert "<one>" not in svg and svg.count("<polyline") == 2 and not math.isnan(sum(map(sum, dots)))


def test_a_workflow_of_ones_own_draws(base: Path, evaluate: Call) -> None:
    """As the editor saves it; what the evaluation varies is replaced, and the rest stays."""
    example = json.loads((Path(main.__file__).parent / "workflows/text_to_image.json").read_text("utf-8"))
    example["5"]["inputs"] |= {"width": 64, "height": 32, "batch_size": 4}
    example["3"]["inputs"]["steps"] = 1
    example["12"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    (base / "own.json").write_text(json.dumps(example))
    assert (
        evaluate("--workflow", base / "own.json", "--checkpoints", "a.safetensors", "--cfg", "3", judged=False)[0] == 0
    )
    folder = base / "output/evaluate/report/a.safetensors/cfg-3"
    assert sorted(path.name for path in folder.iterdir()) == ["00000_00001_.png", "00001_00001_.png"]
    with PIL.Image.open(folder / "00001_00001_.png") as picture:
        assert picture.size == (64, 32)
        made = json.loads(picture.info["prompt"])
    assert made["6"]["inputs"]["text"] == PROMPTS[1]
    assert made["7"]["inputs"]["text"] == example["7"]["inputs"]["text"]
    assert (made["3"]["inputs"]["cfg"], made["3"]["inputs"]["seed"], "12" in made) == (3.0, 1, False)
    del example["9"]
    (base / "own.json").write_text(json.dumps(example))
    status, _, err = evaluate("--workflow", base / "own.json", judged=False)
    assert (status, err.strip()) == (2, "the workflow has no SaveImage")
