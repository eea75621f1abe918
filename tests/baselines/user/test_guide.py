"""USER with CLIP-guided enhancement: the guide by hand in every form, gradients, two steps, resuming, refusals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from baselines.user.checkpoint import read_official
from baselines.user.enhancement import GuideConfig, ProjectedGuide, add_guide
from baselines.user.model import USER, UserConfig, UserLoss, inputs
from benchmark.batches import PairBatch
from benchmark.errors import UserError
from benchmark.inputs import RegionInput
from benchmark.method import DataFacts
from benchmark.recipe.training import Training
from benchmark.training import TrainingResult, train
from tests.baselines.checkpoint_files import pooled_parts, save_parts
from tests.baselines.user.models import (
    LENGTHS,
    REGION_DIM,
    REGIONS,
    images,
    pairs,
    progress,
    tiny_user,
    tiny_vse,
    user_config,
)
from tests.training.helpers import same_bits, state_of

CLIP = 6
"""Width of the tests' CLIP vectors."""

PLACES = ("between", "end", "both")


def cge(seed: int = 0, **guide: object) -> USER:
    return tiny_user(seed, enhancement="cge", guide={"dim": CLIP, **guide})


# ------------------------------------------------------------------------------- by naive loops


def activated(value: float, kind: str) -> float:
    if kind == "relu":
        return max(0.0, value)
    if kind == "tanh":
        return math.tanh(value)
    return value * 0.5 * (1 + math.erf(value / math.sqrt(2))) if kind == "gelu" else value


def naive_norm(rows: list[list[float]], norm: Any, *, batch: bool) -> list[list[float]]:
    """Batch norm, channel by channel."""
    found = [[0.0] * len(rows[0]) for _ in rows]
    for channel in range(len(rows[0])):
        column = [row[channel] for row in rows]
        mean, variance = float(norm.running_mean[channel]), float(norm.running_var[channel])
        if batch:
            mean = sum(column) / len(column)
            variance = sum((value - mean) ** 2 for value in column) / len(column)
        for row, value in enumerate(column):
            scaled = (value - mean) / math.sqrt(variance + 1e-5)
            found[row][channel] = norm.weight[channel].item() * scaled + norm.bias[channel].item()
    return found


def naive_linear(rows: list[list[float]], layer: nn.Linear) -> list[list[float]]:
    weight, bias = layer.weight.tolist(), layer.bias.tolist()
    return [
        [sum(w * value for w, value in zip(weight[o], row, strict=True)) + bias[o] for o in range(len(bias))]
        for row in rows
    ]


def naive_guide(layer: ProjectedGuide, vectors: Tensor, *, batch: bool) -> list[list[float]]:
    kind, place = layer.config.activation, layer.config.place
    rows = naive_linear(naive_norm(vectors.tolist(), layer.input_norm, batch=batch), layer.hidden)
    rows = naive_norm(rows, layer.hidden_norm, batch=batch)
    if place in ("between", "both"):
        rows = [[activated(value, kind) for value in row] for row in rows]
    rows = naive_linear(rows, layer.output)
    if place in ("end", "both"):
        rows = [[activated(value, kind) for value in row] for row in rows]
    if not layer.config.normalize:
        return rows
    sizes = [math.sqrt(sum(value**2 for value in row)) + 1e-8 for row in rows]
    return [[value / size for value in row] for row, size in zip(rows, sizes, strict=True)]


@pytest.mark.parametrize("batch", [True, False], ids=["batch", "running"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("activation", "normalize"), [("relu", True), ("tanh", False), ("gelu", True), ("none", False)]
)
def test_a_guide_is_the_one_by_hand(activation: str, normalize: bool, place: str, batch: bool) -> None:
    torch.manual_seed(1)
    config = GuideConfig.model_validate(
        {"dim": CLIP, "activation": activation, "place": place, "normalize": normalize}
    )
    layer = ProjectedGuide(config, 5).double()
    with torch.no_grad():
        for norm in (layer.input_norm, layer.hidden_norm):
            for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                value.uniform_(0.5, 1.5)
    vectors = torch.randn(4, CLIP).double()
    found, statistics = layer(vectors, batch_statistics=batch)
    expected = torch.tensor(naive_guide(layer, vectors, batch=batch)).double()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert {name: value.shape for name, value in statistics.items()} == {
        "guide_input": (2, CLIP),
        "guide_hidden": (2, 5),
    }


def test_each_region_takes_its_share_of_the_guide() -> None:
    generator = torch.Generator().manual_seed(3)
    regions = torch.randn(3, 5, 4, generator=generator).double()
    guide = nn.functional.normalize(torch.randn(3, 4, generator=generator).double(), dim=1)
    found = add_guide(regions, guide, 1.5)
    for image in range(3):
        powers = [math.exp(1.5 * (region @ guide[image]).item()) for region in regions[image]]
        size = math.sqrt(sum(power**2 for power in powers))  # the softmax's sum cancels
        for place, power in enumerate(powers):
            expected = regions[image, place] + power / size * guide[image]
            torch.testing.assert_close(found[image, place], expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("width", ["regions", "space"])
def test_the_encoder_adds_the_guide_where_it_is_said_to(width: str) -> None:
    encoder = cge(width=width).eval().image_encoder
    batch = images(4, guide_dim=CLIP)
    found, _ = encoder(batch.pixels, batch.guides, batch_statistics=False)
    assert encoder.guide is not None
    assert encoder.enhancement is None
    guide, _ = encoder.guide(batch.guides, batch_statistics=False)
    assert guide.shape == (4, REGION_DIM if width == "regions" else 12)
    regions = add_guide(batch.pixels, guide, 1.0) if width == "regions" else batch.pixels
    projected, _ = encoder.pooled.perceptron(regions, batch_statistics=False)
    if width == "space":
        projected = add_guide(projected, guide, 1.0)
    pooled = encoder.pooled.pooling(projected)
    torch.testing.assert_close(found, pooled / pooled.norm(dim=1, keepdim=True), atol=1e-6, rtol=0)


def test_full_size_guides_have_the_layers_that_the_author_listed() -> None:
    """user.md 3.5: BatchNorm1d(512), Linear(512, D), BatchNorm1d(D), Linear(D, D), D the width of a region."""
    with torch.device("meta"):
        model = USER(UserConfig(enhancement="cge", queue=0), DataFacts(vocab_size=30_522))
    guide = model.image_encoder.guide
    assert guide is not None
    shapes = {name: tuple(value.shape) for name, value in guide.named_parameters()}
    assert shapes == {
        "input_norm.weight": (512,),
        "input_norm.bias": (512,),
        "hidden.weight": (2048, 512),
        "hidden.bias": (2048,),
        "hidden_norm.weight": (2048,),
        "hidden_norm.bias": (2048,),
        "output.weight": (2048, 2048),
        "output.bias": (2048,),
    }


# ---------------------------------------------------------------------------- what it reads, learns


def test_it_reads_a_clip_vector_of_each_image() -> None:
    assert inputs(UserConfig(enhancement="cge")).image == RegionInput(36, 2048, guide_dim=512)
    assert inputs(user_config()).image == RegionInput(REGIONS, REGION_DIM)
    model = cge().eval()
    batch, other = images(4, guide_dim=CLIP), images(4, guide_dim=CLIP)
    assert other.guides is not None
    other.guides[2] += 1
    first, second = (model.encode_images(each)["vectors"] for each in (batch, other))
    same = [torch.equal(one, two) for one, two in zip(first, second, strict=True)]
    assert same == [True, True, False, True]


@pytest.mark.parametrize("width", ["regions", "space"])
def test_gradients_reach_every_layer_of_the_guide(width: str) -> None:
    model = cge(width=width).double()
    batch = pairs(guide_dim=CLIP)
    batch = PairBatch(
        type(batch.images)(batch.images.pixels.double(), batch.images.index, guides=_double(batch)),
        batch.captions,
    )
    codes = model.training_codes(model.prepare_batch(batch, progress()))
    model.objective(codes, progress(scale=5, tangent=True), None).backward()  # type: ignore[no-untyped-call]
    assert model.image_encoder.guide is not None
    for name, parameter in model.image_encoder.guide.named_parameters():
        assert parameter.grad is not None, name
        if name not in ("input_norm.bias", "hidden.bias"):  # the second batch norm takes constants away
            assert parameter.grad.abs().max() > 1e-8, name
    keys = model.image_keys.guide
    assert keys is not None
    assert all(parameter.grad is None for parameter in keys.parameters())


def _double(batch: PairBatch) -> Tensor:
    assert batch.images.guides is not None
    return batch.images.guides.double()


def test_the_momentum_encoder_reads_the_vectors_and_statistics_wait_for_the_step() -> None:
    model, batch = cge(), pairs(guide_dim=CLIP)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    codes = model.training_codes(model.prepare_batch(batch, progress()))
    again, _ = model.image_keys(batch.images.pixels, batch.images.guides, batch_statistics=True)
    assert torch.equal(again, codes.extra["image_keys"])
    names = [f"image_encoder.guide.{norm}_norm.running_mean" for norm in ("input", "hidden")]
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in names)
    model.after_step(codes)
    assert not any(torch.equal(model.state_dict()[name], before[name]) for name in names)
    assert batch.images.guides is not None
    expected = 0.1 * batch.images.guides.mean(0)
    torch.testing.assert_close(model.state_dict()[names[0]], expected)


# ----------------------------------------------------------------------------------------- training


class Stopped(Exception):  # noqa: N818
    """Stands for whatever ends a run early."""


class Two:
    """Two batches of an epoch; the second of one epoch may never come."""

    def __init__(self, epoch: int, stop_in: int | None = None) -> None:
        self.epoch, self.stop_in = epoch, stop_in

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[PairBatch]:
        for number in range(2):
            if (self.epoch, number) == (self.stop_in, 1):
                raise Stopped
            yield pairs(LENGTHS, seed=10 * self.epoch + number, guide_dim=CLIP)


def run(
    model: USER, folder: Path, epochs: int, stop_in: int | None = None, *, resume: bool = False
) -> TrainingResult:
    optimizer = {"name": "adamw", "lr": 0.01, "weight_decay": 1e-4, "clip_norm": 2.0}
    settings = {
        "batch_size": 4,
        "optimizer": optimizer,
        "schedule": {"name": "step", "every": 50, "gamma": 0.1},
        "stages": [{"epochs": epochs, "loss": {"scale": 10, "threshold": 0.2, "tangent": True}}],
        "select": "last",
    }
    return train(
        model,
        training=Training.model_validate(settings),
        loss_type=UserLoss,
        make_batches=lambda epoch: Two(epoch, stop_in),
        validate=None,
        work_dir=folder,
        resume=resume,
        device=torch.device("cpu"),
        recipe_digest="digest",
        show_progress=False,
    )


def test_two_steps_move_the_guide_and_its_momentum_copy(tmp_path: Path) -> None:
    model = cge()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    run(model, tmp_path, 1)
    after = model.state_dict()
    weights = [name for name, _ in model.named_parameters() if ".guide." in name]
    assert len(weights) == 2 * 8
    assert not any(torch.equal(after[name], start[name]) for name in weights)
    assert int(model.queues.pointer) == 0  # 2 x 4 keys in queues of 8


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    expected, cut, again = cge(), cge(), cge(seed=99)
    run(expected, tmp_path / "whole", 3)
    with pytest.raises(Stopped):
        run(cut, tmp_path / "cut", 3, stop_in=1)
    result = run(again, tmp_path / "cut", 3, resume=True)
    assert result.resumed_from == 1
    assert same_bits(again.state_dict(), expected.state_dict())
    state, whole = state_of(result.last_checkpoint), state_of(tmp_path / "whole" / "checkpoint.pt")
    assert same_bits(state["optimizer"], whole["optimizer"])
    assert "image_keys.guide.output.weight" in state["model"]


# --------------------------------------------------------------------------------- configuration


def test_what_came_later_is_not_in_the_description_of_older_models() -> None:
    """Records of SGE runs still belong to their recipes."""
    assert "guide" not in user_config().model_dump(mode="json")
    described = user_config(enhancement="cge").model_dump(mode="json")["guide"]
    assert described == {
        "dim": 512,
        "width": "regions",
        "activation": "relu",
        "place": "between",
        "normalize": True,
    }


def test_a_guide_that_nothing_reads_is_refused() -> None:
    with pytest.raises(UserError, match=r"field 'model.guide': enhancement 'sge' has none; leave it out"):
        user_config(guide={"dim": 4})


@pytest.mark.parametrize("parts", [pooled_parts(tiny_user()), pooled_parts(tiny_vse())], ids=["SGE", "plain"])
def test_no_checkpoint_of_the_authors_fits(parts: list[dict[str, Tensor]], tmp_path: Path) -> None:
    path = save_parts(tmp_path / "model_best.pth", parts)
    with pytest.raises(UserError) as caught:
        read_official(path, cge())
    said = str(caught.value)
    assert said.startswith(
        f"{path}: this recipe's model has enhancement 'cge', a reconstruction (user.md 3.5)"
    )
    assert "\n" not in said
