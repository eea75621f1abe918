"""Captions and vocabulary of `scenes`: five sentences a picture, each about another part of it.

Every sentence is true of its picture. Words for texture and size are left out in most of them, as people do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from benchmark.data.scenes.drawing import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES

PLACES = (
    "at the top left",
    "at the top",
    "at the top right",
    "on the left",
    "in the middle",
    "on the right",
    "at the bottom left",
    "at the bottom",
    "at the bottom right",
)
"""The phrases for the nine cells, row by row."""
RELATIONS: dict[str, tuple[str, str]] = {
    "above": ("above", "over"),
    "below": ("below", "under"),
    "left": ("to the left of", "left of"),
    "right": ("to the right of", "right of"),
}
COUNTS = {2: "two", 3: "three", 4: "four"}
GLUE = ("a", "an", "and", "are", "background", "can", "is", "on")
LEADS = ("picture", "see", "shapes", "shows", "the", "there", "with", "you")


class Thing(Protocol):
    """The properties of an object that a sentence needs; `cell` counts row by row from 0 to 8."""

    @property
    def shape(self) -> str: ...
    @property
    def colour(self) -> str: ...
    @property
    def size(self) -> str: ...
    @property
    def texture(self) -> str: ...
    @property
    def cell(self) -> int: ...


class Chooser(Protocol):
    """The source of random choices."""

    def below(self, n: int) -> int: ...
    def shuffled(self, n: int) -> list[int]: ...


def name(thing: Thing, article: str = "a", full: bool = False) -> str:
    """`a red circle`, `an orange ring`, `the red circle`, in full `a large striped red circle`."""
    words = [thing.size, thing.texture] if full else []
    words += [thing.colour, thing.shape]
    if article == "a" and words[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *words])


def listing(parts: Sequence[str]) -> str:
    """`x, y and z`."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def relation(first: Thing, second: Thing, choose: Chooser) -> str:
    """Name the relation of `first` to `second`, along the longer of the two distances; on a diagonal, either."""
    down = first.cell // 3 - second.cell // 3
    right = first.cell % 3 - second.cell % 3
    vertical = abs(down) > abs(right) or (abs(down) == abs(right) and choose.below(2) == 0)
    after = down > 0 if vertical else right > 0
    side = ("above", "below")[after] if vertical else ("left", "right")[after]
    return RELATIONS[side][choose.below(2)]


def captions(things: Sequence[Thing], background: str, choose: Chooser) -> list[str]:
    """Return five captions in random order: a relation, the whole list, places, full descriptions, the background."""
    a, b = things[0], things[1]
    last = things[-1]
    texts = [
        _relation_sentence(a, b, choose),
        _list_sentence(things, choose),
        _place_sentence(a, last, choose),
        _full_sentence(a, b, choose),
        _background_sentence(last, things[-2], background, choose),
    ]
    return [texts[position] for position in choose.shuffled(5)]


def _relation_sentence(a: Thing, b: Thing, choose: Chooser) -> str:
    first, second = (a, b) if choose.below(2) else (b, a)
    where = relation(first, second, choose)
    forms = (
        f"{name(first)} {where} {name(second)}",
        f"there is {name(first)} {where} {name(second)}",
        f"{name(first)} is {where} {name(second)}",
        f"the {first.colour} {first.shape} is {where} the {second.colour} {second.shape}",
    )
    return forms[choose.below(len(forms))]


def _list_sentence(things: Sequence[Thing], choose: Chooser) -> str:
    names = listing([name(things[row]) for row in choose.shuffled(len(things))])
    forms = [names, f"the picture shows {names}", f"you can see {names}"]
    if len(things) < 4:  # keeps the longest caption short
        forms.append(f"there are {COUNTS[len(things)]} shapes, {names}")
    return forms[choose.below(len(forms))]


def _place_sentence(a: Thing, b: Thing, choose: Chooser) -> str:
    first, second = (a, b) if choose.below(2) else (b, a)
    here, there = PLACES[first.cell], PLACES[second.cell]
    forms = (
        f"{name(first)} {here} and {name(second)} {there}",
        f"{here} is {name(first)} and {there} {name(second)}",
        f"{name(first, 'the')} is {here}, {name(second, 'the')} is {there}",
    )
    return forms[choose.below(len(forms))]


def _full_sentence(a: Thing, b: Thing, choose: Chooser) -> str:
    first, second = (a, b) if choose.below(2) else (b, a)
    join = ("and", "with")[choose.below(2)]
    lead = ("", "there is ", "you can see ")[choose.below(3)]
    return f"{lead}{name(first, full=True)} {join} {name(second, full=True)}"


def _background_sentence(a: Thing, b: Thing, background: str, choose: Chooser) -> str:
    first, second = (a, b) if choose.below(2) else (b, a)
    where = relation(first, second, choose)
    forms = (
        f"on a {background} background, {name(first)} is {where} {name(second)}",
        f"{name(first)} {where} {name(second)} on a {background} background",
    )
    return forms[choose.below(len(forms))]


def words() -> list[str]:
    """Return every word that a caption may hold, in alphabetical order."""
    found = {*GLUE, *LEADS, *COUNTS.values(), *COLOURS, *SHAPES, *TEXTURES, *SIZES, *BACKGROUNDS}
    for phrase in (*PLACES, *(form for forms in RELATIONS.values() for form in forms)):
        found.update(phrase.split())
    return sorted(found)


def vocabulary() -> list[str]:
    """Return the WordPiece vocabulary of `scenes`; the position is the id.

    Special tokens, every word a caption may hold, and enough pieces that any word of the Latin alphabet splits
    into known pieces instead of becoming `[UNK]`.
    """
    whole = words()
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    single = [letter for letter in letters if letter not in whole]
    endings = ["##ed", "##er", "##es", "##ing", "##ish", "##ly", *(f"##{letter}" for letter in letters)]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *",.-'", *whole, *single, *endings]
