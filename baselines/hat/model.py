"""HAT, hierarchical alignment transformers (Bin et al., ACM MM 2023; arXiv 2308.04343), top to bottom.

Two transformer encoders of like hierarchy: Swin on pixels, BERT on words. Three levels of each are projected
to one space, and each level scores an image with a caption by one-directional cross-attention between their
tokens; the sum of the three is the similarity. Two models are trained, one a direction of attention (i2t,
t2i). Where the paper leaves a choice open, the published code's behaviour is taken (README.md). Citations
such as "hat.md 3.5" are sections of docs/papers/hat.md.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.attention.cross_attention import Form, attention_scores, pair_bytes, score_in_chunks
from baselines.hat.swin import SwinConfig, build_swin
from baselines.layers.bert import BERTConfig, build_bert
from benchmark.batches import CaptionBatch, Codes, ImageBatch, TrainingCodes, numbers_of
from benchmark.errors import UserError
from benchmark.inputs import InputSpec, PixelInput, WordPieceText
from benchmark.method import Baseline, DataFacts, Progress, TripletLoss
from benchmark.strict import Strict


class HATConfig(Strict):
    """A HAT model; the defaults are the published full-size one (199,377,592 parameters; hat.md 3.1)."""

    direction: Literal["i2t", "t2i"]
    """`i2t`: each image token queries the words; `t2i`: each word queries the image tokens (hat.md 3.5)."""
    temperature: float = Field(default=9.0, gt=0)
    """The paper's lambda: factor of the normalised products before the softmax (hat.md 3.5)."""
    hidden: int = Field(default=768, ge=1)
    """Width of the common space that both sides are projected to."""
    image_size: int = Field(default=224, ge=32)
    """Side of the input image in pixels."""
    train_transform: Literal["random_resized_crop_flip", "plain"] = "random_resized_crop_flip"
    """`plain`: training images as in evaluation."""
    test_transform: Literal["resize_center_crop", "resize"] = "resize_center_crop"
    """`resize_center_crop`: shorter side to `resize_to`, then the centre; `resize`: straight to `image_size`."""
    resize_to: int = Field(default=256, ge=32)
    max_text_length: int = Field(default=32, ge=3)
    """Word pieces with [CLS] and [SEP]; every caption is cut and padded to this many."""
    vocabulary: Literal["dataset", "letters"] = "dataset"
    """`dataset`: bert-base-uncased's word pieces, as published (scenes has its own); `letters`: a small vocabulary
    of letters and common words that needs no download, for smoke runs without pretraining."""
    image_levels: tuple[int, ...] = Field(default=(1, 2, 3), min_length=1)
    """Swin stages (from 0) whose outputs are aligned, shallow to deep."""
    text_layers: tuple[int, ...] = Field(default=(4, 10, 12), min_length=1)
    """BERT `hidden_states` indices aligned with them: 4 is the output of the 4th layer (hat.md 3.1, 3.4)."""
    initialisation: Literal["published", "fan_in"] = "published"
    """`published`: projections from N(0, 0.02^2) (hat.md 3.2), encoders as their libraries draw them. `fan_in`: all
    linear weights from N(0, 1 / fan_in); 0.02 is made for wide layers and leaves narrow ones nearly linear."""
    swin: SwinConfig = SwinConfig()
    bert: BERTConfig = BERTConfig()

    @model_validator(mode="after")
    def _levels_exist(self) -> Self:
        if len(self.image_levels) != len(self.text_layers):
            raise ValueError(f"{len(self.image_levels)} image_levels but {len(self.text_layers)} text_layers")
        if not all(0 <= level <= 3 for level in self.image_levels):
            raise ValueError(f"image_levels {self.image_levels}: Swin stages are 0 to 3")
        if list(self.image_levels) != sorted(set(self.image_levels)):
            raise ValueError(f"image_levels {self.image_levels}: expected shallow to deep, each once")
        if not all(0 <= layer <= self.bert.layers for layer in self.text_layers):
            raise ValueError(f"text_layers {self.text_layers}: bert.layers is {self.bert.layers}")
        if self.max_text_length > self.bert.max_position:
            raise ValueError(f"max_text_length {self.max_text_length} > bert.max_position")
        return self


def inputs(config: HATConfig) -> InputSpec:
    """Declare what HAT reads: every caption with its image's pixels (hat.md 2, 6)."""
    image = PixelInput(config.image_size, config.train_transform, config.test_transform, config.resize_to)
    text = WordPieceText(config.max_text_length, config.vocabulary)
    return InputSpec(image, text, unit="caption", last_batch="keep")


def pretrained_parts(config: HATConfig) -> list[str]:
    """Name the Hub repositories that `pretrained=True` downloads."""
    return [f"timm/{config.swin.pretrained}", config.bert.pretrained]


class ImageEncoder(nn.Module):
    """Swin whose stage outputs each have a LayerNorm: the stages 0-2 a fresh one, stage 3 Swin's own (hat.md 3.2)."""

    def __init__(self, swin: SwinTransformer) -> None:
        super().__init__()
        self.swin = swin
        widths = [info["num_chs"] for info in swin.feature_info]
        # norm 0 is part of the published model and gets no gradient unless stage 0 is aligned (hat.md 5.1)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=1e-5) for width in widths[:-1])

    def forward(self, pixels: Tensor, stages: tuple[int, ...]) -> list[Tensor]:
        """Normalised tokens (B, R_s, C_s) of each of `stages`, row-major over the image; `pixels`: (B, 3, S, S)."""
        # un-normalised maps from before the patch merging, which is the next stage's first layer in timm 1.x
        maps = self.swin.forward_intermediates(
            pixels, indices=list(stages), norm=False, intermediates_only=True
        )
        tokens = [feature_map.flatten(2).mT for feature_map in maps]  # (B, R_s, C_s)
        norms = [*self.norms, self.swin.norm]
        return [norms[stage](token) for stage, token in zip(stages, tokens, strict=True)]


class HAT(Baseline):
    """The model, of random weights, or of the pretrained encoders that `config` names if `facts.pretrained`."""

    def __init__(self, config: HATConfig, facts: DataFacts) -> None:
        """Raises UserError where pretrained encoders cannot be fetched or do not fit the configuration."""
        super().__init__()
        self.config = config
        fan_in = config.initialisation == "fan_in"
        if fan_in and facts.pretrained:
            raise UserError(
                "field 'model.initialisation': found 'fan_in' with pretrained weights, which it would overwrite; "
                "expected 'published'"
            )
        swin = build_swin(config.swin, config.image_size, pretrained=facts.pretrained)
        self.image_encoder = ImageEncoder(swin)
        self.text_encoder = build_bert(config.bert, facts)
        stage_widths = [config.swin.embed_dim * 2**level for level in config.image_levels]
        # no activation, norm or embedding follows the projections (hat.md 3.1)
        self.image_projections = nn.ModuleList(nn.Linear(width, config.hidden) for width in stage_widths)
        self.text_projections = nn.ModuleList(
            nn.Linear(config.bert.hidden, config.hidden) for _ in config.text_layers
        )
        for projection in [*self.image_projections, *self.text_projections]:
            nn.init.normal_(projection.weight, std=0.02)
            nn.init.zeros_(projection.bias)
        for layer in self.modules() if fan_in else ():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    # Encoding (hat.md 3.1): tokens of every level in the common space, not normalised

    def encode_images(self, batch: ImageBatch) -> Codes:
        """`level_k`: (B, R_k, hidden), k = 1 the shallowest level; at 224 pixels R = 784, 196, 49."""
        stages = self.image_encoder(batch.pixels, self.config.image_levels)
        projected = [project(tokens) for project, tokens in zip(self.image_projections, stages, strict=True)]
        return Codes({f"level_{k}": tokens for k, tokens in enumerate(projected, start=1)})

    def encode_captions(self, batch: CaptionBatch) -> Codes:
        """`level_k`: (B, max_text_length, hidden), and `lengths` (B,), which count [CLS] and [SEP]."""
        states = self.text_states(batch)
        projected = [
            project(states[layer])
            for project, layer in zip(self.text_projections, self.config.text_layers, strict=True)
        ]
        levels = {f"level_{k}": tokens for k, tokens in enumerate(projected, start=1)}
        return Codes({**levels, "lengths": batch.lengths})

    def text_states(self, batch: CaptionBatch) -> tuple[Tensor, ...]:
        """BERT's hidden states (B, max_text_length, bert.hidden): [0] the embeddings, [k] the k-th layer's output."""
        # always padded to the full length, as published: all codes have one shape
        padding = (0, self.config.max_text_length - batch.ids.shape[1])
        ids = F.pad(batch.ids, padding, value=self.text_encoder.config.pad_token_id)  # (B, L)
        mask = torch.arange(ids.shape[1], device=ids.device) < batch.lengths[:, None]  # (B, L)
        output = self.text_encoder(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        states: tuple[Tensor, ...] = output.hidden_states
        return states

    # Hierarchical alignment (hat.md 3.5): the sum of the levels' cross-attention scores

    def similarity(self, images: Codes, captions: Codes) -> Tensor:
        """S = S_1 + S_2 + S_last, (n_images, n_captions), each level in [-1, 1]."""
        return torch.stack(self.level_scores(images, captions)).sum(0)

    def level_scores(self, images: Codes, captions: Codes, form: Form = "auto") -> list[Tensor]:
        """Scores (n_images, n_captions) of every level, shallow to deep; `form` as in `attention_scores`."""
        lengths = captions["lengths"]
        longest = max(numbers_of(lengths))  # padding that no caption of the block needs is cut off
        return [
            attention_scores(
                images[level],
                captions[level][:, :longest],
                lengths,
                direction=self.config.direction,
                temperature=self.config.temperature,
                form=form,
            )
            for level in self._levels()
        ]

    def pair_bytes(self, images: Codes, captions: Codes) -> int:
        """Upper estimate of the bytes a pair takes while it is scored; levels come one after the other."""
        return max(self._level_bytes(images, captions, gradient=False))

    # Training (hat.md 4, 5)

    def objective(self, codes: TrainingCodes, progress: Progress, pair_budget: int | None) -> Tensor:
        """Triplet ranking loss over the batch's B x B scores, summed (hat.md 4)."""
        loss = progress.loss
        assert isinstance(loss, TripletLoss)
        scores = score_in_chunks(
            self.similarity,
            codes.images,
            codes.captions,
            budget_bytes=pair_budget,
            pair_bytes=sum(self._level_bytes(codes.images, codes.captions, gradient=True)),
        )  # (B, B)
        return loss(scores)

    def _levels(self) -> list[str]:
        return [f"level_{k}" for k in range(1, len(self.config.image_levels) + 1)]

    def _level_bytes(self, images: Codes, captions: Codes, *, gradient: bool) -> list[int]:
        """Bytes a pair takes at each level."""
        longest = max(numbers_of(captions["lengths"]))
        tokens = [images[level] for level in self._levels()]
        return [pair_bytes(t.shape[1], longest, t.shape[2], gradient=gradient) for t in tokens]
