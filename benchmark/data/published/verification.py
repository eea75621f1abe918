"""Checks that a loaded dataset is the published one: counts, ids, order, captions and overlap, in words and numbers.

Where ids differ from the published sha256, they are compared with Karpathy's lists to say which. Data that often
pass for the published ones are recognised (traps.py). What nothing can tell is said not to be checked, and is never
called right. Values: data.md 1.4, 1.5 and 1.7.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from benchmark.data.checksums import copies_of, damage_of
from benchmark.data.published.captions import CaptionFacts, Verdict, judge, plain
from benchmark.data.published.catalogue import Entry, Facts, facts_of
from benchmark.data.published.karpathy import captions_by_sha256, in_order, lines_sha256, lists_by_sha256
from benchmark.data.published.traps import TAKE, known_count, known_spread
from benchmark.data.splits import UNVERIFIED, Split, SplitName

PUBLISHED_CAPTIONS = 5
"""Captions of an image that the published hashes are about: its first five."""


_ROW = re.compile("(?:train|val|dev|test|testall)-[0-9]+")
"""Ids that sources without names get from their rows."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    split: str
    what: str
    expected: str
    found: str
    verdict: Verdict
    hint: str = ""
    """The fault or doubt, and the advice; empty where all is well."""
    recorded: bool = False
    """True where a run record mentions the check though nothing differs."""

    @property
    def ok(self) -> bool:
        return self.verdict == "ok"

    @property
    def differs(self) -> bool:
        """True where the check makes the data refused; a note or a missing check is accepted and recorded."""
        return self.verdict == "differs"


@dataclass(frozen=True)
class Subject:
    """A split under examination, and the published facts about it."""

    entry: Entry
    split: Split
    facts: Facts | None
    captions_per_image: int

    @cached_property
    def ids(self) -> list[str]:
        """The keys that tell the images apart: file names without folders, or image ids as plain integers."""
        if self.facts is not None and self.facts.checked == "filenames":
            return [name.rpartition("/")[2] for name in self.split.filenames]
        return [str(int(item)) if item.isdecimal() else item for item in self.split.image_ids]

    @cached_property
    def named(self) -> bool:
        """True where the ids come from the source, and are not made of the images' rows."""
        return not all(_ROW.fullmatch(item) for item in self.split.image_ids)

    @cached_property
    def contents(self) -> dict[str, list[Any]]:
        """A key of each image, by its picture and by its captions, that finds the same image elsewhere."""
        split = self.split
        pictures = split.images.digests() if len(split.images) == len(split) else None
        found: dict[str, list[Any]] = {} if pictures is None else {"picture": pictures}
        if self.entry.sources or pictures is None:  # captions made by code may be alike by chance
            texts = [tuple(plain(split.captions[k]) for k in five) for five in split.rows_of_images()]
            found["captions"] = texts
        return found

    @cached_property
    def keys(self) -> set[str]:
        """The ids; for MSCOCO also the numbers in the file names, which show where an id is wrong."""
        if self.facts is None or self.facts.checked == "filenames":
            return set(self.ids)
        stems = [name.rpartition(".")[0][-12:] for name in self.split.filenames]
        return {*self.ids, *(str(int(stem)) for stem in stems if len(stem) == 12 and stem.isdecimal())}

    @cached_property
    def same_images(self) -> bool:
        """True where the ids are the published ones in any order, and where the published ones are not known."""
        expected = self.facts.ids_sha256 if self.facts else None
        return expected is None or not self.named or lines_sha256(in_order(self.ids)) == expected

    @property
    def diagnosis(self) -> str:
        """A guess at the data that these images are instead of the published ones, and the advice."""
        name, split = self.entry.name, self.split.name
        lists = published_lists(self.entry)
        what = known_count(name, split, images=len(self.ids)) or known_spread(name, split, self.keys, lists)
        return f"this looks like {what}; {TAKE}" if what else TAKE

    def check(self, what: str, expected: str, found: str, ok: bool, hint: str) -> Check:
        return Check(self.split.name, what, expected, found, "ok" if ok else "differs", "" if ok else hint)

    def unknown(self, what: str, expected: str, why: str) -> Check:
        """Return a check that these data do not allow."""
        return Check(self.split.name, what, expected, why, "cannot be checked", recorded=True)

    def published_rows(self) -> list[int]:
        """Return rows of the images in the published order, as far as it is known."""
        rows = list(range(len(self.split)))
        if self.facts is None or not self.named or self.facts.ordered_sha256 is None:
            return rows
        theirs = published_lists(self.entry).get(self.split.name, ())
        place = {item: number for number, item in enumerate(self._sorted(theirs))}
        return sorted(rows, key=lambda row: place.get(self.ids[row], len(place)))

    def _sorted(self, theirs: Sequence[str]) -> Sequence[str]:
        by_name = self.facts is not None and self.facts.checked == "filenames"
        return in_order(theirs) if by_name else theirs


def check_dataset(
    entry: Entry, splits: Mapping[SplitName, Split], options: Mapping[str, Any], captions_per_image: int
) -> list[Check]:
    """Return every check that makes sense for these splits, those of one split together.

    `splits` are as loaded, before images are left out; `captions_per_image` is how many captions each image has.
    A dataset without published facts is checked for what holds of any.
    """
    subjects = [
        Subject(entry, split, facts_of(entry, name, options), captions_per_image)
        for name, split in splits.items()
    ]
    checks = [check for subject in subjects for check in check_split(subject, options)]
    checks += [check_overlap(one, other) for one, other in combinations(subjects, 2)]
    checks += [check for subject in subjects for check in check_leakage(subject)]
    order = [str(name) for name in splits]
    return sorted(checks, key=lambda check: order.index(check.split))


def check_split(subject: Subject, options: Mapping[str, Any]) -> list[Check]:
    """Checks of one split by itself."""
    facts = subject.facts
    checks = [check_images(subject, options)] if facts else []
    checks.append(check_repeats(subject))
    if facts:
        checks.append(check_ids(subject, facts))
    if facts and subject.same_images and subject.named and facts.ordered_sha256 is not None:
        checks.append(check_order(subject, facts))
    checks += [check_captions(subject), check_captions_an_image(subject), check_empty(subject)]
    # what other images have for captions says nothing more
    if facts and subject.same_images and subject.captions_per_image == PUBLISHED_CAPTIONS:
        if facts.caption_ids_sha256 is not None:
            checks.append(check_caption_ids(subject, facts.caption_ids_sha256))
        checks.append(check_words(subject, facts.captions))
    return checks


# ---------------------------------------------------------------------------------------- images


def check_images(subject: Subject, options: Mapping[str, Any]) -> Check:
    """Images of the split."""
    assert subject.facts is not None
    count, expected = len(subject.split), subject.facts.images
    hint = subject.diagnosis if count != expected else ""
    if count in _training_splits(subject):
        other = "false" if options.get("restval") else "true"
        hint = f"that is the training split with option restval: {other}; set it so, or {TAKE}"
    return subject.check("images", f"{expected:,}", f"{count:,}", count == expected, hint)


def _training_splits(subject: Subject) -> tuple[int, ...]:
    """Return images of a training split without and with restval; () where there is no such choice."""
    entry = subject.entry
    if subject.split.name != "train" or entry.train_images_with_restval is None:
        return ()
    return entry.facts["train"].images, entry.train_images_with_restval


def check_repeats(subject: Subject) -> Check:
    """No image twice in the split."""
    keys = subject.ids if subject.named else next(iter(subject.contents.values()))
    first = dict(zip(reversed(keys), reversed(subject.ids), strict=True))
    twice = [first[key] for key, count in Counter(keys).items() if count > 1]
    repeats = len(keys) - len(set(keys))
    found = f"{repeats:,} more rows with the same image ({named(twice)})" if twice else "every image once"
    hint = f"rows are repeated, or there is one a caption; {TAKE}"
    return subject.check("repeated images", "every image once", found, not twice, hint)


def check_ids(subject: Subject, facts: Facts) -> Check:
    """The images are the published ones, whatever their order."""
    what = "file names" if facts.checked == "filenames" else "image ids"
    if not subject.named:
        return subject.unknown(what, "those of the published split", "the data have none")
    if facts.ids_sha256 is None:
        return subject.unknown(what, "those of the published split", "no list of them is known")
    expected = f"those of the published split (sha256 {short(facts.ids_sha256)})"
    if subject.same_images:
        return subject.check(what, expected, "the same", True, "")
    theirs = published_lists(subject.entry).get(subject.split.name)
    found = f"others (sha256 {short(lines_sha256(in_order(subject.ids)))})"
    if theirs is not None:
        found = difference(subject.ids, theirs)
    return subject.check(what, expected, found, False, subject.diagnosis)


def check_order(subject: Subject, facts: Facts) -> Check:
    """The images are in the published order; for MSCOCO it fixes the folds of the 1K protocol."""
    order = facts.ordered_sha256
    ok = lines_sha256(subject.ids) == order
    expected = f"Karpathy's (sha256 {short(order)})"
    by_name = facts.checked == "filenames"
    found = "the same" if ok else f"another (sha256 {short(lines_sha256(subject.ids))})"
    theirs = published_lists(subject.entry).get(subject.split.name)
    if not ok and theirs is not None:
        theirs = tuple(in_order(theirs)) if by_name else theirs
        rows = [row for row, pair in enumerate(zip(subject.ids, theirs, strict=True)) if pair[0] != pair[1]]
        found = f"{len(rows):,} images elsewhere, from row {rows[0]:,}: {subject.ids[rows[0]]}"
        found += f" in place of {theirs[rows[0]]}"
    hint = (
        "sort the rows by file name" if by_name else "sort the rows by imgid: their order fixes the 1K folds"
    )
    return subject.check("order of images", expected, found, ok, hint)


# -------------------------------------------------------------------------------------- captions


def check_captions(subject: Subject) -> Check:
    """Captions of the split."""
    split, facts = subject.split, subject.facts
    expected = (facts.images if facts else len(split)) * subject.captions_per_image
    count = len(split.captions)
    what = known_count(subject.entry.name, split.name, captions=count)
    hint = (
        f"this looks like {what}; {TAKE}" if what else "follows from the images or from the captions an image"
    )
    return subject.check("captions", f"{expected:,}", f"{count:,}", count == expected, hint)


def check_captions_an_image(subject: Subject) -> Check:
    """Check that each image has as many captions as asked for."""
    split, wanted = subject.split, subject.captions_per_image
    counts = np.bincount(split.caption_image, minlength=len(split))
    odd = np.flatnonzero(counts != wanted)
    found = f"{wanted} each"
    if odd.size:
        said = [f"{subject.ids[row]} has {counts[row]}" for row in odd[:2]]
        found = f"{odd.size:,} images with another number: {', '.join(said)}"
    hint = f"every image needs the same first {wanted} captions; {TAKE}"
    return subject.check("captions an image", f"{wanted} each", found, not odd.size, hint)


def check_empty(subject: Subject) -> Check:
    """No caption without text."""
    split = subject.split
    empty = [row for row, text in enumerate(split.captions) if not text.strip()]
    names = [subject.ids[split.caption_image[row]] for row in empty[:2]]
    found = f"{len(empty):,} (of {named(names)})" if empty else "none"
    return subject.check("empty captions", "none", found, not empty, f"the text is missing there; {TAKE}")


def check_caption_ids(subject: Subject, expected: str) -> Check:
    """The captions are the published first five of each image. For a split whose images are the published ones."""
    split = subject.split
    ok = lines_sha256(split.caption_ids) == expected
    found = "the same" if ok else _other_captions(subject, expected)
    hint = "the captions are others than the papers' five, or the images stand in another order; " + TAKE
    return subject.check(
        "first five captions", f"the published caption ids (sha256 {short(expected)})", found, ok, hint
    )


def _other_captions(subject: Subject, expected: str) -> str:
    """Describe how the caption ids differ, image by image where the published ones are at hand."""
    theirs = captions_by_sha256().get(expected)
    ids = subject.split.caption_ids
    if theirs is None:
        return f"others (sha256 {short(lines_sha256(ids))})"
    rows = zip(subject.ids, subject.split.rows_of_images(), strict=True)
    ours = {image: frozenset(ids[row] for row in captions) for image, captions in rows}
    other = [image for image, five in theirs.items() if ours.get(image) != five]
    return f"others for {len(other):,} images ({named(other)})" if other else "the same, in another order"


def check_words(subject: Subject, expected: CaptionFacts | None) -> Check:
    """The captions are the published ones, whatever packaging they come in."""
    what = "words of captions"
    if expected is None:
        return subject.unknown(what, "the published words", "no hash of this split's captions is known")
    split, own = subject.split, subject.split.rows_of_images()
    rows = [own[row] for row in subject.published_rows()]
    judged = judge(
        [[split.captions[k] for k in five] for five in rows],
        expected,
        _other_captions_known(subject),
        [[split.caption_ids[k] for k in five] for five in rows],
    )
    hint = f"{judged.hint}; {TAKE}" if judged.hint else ""
    said = f"the published words: {expected.describe()}"
    return Check(split.name, what, said, judged.found, judged.verdict, hint, recorded=not judged.hint)


def _other_captions_known(subject: Subject) -> dict[str, CaptionFacts]:
    """Return the captions that may have been taken for this split's."""
    others = {
        f"'{name}'": facts.captions
        for name, facts in subject.entry.facts.items()
        if name != subject.split.name and facts.captions is not None
    }
    own = subject.facts.captions if subject.facts else None
    return others | {what: facts for what, facts in subject.entry.other_captions.items() if facts != own}


# --------------------------------------------------------------------------------------- overlap


def check_overlap(one: Subject, other: Subject) -> Check:
    """No image in two loaded splits."""
    what = f"images shared with '{other.split.name}'"
    if not (one.named and other.named):
        return _overlap_by_content(one, other, what)
    shared = in_order(one.keys & other.keys)
    found = f"{len(shared):,} ({named(shared)})" if shared else "none"
    return one.check(what, "none", found, not shared, f"the splits leak into each other; {TAKE}")


def _overlap_by_content(one: Subject, other: Subject, what: str) -> Check:
    """Check two splits for shared images by their pictures and captions, for images without names."""
    ways = [
        (kind, keys, other.contents[kind]) for kind, keys in one.contents.items() if kind in other.contents
    ]
    for kind, ours, theirs in ways:
        known = set(theirs)
        rows = [row for row, key in enumerate(ours) if key in known]
        if rows:
            found = f"{len(rows):,} with the same {kind} ({named([one.ids[row] for row in rows])})"
            return one.check(what, "none", found, False, f"the splits leak into each other; {TAKE}")
    compared = " and ".join(kind for kind, _, _ in ways)
    return one.check(what, "none", f"none, by {compared}, since the data name no image", True, "")


def check_leakage(subject: Subject) -> list[Check]:
    """No training image that a published val or test list holds, whether or not those splits are loaded."""
    if subject.split.name != "train":
        return []
    checks = []
    for name, theirs in published_lists(subject.entry).items():
        if name != "train" and not subject.named:
            checks.append(
                subject.unknown(f"images of the published '{name}'", "none", "the data name no image")
            )
        elif name != "train":
            shared = in_order(subject.keys.intersection(theirs))
            found = f"{len(shared):,} of {len(theirs):,} ({named(shared)})" if shared else "none"
            what = f"images of the published '{name}'"
            checks.append(subject.check(what, "none", found, not shared, subject.diagnosis if shared else ""))
    return checks


# ----------------------------------------------------------------------------------------- files


def check_copies(splits: Mapping[SplitName, Split]) -> list[Check]:
    """The files that pictures are read from are as they were when they were prepared; all are read."""
    checks = []
    for name, split in splits.items():
        files = split.images.files()
        if files is None:
            continue
        what, expected = "prepared files", "their sha256 when they were prepared"
        folders = copies_of(files)
        fault = next(filter(None, map(damage_of, folders)), "")
        if fault:
            checks.append(Check(name, what, expected, fault, "differs", "see what was found"))
        elif folders:
            checks.append(Check(name, what, expected, "the same", "ok"))
        else:
            checks.append(Check(name, what, expected, "no checksums of them were kept", "cannot be checked"))
    return checks


# --------------------------------------------------------------------------------- what to report


def first_fault(checks: Iterable[Check]) -> str | None:
    """Return the first check that failed in one line, with what to do; None where all agree."""
    failed = [check for check in checks if check.differs]
    if not failed:
        return None
    others = len(failed) - 1
    more = f"{others} more check{'s differ' if others > 1 else ' differs'}, `rematch data verify` lists all"
    advice = "--unverified uses the data as they are, and every table says so"
    return f"{_line(failed[0])}{f' ({more})' if others else ''}: {failed[0].hint}; {advice}"


def departures(checks: Iterable[Check]) -> list[str]:
    """List the departures from the published data for the run record, one line each."""
    return [f"{UNVERIFIED}: {_line(check)}" for check in checks if check.differs]


def notes(checks: Iterable[Check]) -> list[str]:
    """List the accepted differences for the run record: data not word for word as published, or not checkable."""
    return [
        f"split '{check.split}', {check.what}: {'' if check.ok else f'{check.verdict}: '}{check.found}"
        for check in checks
        if check.recorded
    ]


def _line(check: Check) -> str:
    return f"split '{check.split}', {check.what}: found {check.found}, expected {check.expected}"


# --------------------------------------------------------------------------------- ids and lists


def named(ids: Sequence[str]) -> str:
    """The first two, and that there are more."""
    return ", ".join(ids[:2]) + (", ..." if len(ids) > 2 else "")


def difference(ours: Collection[str], theirs: Collection[str]) -> str:
    """Count the missing published ids and the extra ids, and name the first two of each."""
    sides = (("missing", set(theirs).difference(ours)), ("extra", set(ours).difference(theirs)))
    said = [f"{len(ids):,} {word} ({named(in_order(ids))})" for word, ids in sides if ids]
    return ", ".join(said) or "the same images, but some of them more than once"


def short(digest: str | None) -> str:
    """The first digits of a digest."""
    return f"{digest or ''}"[:8]


def published_lists(entry: Entry) -> dict[SplitName, tuple[str, ...]]:
    """Karpathy's lists of a dataset's splits, where the catalog's hash is that of a list."""
    lists = lists_by_sha256()
    hashes = {name: facts.ids_sha256 for name, facts in entry.facts.items()}
    return {name: lists[digest] for name, digest in hashes.items() if digest in lists}
