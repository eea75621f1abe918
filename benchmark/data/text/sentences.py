"""The ends of a caption's sentences: Punkt's decisions on lower-cased English, as in NLTK 3.6.2 (data.md 7.1).

Word tokenising splits a full stop off only at the end of a sentence, so this decides what becomes of the others.
Punkt (Kiss and Strunk 2006) is a procedure and tables learnt from newspapers. On text without capitals most of it
falls silent; what is left is here, with the English table of abbreviations. Left out is its table of words seen with
and without capitals: it can only say that a number or a single letter with a full stop ends a sentence although a
small letter follows, where the word after it began sentences in small letters and never with a capital.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

_ENGLISH = """
    ct m.j t a.c n.h ms p.a.m dr pa p.m u.k st dec u.s.a lt g.k adm p h.m ga tenn yr sen n.c j.j d.h s.g inc vs
    s.p.a a.t n feb sr jan s.a.y n.y col g.f c.o.m.b d ft va r.k e.f chg r.i a.g minn a.h k n.j m l.f f.j gen i.m.s
    s.a aug j.p okla m.d.c ltd oct s vt r.a j.c ariz w.w b.v ore h w.r e.h mrs cie corp w n.v a.d r.j ok
    /
    e.m w.c ill nov u.s prof conn u.s.s.r mg f.g ph.d g calif messrs h.f wash tues sw bros u.n l wis mr sep d.c ave
    e.l co s.s reps c r.t h.c r wed a.s v fla jr r.h c.v m.b.a rep a.a e c.i.t l.a b.f j.b d.w j.k ala f w.va sept
    mich n.m j.r l.p s.c colo fri a.m g.d kan maj ky a.m.e n.d t.j cos nev
"""
_FIRST, _SECOND = _ENGLISH.split("/")
ABBREVIATIONS = (*_FIRST.split(), ". . ", *_SECOND.split())
"""Abbreviations that Punkt's English model knows, without their full stop, in its order (sha256 in data.md 7.1)."""

_KNOWN = frozenset(ABBREVIATIONS)
_ENDS = ".?!"
_PUNCTUATION = frozenset(";:,.!?")
_NOT_IN_WORDS = ")\";}]*:@'({[?!"
"""After an end mark, these may begin a new sentence without a blank before them."""

_STRETCH = re.compile(r"\S+")
_TOKEN = re.compile(
    r"""
    (?P<dashes_or_dots> -{2,} | \.{2,} | (?: \.\s ){2,} \. )
    | [^\s("`{\[:;&\#*@)}\]\-,] \S*?  # a word, as short as ...
      (?= \s | $ | [)";}\]*:@'({\[?!] | -{2,} | \.{2,} | (?: \.\s ){2,} \.
        | , (?= $ | \s | [)";}\]*:@'({\[?!] | -{2,} | \.{2,} | (?: \.\s ){2,} \. ) )  # ... one of these allows
    | \S
    """,
    re.VERBOSE,
)
_ELLIPSIS = re.compile(r"\.{2,}")
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*")
_LETTER = re.compile(r"[^\W\d]\.")
_CLOSING = re.compile(r"[\"')\]}]+(?:\s+|(?=--)|$)")


def sentences(text: str) -> list[str]:
    """Return the sentences of a lower-cased text without line breaks, blanks between them left out."""
    parts: list[str] = []
    starts, stops = _cuts(text)
    moved = 0  # characters at the front of a part that belong to the one before
    for place, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        start += moved
        moved = 0
        if place + 1 < len(starts):
            after = starts[place + 1]
            closing = _CLOSING.match(text[after : stops[place + 1]])
            if closing:
                moved, stop = closing.end(), after + len(closing.group().rstrip())
        parts.append(text[start:stop])
    return [part for part in parts if part]


def _cuts(text: str) -> tuple[list[int], list[int]]:
    """Find the starts and stops of the sentences, before closing brackets and quotes are moved."""
    starts, stops = [0], []
    for stop, following in _breaks(text):
        stops.append(stop)
        starts.append(following)
    return starts, [*stops, len(text.rstrip())]


def _breaks(text: str) -> Iterator[tuple[int, int]]:
    """End of a sentence and start of the next, for each stretch without blanks in which a sentence ends."""
    if not any(mark in text for mark in _ENDS):
        return
    stretches = list(_STRETCH.finditer(text))
    for place, stretch in enumerate(stretches):
        last = place + 1 == len(stretches)
        stop = _last_end(stretch.group(), last)
        if stop is None:
            continue
        stop += stretch.start()
        at_end = stop == stretch.end()
        upto = stretches[place + 1].end() if at_end else stop + 1
        if _ends_inside(text[stretch.start() : upto]):
            yield stop, stretches[place + 1].start() if at_end else stop


def _last_end(stretch: str, last: bool) -> int | None:
    """Find the place after the last end mark in a stretch that a bracket, a quote or another word follows."""
    for place in range(len(stretch), 0, -1):
        if stretch[place - 1] in _ENDS:
            followed = not last if place == len(stretch) else stretch[place] in _NOT_IN_WORDS
            if followed:
                return place
    return None


def _ends_inside(context: str) -> bool:
    """Say whether one of the tokens of a context, the last left out, ends a sentence."""
    tokens = [match.group() for match in _TOKEN.finditer(context)]
    return any(_ends(token, following) for token, following in pairwise(tokens))


def _ends(token: str, following: str) -> bool:
    """Say whether `token` ends a sentence when `following` comes next."""
    if token in _ENDS:
        return True
    if not token.endswith(".") or _ELLIPSIS.fullmatch(token):
        return False
    stem = token[:-1]
    if stem in _KNOWN or stem.rpartition("-")[2] in _KNOWN:
        return False
    if _LETTER.fullmatch(token) or _NUMBER.fullmatch(token):
        return not (following in _PUNCTUATION or following[0].islower())
    return True
