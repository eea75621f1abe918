"""The contenders of T-EMDE's latency study: on one set of tensors, each doing what it is said to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from baselines.sgraf.model import SGRAF
from baselines.temde import METHOD
from baselines.temde.checks import latency
from baselines.temde.checks.latency import Sizes, TokenAttention, make_groups
from benchmark.method import TimingGroup

CPU = torch.device("cpu")
SMALL = Sizes(items=6, batch=4, sets=3, tokens=(36, 72), vocabulary=30, region_dim=10, dim=12, sim_dim=8)
CONTENDERS = ["T-EMDE 8 x 128", "T-EMDE 8 x 64"]


@pytest.fixture(scope="module")
def groups() -> list[TimingGroup]:
    return list(make_groups(SMALL, CPU))


def test_there_is_a_group_for_each_question(groups: list[TimingGroup]) -> None:
    found = [(group.task[:3], group.size, list(group.calls)) for group in groups]
    assert found == [
        ("(a)", None, ["self-attention", *CONTENDERS]),
        ("(b)", None, ["SAF", *CONTENDERS]),
        ("(b)", None, ["SGR", *CONTENDERS]),
        ("(c)", None, ["SAF", *CONTENDERS]),
        ("(c)", None, ["SGR", *CONTENDERS]),
        *(("(d)", n, ["pooled self-attention", "token-to-token attention", *CONTENDERS]) for n in (36, 72)),
    ]
    assert METHOD.timing_groups is latency.timing_groups


def test_scores_are_of_every_image_with_every_caption(groups: list[TimingGroup]) -> None:
    for group in groups[3:5]:
        scores = []
        for name, call in group.calls.items():
            value = call()
            assert isinstance(value, Tensor), name
            assert value.shape == (6, 6)
            assert not value.requires_grad
            scores.append(value)
        first, *others = scores
        assert all(not torch.equal(first, other) for other in others), "a contender is its host"


def test_a_training_step_updates_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[SGRAF] = []
    step = latency._training_step

    def noted(model: SGRAF, sizes: Sizes) -> Callable[[], object]:
        models.append(model)
        return step(model, sizes)

    monkeypatch.setattr(latency, "_training_step", noted)
    group = next(group for group in make_groups(SMALL, CPU) if group.task.startswith("(b)"))
    for model, call in zip(models, group.calls.values(), strict=True):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        call()
        after = model.state_dict()
        assert model.training
        assert all(torch.isfinite(value).all() for value in after.values())
        for part in ("global_branch", "text_encoder", "local_similarity", "score"):
            names = [name for name in before if name.startswith(part)]
            assert any(not torch.equal(before[name], after[name]) for name in names), part


def test_contenders_begin_alike_and_differ_in_the_branch_alone() -> None:
    host, *others = latency._models("SAF", SMALL, CPU).values()
    own = dict(host.named_parameters())
    for other in others:
        shared = {
            name: value for name, value in other.named_parameters() if not name.startswith("global_branch")
        }
        assert shared.keys() == {name for name in own if not name.startswith("global_branch")}
        assert all(torch.equal(value, own[name]) for name, value in shared.items())


def test_token_attention_by_hand() -> None:
    torch.manual_seed(3)
    module, vectors = TokenAttention(4), nn.functional.normalize(torch.randn(2, 3, 4), dim=2)
    with torch.no_grad():
        for found, own in zip(module(vectors), vectors, strict=True):
            queries = [module.query.weight @ x + module.query.bias for x in own]
            keys = [module.key.weight @ x + module.key.bias for x in own]
            rows = []
            for query in queries:
                weights = torch.stack([(query @ key) / 2 for key in keys]).exp()
                rows.append(
                    sum((w * x for w, x in zip(weights / weights.sum(), own, strict=True)), torch.zeros(4))
                )
            mean = torch.stack(rows).mean(0)
            torch.testing.assert_close(found, mean / mean.norm(), atol=1e-6, rtol=1e-5)
