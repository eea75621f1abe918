"""GPO pooling, and encoders that end in it, beside what the published code recorded of each alone (golden/user)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from baselines.layers.gpo import GPO, positional_codes
from baselines.layers.pooled_encoders import PooledBERT, PooledRegions
from baselines.published.checkpoint import rename_layer
from baselines.published.golden import Recorded
from baselines.published.pooled_keys import IMAGE_LAYERS, TEXT_LAYERS
from benchmark.method import ParityCase


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


# ------------------------------------------------------------------------------------------- encoders


def image_key(official: str) -> str:
    """Our name inside `PooledRegions` of an official entry."""
    return rename_layer(official, IMAGE_LAYERS)


def text_key(official: str) -> str:
    """Our name inside `PooledBERT` of an official entry."""
    return rename_layer(official, TEXT_LAYERS)


def load_recorded(encoder: nn.Module, recorded: Recorded, our_key: Callable[[str], str]) -> None:
    """Give an encoder that was recorded alone its weights, all of them and no others, in float64."""
    keys = recorded.under("weights/")
    encoder.load_state_dict({our_key(key.removeprefix("weights/")): recorded.tensor(key) for key in keys})
    encoder.double()


def text_cases(recorded: Recorded, encoder: PooledBERT) -> Iterator[ParityCase]:
    """Values inside the text encoder, which takes the recorded weights, and gradients."""
    load_recorded(encoder, recorded, text_key)
    ids, lengths = recorded.tensor("inputs/token_ids"), recorded.tensor("inputs/lengths")
    vectors = encoder(ids, lengths)
    (vectors * recorded.tensor("inputs/cotangent")).sum().backward()
    yield recorded.case("outputs/embedding", vectors, "values")
    states = encoder.bert(input_ids=ids, attention_mask=ids.ne(0).long()).last_hidden_state
    words = encoder.words(ids, lengths)
    yield recorded.case("outputs/bert_last_hidden", _valid(recorded, "bert_last_hidden", states), "values")
    yield recorded.case("outputs/word_emb", _valid(recorded, "word_emb", words), "values")
    yield recorded.case("outputs/pool_weights", encoder.pooling.weights(lengths)[..., None], "values")
    yield recorded.case("outputs/pooled", encoder.pooling(words, lengths), "values")
    yield from gradient_cases(recorded, encoder, text_key)


def _valid(recorded: Recorded, name: str, ours: Tensor) -> Tensor:
    """Ours at a caption's own places; what comes after them is not meaningful, and taken from the file."""
    padding = torch.arange(ours.shape[1]) >= recorded.tensor("inputs/lengths")[:, None]
    return torch.where(padding[..., None], recorded.tensor(f"outputs/{name}").double(), ours)


def gradient_cases(
    recorded: Recorded, encoder: nn.Module, our_key: Callable[[str], str]
) -> Iterator[ParityCase]:
    """Recorded gradients; a parameter that the file says has none must have none."""
    parameters = dict(encoder.named_parameters())
    for official in recorded.config()["params_without_grad"]:
        if parameters[our_key(official)].grad is not None:
            raise ValueError(f"'{official}' has a gradient")
    for key in recorded.under("grads/"):
        gradient = parameters[our_key(key.removeprefix("grads/"))].grad
        if gradient is None:
            raise ValueError(f"'{key}' has no gradient")
        yield recorded.case(key, gradient, "values")


def pooled_inside(encoder: PooledRegions, regions: Tensor) -> dict[str, Tensor]:
    """Compute the recorded values from regions (B, R, D) to embedding, by name; for parity only."""
    perceptron, pooling = encoder.perceptron, encoder.pooling
    rows = perceptron.hidden(regions).flatten(0, 1)
    hidden = perceptron.hidden_norm(rows, batch_statistics=encoder.training)[0]
    linear = perceptron.projection(regions)  # (B, R, E)
    mlp = perceptron.output(hidden.relu()).view_as(linear)
    lengths = torch.full((len(regions),), regions.shape[1])
    weights = pooling.weights(lengths)[..., None]  # (B, R, 1)
    return {"fc_out": linear, "mlp_out": mlp, "pool_weights": weights, "pooled": pooling(linear + mlp)}
