"""The command line, as people and scripts use it: real files, and real processes where it matters."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

import main
from nodes.registry import builtin
from server.options import parser
from tests.tiny_checkpoint import write_tiny_checkpoint

ROOT = Path(__file__).parents[2]
WORKFLOW = ROOT / "workflows" / "text_to_image.json"
TINY = ["--set", "4.ckpt_name=tiny.safetensors", "--set", "3.steps=2", "--set", "5.width=32", "--set", "5.height=32"]

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A base directory with one checkpoint."""
    (tmp_path / "models/checkpoints").mkdir(parents=True)
    write_tiny_checkpoint(tmp_path / "models/checkpoints/tiny.safetensors")
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call main.py; gives the exit status, standard output and standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = main.main([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return run


def test_run_draws_a_picture_and_prints_its_path(base: Path, call: Call) -> None:
    status, out, err = call("run", WORKFLOW, "--base-directory", base, "--cpu", "--seed", "7", *TINY)
    assert status == 0
    [path] = out.splitlines()
    assert Path(path) == base / "output/text_to_image_00001_.png"
    assert "Sampling: step 2 of 2" in err
    with PIL.Image.open(path) as picture:
        assert picture.size == (32, 32)
        made_by = json.loads(picture.info["prompt"])
    assert made_by["3"]["inputs"]["seed"] == 7
    assert made_by["3"]["inputs"]["model"] == ["4", 0]


def test_what_a_run_leaves_out_is_said_in_words_and_in_the_json(base: Path, call: Call) -> None:
    unknown = ["--set", "6.text=a cat, embedding:nobody", *TINY]
    status, out, err = call("run", WORKFLOW, "--base-directory", base, "--cpu", "--json", *unknown)
    assert status == 0
    [warning] = json.loads(out)["warnings"]
    assert (warning["node_id"], warning["node_type"], warning["input_name"]) == ("6", "CLIPTextEncode", "text")
    assert "embedding:nobody" in warning["message"]
    assert err.count("warning: node 6 (CLIPTextEncode), input 'text': embedding:nobody") == 1


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(base: Path, call: Call) -> None:
    pixels = []
    for seed in ("1", "1", "2"):
        _, out, _ = call("run", WORKFLOW, "--base-directory", base, "--cpu", "--seed", seed, *TINY)
        with PIL.Image.open(out.strip()) as picture:
            pixels.append(picture.tobytes())
    assert pixels[0] == pixels[1] != pixels[2]


def test_json_gives_one_object_for_success_and_for_refusal(base: Path, call: Call) -> None:
    status, out, _ = call("run", WORKFLOW, "--base-directory", base, "--cpu", "--json", *TINY)
    answer = json.loads(out)
    assert (status, answer["status"], answer["errors"]) == (0, "success", [])
    assert all(Path(file).is_file() for file in answer["files"])
    assert answer["outputs"]["9"]["images"][0]["type"] == "output"
    status, out, _ = call("run", WORKFLOW, "--base-directory", base, "--json", "--set", "3.steps=0")
    answer = json.loads(out)
    assert (status, answer["status"]) == (2, "refused")
    assert ("3", "steps") in {(error["node_id"], error["input_name"]) for error in answer["errors"]}


def test_every_problem_is_listed_at_once_with_its_place(base: Path, call: Call) -> None:
    changes = ["3.steps=0", "3.sampler_name=eulr", "5.width=64.9", '9.images=["77", 0]']
    options = [option for change in changes for option in ("--set", change)]
    status, out, err = call("run", WORKFLOW, "--base-directory", base, *TINY, *options)
    assert status == 2
    assert out == ""
    for expected in (
        "node 3 (KSampler), input 'steps': got 0, expected an integer from 1 to 10000",
        "node 3 (KSampler), input 'sampler_name': got 'eulr'",
        "did you mean 'euler'?",
        "node 5 (EmptyLatentImage), input 'width': got 64.9",
        "node 9 (SaveImage), input 'images'",
    ):
        assert expected in err


def test_16_bits_give_nearly_the_same_picture(base: Path, call: Call) -> None:
    pictures: list[NDArray[np.float64]] = []
    for flags in ([], ["--bf16-unet", "--bf16-vae"], ["--fp16-unet"], ["--precision", "auto"], ["--int8"]):
        status, out, err = call("run", WORKFLOW, "--base-directory", base, "--cpu", *flags, *TINY)
        assert status == 0
        assert ("--precision auto: U-Net " in err) == ("auto" in flags)
        with PIL.Image.open(out.strip()) as picture:
            pictures.append(np.asarray(picture, dtype=np.float64))
    for found in pictures[1:]:
        assert np.sqrt(np.mean((found - pictures[0]) ** 2)) < 3  # of 255
    with pytest.raises(SystemExit):
        call("run", WORKFLOW, "--bf16-unet", "--fp16-unet")
    with pytest.raises(SystemExit):
        call("run", WORKFLOW, "--precision", "fp32", "--force-fp16")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("33.seed=1", "the workflow has no node '33' (did you mean '3'?)"),
        ("3.sed=1", "KSampler has no input 'sed' (did you mean 'seed'?)"),
        ("seed=1", "expected NODE.INPUT=VALUE"),
    ],
)
def test_a_change_that_names_nothing_is_an_error(base: Path, call: Call, change: str, complaint: str) -> None:
    status, _, err = call("run", WORKFLOW, "--base-directory", base, "--set", change)
    assert status == 2
    assert complaint in err


def test_a_workflow_is_read_from_standard_input(base: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WORKFLOW.read_bytes())))
    status, out, _ = call("run", "-", "--base-directory", base, "--cpu", *TINY)
    assert status == 0
    assert Path(out.strip()).is_file()


def test_a_broken_or_missing_workflow_file_is_said_in_one_line(base: Path, call: Call, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"1": {')
    for name in (broken, tmp_path / "absent.json"):
        status, out, err = call("run", name, "--base-directory", base)
        assert (status, out, len(err.splitlines())) == (2, "", 1)


def test_pictures_go_to_another_output_directory(base: Path, call: Call, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere"
    status, out, _ = call("run", WORKFLOW, "--base-directory", base, "--output-directory", there, "--cpu", *TINY)
    assert status == 0
    assert Path(out.strip()).parent == there


def test_model_folders_of_a_settings_file_are_searched(base: Path, call: Call, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (base / "models/checkpoints/tiny.safetensors").rename(more / "other.safetensors")
    settings = tmp_path / "paths.yaml"
    settings.write_text("a111:\n  checkpoints: more\n")
    options = ["--extra-model-paths-config", settings, *TINY, "--set", "4.ckpt_name=other.safetensors"]
    status, out, _ = call("run", WORKFLOW, "--base-directory", base, "--cpu", *options)
    assert status == 0
    assert Path(out.strip()).is_file()


def test_the_source_tree_is_no_base_directory(call: Call) -> None:
    status, _, err = call("nodes", "--base-directory", ROOT)
    assert status == 2
    assert "source tree" in err


def test_nodes_are_listed(base: Path, call: Call) -> None:
    status, out, _ = call("nodes", "--base-directory", base)
    assert status == 0
    assert any(line.startswith("KSampler ") for line in out.splitlines())
    _, out, _ = call("nodes", "--base-directory", base, "--page")
    for spec in builtin().values():
        section = out.split(f" `{spec.type}`\n", 1)[1].split("\n### ")[0]
        assert spec.description.split("\n")[0] in section
        assert all(f"**{given.name}**" in section for given in spec.inputs if given.members is None)
    _, out, _ = call("nodes", "--base-directory", base, "--json")
    described: dict[str, Any] = json.loads(out)
    assert described["EmptyLatentImage"]["input"]["required"]["width"][0] == "INT"
    assert "tiny.safetensors" in described["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, main\ntry:\n    main.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'numpy', 'transformers', 'networkx', 'aiohttp', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("arguments", [[], ["run", "workflow.json"]])
def test_without_its_packages_it_says_in_two_lines_what_to_do(arguments: list[str]) -> None:
    command = [sys.executable, "-S", "main.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert "torch" in done.stderr
    assert "make run" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C cannot be sent to one process there")
def test_ctrl_c_ends_a_run_cleanly(base: Path) -> None:
    options = ["--base-directory", str(base), "--cpu", *TINY, "--set", "3.steps=10000"]
    command = [sys.executable, "main.py", "run", str(WORKFLOW), *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "step" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    assert out == ""
    assert not list((base / "output").iterdir())


@pytest.mark.parametrize("size", ["0", "-1G", "6X", "lots", "", "nan"])
def test_a_budget_that_is_no_size_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["run", str(WORKFLOW), "--cpu", f"--ram-budget={size}"])
    assert "is no size; expected one such as 6G or 512M" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"),
    [("6G", 6 * 2**30), ("512M", 512 * 2**20), ("1.5gb", 3 * 2**29), ("800KiB", 800 * 2**10), ("4096", 4096)],
)
def test_a_budget_is_given_as_people_write_sizes(text: str, size: int) -> None:
    options = parser().parse_args(["run", "x.json", "--ram-budget", text, "--vram-budget", text])
    assert (options.ram_budget, options.vram_budget) == (size, size)


def test_a_budget_too_small_for_the_networks_is_said_with_the_sizes(base: Path, call: Call) -> None:
    status, _, err = call("run", WORKFLOW, "--base-directory", base, "--cpu", "--ram-budget", "100K", *TINY)
    assert status == 1 and "KiB may be used" in err


def test_a_budget_for_an_accelerator_is_refused_where_there_is_none(base: Path, call: Call) -> None:
    status, _, err = call("run", WORKFLOW, "--base-directory", base, "--cpu", "--vram-budget", "6G", *TINY)
    assert status == 2 and "--ram-budget" in err


# --- packs ----------------------------------------------------------------------------------------------------------


def test_a_first_pack_is_written_listed_and_runs_and_its_test_passes(base: Path, call: Call) -> None:
    status, out, _ = call("new-node", "less-colour", "--base-directory", base)
    file, test = map(Path, out.split())
    assert status == 0 and file == base / "custom_nodes/less-colour/__init__.py"
    assert subprocess.run([sys.executable, "-m", "pytest", "-q", str(test)], cwd=ROOT, check=False).returncode == 0

    status, out, _ = call("packs", "list", "--base-directory", base)
    assert status == 0 and out.startswith("less-colour") and "not seen before" in out

    PIL.Image.new("RGB", (8, 8), (255, 0, 0)).save(base / "input/red.png")
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "red.png"}},
        "2": {"class_type": "LessColour", "inputs": {"image": ["1", 0], "amount": 1.0}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "grey"}},
    }
    (base / "grey.json").write_text(json.dumps(workflow))
    status, out, err = call("run", base / "grey.json", "--base-directory", base, "--cpu")
    assert status == 0, err
    assert "less-colour" in err and "may do whatever you may: loaded" in err  # nobody was there to be asked
    with PIL.Image.open(out.strip()) as picture:
        assert picture.getpixel((0, 0)) == (85, 85, 85)

    status, _, err = call("run", base / "grey.json", "--base-directory", base, "--cpu", "--disable-all-custom-nodes")
    assert status == 2 and "no node type 'LessColour'" in err


def test_packs_are_checked_decided_on_and_locked(base: Path, call: Call) -> None:
    def packs(*words: str) -> tuple[int, str, str]:
        return call("packs", *words, "--base-directory", base)

    for name, text in {"fine": "NODE_CLASS_MAPPINGS = {}", "broken": "import a_package_that_nobody_has"}.items():
        (base / "custom_nodes" / name).mkdir(parents=True)
        (base / "custom_nodes" / name / "__init__.py").write_text(text)
    (base / "custom_nodes/fine/requirements.txt").write_text(
        "numpy>=1\ntorch<1  # old\n--extra-index-url x\nnothing-of-this-name\n"
    )

    status, out, _ = packs("check")
    assert status == 1 and "broken: no nodes" in out and "a_package_that_nobody_has" in out
    assert "torch<1 is wanted" in out and "nothing-of-this-name is not installed" in out and "numpy" not in out

    assert packs("allow", "fine")[:2] == (0, "fine: allowed\n")
    assert packs("disable", "broken")[:2] == (0, "broken: disabled\n")
    assert packs("isolate", "fine")[:2] == (0, "fine: in a process of its own\n")
    assert packs("inside", "fine")[:2] == (0, "fine: within the program\n")
    status, _, err = packs("install", "broken")
    assert status == 2 and "pack broken has no requirements.txt" in err
    status, _, err = packs("disable", "gone")
    assert status == 2 and "no pack 'gone', only broken, fine" in err

    assert packs("lock")[0] == 0 and packs("verify")[:2] == (0, "all packs are as the lock says\n")
    (base / "custom_nodes/fine/__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    status, out, _ = packs("verify")
    assert status == 1 and out.startswith("fine: its files differ")
