"""HAT: sizes, levels, scores by hand, blocks and chunks that change nothing, modes, configuration errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import BertConfig, BertForPreTraining

from baselines.hat import METHOD, swin
from baselines.hat.model import HAT, HATConfig
from baselines.layers import bert as bert_layer
from baselines.layers.bert import BERTConfig
from benchmark.batches import CaptionBatch, Codes
from benchmark.errors import UserError
from benchmark.inputs import PixelInput
from benchmark.method import DataFacts, Progress, TripletLoss
from tests.baselines.hat.models import VOCABULARY, captions, images, pairs, tiny_config, tiny_hat

LENGTHS = [2, 7, 12, 5, 9, 3, 12]


def progress(**loss: object) -> Progress:
    return Progress(epoch=0, step=0, stage=0, loss=TripletLoss.model_validate(loss))


@torch.no_grad()
def both_codes(model: HAT) -> tuple[Codes, Codes]:
    return model.encode_images(images(5)), model.encode_captions(captions(LENGTHS))


def test_full_size_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = HAT(HATConfig(direction="i2t"), DataFacts(vocab_size=30522))
        codes = model.encode_images(images(2, size=224).to(torch.device("meta")))

    def count(module: nn.Module) -> int:
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(model) == 199_377_592  # hat.md 3.1
    assert count(model.image_encoder) == 86_745_016
    assert count(model.text_encoder) == 109_482_240
    assert count(model.image_projections) + count(model.text_projections) == 3_150_336
    assert [codes[f"level_{k}"].shape for k in (1, 2, 3)] == [(2, 784, 768), (2, 196, 768), (2, 49, 768)]


def test_full_size_swin_is_the_published_one() -> None:
    with torch.device("meta"):
        swin = HAT(HATConfig(direction="i2t"), DataFacts(vocab_size=30522)).image_encoder.swin
    blocks = [block for stage in swin.layers for block in stage.blocks]
    assert [len(stage.blocks) for stage in swin.layers] == [2, 2, 18, 2]
    assert {block.window_size for block in blocks} == {(7, 7)}
    shifts = [[block.shift_size[0] for block in stage.blocks] for stage in swin.layers]
    assert shifts == [[0, 3], [0, 3], [0, 3] * 9, [0, 0]]
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx(torch.linspace(0, 0.1, 24).tolist())
    assert {norm.eps for norm in swin.modules() if isinstance(norm, nn.LayerNorm)} == {1e-5}


def test_levels_are_the_projected_stages_and_layers() -> None:
    """Forward hooks on the encoders' own blocks, read independently of the model's bookkeeping."""
    model = tiny_hat()
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            outputs[name] = output[0] if isinstance(output, tuple) else output  # type: ignore[assignment]

        return hook

    for k in (1, 2, 3):
        model.image_encoder.swin.layers[k].register_forward_hook(keep(f"stage {k}"))
        model.text_encoder.encoder.layer[k].register_forward_hook(keep(f"layer {k + 1}"))
    image_codes, caption_codes = both_codes(model)
    norms = [model.image_encoder.norms[1], model.image_encoder.norms[2], model.image_encoder.swin.norm]
    for k, norm in enumerate(norms, start=1):
        tokens = norm(outputs[f"stage {k}"].flatten(1, 2))  # NHWC, so row-major
        torch.testing.assert_close(image_codes[f"level_{k}"], model.image_projections[k - 1](tokens))
        words = model.text_projections[k - 1](outputs[f"layer {k + 1}"])  # text_layers (2, 3, 4)
        torch.testing.assert_close(caption_codes[f"level_{k}"], words)


def score_by_hand(regions: Tensor, words: Tensor, direction: str) -> float:
    """One level of one pair as hat.md 3.5 writes it, token by token; `words` without padding."""
    s = regions @ words.T
    a = torch.where(s > 0, s, 0.1 * s)
    axis = 0 if direction == "i2t" else 1
    a = a / (a.square().sum(axis, keepdim=True).sqrt() + 1e-8)
    weights = (9 * a).softmax(1 - axis)
    queries, contexts = (regions, weights @ words) if direction == "i2t" else (words, weights.T @ regions)
    cosines = [
        (query @ context) / max(float(query.norm() * context.norm()), 1e-8)
        for query, context in zip(queries, contexts, strict=True)
    ]
    return float(torch.stack(cosines).mean())


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
def test_similarity_is_the_sum_of_three_scores_by_hand(direction: str) -> None:
    model = tiny_hat(direction).double()
    batch, text = images(3), captions(LENGTHS)
    with torch.no_grad():
        pixels = type(batch)(batch.pixels.double(), batch.index)
        image_codes, caption_codes = model.encode_images(pixels), model.encode_captions(text)
        ours = model.similarity(image_codes, caption_codes)
    for i in range(3):
        for j, length in enumerate(LENGTHS):
            by_hand = sum(
                score_by_hand(image_codes[level][i], caption_codes[level][j, :length], direction)
                for level in ("level_1", "level_2", "level_3")
            )
            assert float(ours[i, j]) == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
def test_blocks_change_scores_by_rounding_only(direction: str) -> None:
    model = tiny_hat(direction)
    image_codes, caption_codes = both_codes(model)
    with torch.no_grad():
        whole = model.similarity(image_codes, caption_codes)
        for height, width in ((1, 1), (2, 3), (5, 2)):
            rows = [
                torch.cat(
                    [
                        model.similarity(image_codes.rows(slice(i, i + height)), caption_codes.rows(columns))
                        for columns in torch.split(torch.arange(len(LENGTHS)), width)
                    ],
                    dim=1,
                )
                for i in range(0, 5, height)
            ]
            assert float((torch.cat(rows) - whole).abs().max()) <= 1e-6
    assert model.pair_bytes(image_codes, caption_codes) > 0


def test_padding_and_batch_mates_do_not_matter() -> None:
    model = tiny_hat()
    text = captions(LENGTHS)
    narrow = CaptionBatch(text.ids[:2, :8], text.lengths[:2], text.index[:2])
    junk = text.ids.clone()
    junk[torch.arange(12) >= text.lengths[:, None]] = 7
    with torch.no_grad():
        image_codes, codes = both_codes(model)
        scores = model.similarity(image_codes, codes)
        alone = model.encode_captions(narrow)
        assert alone["level_1"].shape == (2, 12, 32)  # codes of any batch can be joined
        torch.testing.assert_close(model.similarity(image_codes, alone), scores[:, :2], atol=1e-6, rtol=0)
        junked = model.encode_captions(CaptionBatch(junk, text.lengths, text.index))
        torch.testing.assert_close(model.similarity(image_codes, junked), scores, atol=1e-6, rtol=0)


@pytest.mark.parametrize("direction", ["i2t", "t2i"])
@pytest.mark.parametrize("budget", [1, 100_000])
def test_objective_and_gradients_do_not_depend_on_the_pair_budget(direction: str, budget: int) -> None:
    results = []
    for pair_budget in (None, budget):
        model = tiny_hat(direction)
        loss = model.objective(model.training_codes(pairs(LENGTHS)), progress(), pair_budget)
        torch.autograd.backward(loss)
        gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients))
    (loss, gradients), (chunked_loss, chunked) = results
    torch.testing.assert_close(loss, chunked_loss, atol=1e-5, rtol=1e-6)
    assert gradients.keys() == chunked.keys()
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        # a key bias has no gradient but rounding: softmax does not see it
        scale = max(float(gradient.abs().max()), 1e-6 * largest)
        assert float((gradient - chunked[name]).abs().max()) <= 1e-4 * scale, name


def test_what_gets_a_gradient() -> None:
    """Everything but the pooler (hat.md 3.4) and the norm of stage 0 (hat.md 5.1)."""
    model = tiny_hat()
    torch.autograd.backward(model.objective(model.training_codes(pairs(LENGTHS)), progress(), None))
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    pooler = {f"text_encoder.pooler.dense.{kind}" for kind in ("weight", "bias")}
    assert without == pooler | {f"image_encoder.norms.0.{kind}" for kind in ("weight", "bias")}


def test_loss_settings_reach_the_loss() -> None:
    model = tiny_hat()
    with torch.no_grad():
        codes = model.training_codes(pairs(LENGTHS))
        hardest = model.objective(codes, progress(), None)
        every = model.objective(codes, progress(hardest=False), None)
        wide = model.objective(codes, progress(margin=0.5), None)
    assert every > hardest
    assert wide > hardest


def test_frozen_encoders_stay_noisy_in_train_mode() -> None:
    model = tiny_hat(swin={**tiny_config().swin.model_dump(), "drop_path": 0.5})
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.train()
    once, again = model.training_codes(pairs(LENGTHS)), model.training_codes(pairs(LENGTHS))
    assert not torch.equal(once.images["level_3"], again.images["level_3"])  # stochastic depth
    assert not torch.equal(once.captions["level_1"], again.captions["level_1"])  # dropout
    model.eval()
    once, again = model.training_codes(pairs(LENGTHS)), model.training_codes(pairs(LENGTHS))
    assert torch.equal(once.images["level_3"], again.images["level_3"])


def test_trains_under_autocast_near_the_float32_loss() -> None:
    model = tiny_hat()
    exact = model.objective(model.training_codes(pairs(LENGTHS)), progress(), None)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.objective(model.training_codes(pairs(LENGTHS)), progress(), None)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.05)


def test_same_seed_same_weights_and_projections_as_published() -> None:
    one, other = tiny_hat(seed=3).state_dict(), tiny_hat(seed=3).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    model = tiny_hat(hidden=512)
    for projection in [*model.image_projections, *model.text_projections]:
        assert projection.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not projection.bias.any()


def test_inputs_are_the_published_ones() -> None:
    spec = METHOD.inputs(HATConfig(direction="t2i"))
    assert spec.image == PixelInput(224, "random_resized_crop_flip", "resize_center_crop", 256)
    assert (spec.text.codec, spec.text.max_length) == ("wordpiece", 32)
    assert (spec.unit, spec.last_batch) == ("caption", "keep")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"text_layers": (2, 3)}, "image_levels"),
        ({"text_layers": (2, 3, 5)}, "bert.layers"),
        ({"image_levels": (1, 2, 4)}, "stages"),
        ({"image_levels": (3, 2, 1)}, "shallow to deep"),
        ({"max_text_length": 17}, "max_position"),
        ({"direction": "both"}, "i2t"),
        ({"temprature": 9}, "temprature"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        tiny_config(**changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------ pretrained parts


def test_without_the_hub_pretrained_parts_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Offline:
        def model_info(self, *_args: object, **_kwargs: object) -> None:
            raise OSError("no route\nto host")

    monkeypatch.setattr(bert_layer, "HfApi", Offline)
    monkeypatch.setattr(bert_layer, "try_to_load_from_cache", lambda *_args: None)
    with pytest.raises(UserError, match=r"swin_base.*model\.swin\.pretrained") as caught:
        HAT(HATConfig(direction="i2t"), DataFacts(vocab_size=30522, pretrained=True))
    assert "\n" not in str(caught.value)


def save_pretrained_parts(folder: Path) -> tuple[HAT, BertForPreTraining]:
    """Weights of a tiny Swin and a tiny BERT with heads, as the Hub's repositories hold them."""
    model = tiny_hat(seed=5)
    (folder / "swin").mkdir()
    save_file(model.image_encoder.swin.state_dict(), folder / "swin" / "model.safetensors")
    torch.manual_seed(6)
    bert = BertForPreTraining(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=16,
        )
    )
    bert.save_pretrained(folder / "bert")
    return model, bert


def test_pretrained_parts_are_loaded_into_the_configured_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, bert = save_pretrained_parts(tmp_path)
    for module in (swin, bert_layer):
        monkeypatch.setattr(module, "weights_file", lambda part, _name: tmp_path / part / "model.safetensors")
    facts = DataFacts(vocab_size=VOCABULARY, pretrained=True)
    loaded = HAT(tiny_config(), facts)
    for name, tensor in source.image_encoder.swin.state_dict().items():
        assert torch.equal(loaded.image_encoder.swin.state_dict()[name], tensor), name
    for name, tensor in bert.bert.state_dict().items():
        assert torch.equal(loaded.text_encoder.state_dict()[name], tensor), name
    weights = {name: value for name, value in loaded.named_parameters() if "image_encoder.norms" in name}
    assert len(weights) == 6
    assert all((value == name.endswith("weight")).all() for name, value in weights.items())  # still 1 and 0
    assert all(module.training for module in loaded.modules())
    deeper = BERTConfig(layers=5, hidden=32, heads=2, intermediate=64, max_position=16)
    for misfit, part in (
        (tiny_config(bert=deeper), r"model\.bert"),
        (
            tiny_config(swin={"embed_dim": 32, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8)}),
            r"model\.swin",
        ),
    ):
        with pytest.raises(UserError, match=part) as caught:
            HAT(misfit, facts)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"vocabulary"):
        HAT(tiny_config(), DataFacts(vocab_size=VOCABULARY + 1, pretrained=True))
