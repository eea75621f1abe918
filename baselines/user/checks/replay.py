"""The models of the golden files, rebuilt from what was recorded of them, and how close ours must come."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from baselines.published.golden import Recorded, Tolerances, load_exactly
from baselines.user.checkpoint import our_key, translate
from baselines.user.model import USER, UserConfig
from benchmark.method import DataFacts

TOLERANCES: Tolerances = {
    "values": (1e-5, 0.0),
    "loss alone": (1e-6, 0.0),
    "exact": (0.0, 0.0),
}
"""The tolerances of the golden README; for whole training steps they depend on the file (steps.py)."""

PARTS = {"img": "img_enc", "txt": "txt_enc"}
"""Parts by their names in the golden files, and by ours of a checkpoint's."""


def read_config(config: dict[str, Any]) -> UserConfig:
    """Read the configuration of a file; sizes that it does not mention belong to a part that it does not have."""
    bert = {
        ours: config[f"bert_{ours}"]
        for ours in ("layers", "hidden", "heads", "intermediate", "max_position")
        if "bert_vocab" in config
    }
    return UserConfig.model_validate(
        {
            "regions": config.get("num_region", 1),
            "region_dim": config.get("img_dim", 2),
            "dim": config["embed_size"],
            "pool_width": config["gpo_dim"],
            "dropout": config.get("dropout", 0.0),
            "sharpness": config.get("attention_lamda", 1.0),
            "queue": config.get("K", 0),
            "momentum": config.get("m", 0.0),
            "bert": {**bert, "dropout": 0.0} if bert else TINY,
        }
    )


TINY = {"layers": 1, "hidden": 8, "heads": 1, "intermediate": 8, "max_position": 8, "dropout": 0.0}
"""A BERT for files of images alone."""


def build_recorded(config: dict[str, Any]) -> USER:
    """The model of a file, in float64, with weights of its own still."""
    facts = DataFacts(vocab_size=config.get("bert_vocab", 8))
    return USER(read_config(config), facts).double()


def read_weights(recorded: Recorded, prefix: str) -> dict[str, Tensor]:
    """Read the weights under `<prefix>img/` and `<prefix>txt/`, by the names of a checkpoint's entries."""
    return {
        f"{part}.{key.removeprefix(prefix + name + '/')}": recorded.tensor(key)
        for name, part in PARTS.items()
        for key in recorded.under(f"{prefix}{name}/")
    }


def load_all(model: USER, recorded: Recorded, prefix: str) -> None:
    """Give the model both encoders' recorded weights; ValueError where they do not fit."""
    load_exactly(model, translate(read_weights(recorded, prefix), model, "golden weights"))


def image_key(official: str) -> str:
    """Our name, inside the image encoder, of an official entry of a file that holds it alone."""
    name = our_key(f"img_enc.{official}")
    assert name is not None
    return name.removeprefix("image_encoder.")


def our_path(official: str, *, keys: bool = False) -> str:
    """Our name in the whole model of a recorded `img/...` or `txt/...`; keys: in the momentum encoder."""
    name, _, key = official.partition("/")
    ours = our_key(f"{PARTS[name]}.{key}")
    assert ours is not None
    if not keys:
        return ours
    return ours.replace("image_encoder.", "image_keys.", 1).replace("text_encoder.", "text_keys.", 1)
