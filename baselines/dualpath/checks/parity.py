"""Compares the dual-path CNN with what the published code produced (tests/golden/dualpath/README.md), number by number.

A file is recognised by what it holds, never by its name. Features, scores, losses and whole training steps go through
the production path; values inside the text path through hooks. Models are replayed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from baselines.dualpath.checks.graph import graph_cases, mat_cases
from baselines.dualpath.checks.replay import TOLERANCES, load_model, place_captions, read_words
from baselines.dualpath.checks.steps import step_cases
from baselines.dualpath.losses import IGNORED, instance_loss, ranking_features, ranking_loss
from baselines.dualpath.model import DualPath
from baselines.published.golden import Golden, Recorded, Replay, compute_gradients
from benchmark.batches import CaptionBatch, ImageBatch
from benchmark.method import ParityCase


def choose_replay(recorded: Recorded) -> Replay | None:
    """Tell the kinds of file apart; recall, dictionaries and captions are the harness's own and compared there."""
    if "config" not in recorded:
        return None
    for key, compare in (
        ("inputs/logits", _instance_cases),
        ("outputs/running_average", _ranking_cases),
        ("outputs/hard_index", _mining_cases),
        ("outputs/step1/objective_img", step_cases),
        ("outputs/image_map_0", _evaluation_cases),
    ):
        if key in recorded:
            return compare
    return None


# ------------------------------------------------------------------------------------ losses alone


def _ranking_cases(recorded: Recorded) -> Iterator[ParityCase]:
    config = recorded.config()
    images = recorded.tensor("inputs/X").double().requires_grad_()
    captions = recorded.tensor("inputs/Y").double().requires_grad_()
    loss = ranking_loss(images, captions, config["margin"])
    gradients = compute_gradients(config["weight"] * loss, images, captions)
    yield recorded.case("outputs/loss", loss, "loss alone")
    yield recorded.case("outputs/running_average", loss / len(images), "loss alone")
    for side, gradient in zip("XY", gradients, strict=True):
        yield recorded.case(f"grads/{side}", gradient, "loss alone")


def _instance_cases(recorded: Recorded) -> Iterator[ParityCase]:
    logits = recorded.tensor("inputs/logits").double().requires_grad_()
    classes = recorded.tensor("inputs/labels") - 1
    loss = instance_loss(logits, classes)
    (gradient,) = compute_gradients(recorded.config()["weight"] * loss, logits)
    yield recorded.case("outputs/loss", loss, "loss alone")
    yield recorded.case("grads/logits", gradient, "loss alone")
    order = logits.detach().argsort(dim=1, descending=True, stable=True)  # (B, classes)
    for count in (1, 5):
        hit = (order[:, :count] == classes[:, None]).any(1)
        wrong = (~hit & (classes != IGNORED)).sum()
        yield recorded.case(f"outputs/top{count}err", wrong, "exact")


# -------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def _mining_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """The hardest candidate of each image; features in test mode, after the ReLU."""
    model = load_model(recorded).train()
    starts = recorded.tensor("inputs/start")
    candidates = place_captions(read_words(recorded, len(starts)), starts, model.config.text.positions)
    pixels = recorded.tensor("inputs/data").double()
    yield recorded.case("outputs/hard_index", model.hardest_captions(pixels, candidates), "exact")
    model.eval()
    images = ranking_features(model.image_features(pixels))
    captions = ranking_features(model.text(candidates))
    yield recorded.case("outputs/f_img", images, "values")
    yield recorded.case("outputs/f_txt", captions, "values")
    yield recorded.case("outputs/scores", images @ captions.T, "values")


@torch.no_grad()
def _evaluation_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Test features, scores, and what they are made of."""
    model = load_model(recorded).eval()
    mean = recorded.tensor("inputs/rgb_mean").double().view(3, 1, 1)
    vectors = []
    for number, key in enumerate(_sort_numbered(recorded, "inputs/image_")):
        pixels = (recorded.tensor(key).double() - mean)[None]  # (1, 3, H, W)
        vectors.append(model.encode_images(ImageBatch(pixels, torch.zeros(1).long()))["vectors"])
        for kind, seen in (("", pixels), ("flipped_", pixels.flip(3))):
            maps = model.image_head(model.trunk(seen))[0]
            yield recorded.case(f"outputs/image_map_{kind}{number}", maps, "values")
    images = torch.cat(vectors)
    words = read_words(recorded, len(_sort_numbered(recorded, "inputs/words_")))
    for number, ids in enumerate(words):
        features = model.text(model.place(ids))
        yield recorded.case(f"outputs/text_shift_feat_{number}", features, "values")
    lengths = torch.tensor([len(ids) for ids in words])
    padded = nn.utils.rnn.pad_sequence(words, batch_first=True)
    captions = model.encode_captions(CaptionBatch(padded, lengths, torch.arange(len(words))))["vectors"]
    yield recorded.case("outputs/img_emb", images, "values")
    yield recorded.case("outputs/txt_emb", captions, "values")
    yield recorded.case("outputs/similarity", images @ captions.T, "values")
    for name, value in _inside(model, model.place(words[1])[:1]).items():
        yield recorded.case(f"outputs/act_{name}", value[0][:, None], "values")


def _sort_numbered(recorded: Recorded, prefix: str) -> list[str]:
    return sorted(recorded.under(prefix), key=lambda key: int(key.removeprefix(prefix)))


def _inside(model: DualPath, ids: Tensor) -> dict[str, Tensor]:
    """Compute the recorded values inside the text path, (1, C, W) each, by official name."""
    text, seen = model.text, {}
    units = {
        "fc2_1sumx": text.groups[0][0],  # type: ignore[index]
        "fc2_3sumx": text.groups[0][2],  # type: ignore[index]
        "fc3_1sumx": text.groups[1][0],  # type: ignore[index]
        "fc3_4sumx": text.groups[1][3],  # type: ignore[index]
        "fc4_1sumx": text.groups[2][0],  # type: ignore[index]
        "fc4_6sumx": text.groups[2][5],  # type: ignore[index]
        "fc5_1sumx": text.groups[3][0],  # type: ignore[index]
        "fc2bn": text.word_norm,
        "fc5_2bn": text.output_norm,
    }

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = output.flatten(0, -2).T[None]  # one caption: (1, W, C) or (W, C) -> (1, C, W)

        return keep

    hooks = [module.register_forward_hook(note(name)) for name, module in units.items()]
    text(ids)
    for hook in hooks:
        hook.remove()
    return seen | {"fc5_1bnx": seen["fc5_1sumx"].amax(2, keepdim=True)}


parity_cases = Golden("dual-path", TOLERANCES, choose_replay, documents=graph_cases, others=mat_cases)
