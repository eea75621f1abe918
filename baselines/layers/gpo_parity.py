"""GPO pooling beside what the published code recorded of it alone; two methods have it (user.md 3.3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from baselines.layers.gpo import GPO, positional_codes
from baselines.layers.recorded import Recorded
from benchmark.baseline import ParityCase


def is_gpo_file(recorded: Recorded) -> bool:
    """Weights of a GPO and nothing else, with sets of vectors to pool."""
    return {"weights/gru.weight_ih_l0", "weights/linear.weight", "outputs/pe_40"} <= set(recorded.arrays)


def gpo_cases(recorded: Recorded) -> Iterator[ParityCase]:
    """Every recorded number of a GPO file beside ours; `recorded` has a tolerance named `values`."""
    config = recorded.config()
    pooling = GPO(config["d_pe"])
    pooling.load_state_dict(
        {key.removeprefix("weights/"): recorded.tensor(key) for key in recorded.under("weights/")}
    )
    pooling.double()
    codes = recorded.arrays["outputs/pe_40"]
    yield recorded.case("outputs/pe_40", positional_codes(*codes.shape), "values")
    for name in config["sub_cases"]:
        features = recorded.tensor(f"inputs/{name}/features").double().requires_grad_()
        lengths = recorded.tensor(f"inputs/{name}/lengths").long()
        pooling.zero_grad()
        pooled = pooling(features, lengths)
        (pooled * recorded.tensor(f"inputs/{name}/cotangent")).sum().backward()
        yield recorded.case(f"outputs/{name}/pooled", pooled, "values")
        with torch.no_grad():
            weights = pooling.weights(lengths)[..., None]  # (B, longest, 1)
        yield recorded.case(f"outputs/{name}/pool_weights", weights, "values")
        gradients = {"features": features.grad}
        gradients |= {weight: parameter.grad for weight, parameter in pooling.named_parameters()}
        for key in recorded.under(f"grads/{name}/"):
            gradient = gradients[key.removeprefix(f"grads/{name}/")]
            assert gradient is not None
            yield recorded.case(key, gradient, "values")
