"""Settings of the detector: how pictures are sized, how many proposals are looked at, and which boxes are kept."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from benchmark.data.regions.detector.boxes import BEFORE, OVERLAP
from benchmark.data.regions.detector.weights import CONFIG, REPOSITORY, expected_sha256
from benchmark.errors import UserError, shown
from benchmark.guarded import DocumentError, parse_yaml
from benchmark.strict import Strict

Mode = Literal["hub", "caffe"]
"""`hub`: as the public port of the weights selects (data.md 3.3); `caffe`: as the original does (data.md 3.1)."""

SIDES = {"hub": (800, 1333), "caffe": (600, 1000)}
"""The shorter side of a resized picture, and the most that the longer one may have."""


class DetectorSettings(Strict):
    """A way to make region features; whatever changes a feature is in it, or in the weights."""

    mode: Mode = "caffe"
    regions: Annotated[int, Field(ge=1)] = 36
    """The regions of a picture."""
    short_side: Annotated[int, Field(ge=32)]
    """Pixels; without a word, those of the mode."""
    longest_side: Annotated[int, Field(ge=32)]
    proposals: Annotated[int, Field(ge=1)] = 300
    """The proposals of a picture that go through the last stage."""

    @model_validator(mode="before")
    @classmethod
    def _sides_of_the_mode(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        short, longest = SIDES.get(str(given.get("mode")), SIDES["caffe"])
        return {"short_side": short, "longest_side": longest, **given}

    def identity(self) -> str:
        """Name everything that decides the features but rounding; other settings or weights have another identity."""
        return (
            f"detector-1 {self.mode}, {self.regions} of {self.proposals} proposals at "
            f"{self.short_side}/{self.longest_side} ({expected_sha256()})"
        )

    def check_config(self, text: str) -> None:
        """Hold the numbers of the region network against the port's own file, which alone knows them (data.md 3.3).

        text: of `config.yaml`, "" where there is none. What it leaves out is said on stderr. Raises UserError, in mode
        `hub`, where it says another number, and where it is no YAML.
        """
        if self.mode != "hub":
            return
        try:
            document = parse_yaml(text)
        except DocumentError as error:
            raise UserError(f"{CONFIG} of {REPOSITORY}: not readable as YAML ({error})") from None
        section = document.get("RPN") if isinstance(document, dict) else None
        numbers = {"POST_NMS_TOPK_TEST": self.proposals, "PRE_NMS_TOPK_TEST": BEFORE, "NMS_THRESH": OVERLAP}
        for name, ours in numbers.items():
            found = section.get(name) if isinstance(section, dict) else None
            if found is None:
                print(f"{CONFIG} of {REPOSITORY}: no RPN.{name}; taking {ours}", file=sys.stderr)
            elif found != ours:
                hint = "; set `proposals` to that" if ours is self.proposals else ""
                raise UserError(
                    f"{CONFIG} of {REPOSITORY}: RPN.{name}: found {shown(found)}, expected {ours} as the settings of "
                    f"mode hub have it{hint}"
                )
