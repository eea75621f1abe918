"""T-EMDE (Rychalska, Wieczorek and Dabrowski, 2021; arXiv 2105.04242): SAF and SGR with sketches, a reconstruction.

The hosts see the whole image beside the whole caption through self-attention; here each of them is a sketch, a
histogram of where in the space its regions or words lie, with cells that mean the same in both. All else is the
host's (baselines/sgraf/model.py). No authors' code is known and the paper was read in part only: what is known, assumed
and uncertain is in temde.md 3.1, 3.3, 3.4, and in README.md.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from baselines.sgraf.global_branch import SelfAttentionBranch
from baselines.sgraf.model import SGRAF, SGRAFConfig
from baselines.temde.branch import SketchBranch
from baselines.temde.sketch import SketchConfig
from benchmark.errors import UserError
from benchmark.method import DataFacts


class TEMDEConfig(SGRAFConfig):
    """A host, which `module` names, and the sketch in it."""

    global_branch: Literal["sketch", "self_attention"] = "sketch"
    """`self_attention`: the host as it is, to compare with."""
    sketch: SketchConfig = SketchConfig()
    host_checkpoint: str | None = None
    """A checkpoint of the host's authors, from which all but the sketch starts if the recipe has `pretrained: true`."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        sketch = self.sketch
        if self.global_branch == "self_attention" and sketch != SketchConfig():
            raise UserError(
                "field 'model.sketch': found settings, but field 'model.global_branch' is 'self_attention', which has "
                "no sketch; leave them out"
            )
        if sketch.scope != "both" and not sketch.output_projection and sketch.cells != self.dim:
            raise UserError(
                f"field 'model.sketch.scope': found '{sketch.scope}' with a sketch of {sketch.depth} x {sketch.width} "
                f"cells, expected as many as the other side's vector has, {self.dim}, or output_projection: true"
            )
        return self


def with_sketches(config: TEMDEConfig, facts: DataFacts) -> SGRAF:
    """SAF or SGR with sketches; the host is drawn whole, so that all that is shared with it starts alike."""
    model = SGRAF(config, facts)
    if config.global_branch == "sketch":
        host = model.global_branch
        assert isinstance(host, SelfAttentionBranch)
        model.global_branch = SketchBranch(config.sketch, host, bias=config.bias)
    return model
