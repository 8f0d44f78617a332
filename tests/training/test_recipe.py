"""The recipe in miniature: it resumes exactly, and its files are such as Darkroom loads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import models
from models.checkpoint import load_part, read_header
from models.family import SD1
from models.levels import NoiseLevels
from models.training import captions
from models.training.__main__ import main
from models.training.contrastive import TextsAndPictures, contrastive_lesson
from models.training.detector import Truth, truth
from models.training.diffusion import CERTAIN, THINGS, TextToNoise, at_the_ends, disturbed, noise_lesson
from models.training.distill import consistency_lesson
from models.training.drawing import draw, pictures
from models.training.examples import examples
from models.training.export import TEXT, TOKENS
from models.training.files import write_files
from models.training.judge import load
from models.training.latents import where_things_are
from models.training.loop import CAREFUL, DEVICE, Lesson, Pace, Schedule, Training
from models.training.observe import sights
from models.training.recipe import CPU, GPU, RECIPES
from models.training.replay import Ahead, workers
from models.training.scenes import Split, scene
from models.training.sheets import save_curve
from models.training.vae import finish_decoder, fold_scale, prepare, psnr, reconstruct, to_tensor, vae_lesson
from models.training.words import END, START, UNKNOWN, row_of_token, rows_of
from models.training.workshop import OtherRecipe, OutOfTime, Workshop
from models.vae import AutoencoderKL
from tests.training.miniature import MINIATURE

WORLD = str(Path(models.__file__).parent / "embedded" / "checkpoints" / "darkroom-world-256.safetensors")


def vae_training(file: Path) -> tuple[Training, Lesson]:
    torch.manual_seed(0)
    vae = AutoencoderKL(MINIATURE.vae)
    prepare(vae)
    schedule = Schedule(iterations=4, batch=4, learning_rate=1e-3, warmup=2)
    return Training(vae, schedule, file), vae_lesson(vae, schedule.batch, seed=1, size=64)


def unet_training(file: Path) -> tuple[Training, Lesson]:
    torch.manual_seed(0)
    network = TextToNoise(MINIATURE.unet, MINIATURE.clip.text)
    schedule = Schedule(iterations=4, batch=4, learning_rate=1e-3, ema=0.9)
    training = Training(network, schedule, file, careful=at_the_ends(network))
    latents, rows = data()
    return training, noise_lesson(network, latents, torch.zeros(8, 8, 8, dtype=torch.bool), rows, 4, seed=1)


def clip_training(file: Path) -> tuple[Training, Lesson]:
    torch.manual_seed(0)
    network = TextsAndPictures(MINIATURE.clip)
    seen = {
        "views": torch.randint(0, 256, (8, 64, 64, 3), generator=torch.Generator().manual_seed(4), dtype=torch.uint8),
        "rows": data()[1],
    }
    schedule = Schedule(iterations=4, batch=4, learning_rate=1e-3)
    return Training(network, schedule, file), contrastive_lesson(network, seen, 4, seed=1)


def lcm_training(file: Path) -> tuple[Training, Lesson]:
    torch.manual_seed(0)
    teacher, student = (TextToNoise(MINIATURE.unet, MINIATURE.clip.text).to(DEVICE) for _ in range(2))
    student.load_state_dict(teacher.state_dict())
    student.text.requires_grad_(False)
    schedule = Schedule(iterations=4, batch=4, learning_rate=1e-3, ema=0.9)
    return Training(student, schedule, file), consistency_lesson(student, teacher, *data(), 4, seed=1)


def data() -> tuple[Tensor, Tensor]:
    rows = torch.from_numpy(rows_of("a red boat")).to(torch.int16).repeat(8, 2, 1)
    return torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(3)), rows


@pytest.mark.parametrize("prepared", [vae_training, unet_training, clip_training, lcm_training])
def test_a_resumed_training_is_bit_equal(prepared: Callable[[Path], tuple[Training, Lesson]], tmp_path: Path) -> None:
    whole, loss = prepared(tmp_path / "whole.pt")
    before = {name: value.clone() for name, value in whole.network.state_dict().items()}
    whole.run(loss, Pace())
    half, loss = prepared(tmp_path / "half.pt")
    for _ in range(2):
        half.descend(loss)
    half.save()
    resumed, loss = prepared(tmp_path / "half.pt")
    assert resumed.resume()
    assert resumed.step == 2
    resumed.run(loss, Pace())
    assert whole.finished and resumed.finished
    assert equal(whole.network, resumed.network)
    assert all(torch.equal(whole.average[name], resumed.average[name]) for name in whole.average)
    assert any(not torch.equal(value, before[name]) for name, value in whole.network.state_dict().items())


def test_what_steps_need_is_drawn_ahead_by_other_processes(tmp_path: Path) -> None:
    _, lesson = unet_training(tmp_path / "unet.pt")
    ahead = Ahead(lesson.draw, first=3)
    try:
        taken = [ahead.take() for _ in range(2)]
    finally:
        ahead.close()
        workers().shutdown(cancel_futures=True)
        workers.cache_clear()
    for step, drawn in zip((3, 4), taken, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(drawn, lesson.draw(step, 0), strict=True))


def equal(one: nn.Module, other: nn.Module) -> bool:
    weights = other.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.state_dict().items())


def test_the_decoder_is_finished_for_latents_that_stay(tmp_path: Path) -> None:
    vae = vae_training(tmp_path / "vae.pt")[0].network
    assert isinstance(vae, AutoencoderKL)
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    schedule = Schedule(iterations=12, batch=4, learning_rate=3e-3, warmup=2)
    x = to_tensor(pictures(1, 0, 4, size=64))
    worse = psnr(reconstruct(vae, x), x)
    assert finish_decoder(vae, schedule, Pace(), 1, 64, tmp_path).finished
    changed = {name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith(("decoder.", "post_quant_conv."))}
    assert psnr(reconstruct(vae, x), x) > worse + 1
    again = finish_decoder(vae, replace(schedule, iterations=14), Pace(budget=0), 1, 64, tmp_path)
    assert again.step == 12, "it goes on where it ended"


def test_a_budget_stops_a_training_that_can_go_on(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime, match="vae: 0 of 2 steps"):
        _ = Workshop(MINIATURE, Pace(budget=0), tmp_path).vae
    assert vae_training(tmp_path / "vae.pt")[0].resume()


def test_a_folder_of_another_recipe_or_world_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Workshop(CPU, Pace(), tmp_path)
    Workshop(CPU, Pace(), tmp_path)
    assert main(["--folder", str(tmp_path), "--seed", "3", "--minutes", "0"]) == 1
    assert "give another --folder" in capsys.readouterr().err
    monkeypatch.setattr(captions, "BRIEF_SHARE", 0.9)
    with pytest.raises(OtherRecipe):
        Workshop(CPU, Pace(), tmp_path)


def test_folding_the_scale_leaves_reconstructions_alone() -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(MINIATURE.vae)
    x = to_tensor(pictures(1, 0, 4))
    before = reconstruct(vae, x)
    fold_scale(vae, x)
    assert torch.allclose(reconstruct(vae, x), before, atol=1e-4)
    deviation = (SD1.latent.scale * vae.encode(x)[:, :4]).std()
    assert torch.isclose(deviation, torch.tensor(1.0), atol=1e-4)


def test_disturbed_captions_are_empty_or_hold_one_strange_word() -> None:
    rows = torch.from_numpy(rows_of("a red boat")).repeat(200, 1)
    chances = torch.rand(3, 200, generator=torch.Generator().manual_seed(1))
    plain, empty, strange = rows[0].tolist(), [START, *[END] * 76], 0
    for row in disturbed(rows, chances).tolist():
        if UNKNOWN in row:
            strange += 1
            assert [word for word in row if word != UNKNOWN] == plain[:-1]
        else:
            assert row in (plain, empty)
    assert 10 < strange < 60


def test_examples_are_made_once(tmp_path: Path) -> None:
    made = examples(4, 1, tmp_path)
    file = next(tmp_path.glob("examples-*"))
    written = file.stat().st_mtime_ns
    again = examples(4, 1, tmp_path)
    assert file.stat().st_mtime_ns == written
    assert all(torch.equal(made[name], again[name]) for name in made)
    assert made["views"].shape == (4, 64, 64, 3)


def test_the_detector_is_shown_both_sides_of_the_split_with_true_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    seen = sights(AutoencoderKL(MINIATURE.vae), 16, 1, 64, tmp_path)
    scenes = [scene(1, index // 2, (Split.TRAIN, Split.HELD_OUT)[index % 2]) for index in range(16)]
    wanted = truth(scenes)
    assert all(torch.equal(seen[field.name], getattr(wanted, field.name)) for field in fields(Truth))
    drawn = torch.from_numpy(np.stack([draw(one, 64) for one in scenes]))
    as_drawn = (seen["views"] == drawn).flatten(1).all(1)
    assert as_drawn.tolist() == [index // 2 % 4 != 0 for index in range(16)]  # the others an autoencoder rebuilt


def test_a_loss_that_is_a_logarithm_has_a_curve(tmp_path: Path) -> None:
    for name, losses in (("plain", (2.0, 1.0, 0.5)), ("logarithm", (1.0, 0.0, -1.0))):
        rows = "".join(f"{10 * i + 10},1,1,{loss}\n" for i, loss in enumerate(losses))
        (tmp_path / f"{name}.csv").write_text("step,seconds,rate,loss\n" + rows)
        save_curve(tmp_path / f"{name}.csv", tmp_path / f"{name}.png")
        plot = np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"))[22:280]
        assert (plot < 128).any(0).sum() > 500, "a line from one side to the other"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--each", "0"], "--each: 0, expected at least 1"),
        (["--steps", "0"], "--steps: 0, expected at least 1"),
        (["--size", "96"], "--size: 96, expected one of 64, 128"),
        (["--sampler", "fast"], "--sampler: fast, expected one of euler"),
        (["--schedule", "slow"], "--schedule: slow, expected one of"),
        (["--sheet", "nowhere/sheet.png"], "--sheet: there is no folder nowhere"),
        (["--detector", WORLD], "is no detector of the drawn world"),
        (["--detector", "gone.safetensors"], "gone.safetensors"),
    ],
)
def test_what_cannot_be_judged_is_said(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", WORLD, *options]) == 1
    assert said in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_not_judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "odd.safetensors").write_bytes(b"odd")
    for name in ("odd", "gone"):
        assert main(["evaluate", str(tmp_path / f"{name}.safetensors")]) == 1
        assert f"{name}.safetensors" in capsys.readouterr().err


def test_a_checkpoint_is_judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    few = ["--each", "1", "--steps", "1", "--cfg", "1", "--size", "64", "--sheet", str(sheet)]
    assert main(["evaluate", WORLD, *few]) == 0
    said = capsys.readouterr().out
    assert "8 prompts judged by one attribute, 6 by three" in said
    assert "cfg 1.0: one attribute" in said and "\n2.6 " in said
    assert Image.open(sheet).size == (8 * 66, 2 * 66)


def test_careful_layers_learn_slower(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    before = [weight.detach().clone() for weight in network.parameters()]
    training = Training(network, Schedule(1, 2, 0.1, warmup=1), tmp_path / "two.pt", careful=("1.",))
    ones = np.ones((1, 2), np.float32)
    training.descend(Lesson(lambda step, shard: (ones,), lambda x: network(x).square().mean()))
    moved = [
        float((new.detach().cpu() - old).abs().max()) for new, old in zip(network.parameters(), before, strict=True)
    ]
    assert moved == pytest.approx([0.1, 0.1, 0.1 * CAREFUL, 0.1 * CAREFUL], rel=0.05)


def test_two_runs_give_the_same_weights(tmp_path: Path) -> None:
    torch.randn(5)  # what was drawn before does not matter
    one, other = (Workshop(MINIATURE, Pace(), tmp_path / name).clip for name in ("one", "other"))
    assert equal(one, other)


@pytest.mark.parametrize("size", RECIPES)
def test_both_sizes_take_a_step(size: str, tmp_path: Path) -> None:
    recipe = RECIPES[size]
    cell = recipe.size // recipe.vae.factor
    network = TextToNoise(recipe.unet, recipe.clip.text)
    things = torch.zeros(4, cell, cell, dtype=torch.bool)
    loss = noise_lesson(network, torch.randn(4, 4, cell, cell), things, data()[1], 2, seed=1)
    training = Training(network, replace(recipe.unet_schedule, batch=2), tmp_path / "unet.pt")
    before = {name: weight.detach().cpu().clone() for name, weight in network.named_parameters()}
    assert 0 < training.descend(loss) < math.inf
    still = [name for name, weight in network.named_parameters() if torch.equal(weight.detach().cpu(), before[name])]
    assert len(still) < len(before) / 2 and all(weight.isfinite().all() for weight in network.parameters()), still


def test_it_knows_where_things_are() -> None:
    for index in range(4):
        there = where_things_are(scene(1, index), 16)
        assert 0 < there.mean() < 0.8
        assert all(there[int(thing.y / 8), int(thing.x / 8)] for thing in scene(1, index).things)


@pytest.mark.parametrize("size", RECIPES)
def test_a_newborn_u_net_passes_its_input(size: str) -> None:
    network = TextToNoise(RECIPES[size].unet, RECIPES[size].clip.text)
    x = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        eps = network(x, torch.tensor([0, 300, 700, 999]), data()[1][:4, 0].long())
    assert (eps - x).abs().max() < 0.05
    names = list(network.state_dict())
    assert all(any(name.startswith(stage) for name in names) for stage in at_the_ends(network))


class Guess(nn.Module):
    """Stands in for a U-Net with its text encoder, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, t: Tensor, rows: Tensor) -> Tensor:
        self.x, self.sigma = x.cpu(), NoiseLevels().sigmas[t.cpu()][:, None, None, None]
        return 0.3 * self.weight * x


def test_the_loss_is_that_of_the_velocity_where_the_picture_forms() -> None:
    network, z = (
        Guess().to(DEVICE),
        torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5)).expand(4, -1, -1, -1),
    )
    things = torch.zeros(4, 8, 8, dtype=torch.bool)
    things[:, :4] = True
    loss = noise_lesson(network, z, things, data()[1], 8, seed=1)(0, 0)

    def velocity(eps: Tensor, clean: Tensor) -> Tensor:
        return (eps - network.sigma * clean) / (1 + network.sigma**2).sqrt()

    noisy = network.x * (1 + network.sigma**2).sqrt()
    guessed = 0.3 * network.x
    error = velocity((noisy - z) / network.sigma, z) - velocity(guessed, noisy - network.sigma * guessed)
    weighed = (1 + network.sigma.clamp(max=CERTAIN) ** 2) / (1 + network.sigma**2)
    counts = torch.where(things[0], THINGS, 1.0)
    assert (weighed < 1).any() and (weighed == 1).any()
    assert loss.item() == pytest.approx((weighed * error**2 * counts / counts.mean()).mean().item(), rel=1e-3)


def test_the_gpu_draws_larger() -> None:
    assert (CPU.size, GPU.size) == (128, 256)


def test_from_nothing_to_files_that_load(tmp_path: Path) -> None:
    workshop = Workshop(MINIATURE, Pace(), tmp_path / "work", prompts=2)
    world, lcm, clip, safety, detector, upscaler = write_files(workshop, tmp_path / "embedded")

    cpu = torch.device("cpu")
    weights = read_header(world)
    assert weights.parts() == {"model", "clip", "vae"}
    for part in weights.parts():
        load_part(weights, part, dtype=torch.float32, device=cpu)
    student = load(world, lcm).unet.state_dict()
    first = "input_blocks.0.0.bias"  # biases have no factors: the file has their whole difference
    assert torch.allclose(student[first], workshop.lcm.unet.state_dict()[first], atol=1e-3)
    load_part(read_header(safety), "safety", dtype=torch.float32, device=cpu)
    load_part(read_header(upscaler), "upscaler", dtype=torch.float32, device=cpu)
    with safe_open(world, "pt") as content:
        assert content.metadata()["data_seed"] == "1"
        assert content.get_tensor("alphas_cumprod").dtype == torch.float32
        assert content.get_tensor(TEXT + "text_model.embeddings.position_ids").dtype == torch.int64
        table = content.get_tensor(TEXT + TOKENS)
    compact = workshop.unet.text.text_model.embeddings.token_embedding.weight.half()
    assert torch.equal(table, compact[torch.from_numpy(row_of_token())])
    both = load_file(clip)
    assert torch.equal(both[TOKENS], table)  # one text encoder in both
    assert {"logit_scale", "text_projection.weight", "visual_projection.weight"} <= set(both)
    assert detector.exists()
    assert {"vae.png", "decoder.png", "whole-000002.png"} <= {file.name for file in (tmp_path / "work").iterdir()}
