"""Philox by Random123's known answers, and torch's CUDA noise by numbers that people published."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from models.noise import RULES, Noise, torch_cpu, torch_cuda
from models.philox import cuda_normal, philox

KNOWN = [  # counter, key, answer: of Random123 1.14, kat_vectors, philox4x32 10
    ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]
PUBLISHED = [  # torch.manual_seed(0); torch.randn(…, device="cuda"), as printed in a public notebook
    [-0.9247, -0.4253, -2.6438, 0.1452, -0.1209, -0.5797, -0.6229, -0.3284],
    [-1.0745, -0.3631, -1.6711, 2.2655, 0.3117, -0.1842, 1.2866, 1.1820],
    [-0.1271, 1.2169, 1.4353, 1.0605, -0.4941, -1.4244, -0.7244, -1.2973],
    [0.0697, -0.0074, 1.8969, 0.6878, -0.0779, -0.8373, 1.3506, -0.2879],
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_philox_gives_the_known_answers(counter: tuple[int, ...], key: tuple[int, int], answer: str) -> None:
    a, b, c, d = (np.array([word], dtype=np.uint64) for word in counter)
    assert " ".join(f"{int(word[0]):08x}" for word in philox((a, b, c, d), key)) == answer


def test_the_numbers_of_a_cuda_generator_are_those_that_were_published() -> None:
    torch.testing.assert_close(cuda_normal((4, 8), 0), torch.tensor(PUBLISHED), rtol=0, atol=6e-5)


def test_a_number_hangs_on_its_place_and_on_the_call_alone() -> None:
    assert torch.equal(cuda_normal((2, 3), 7).flatten(), cuda_normal((40,), 7)[:6])
    draw = torch_cuda(2**63 + 5)
    first, second = draw((5,)), draw((5,))
    assert torch.equal(second, cuda_normal((5,), 2**63 + 5, call=1)) and not torch.equal(first, second)
    assert not torch.equal(first, cuda_normal((5,), 5)), "the upper half of a seed counts"


def test_it_is_normal() -> None:
    x = cuda_normal((200_000,), 123)
    assert float(x.mean()) == pytest.approx(0, abs=0.01) and float(x.std()) == pytest.approx(1, abs=0.01)
    assert float((x.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.005)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_travels_and_draws_new_noise_at_every_step(name: str) -> None:
    noise = pickle.loads(pickle.dumps(Noise(2**64 - 1, rule=RULES[name])))
    x, level = noise.initial((2, 4, 6, 5)), torch.tensor(1.0)
    stream = noise.stream()
    drawn = [x, *(stream(x, level, level / 2) for _ in range(3))]
    for i, one in enumerate(drawn):
        assert one.shape == x.shape
        for other in drawn[:i]:
            assert abs(float((one * other).mean())) < 0.35, "independent of each other"
    along = noise.path(x, torch.tensor([4.0, 2.0, 1.0]))
    assert torch.equal(along(x, torch.tensor(4.0), torch.tensor(2.0)), along(x, torch.tensor(4.0), torch.tensor(2.0)))


def test_a1111_gives_each_item_of_a_batch_the_next_seed() -> None:
    for name, generator in (("A1111 on a GPU or by NV", torch_cuda), ("A1111 by CPU", torch_cpu)):
        noise, shape = Noise(41, rule=RULES[name]), (2, 4, 3, 5)
        draws = [generator(41), generator(42)]
        assert torch.equal(noise.initial(shape), torch.cat([draw((1, 4, 3, 5)) for draw in draws]))
        assert torch.equal(noise.initial(shape, (1, 0)), noise.initial(shape).flip(0))
        following = torch.cat([draw((1, 4, 3, 5)) for draw in draws])
        assert torch.equal(noise.stream()(torch.zeros(shape), torch.tensor(1.0), torch.tensor(0.5)), following)


def test_comfyui_on_nvidia_starts_from_the_cpu_s_noise() -> None:
    shape = (1, 4, 3, 5)
    noise = Noise(42, rule=RULES["ComfyUI on NVIDIA"])
    assert torch.equal(noise.initial(shape), Noise(42).initial(shape))
    assert torch.equal(noise.stream()(torch.zeros(shape), torch.tensor(1.0), torch.tensor(0.5)), cuda_normal(shape, 42))
