"""Block-wise scoring: same matrix whatever the budget, in the split's order, within memory, refusing bad scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.batches import CaptionBatch, Codes, ImageBatch
from benchmark.data.load import load_dataset
from benchmark.errors import UserError
from benchmark.evaluation.encoding import Window, encode_captions, encode_images, encode_split
from benchmark.evaluation.scoring import plan_blocks, score, score_batches
from benchmark.inputs import Codec
from tests.toy import Toy, ToyConfig, inputs, toy_captions, toy_images, toy_model

CPU = torch.device("cpu")


class Tokens(Toy):
    """Scores from token products, with a parameter; cuts captions to the block's longest; notes every block."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.scale = nn.Linear(4, 4, bias=False)
        self.blocks: list[tuple[int, int, int, int]] = []
        self.broken: float | None = None

    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        assert not torch.is_grad_enabled()
        assert not self.training
        longest = int(captions["lengths"].max())
        words = self.scale(captions["words"][:, :longest])
        mask = torch.arange(longest) < captions["lengths"][:, None]
        products = torch.einsum("nrd,mld->nmrl", images["regions"], words)
        self.blocks.append((*products.shape,))
        scores = products.amax(2).masked_fill(~mask, 0).sum(2) / captions["lengths"]
        if self.broken is not None:
            scores[(images["row"][:, None] == 3) & (captions["row"][None] == 11)] = self.broken
        return scores

    def pair_bytes(self, images: Codes, captions: Codes) -> int:
        longest = int(captions["lengths"].max())
        return images["regions"].shape[1] * longest * images["regions"].element_size()


def codes(
    n_images: int = 13, n_captions: int = 41, dtype: torch.dtype = torch.float32
) -> tuple[Codes, Codes]:
    """Random tokens; padding of captions is NaN, which must never be looked at."""
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (n_captions,), generator=rng)
    words = torch.randn(n_captions, 9, 4, generator=rng, dtype=torch.float64)
    words[torch.arange(9) >= lengths[:, None]] = torch.nan
    regions = torch.randn(n_images, 3, 4, generator=rng, dtype=torch.float64)
    images = Codes({"regions": regions.to(dtype), "row": torch.arange(n_images)})
    captions = {"words": words.nan_to_num(7).to(dtype), "lengths": lengths, "row": torch.arange(n_captions)}
    return images, Codes(captions)


def naive(model: Tokens, images: Codes, captions: Codes) -> np.ndarray:
    """One pair, one region, one word at a time."""
    weight = model.scale.weight.detach().double().numpy()
    regions, words = images["regions"].double().numpy(), captions["words"].double().numpy()
    sims = np.zeros((len(images), len(captions)))
    for i in range(len(images)):
        for j in range(len(captions)):
            length = int(captions["lengths"][j])
            best = [max(float(r @ (weight @ words[j, k])) for r in regions[i]) for k in range(length)]
            sims[i, j] = sum(best) / length
    return sims


@pytest.mark.parametrize("budget", [200, 500, 3000, 10**9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_do_not_depend_on_the_plan(budget: Any, dtype: Any) -> None:
    model = Tokens()
    images, captions = codes(dtype=dtype)
    sims, plan = score(model, images, captions, memory_bytes=budget, device=CPU)
    exact = naive(model, images, captions)
    assert sims.dtype == (np.float32 if dtype == torch.float32 else np.float64)
    assert np.abs(sims - exact).max() < (1e-6 if dtype == torch.float32 else 1e-13)
    size = 4 if dtype == torch.float32 else 8
    assert all(size * n * m * r * length <= budget for n, m, r, length in model.blocks)
    assert len(model.blocks) == len(plan.caption_blocks) * plan.summary()["image_blocks"]
    assert sum(n * m for n, m, _, _ in model.blocks) == 13 * 41


def test_float64_leaves_the_weights_as_and_where_they_were() -> None:
    """cuDNN wants the weights of a recurrent network in one piece of memory, which copies of them are not."""
    model = Tokens()
    model.gru = nn.GRU(3, 2, bidirectional=True)
    piece = torch.cat([weight.detach().flatten() for weight in model.gru.parameters()])
    sizes = [weight.numel() for weight in model.gru.parameters()]
    for weight, part in zip(model.gru.parameters(), torch.split(piece, sizes), strict=True):
        weight.data = part.view_as(weight)
    before = [(weight, weight.data_ptr(), weight.detach().clone()) for weight in model.parameters()]
    score(model, *codes(dtype=torch.float64), memory_bytes=1000, device=CPU)
    for (weight, place, values), now in zip(before, model.parameters(), strict=True):
        assert now is weight
        assert (now.dtype, now.data_ptr()) == (torch.float32, place)
        assert torch.equal(now, values)


def test_float64_weights_are_there_for_float64_codes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = Tokens(), list[torch.dtype]()
    real = model.similarity

    def similarity(images: Codes, captions: Codes) -> Tensor:
        seen.append(model.scale.weight.dtype)
        return real(images, captions)

    monkeypatch.setattr(model, "similarity", similarity)
    for dtype in (torch.float32, torch.float64):
        seen.clear()
        score(model, *codes(dtype=dtype), memory_bytes=1000, device=CPU)
        assert set(seen) == {dtype}


def test_captions_of_like_length_share_a_block() -> None:
    model = Tokens()
    images, captions = codes()
    plan, order = plan_blocks(model, images, captions, 2000)
    lengths = captions["lengths"].numpy()[order]
    assert (np.diff(lengths) <= 0).all()
    assert sorted(order) == list(range(41))
    same = np.flatnonzero(np.diff(lengths) == 0)
    assert (order[same] < order[same + 1]).all()
    assert plan.order == "longest_first"
    assert plan.caption_blocks[0] < max(plan.caption_blocks)  # shorter captions, larger blocks
    score(model, images, captions, memory_bytes=2000, device=CPU)
    scored = sum(n * m * length for n, m, _, length in model.blocks)
    needed = 13 * int(captions["lengths"].sum())
    assert scored < 1.15 * needed  # in the given order, padding would be 70 %


def test_the_plan_is_a_function_of_codes_and_budget() -> None:
    images, captions = codes()
    plans = [plan_blocks(Tokens(), images, captions, 777)[0] for _ in range(2)]
    assert plans[0] == plans[1]
    assert plan_blocks(Tokens(), images, captions, 778_000)[0].summary()["caption_blocks"] == 1


def test_codes_without_lengths_are_scored_as_given() -> None:
    model = toy_model()
    rows = torch.arange(40)
    images = encode_images(model, [toy_images(rows)], 40, CPU)
    captions = encode_captions(model, [toy_captions(rows)], 40, CPU)
    vectors = Codes({"vectors": captions["vectors"]})
    sims, plan = score(model, images, vectors, memory_bytes=400, device=CPU)
    assert plan.order == "as_given"
    assert np.abs(sims - (images["vectors"] @ vectors["vectors"].T).numpy()).max() < 1e-6


def test_a_budget_below_one_pair_is_refused() -> None:
    with pytest.raises(UserError, match=r"evaluation\.memory_mb: one pair takes .* MB, the budget is"):
        score(Tokens(), *codes(), memory_bytes=30, device=CPU)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_scores_are_refused_by_their_rows_in_the_split(value: float) -> None:
    model = Tokens()
    model.broken = value
    with pytest.raises(UserError, match=f"returned {value} for image 3, caption 11, expected finite"):
        score(model, *codes(), memory_bytes=600, device=CPU)


def test_scores_of_a_wrong_shape_are_refused() -> None:
    model = Tokens()
    model.similarity = lambda images, captions: torch.zeros(len(captions), len(images))  # type: ignore
    with pytest.raises(UserError, match=r"returned shape \(41, 13\), expected \(13, 41\)"):
        score(model, *codes(), memory_bytes=10**9, device=CPU)


def test_nothing_to_score_is_an_error() -> None:
    images, captions = codes()
    with pytest.raises(UserError, match="found 0 images and 41 captions"):
        score(Tokens(), images.rows(slice(0, 0)), captions, memory_bytes=1000, device=CPU)


# ------------------------------------------------------------------------------ too little memory


class Cramped(Tokens):
    """Runs out of memory where a block has more than `most` pairs."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.failed = most, 0

    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        if len(images) * len(captions) > self.most:
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().similarity(images, captions)


@pytest.mark.parametrize(("dtype", "halvings"), [(torch.float32, 2), (torch.float64, 1)])
def test_a_block_that_does_not_fit_is_scored_in_halves(dtype: Any, halvings: int) -> None:
    """The same bits as blocks of these sizes, and the plan says so; a block fails once for each halving, not more."""
    images, captions = codes(dtype=dtype)
    model = Cramped(most=15)
    sims, plan = score(model, images, captions, memory_bytes=3000, device=CPU)
    before, order = plan_blocks(model, images, captions, 3000)
    assert plan == replace(before, halvings=halvings)
    assert plan.summary() == before.summary() | {"halvings": halvings}
    assert model.failed == halvings
    free = Tokens()
    free.load_state_dict(model.state_dict())
    free.scale.to(dtype)
    row = column = 0
    with torch.no_grad():
        for count, width, _, _ in model.blocks:
            rows, columns = slice(row, row + count), torch.from_numpy(order[column : column + width])
            block = free.eval().similarity(images.rows(rows), captions.rows(columns))
            assert count * width <= 15
            assert np.array_equal(sims[rows, columns.numpy()], block.numpy())
            row, column = (row + count, 0) if column + width == 41 else (row, column + width)
    assert (row, column) == (13, 0)


def test_a_plan_that_fits_does_not_speak_of_halves() -> None:
    _, plan = score(Cramped(10**6), *codes(), memory_bytes=3000, device=CPU)
    assert "halvings" not in plan.summary()


def test_a_block_of_images_that_does_not_fit_at_all_is_one_line_with_a_budget() -> None:
    with pytest.raises(UserError) as caught:
        score(Cramped(most=5), *codes(), memory_bytes=10**6, device=CPU)
    assert str(caught.value) == (
        "field 'evaluation.memory_mb': cpu ran out of memory scoring 13 images with one caption; 16 makes blocks "
        "that fit"
    )
    with pytest.raises(UserError, match="; not even one pair fits"):
        score(Cramped(most=0), *codes(), memory_bytes=10**6, device=CPU)


def test_another_error_of_a_method_comes_through() -> None:
    class Broken(Tokens):
        def similarity(self, images: Codes, captions: Codes) -> Tensor:
            return images["regions"] @ captions["words"]

    with pytest.raises(RuntimeError, match=r"size|shape"):
        score(Broken(), *codes(), memory_bytes=3000, device=CPU)


def test_a_batch_that_does_not_fit_is_one_line_with_a_size_that_does() -> None:
    class Full(Toy):
        def encode_images(self, batch: ImageBatch) -> Codes:
            if len(batch.index) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().encode_images(batch)

    model = Full(ToyConfig())
    with pytest.raises(UserError) as caught:
        encode_images(model, [toy_images(torch.arange(20))], 20, CPU)
    assert str(caught.value) == (
        "field 'evaluation.batch_size': cpu ran out of memory encoding a batch of 20; 2 fits"
    )


# ---------------------------------------------------------------------------- encoded while it is scored


def image_parts(order: Sequence[int], size: int = 6) -> list[ImageBatch]:
    """Images in batches, which come in this order."""
    parts = torch.split(torch.arange(40), size)
    return [toy_images(parts[number]) for number in order]


@pytest.mark.parametrize("order", [range(7), [3, 0, 1, 6, 5, 4, 2]])
@pytest.mark.parametrize(("budget", "keep"), [(10**9, 0), (2000, 0), (500, 10**9), (500, 700), (64, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_codes_that_are_forgotten_give_the_same_bits(order: Any, budget: int, keep: int, dtype: Any) -> None:
    model = toy_model()
    captions = encode_captions(model, caption_parts(9), 40, CPU, dtype)
    images = encode_images(model, image_parts(order), 40, CPU, dtype)
    expected, plan = score(model, images, captions, memory_bytes=budget, device=CPU)
    found, other, kept = score_batches(
        model,
        image_parts(order),
        40,
        captions,
        memory_bytes=budget,
        device=CPU,
        dtype=dtype,
        keep_bytes=keep,
    )
    assert np.array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert other == plan
    count = min(40, -(-keep // images.rows(slice(0, 1)).nbytes))
    assert len(kept) == count
    assert torch.equal(kept["vectors"], images["vectors"][:count])


def test_no_more_codes_wait_than_a_block_and_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, most = toy_model(), list[int]()
    captions = encode_captions(model, caption_parts(9), 40, CPU)
    put = Window.put

    def watched(self: Window, index: Tensor, codes: Codes) -> Iterator[tuple[slice, Codes]]:
        yield from put(self, index, codes)
        most.append(sum(len(store.seen) for store in self.stores.values()))

    monkeypatch.setattr(Window, "put", watched)
    _, plan, _ = score_batches(model, image_parts(range(7)), 40, captions, memory_bytes=600, device=CPU)
    assert plan.image_block < 10
    assert max(most) <= plan.image_block


def test_images_of_several_lengths_wait_for_all_others() -> None:
    class Ragged(Toy):
        def encode_images(self, batch: ImageBatch) -> Codes:
            vectors = super().encode_images(batch)["vectors"]
            longest = int(batch.index.max()) % 5 + 1
            return Codes({"parts": vectors[:, None].expand(-1, longest, -1), "lengths": batch.index % 5 + 1})

        def similarity(self, images: Codes, captions: Codes) -> Tensor:
            return images["parts"][:, 0] @ captions["vectors"].T

        def pair_bytes(self, images: Codes, captions: Codes) -> int:  # noqa: ARG002
            return 4 * images["parts"].shape[1]

    torch.manual_seed(0)
    model = Ragged(ToyConfig()).eval()
    captions = encode_captions(model, caption_parts(9), 40, CPU)
    images = encode_images(model, image_parts(range(7)), 40, CPU)
    assert images["parts"].shape[1] == 5
    expected, plan = score(model, images, captions, memory_bytes=900, device=CPU)
    found, other, _ = score_batches(model, image_parts(range(7)), 40, captions, memory_bytes=900, device=CPU)
    assert np.array_equal(found, expected)
    assert other == plan


@pytest.mark.parametrize(
    ("order", "message"),
    [([], "row 0 came 0"), ([0, 1, 2, 3, 4, 6], "row 30 came 0"), ([0, 1, 1], "row 6 came 2")],
)
def test_every_image_comes_once_while_it_is_scored(order: Any, message: str) -> None:
    model = toy_model()
    captions = encode_captions(model, caption_parts(9), 40, CPU)
    for budget in (10**9, 500):
        with pytest.raises(UserError, match=f"images: {message} times, expected once"):
            score_batches(model, image_parts(order), 40, captions, memory_bytes=budget, device=CPU)


# --------------------------------------------------------------------------------------- encoding


def caption_parts(size: int) -> list[CaptionBatch]:
    """Captions 0-39 in batches that come backwards, each padded to its own longest."""
    parts = []
    for rows in torch.split(torch.arange(40), size)[::-1]:
        batch = toy_captions(rows)
        longest = int(batch.lengths.max())
        parts.append(CaptionBatch(batch.ids[:, :longest], batch.lengths, batch.index))
    return parts


class Words(Toy):
    """Keeps the word vectors, as long as the batch is."""

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        return Codes({"words": self.words(batch.ids), "lengths": batch.lengths})


@pytest.mark.parametrize("size", [3, 7, 40])
def test_codes_come_in_order_whatever_the_batches(size: int) -> None:
    torch.manual_seed(0)
    model = Words(ToyConfig())
    found = encode_captions(model, caption_parts(size), 40, CPU, torch.float64)
    for row in range(40):
        batch = toy_captions(torch.tensor([row]))
        length = int(batch.lengths[0])
        assert found["lengths"][row] == length
        alone = model.words(batch.ids[0, :length]).detach().double()
        assert torch.equal(found["words"][row, :length], alone)
    assert found["words"].dtype == torch.float64
    assert found["lengths"].dtype == torch.int64


def test_encoding_is_done_in_evaluation_mode_and_training_goes_on() -> None:
    model = toy_model(dropout=0.5)
    model.train()
    batches = [toy_images(torch.arange(20)), toy_images(torch.arange(20, 40))]
    first, second = (encode_images(model, batches, 40, CPU) for _ in range(2))
    assert torch.equal(first["vectors"], second["vectors"])
    captions = [encode_captions(model, caption_parts(9), 40, CPU)["vectors"] for _ in range(2)]
    assert torch.equal(captions[0], captions[1])  # no dropout
    assert model.training
    assert not first["vectors"].requires_grad


@pytest.mark.parametrize(
    ("rows", "message"), [([0, 1, 1], "row 1 came 2 times"), ([0, 1], "row 2 came 0 times")]
)
def test_every_row_comes_once(rows: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"images: {message}, expected once"):
        encode_images(toy_model(), [toy_images(torch.tensor(rows))], 3, CPU)


def test_codes_of_another_shape_are_refused() -> None:
    class Growing(Toy):
        def encode_images(self, batch: ImageBatch) -> Codes:
            return Codes({"vectors": torch.zeros(len(batch.index), len(batch.index))})

    batches = [toy_images(torch.arange(2)), toy_images(torch.arange(2, 5))]
    with pytest.raises(
        UserError, match=r"codes of images: 'vectors' has items of shape \(3,\), before it was \(2,\)"
    ):
        encode_images(Growing(ToyConfig()), batches, 5, CPU)


class Lengths(Codec):
    """A codec that writes a caption as the number of its words, so often."""

    vocab_size, pad_id, identity = 30, 0, "lengths"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        lengths = torch.tensor([min(8, len(caption.split())) for caption in captions])
        ids = torch.where(torch.arange(8) < lengths[:, None], lengths[:, None], 0)
        return ids, lengths


def test_a_split_is_encoded_and_scored_in_its_order() -> None:
    dataset = load_dataset("scenes", {"n_test": 11}, splits=["test"])
    split, spec, model = dataset.splits["test"], inputs(ToyConfig()), toy_model()
    images, captions = encode_split(model, split, spec, Lengths(), device=CPU, batch_size=4)
    assert (len(images), len(captions)) == (11, 55)
    sims, _ = score(model, images, captions, memory_bytes=200, device=CPU)
    whole = encode_split(model, split, spec, Lengths(), device=CPU, batch_size=100)
    expected = (whole[0]["vectors"] @ whole[1]["vectors"].T).numpy()
    assert np.abs(sims - expected).max() < 1e-6
    lengths = [min(8, len(caption.split())) for caption in split.captions]
    assert captions["lengths"].tolist() == lengths
