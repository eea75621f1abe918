"""Every method on a pretended GPU: steps of every stage, scores, ranks, latency, a kill and a resume; planted faults.

Operations of the steps are also held against those that have no deterministic form on a GPU, which torch names in the
documentation of `torch.use_deterministic_algorithms`.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmark.checks.gpu.subjects import Subject
from benchmark.method import Progress
from benchmark.timing import model as timing
from benchmark.timing.model import measure_latency
from benchmark.training import first_losses, train
from benchmark.training.checkpoints import weight_bytes
from benchmark.training.trainer import Trainer
from tests.baselines.small import RECIPES, small
from tests.paths import ROOT
from tests.pretend_cuda import GPU, PlacementError, pretended_gpu

SMALL_BUDGET = 2**14
"""Bytes: a few pairs at a time, computed again in the backward pass."""


def name_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def take_steps(run: Subject, budgets: tuple[int | None, ...] = (None, SMALL_BUDGET)) -> Trainer:
    """A step of every stage on the pretended GPU, whole and in parts."""
    trainer = run.trainer(GPU)
    for plan in trainer.plans:
        if plan.reset_optimizer:
            trainer.reset_optimizer()
        trainer.model.train()
        for budget in budgets:
            trainer.pair_budget = budget
            where = Progress(plan.first_epoch, plan.first_epoch, plan.index, plan.loss)
            trainer.step(run.batch(), where)
    return trainer


# --------------------------------------------------------------------------------------- the guard


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_steps_stay_on_the_gpu_and_have_a_deterministic_form(path: Path) -> None:
    run = small(path)
    with pretended_gpu() as gpu:
        model = take_steps(run).model
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        assert [name for name, tensor in tensors.items() if not gpu.holds(tensor)] == []
        assert unruly(gpu.ops) == []
        assert sum(gpu.ops.values()) > 100


def test_hat_takes_steps_in_float16_as_its_full_size_recipes_do() -> None:
    run = small(ROOT / "recipes/hat/scenes-i2t.yaml", "float16")
    with pretended_gpu() as gpu:
        assert take_steps(run).scaler.is_enabled()
        assert any("amp" in name for name in gpu.ops)


WAITS = {
    "hat-scenes-i2t": [
        2 + 3,
        2 + 3,
    ],  # and whether BERT has padding; of each level, how many scores have a gradient
    "hat-scenes-t2i": [2 + 3, 2 + 3],
    "sgraf-scenes-saf": [1, 1],
    # which pairs have a gradient, and how long their captions are; whether a context nearly cancels
    "sgraf-scenes-sgr": [1, 1 + 2 + 1],
    "temde-scenes-saf": [1, 1],
    "temde-scenes-sgr": [1, 1 + 2 + 1],
    # also the seeds, and lengths, of dropout in pairs, in each of the passes; two contexts may cancel
    "rcar-scenes-i2t": [1 + 1, 1 + 2 + 2 + 2],
    "rcar-scenes-t2i": [1 + 2, 1 + 2 + 2 + 4],
    "user-scenes-cge": [1 + 2],  # whether either BERT has padding
    "user-scenes-sge": [1 + 2],
    "vse_infty-scenes-bert": [1 + 1, 1 + 1],
    "vse_infty-scenes-bigru": [1, 1],
    "dualpath-scenes-stage1": [1],
    "dualpath-scenes": [1, 1],
}
"""How often the host waits for the GPU in a step of each stage. The first is the loss, which must be finite.

Each decides what is computed next. A full-size batch has more parts, and a wait for each part's seeds and lengths."""


def waits_of(run: Subject) -> list[int]:
    """Waits of a step of every stage; the optimiser's state is there already."""
    found = []
    with pretended_gpu() as gpu:
        trainer = take_steps(run, (None,))
        for plan in trainer.plans:
            where = Progress(plan.first_epoch, plan.first_epoch, plan.index, plan.loss)
            gpu.waits.clear()
            trainer.step(run.batch(), where)
            found.append(sum(gpu.waits.values()))
    return found


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_the_host_waits_only_for_what_decides_something(path: Path) -> None:
    assert waits_of(small(path)) == WAITS[name_of(path)]


def test_float16_waits_for_its_overflows_and_its_scale() -> None:
    assert waits_of(small(ROOT / "recipes/hat/scenes-i2t.yaml", "float16")) == [5 + 2, 5 + 2]


def test_a_question_to_the_gpu_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, "baselines.layers.gpo:GPO.weights", lambda tensor: tensor.sum().item())
    run = small(ROOT / "recipes/vse_infty/scenes-bigru.yaml")
    assert waits_of(run) == [3, 3]


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_killed_training_goes_on_and_is_scored_and_timed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "LEAST_REPEATS", 1)
    run = small(path)

    def trained(name: str, *, resume: bool = False, kill: bool = False) -> Any:
        model = run.model()

        def stop(_entry: dict[str, Any]) -> None:
            if kill:
                raise KeyboardInterrupt

        train(
            model,
            training=run.recipe.training,
            loss_type=run.method.loss,
            make_batches=run.batches,
            validate=lambda: run.validate(model, GPU),
            work_dir=tmp_path / name,
            resume=resume,
            device=GPU,
            recipe_digest="digest",
            show_progress=False,
            on_epoch=stop,
        )
        return model

    with pretended_gpu() as gpu:
        whole = trained("whole")
        with pytest.raises(KeyboardInterrupt):
            trained("killed", kill=True)
        resumed = trained("killed", resume=True)
        assert weight_bytes(resumed) == weight_bytes(whole)
        assert all(map(gpu.holds, resumed.parameters()))
        batch, (_, images, captions) = run.batch(), run.score(resumed, GPU, torch.float32)
        report = measure_latency(
            resumed,
            batch.images,
            batch.captions,
            images,
            captions,
            device=GPU,
            memory_bytes=2**16,
            repeats=1,
            warmup=0,
            query_batch=2,
        )
        assert report.hardware == "Pretended GPU"
        assert not any(stage.name.startswith("copy") for stage in report.stages)


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_pretending_changes_no_loss(path: Path) -> None:
    run = small(path)

    def losses(device: torch.device) -> list[float]:
        return first_losses(
            run.model(),
            training=run.recipe.training,
            loss_type=run.method.loss,
            make_batches=run.batches,
            device=device,
            max_steps=2,
        )

    expected = losses(torch.device("cpu"))
    with pretended_gpu():
        assert losses(GPU) == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------------------------- planted faults

PLACES = {
    "hat-scenes-i2t": (
        "baselines.hat.model:HAT.text_states",
        "baselines.attention.cross_attention:tiled_scores",
        "baselines.attention.cross_attention:score_gradients",
    ),
    "sgraf-scenes-saf": (
        "baselines.sgraf.model:squared_differences",
        "baselines.sgraf.model:SAF._filter",
        "baselines.layers.self_attention_pooling:SelfAttentionPooling.forward",
    ),
    "temde-scenes-sgr": (
        "baselines.temde.sketch:Sketch.histogram",
        "baselines.temde.branch:SketchBranch.compare",
        "baselines.sgraf.model:SGR._reason",
    ),
    "rcar-scenes-i2t": (
        "baselines.rcar.model:squared_differences",
        "baselines.attention.regulators:CorrespondenceRegulator.forward",
        "baselines.layers.batch_norm:BatchNorm.update",
    ),
    "user-scenes-cge": (
        "baselines.user.model:queue_loss",
        "baselines.user.enhancement:region_gate",
        "baselines.layers.queues:KeyQueues.enqueue",
    ),
    "vse_infty-scenes-bigru": (
        "baselines.layers.gpo:GPO.weights",
        "baselines.layers.gru_encoder:GRUEncoder.forward",
        "baselines.layers.pooled_encoders:PooledRegions.encode",
    ),
    "dualpath-scenes": (
        "baselines.dualpath.model:instance_loss",
        "baselines.dualpath.model:DualPath.hardest_captions",
        "baselines.dualpath.model:place_at_all_starts",
    ),
}
"""Functions of each method, in the middle of its encoders, its scores, its loss, its backward pass and its updates."""

FAULTS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "an index made on the CPU": (
        lambda tensor: tensor.flatten().index_select(0, torch.arange(1)),
        "Expected all tensors to be on the same device",
    ),
    "numpy of what is on the GPU": (lambda tensor: tensor.detach().numpy(), "to numpy"),
    "a generator of the CPU": (
        lambda tensor: torch.rand(2, generator=torch.Generator(), device=tensor.device),
        "Expected a 'cuda' device type for generator but found 'cpu'",
    ),
    "a generator of the GPU for numbers on the CPU": (
        lambda tensor: torch.rand(2, generator=torch.Generator(tensor.device)),
        "Expected a 'cpu' device type for generator but found 'cuda'",
    ),
}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of results and arguments, those of codes among them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif hasattr(value, "tensors"):
        yield from tensors_in(dict(value.tensors))
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors_in(vars(value))


def plant(monkeypatch: pytest.MonkeyPatch, place: str, fault: Callable[[Tensor], object]) -> list[str]:
    """Let a function do something wrong with its result, or with what it is given; the list says when it did."""
    path, _, name = place.replace(":", ".:").rpartition(".")
    owner = pkgutil.resolve_name(path.replace(".:", ":") if ":" in path else path)
    name, done = name.removeprefix(":"), list[str]()
    real = getattr(owner, name)

    def faulty(*args: Any, **options: Any) -> Any:
        result = real(*args, **options)
        tensor = next(one for one in tensors_in([result, *args]) if one.is_cuda)
        done.append(place)
        fault(tensor)
        return result

    monkeypatch.setattr(owner, name, faulty)
    return done


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(("name", "place"), [(name, place) for name in PLACES for place in PLACES[name]])
def test_a_planted_fault_is_caught(name: str, place: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, message = FAULTS[kind]
    run = small(next(path for path in RECIPES if name_of(path) == name))
    done = plant(monkeypatch, place, fault)
    with pretended_gpu(), pytest.raises(PlacementError, match=message):
        run.validate(take_steps(run, (None,)).model, GPU)
    assert done == [place]


def test_every_method_has_planted_faults() -> None:
    assert {name.split("-")[0] for name in PLACES} == {path.parent.name for path in RECIPES}


# ------------------------------------------------------------- operations without a deterministic form

SILENT = {
    "max_pool2d_with_indices_backward": "sums by atomics where channels come last",
    "_scaled_dot_product_flash_attention_backward": "sums by atomics unless it is told not to",
    "_scaled_dot_product_efficient_attention_backward": "sums by atomics unless it is told not to",
    "_scaled_dot_product_cudnn_attention_backward": "as cuDNN pleases",
}
"""Operations that torch says nothing about, and which may differ from run to run on a GPU."""

HARMLESS = {"nll_loss_forward": "of classes, not of pixels", "nll_loss_backward": "of classes, not of pixels"}
"""Operations that a name in torch's list covers, and that have no alert: that of `NLLLoss` is `nll_loss2d`'s."""

MODES = {"linear": "linear1d", "bilinear": "bilinear2d", "bicubic": "bicubic2d", "trilinear": "trilinear3d"}


def listed() -> dict[str, bool]:
    """Names of operations that torch's documentation says have no deterministic form; True: only their gradients."""
    text = torch.use_deterministic_algorithms.__doc__ or ""
    heads = re.search(
        r"will throw a\s+:class:`RuntimeError` when ``mode=True``:(.*?)In addition", text, re.DOTALL
    )
    assert heads is not None, "torch's documentation is laid out in another way"
    entries = re.findall(r"\* :(?:class|func):`torch\.([\w.]+)`(.*?)(?=\* :|\Z)", heads[1], re.DOTALL)
    found = dict[str, bool]()
    for name, said in entries:
        differentiated = "attempting to differentiate" in said
        if name.endswith("interpolate"):
            modes = re.findall(r"- ``(\w+)``", said)
            found |= {f"upsample_{MODES[mode]}": True for mode in modes}
        else:
            found[snake(name.split(".")[-1])] = differentiated
    return found


def snake(name: str) -> str:
    """`AdaptiveAvgPool2d` -> `adaptive_avg_pool2d`, `NLLLoss` -> `nll_loss`."""
    parted = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def unruly(ops: Any) -> list[str]:
    """Those of the operations (`aten.name.overload`) that have no deterministic form on a GPU."""
    names, found = listed(), []
    for name in sorted({str(op).split(".")[1] for op in ops} - HARMLESS.keys()):
        bare = name.lstrip("_")
        covered = (
            bare.startswith(one) for one, backward in names.items() if not backward or "backward" in bare
        )
        if name in SILENT or any(covered):
            found.append(name)
    return found


def test_torch_documents_what_has_no_deterministic_form() -> None:
    names = listed()
    assert len(names) > 20
    assert "embedding" not in names, "it has a deterministic form"
    gradients = ("avg_pool3d", "upsample_bilinear2d", "ctc_loss")
    assert [names[name] for name in (*gradients, "histc", "nll_loss")] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (lambda values: torch.nn.functional.adaptive_avg_pool2d(values, 2), "_adaptive_avg_pool2d_backward"),
        (lambda values: torch.nn.functional.max_pool2d(values, 2), "max_pool2d_with_indices_backward"),
        (
            lambda values: torch.nn.functional.interpolate(values, 9, mode="bicubic"),
            "upsample_bicubic2d_backward",
        ),
        (
            lambda values: torch.nn.functional.pad(values, (1, 1, 1, 1), "reflect"),
            "reflection_pad2d_backward",
        ),
        (lambda values: values * torch.histc(values.detach(), 3).sum(), "histc"),
        (lambda values: values + values.detach().flatten().median(0).values, "median"),
    ],
)
def test_a_new_operation_without_a_deterministic_form_is_named(
    step: Callable[[Tensor], Tensor], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted behind the pixels of the dual-path CNN."""
    run = small(ROOT / "recipes/dualpath/scenes-stage1.yaml")
    trunk = pkgutil.resolve_name("baselines.dualpath.trunks:SmallTrunk")
    real = trunk.forward

    def forward(self: Any, pixels: Tensor) -> Tensor:
        maps: Tensor = real(self, pixels)  # (B, D, 1, 1)
        return maps + step(pixels[:, :, :8, :8] * maps.mean()).mean()

    monkeypatch.setattr(trunk, "forward", forward)
    with pretended_gpu() as gpu:
        take_steps(run, (None,))
        assert name in unruly(gpu.ops)
