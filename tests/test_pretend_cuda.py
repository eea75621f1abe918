"""The pretended GPU refuses what a GPU refuses, allows what it allows, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.pretend_cuda import CPU, GPU, PlacementError, pretended_gpu

REFUSED: dict[str, Callable[[Tensor, Tensor], object]] = {  # of a tensor on the GPU and one on the CPU
    "sum": lambda gpu, cpu: gpu + cpu,
    "product": lambda gpu, cpu: gpu @ cpu,
    "comparison": lambda gpu, _cpu: torch.arange(3) < gpu,
    "list": lambda gpu, cpu: torch.cat([gpu, cpu]),
    "rows by an index": lambda gpu, _cpu: gpu.index_select(0, torch.arange(2)),
    "rows of the CPU by an index of the GPU": lambda _gpu, cpu: cpu[torch.arange(2, device="cuda")],
    "values of the CPU into rows": lambda gpu, cpu: gpu.index_put_((torch.arange(3),), cpu),
    "choice": lambda gpu, cpu: torch.where(gpu > 0, gpu, cpu),
    "numpy": lambda gpu, _cpu: gpu.numpy(),
    "array": lambda gpu, _cpu: np.asarray(gpu),
    "product with a number": lambda gpu, cpu: torch.dot(gpu[0], cpu[0, 0].expand(3)),
    "added to a number in place": lambda gpu, _cpu: torch.tensor(1.0).add_(gpu[0, 0]),
    "generator of the CPU": lambda _gpu, _cpu: torch.rand(2, generator=torch.Generator(), device=GPU),
    "generator of the GPU": lambda _gpu, _cpu: torch.randperm(2, generator=torch.Generator("cuda")),
    "lengths on the GPU": lambda gpu, _cpu: nn.utils.rnn.pack_padded_sequence(
        gpu[..., None], torch.tensor([3, 2, 1], device=GPU), batch_first=True
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mix_of_devices_is_refused(name: str) -> None:
    with pretended_gpu():
        gpu, cpu = torch.ones(3, 3, device="cuda"), torch.ones(3, 3)
        with pytest.raises(PlacementError):
            REFUSED[name](gpu, cpu)


def test_what_a_gpu_allows_is_allowed() -> None:
    with pretended_gpu() as pretended:
        gpu, cpu = torch.arange(9.0, device=GPU).view(3, 3), torch.ones(3, 3)
        one = torch.tensor(2.0)
        for value in (gpu * one, one * gpu, gpu[torch.tensor([0, 2])], gpu[cpu > 0], gpu.clamp(min=one)):
            assert value.device == GPU
        cpu.copy_(gpu)
        cpu[0] = gpu[1]
        assert not pretended.holds(cpu)
        assert cpu.device == CPU
        assert cpu.tolist() == [[3, 4, 5], [3, 4, 5], [6, 7, 8]]
        gpu[:] = 1.0
        assert float(gpu.sum()) == 9


def test_tensors_say_where_they_are() -> None:
    with pretended_gpu():
        made = [
            torch.zeros(2, device="cuda"),
            torch.tensor([1.0], device=GPU),
            torch.ones(2).to("cuda"),
            torch.ones(2).to(GPU, torch.float64),
            torch.ones(2).cuda(),
            nn.Linear(2, 2).to(GPU).weight,
            torch.as_tensor([1], device=GPU),
        ]
        made += [
            made[0][:1],
            made[0].double(),
            made[0].new_zeros(3),
            torch.zeros_like(made[0]),
            made[0].clone(),
        ]
        assert [(one.device, one.is_cuda, one.is_cpu, one.get_device()) for one in made] == [
            (GPU, True, False, 0)
        ] * len(made)
        back = [made[0].cpu(), made[0].to(CPU), torch.zeros_like(made[0], device="cpu"), torch.ones(1)]
        assert [(one.device, one.is_cuda, one.is_cpu, one.get_device()) for one in back] == [
            (CPU, False, True, -1)
        ] * len(back)


class _Shifted(torch.autograd.Function):
    """A method's own backward pass, with a fault in it."""

    @staticmethod
    def forward(_ctx: object, values: Tensor) -> Tensor:
        return values + 1

    @staticmethod
    def backward(_ctx: object, gradient: Tensor) -> Tensor:
        return gradient * torch.ones(len(gradient))


def test_a_fault_in_a_methods_own_backward_pass_is_seen() -> None:
    with pretended_gpu():
        values = torch.ones(3, device=GPU, requires_grad=True)
        loss = _Shifted.apply(values).sum()
        with pytest.raises(PlacementError):
            loss.backward()


def test_gradients_lie_where_their_parameters_do_also_if_computed_again() -> None:
    with pretended_gpu() as pretended:
        layer = nn.Linear(3, 3).to(GPU)
        values = torch.ones(2, 3, device=GPU)

        def part(inputs: Tensor) -> Tensor:
            made: Tensor = layer(inputs).relu() * torch.arange(3, device=inputs.device)
            return made

        checkpoint(part, values, use_reentrant=False).sum().backward()  # type: ignore[no-untyped-call]
        assert all(pretended.holds(one.grad) for one in layer.parameters() if one.grad is not None)
        with pytest.raises(PlacementError):
            checkpoint(lambda inputs: part(inputs) * torch.arange(3), values, use_reentrant=False)


def test_waits_of_the_host_are_counted() -> None:
    with pretended_gpu() as pretended:
        values = torch.ones(3, device=GPU)
        values.sum().item()
        values.cpu()
        values.tolist()
        values.nonzero()
        values[values > 0]
        assert sum(pretended.waits.values()) == 5


def test_clipping_waits_for_nothing() -> None:
    with pretended_gpu() as pretended:
        layer = nn.Linear(3, 3).to(GPU)
        layer(torch.ones(2, 3, device=GPU)).sum().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 0.5)
        assert sum(pretended.waits.values()) == 0
        assert (
            float(torch.stack([one.grad.norm() for one in layer.parameters() if one.grad is not None]).norm())
            < 0.51
        )


def test_nothing_is_left_behind() -> None:
    names = ("to", "device", "numpy", "is_cuda", "__setitem__")
    before = (
        [getattr(torch.Tensor, name) for name in names],
        torch.zeros,
        torch.Generator,
        torch.cuda.is_available,
    )
    with pretended_gpu():
        tensor = torch.ones(2).to("cuda")
    assert before == (
        [getattr(torch.Tensor, name) for name in names],
        torch.zeros,
        torch.Generator,
        torch.cuda.is_available,
    )
    assert tensor.device == CPU
