"""Captions as words: lower case, sentences, then the Treebank's conventions, as NLTK 3.6.2 has them (data.md 7.1).

The published code asks NLTK's `word_tokenize`. NLTK is no dependency: its Punkt model is a download of its own, and
its newest version splits otherwise than the one the vocabularies were made with. Its rules are written down here
instead, and `own_words` gives the recorded tokens of all published cases. Where NLTK and its Punkt data are there
and agree with ours on SAMPLES, they are used, since they hold one table that we don't (see sentences.py). Which of
the two it was is part of a codec's identity.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from benchmark.data.text.sentences import sentences

SAMPLES = (
    "a man. he sits at 3 p.m. on main st. in the u.s. (it is red.) wow! isn't it?",
    "a woman's red hat, the boys' shoes; we've seen they'll say \"stop\" and rock 'n' roll",
    "'tis a sign reading 'hello world'",
    "you cannot wait...gonna jump--at 12:30 for $5 & 50% off",
)
"""Captions on which another tokeniser must agree with ours; the third tells NLTK 3.10 from those before."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # opening quotes
        (r"([«“‘„]|`+)", r" \1 "),
        (r"^\"", "``"),
        (r"``", " `` "),
        (r"(?<=[ (\[{<])(?:\"|'')", " `` "),
        (r"'(?=[^\Wmtsdn]\b)", "' "),  # not before what 'm, 't, 's, 'd and 'n are made of
        # punctuation; a full stop only at the very end
        (r"(?<=[^.])\.([\])}>\"'»”’ ]*)$", r" . \1 "),
        (r"([:,])(\D)", r" \1 \2"),  # 12:30 and 1,000 stay whole
        (r"([:,])$", r" \1 "),
        (r"(\.{2,}|[;@#$%&?!*])", r" \1 "),
        (r"(?<=[^'])' ", " ' "),
        (r"([\]\[(){}<>]|--)", r" \1 "),
        (r"^|$", " "),
        # closing quotes and what follows an apostrophe
        (r"([»”’])", r" \1 "),
        (r"\"", " '' "),
        (r"(\S)''", r"\1 '' "),
        (r"(?<=[^' ])('[smd]|') ", r" \1 "),
        (r"(?<=[^' ])('ll|'re|'ve|n't) ", r" \1 "),
        # words that are two
        (r"\b(can)(not)\b", r" \1 \2 "),
        (r"\b(d)('ye)\b", r" \1 \2 "),
        (r"\b(gim|lem)(me)\b", r" \1 \2 "),
        (r"\b(gon)(na)\b", r" \1 \2 "),
        (r"\b(got)(ta)\b", r" \1 \2 "),
        (r"\b(more)('n)\b", r" \1 \2 "),
        (r"\b(wan)(na)\s", r" \1 \2 "),
        (r" ('t)(is)\b", r" \1 \2 "),
        (r" ('t)(was)\b", r" \1 \2 "),
    )
)
"""Blanks are put around what is a word by itself, rule after rule."""

_LINE_BREAK = re.compile(r"[\r\n]+")
_PLAIN = re.compile(r"(?:[a-z0-9]+(?:-[a-z0-9]+)*,? +)*[a-z0-9]+(?:-[a-z0-9]+)* ?\.?")
_TWO_WORDS = re.compile("cannot|gimme|lemme|gonna|gotta|wanna")


def normalised(caption: str) -> str:
    """Return the caption without blanks around it, its line breaks as blanks (data.md 1.4), in lower case.

    One of the published programs lower-cases ASCII letters only. Their vocabularies hold no others, so the ids agree.
    """
    return _LINE_BREAK.sub(" ", caption.strip()).lower()


def own_words(text: str) -> list[str]:
    """Words of a normalised caption by our own rules."""
    # most captions are plain, and the rules take many times as long
    if _PLAIN.fullmatch(text) and not _TWO_WORDS.search(text):
        return text.replace(",", " ,").replace(".", " .").split()
    return [word for sentence in sentences(text) for word in _sentence_words(sentence)]


def _sentence_words(sentence: str) -> list[str]:
    for pattern, replacement in _RULES:
        sentence = pattern.sub(replacement, sentence)
    return sentence.split()


# ------------------------------------------------------------------------------------------ choice


@dataclass(frozen=True)
class Tokeniser:
    """Rules that make words of captions, and their name."""

    name: str
    split: Callable[[str], list[str]]
    """Splits a normalised caption."""

    def words(self, caption: str) -> list[str]:
        """Words of a caption as it is; [] for one that is empty."""
        return self.split(normalised(caption))


OWN = Tokeniser("own tokeniser 1 (rules of NLTK 3.6.2)", own_words)


def tokeniser() -> Tokeniser:
    """NLTK's where it and its Punkt data are there and agree with ours on SAMPLES, else our own."""
    if find_spec("nltk") is None:
        return OWN
    try:
        import nltk  # only where it is installed already

        split: Callable[[str], list[str]] = nltk.word_tokenize
        agree = all(split(text) == own_words(text) for text in SAMPLES)
    except (ImportError, LookupError):  # an installation that is broken, or has no Punkt data
        return OWN
    return Tokeniser(f"NLTK {nltk.__version__} with Punkt", split) if agree else OWN
