"""Whole runs of a method that brings its own codec and image transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from benchmark.data.text.augmentation import padded
from benchmark.inputs import Codec, ImageTransform, InputSpec, OwnPixelInput, OwnText
from tests.tiny import Outcome, record_of, rematch, tiny_recipe, write_recipe
from tests.toy import SIZE, TOY, ToyConfig
from tests.toy_method import build, register

RECIPE = Path("recipes/hat/scenes-letters.yaml")


class Letters(Codec):
    """A caption as the numbers of its letters."""

    vocab_size, pad_id, identity = 128, 0, "letters of ASCII"

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        return padded([[ord(letter) for letter in caption] for caption in captions])


class Grains(ImageTransform):
    """A picture as 6 x 6 pixels from 0 to 1, with noise in training; counts how often it is made."""

    identity = "6 x 6 grains"
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def train(self, picture: Image.Image) -> Tensor:
        return self.evaluate(picture) + 0.01 * torch.randn(3, SIZE, SIZE)

    def evaluate(self, picture: Image.Image) -> Tensor:
        pixels: Tensor = to_tensor(picture.resize((SIZE, SIZE)))
        return pixels


def inputs(_config: ToyConfig) -> InputSpec:
    """Letters, and grains."""
    return InputSpec(OwnPixelInput(Grains, (3, SIZE, SIZE)), OwnText(Letters))


METHOD = replace(TOY, build=build, inputs=inputs)


@pytest.fixture(autouse=True)
def letters(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recipe for the toy."""
    register(monkeypatch, toy=METHOD)
    document = tiny_recipe() | {"method": "toy", "model": {}}
    document["training"]["stages"] = [{"epochs": 1}]
    write_recipe(RECIPE, document)
    return fresh


def command(name: str, *arguments: object) -> Outcome:
    return rematch(name, *arguments, "--no-progress", "--device", "cpu")


def test_a_run_with_a_codec_and_a_transform_of_the_methods_own() -> None:
    before = Grains.made
    assert command("reproduce", RECIPE, "--no-latency", "--no-tables").good
    assert Grains.made == before + 1
    record = record_of("hat-letters")
    assert (record.codec, record.transform) == ("letters of ASCII", "6 x 6 grains")
    assert record.departures == ["a model for tests"]
    assert not Path(".rematch/scenes/hat-letters/0/vocabulary.json").exists()
    assert command("evaluate", "--recipe", RECIPE).good
    assert command("query", RECIPE, "any words at all").good
    Image.new("RGB", (30, 20), "red").save("red.png")
    assert command("query", RECIPE, "--image", "red.png").good


def test_its_size_is_known_before_a_run_and_it_takes_no_file() -> None:
    assert command("reproduce", RECIPE, "--dry-run").good
    error = command("reproduce", RECIPE, "--vocab", "words.json").error
    assert "the recipe reads captions as own, which takes no such file" in error
