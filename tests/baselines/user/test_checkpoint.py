"""Checkpoints of USER and VSE-infinity: every key has its place, wrong files are one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from baselines.user import checkpoint as user_official
from baselines.user.checkpoint import read_official
from baselines.user.model import USER, UserConfig
from baselines.vse_infty import checkpoint as vse_official
from baselines.vse_infty.model import VSEConfig, VSEInfinity
from benchmark.method import DataFacts
from tests.baselines.checkpoint_files import one_line_error, pooled_parts, save_parts
from tests.baselines.user.models import tiny_user, tiny_vse
from tests.training.helpers import same_bits

# user.md 8: the official entries, written out
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


GRU = [f"gpool.gru.{kind}_l0{way}" for kind in KINDS for way in ("", "_reverse")]


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


POOL = [*GRU, "gpool.linear.weight"]


PLAIN_IMAGE = [
    *("fc.weight", "fc.bias", "mlp.layers.0.weight", "mlp.layers.0.bias", "mlp.layers.1.weight"),
    *("mlp.layers.1.bias", *(f"mlp.bns.{n}.{leaf}" for n in (0, 1) for leaf in NORM), *POOL),
]


SGE = [
    *(f"v_sa.embedding_{name}.0.{leaf}" for name in ("local", "global", "common") for leaf in NORM[:2]),
    *(f"v_sa.embedding_{name}.1.{leaf}" for name in ("local", "global") for leaf in NORM),
]


def test_the_entries_are_the_published_ones() -> None:
    with torch.device("meta"):
        model = USER(UserConfig(queue=0), DataFacts(vocab_size=30_522))
        bert = VSEInfinity(VSEConfig(), DataFacts(vocab_size=30_522))
        words = VSEInfinity(VSEConfig(text="bigru"), DataFacts(vocab_size=11_354))
    image, text = pooled_parts(model)
    assert set(image) == {*PLAIN_IMAGE, *SGE}
    assert len(image) == 41
    assert image["v_sa.embedding_local.1.running_var"].shape == (36,)
    assert image["gpool.gru.weight_ih_l0"].shape == (96, 32)
    assert {name for name in text if not name.startswith("bert.")} == {"linear.weight", "linear.bias", *POOL}
    assert text["bert.embeddings.word_embeddings.weight"].shape == (30_522, 768)
    assert set(pooled_parts(bert)[0]) == set(PLAIN_IMAGE)
    assert pooled_parts(bert)[1].keys() == text.keys()
    assert {"embed.weight", "rnn.weight_hh_l0_reverse", *POOL} <= pooled_parts(words)[1].keys()


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_user_checkpoint_is_read_in_full(prefix: str, tmp_path: Path) -> None:
    source, target = tiny_user(seed=1), tiny_user(seed=2)
    parts = [{prefix + name: value for name, value in part.items()} for part in pooled_parts(source)]
    parts[1][f"{prefix}bert.embeddings.position_ids"] = torch.arange(16)[None]  # of an older transformers
    queues = {name: value.clone() for name, value in target.queues.state_dict().items()}
    weights = read_official(save_parts(tmp_path / "model_best.pth", parts), target)
    assert (weights.missing, weights.unexpected) == ([], [])
    assert weights.dropped == ["txt_enc.bert.embeddings.position_ids"]
    target.load_state_dict(weights.state)
    for ours, theirs in (
        (target.image_encoder, source.image_encoder),
        (target.text_encoder, source.text_encoder),
    ):
        assert same_bits(ours.state_dict(), theirs.state_dict())
    assert same_bits(target.image_keys.state_dict(), source.image_encoder.state_dict())  # no file holds them
    assert same_bits(target.text_keys.state_dict(), source.text_encoder.state_dict())
    assert same_bits(target.queues.state_dict(), queues)


def test_other_methods_and_sizes_are_one_line_errors(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    save_parts(path, pooled_parts(tiny_vse()))
    assert "found a checkpoint without self-guided enhancement" in one_line_error("user", path, tiny_user())
    assert read_official(path, tiny_user(enhancement="none")).missing == []
    save_parts(path, pooled_parts(tiny_user()))
    assert "found a checkpoint with self-guided" in one_line_error(
        "user", path, tiny_user(enhancement="none")
    )
    bigru = tiny_vse(text="bigru")
    assert "text 'bert', this recipe's model has text 'bigru'" in one_line_error("vse_infty", path, bigru)
    save_parts(path, pooled_parts(tiny_user(dim=16)))
    assert "this recipe's model expects (12, 10); is it USER of other sizes?" in one_line_error(
        "user", path, tiny_user()
    )
    wide = USER(tiny_user().config, DataFacts(vocab_size=50))
    assert "the vocabulary it was trained with, of 40 entries" in one_line_error(
        "user", save_parts(path, pooled_parts(tiny_user())), wide
    )
    save_parts(path, [{"conv.weight": torch.zeros(2)}, {"head.bias": torch.zeros(2)}])
    assert "not a checkpoint of USER" in one_line_error("user", path, tiny_user(enhancement="none"))


def test_keys_of_neither_part_stay() -> None:
    assert user_official.our_key("queue.weight") == vse_official.our_key("queue.weight") == "queue.weight"
