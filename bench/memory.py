"""Peak memory of a text-to-image run at 512x512 in fp32, each side in a process of its own.

`python -m bench.memory ours|theirs CHECKPOINT` prints that side's peak in bytes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from bench.pairs import Row

STEPS = 2  # more steps hold no more


def table(checkpoint: Path) -> list[Row]:
    """One line."""
    ours, theirs = (_peak_of(side, checkpoint) for side in ("ours", "theirs"))
    return [Row("peak memory, 512x512 fp32", f"{ours / 2**30:.2f} GiB", f"{theirs / 2**30:.2f} GiB", ours / theirs)]


def run_ours(checkpoint: Path) -> None:
    """The workflow through the engine, as `main.py run` runs it."""
    import main

    with tempfile.TemporaryDirectory() as base:
        Path(base, "models/checkpoints").mkdir(parents=True)
        Path(base, "models/checkpoints", checkpoint.name).symlink_to(checkpoint.resolve())
        changes = [f"4.ckpt_name={checkpoint.name}", "5.width=512", "5.height=512", f"3.steps={STEPS}"]
        options = [option for change in changes for option in ("--set", change)]
        status = main.main(["run", "workflows/text_to_image.json", "--base-directory", base, "--cpu", *options])
    if status != 0:
        raise RuntimeError(f"the workflow failed with status {status}")


def run_theirs(checkpoint: Path) -> None:
    """The same work in diffusers: its pipeline's components, called in the pipeline's order."""
    import torch
    from diffusers import DPMSolverMultistepScheduler
    from PIL import Image

    from bench import peer

    folder = peer.diffusers_folder(checkpoint)
    text, unet, vae = peer.load_text(folder), peer.load_unet(folder), peer.load_vae(folder)
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", use_karras_sigmas=True
    )
    with torch.inference_mode():
        tokens = torch.full((2, 77), 49407)
        context = text(tokens).last_hidden_state
        scheduler.set_timesteps(STEPS)
        x = torch.randn(1, 4, 64, 64) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([x, x]), t)
            negative, positive = unet(both, t, encoder_hidden_states=context).sample.chunk(2)
            x = scheduler.step(negative + 5 * (positive - negative), t, x).prev_sample
        picture = vae.decode(x / 0.18215).sample[0].add(1).mul(127.5).clamp(0, 255).byte()
    Image.fromarray(picture.movedim(0, -1).numpy()).save(Path(tempfile.gettempdir(), "bench.png"))


def peak_bytes() -> int:
    """The most memory this process has held."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _peak_of(side: str, checkpoint: Path) -> int:
    command = [sys.executable, "-m", "bench.memory", side, str(checkpoint)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    {"ours": run_ours, "theirs": run_theirs}[sys.argv[1]](Path(sys.argv[2]))
    print(peak_bytes())
