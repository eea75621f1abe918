"""Two recorded training steps beside ours: losses, gradients, clipped AdamW, momentum weights, queues, modes.

A step goes as the harness's: `prepare_batch`, `training_codes`, `objective`, backward, clip, update, `after_step`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.published.golden import EachEntry, Recorded, Tolerances
from baselines.user.checks.replay import build_recorded, load_all, our_path
from baselines.user.model import USER, UserLoss, batch_loss, queue_loss
from benchmark.batches import PairBatch
from benchmark.guarded import parse_json
from benchmark.method import ParityCase, Progress

SOFT_RATE = 1e-3
"""Files with a larger learning rate have the tolerances of `soft`: Adam turns rounding into steps of that size."""

DRIFTING = "mlp.bns.0.running_mean"
"""Its batch's mean holds the bias in front, which has no gradient but rounding: 1e-3 from step 2 on."""


def step_tolerances(soft: bool) -> Tolerances:
    """Return the tolerances of the golden README."""
    return {
        "loss 1": (1e-5, 0.0),
        "loss 2": (1e-4 if soft else 1e-5, 0.0),
        "gradients": EachEntry(
            5e-6, 5e-5
        ),  # 1e-5, or 1e-4 of the entry: half of each is never more than the larger
        "queues": (1e-5, 0.0),
        "weights": (2e-4 if soft else 1e-6, 0.0),
        "drifting": (1e-3, 0.0),
        "exact": (0.0, 0.0),
    }


def step_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Yield the cases of both steps, one after the other."""
    config = recorded.config()
    recorded.tolerances = step_tolerances(config["lr"] > SOFT_RATE)
    model = build_recorded(config)
    _start(model, recorded)
    optimizer = _optimizer(model, config)
    for number in (1, 2):
        yield from _Step(recorded, model, config, number).cases(optimizer)


def _start(model: USER, recorded: Recorded) -> None:
    """Weights and queues as they were before the first step, in float64."""
    load_all(model, recorded, "weights/q/")
    state = model.state_dict()
    for key in recorded.under("weights/k/"):
        state[our_path(key.removeprefix("weights/k/"), keys=True)].copy_(recorded.tensor(key))
    model.queues.images.copy_(recorded.tensor("inputs/v_queue"))
    model.queues.captions.copy_(recorded.tensor("inputs/t_queue"))
    model.queues.pointer.copy_(recorded.tensor("inputs/queue_ptr").squeeze())
    model.train()


def _optimizer(model: USER, config: dict[str, Any]) -> torch.optim.AdamW:
    bert = list(model.text_encoder.bert.parameters())
    inside = {id(parameter) for parameter in bert}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    return torch.optim.AdamW(
        [{"params": rest}, {"params": bert, "lr": config["lr_bert"]}],
        lr=config["lr"],
        betas=tuple(config["betas"]),
        eps=config["eps"],
        weight_decay=config["weight_decay"],
    )


class _Step:
    """One step and what was recorded of it."""

    def __init__(self, recorded: Recorded, model: USER, config: dict[str, Any], number: int) -> None:
        self.recorded, self.model, self.config, self.number = recorded, model, config, number
        self.noise = set(config["params_with_noise_level_grad"])
        self.outputs = f"outputs/step{number}/"

    def cases(self, optimizer: torch.optim.AdamW) -> Iterator[ParityCase]:
        """Run the step; every recorded number of it beside ours."""
        model, loss = self.model, self._loss_settings()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        optimizer.zero_grad()
        batch = model.prepare_batch(self._batch(), Progress(0, self.number - 1, 0, loss))
        codes = model.training_codes(batch)
        total = model.objective(codes, Progress(0, self.number - 1, 0, loss), None)
        images, captions = codes.images["vectors"], codes.captions["vectors"]
        keys = codes.extra["image_keys"], codes.extra["text_keys"]
        for name, value in (
            ("le", loss.batch_weight * batch_loss(images, captions, loss)),
            ("le_moco", queue_loss(images, captions, keys, model.queues, loss)),
            ("total", total),
        ):
            yield self._case(name, value, f"loss {self.number}")
        total.backward()  # type: ignore[no-untyped-call]
        yield from self._gradients()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), self.config["grad_clip"])
        yield self._case("grad_norm", norm, "gradients")
        optimizer.step()
        model.after_step(codes)
        yield self._case("v_queue", model.queues.images, "queues")
        yield self._case("t_queue", model.queues.captions, "queues")
        yield self._case("queue_ptr", model.queues.pointer.view(1), "exact")
        yield from self._weights()
        yield from self._unmoved(before)
        if self.number == 2:
            yield self._modes()

    def _loss_settings(self) -> UserLoss:
        config = self.config
        return UserLoss(scale=config["mu"], threshold=config["gamma"], batch_weight=config["loss_lamda"])

    def _batch(self) -> PairBatch:
        return PairBatch(*self.recorded.batches(f"inputs/step{self.number}/", ids="token_ids"))

    def _case(self, name: str, value: Tensor, quantity: str) -> ParityCase:
        return self.recorded.case(self.outputs + name, value, quantity)

    # gradients

    def _gradients(self) -> Iterator[ParityCase]:
        parameters = dict(self.model.named_parameters())
        prefix = f"grads/step{self.number}/"
        for key in self.recorded.under(prefix):
            gradient = parameters[our_path(key.removeprefix(prefix))].grad
            assert gradient is not None
            yield self.recorded.case(key, gradient, "gradients")
        norms = self._json("all_grad_norms_json")
        ours = {name: _norm(parameters[our_path(name)].grad) for name in norms}
        none = {name for name in norms if norms[name] is None}
        if none != {name for name in ours if ours[name] is None} or none != set(
            self.config["params_without_grad"]
        ):
            raise ValueError(f"step {self.number}: other parameters than {sorted(none)} have no gradient")
        yield self._norms("all_grad_norms_json", norms, ours, "gradients")

    # what a step leaves

    def _weights(self) -> Iterator[ParityCase]:
        state = self.model.state_dict()
        for side in ("q", "k"):
            for key in self.recorded.under(f"{self.outputs}{side}/"):
                official = key.removeprefix(f"{self.outputs}{side}/")
                value = state[our_path(official, keys=side == "k")]
                yield self.recorded.case(key, value, self._quantity(official, value))
        sizes = self._json("all_param_l2_json")
        expected = {f"{side}/{name}": size for side, found in sizes.items() for name, size in found.items()}
        ours = {
            f"{side}/{name}": _norm(state[our_path(name, keys=side == "k")])
            for side, found in sizes.items()
            for name in found
        }
        yield self._norms("all_param_l2_json", expected, ours, "weights")

    def _quantity(self, official: str, value: Tensor) -> str:
        if not value.is_floating_point():
            return "exact"
        return "drifting" if official.endswith(DRIFTING) and self.number > 1 else "weights"

    def _unmoved(self, before: dict[str, Tensor]) -> Iterator[ParityCase]:
        """Parameters without gradient stay as they were, to the bit, weight decay or not."""
        state = self.model.state_dict()
        for official in self.config["params_without_grad"]:
            name = our_path(official)
            yield ParityCase(
                f"{self.outputs}unmoved {official}", before[name].numpy(), state[name].clone().numpy(), 0.0
            )

    def _modes(self) -> ParityCase:
        """Check which parts are in train mode; the model evaluates in between, which must not change them."""
        model = self.model
        model.eval()
        model.train()
        enhancement = model.image_keys.enhancement
        assert enhancement is not None
        ours = {
            "img_enc": model.image_encoder.training,
            "txt_enc": model.text_encoder.training,
            "txt_enc_bert": model.text_encoder.bert.training,
            "v_encoder_k": model.image_keys.training,
            "v_encoder_k_sge": enhancement.training,
            "t_encoder_k": model.text_keys.training,
            "t_encoder_k_bert": model.text_keys.bert.training,
        }
        recorded = self.config["training_flags_after_step"]
        return ParityCase(
            "training_flags_after_step",
            np.array(list(recorded.values())),
            np.array([ours[n] for n in recorded]),
            0.0,
        )

    # norms, which are recorded as JSON

    def _json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = parse_json(str(self.recorded.arrays[self.outputs + name]))
        return found

    def _norms(
        self, name: str, expected: dict[str, float | None], ours: dict[str, float | None], quantity: str
    ) -> ParityCase:
        """Norms of all tensors but those whose gradient is noise, or drifts with it."""
        names = [n for n in expected if expected[n] is not None and not self._left_out(n)]
        self.recorded.compared.add(self.outputs + name)
        recorded, actual = (np.array([of[n] for n in names], dtype=np.float64) for of in (expected, ours))
        tolerance = self.recorded.tolerances[quantity]
        if isinstance(tolerance, EachEntry):
            return ParityCase(
                self.outputs + name, recorded, actual, tolerance.absolute, share=tolerance.share
            )
        return ParityCase(self.outputs + name, recorded, actual, tolerance[0])

    def _left_out(self, name: str) -> bool:
        return name.removeprefix("q/").removeprefix("k/") in self.noise or name.endswith(DRIFTING)


def _norm(tensor: Tensor | None) -> float | None:
    return None if tensor is None else float(tensor.double().norm())
