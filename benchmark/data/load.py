"""`load_dataset`: one door to every dataset. What comes out was verified, or says that it is not the published data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.cards import Located
from benchmark.data.guides.sources import guides_described, with_computed_guides, with_stored_guides
from benchmark.data.own.loading import check_sources, features_folder, own_checks, own_dataset
from benchmark.data.published.catalogue import Entry, entry_under, get_entry
from benchmark.data.published.listed_splits import (
    corpus_departures,
    karpathy_parts,
    read_lists,
    split_by_lists,
)
from benchmark.data.regions.detected import Detection, Remembered, with_detected
from benchmark.data.regions.grid import FeatureStore
from benchmark.data.regions.scan import resolve_regions
from benchmark.data.regions.sources import (
    Folder,
    cut_down,
    described,
    grid_dataset,
    known_of,
    stored_dataset,
)
from benchmark.data.splits import Dataset, DatasetOptions, Images, Split, SplitName
from benchmark.data.text.codec import make_piece_codec
from benchmark.data.text.dictionary_files import read_dictionary
from benchmark.data.text.vectors import make_vector_codec
from benchmark.data.text.vocabulary import read_words
from benchmark.data.text.word_codec import make_word_codec
from benchmark.errors import UserError, nearest
from benchmark.inputs import Codec, ListedSplit, OwnText, TextInput, VectorText, WordPieceText, WordText
from benchmark.recipe.faults import check_fields
from benchmark.recipe.schema import (
    AutoRegions,
    DetectorRegions,
    GridRegions,
    GuideSettings,
    RegionSettings,
    StoredRegions,
)

if TYPE_CHECKING:
    from benchmark.data.published.verification import Check

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


def load_dataset(
    name: str,
    options: Mapping[str, Any] | None = None,
    *,
    splits: Sequence[SplitName] = SPLITS,
    captions_per_image: int | None = 5,
    first_images: Mapping[SplitName, int] | None = None,
    data_dir: Path | None = None,
    unverified: bool = False,
    skip_corrupt: bool = False,
    regions: RegionSettings | None = None,
    guides: GuideSettings | None = None,
    store: FeatureStore | None = None,
    show_progress: bool = True,
) -> Dataset:
    """Load some splits of a dataset, each image with its first `captions_per_image` captions, and verify them.

    captions_per_image: of an own dataset an image may have fewer, and None stands for all that it has.
    first_images: keep the first so many images of a split, after the verification.
    data_dir: a local folder in place of the Hub (parquet files, pictures with Karpathy's JSON file, or features).
    unverified: take data that are not the published split, and say so in `departures`; else they are refused.
    skip_corrupt: leave out pictures that cannot be decoded, with their captions, and say so in `departures`.
    regions: where region features come from; those computed from pictures are kept in `store`, and so are converted
    ones. Of SCAN's features, `val` has the first 1,000 images at most; `auto` takes those where `data_dir` has them.
    guides: where vectors of whole images come from; those of pictures are kept in `store`, and where the features come
    from a folder, the pictures are the Hub's.
    Raises UserError for an unknown dataset or option, for data that cannot be had and for a failed check.
    """
    entry, store = get_entry(name), store or FeatureStore()
    if isinstance(regions, AutoRegions):
        regions = resolve_regions(regions, features_folder(entry.own, data_dir))
    chosen = check_fields("data.options", dict(options or {}), entry.options)
    wanted = _check_numbers(captions_per_image, first_images or {})
    others = None
    if entry.own is not None:
        dataset = _own(
            entry.own, splits, captions_per_image, data_dir, regions, guides, unverified=unverified
        )
    else:
        place = Folder(data_dir, store, show_progress)
        asked = _Asked(entry, chosen, splits, _counted(name, captions_per_image), place, unverified)
        dataset = _load_known(asked, regions, guides)
        if isinstance(regions, StoredRegions):
            wanted, others = cut_down(regions, name, wanted), lambda: asked.pictures(None)
    show = {"skip_corrupt": skip_corrupt, "show_progress": show_progress}
    return _finished(dataset, wanted, regions, guides, store, others, **show)


def _counted(name: str, captions_per_image: int | None) -> int:
    """Return the captions an image of a dataset of the catalog; raises UserError where all are asked for."""
    if captions_per_image is None:
        raise UserError(
            f"field 'data.every_caption': found true, {name} is scored with the first 5 captions an image; the field "
            "is for own datasets"
        )
    return captions_per_image


@dataclass(frozen=True)
class _Asked:
    """Options that a dataset of the catalog is asked for."""

    entry: Entry
    options: DatasetOptions
    splits: Sequence[SplitName]
    captions: int
    folder: Folder
    unverified: bool

    @property
    def declared(self) -> ListedSplit | None:
        """The split of the whole corpus that a method declares."""
        return entry_under(self.entry, self.options.model_dump()).declared

    def pictures(self, folder: Path | None) -> Dataset:
        """Return the splits as pictures, of a folder or the Hub, verified."""
        made = _as_published if self.declared is None else _by_lists
        return made(
            self.entry,
            self.options.model_dump(),
            self.splits,
            self.captions,
            folder,
            self.folder.show_progress,
            self.unverified,
        )


def _load_known(asked: _Asked, regions: RegionSettings | None, guides: GuideSettings | None) -> Dataset:
    """Return the splits of a dataset of the catalog, verified, with the vectors that lie in a folder."""
    entry, where = asked.entry, asked.folder
    if asked.declared is not None:
        _check_no_files(asked.declared, regions, guides)
    if isinstance(regions, StoredRegions):
        dataset = stored_dataset(
            regions, entry, asked.options.model_dump(), asked.splits, asked.captions, where
        )
        dataset = _verified_features(dataset, regions, entry, asked.captions, unverified=asked.unverified)
    elif entry.generate is not None:
        dataset = _made_by_code(entry, asked.options, asked.splits, asked.captions, where.path)
    else:
        dataset = asked.pictures(where.path)
    if guides is not None and guides.in_folder:
        dataset = with_stored_guides(dataset, regions, where.path)
    return dataset


def _finished(
    dataset: Dataset,
    wanted: Mapping[SplitName, int],
    regions: RegionSettings | None,
    guides: GuideSettings | None,
    store: FeatureStore,
    others: Callable[[], Dataset] | None = None,
    *,
    skip_corrupt: bool,
    show_progress: bool,
) -> Dataset:
    """Return a verified dataset cut down to what is wanted, with the vectors that are made of its pictures."""
    whole = {name: split.captions for name, split in dataset.splits.items()}
    dataset = replace(dataset, whole_captions=whole)  # vocabularies count the captions of all images
    if skip_corrupt:
        dataset = _without_corrupt(dataset, show_progress=show_progress)
    dataset = _cut(dataset, wanted)
    dataset = with_computed(dataset, regions, guides, store, others, show_progress=show_progress)
    return guides_described(described(dataset))


def _own(
    own: Located,
    splits: Sequence[SplitName],
    captions_per_image: int | None,
    data_dir: Path | None,
    regions: RegionSettings | None,
    guides: GuideSettings | None,
    *,
    unverified: bool,
) -> Dataset:
    """Return the splits of an own dataset, held against its card; what differs is refused unless `unverified`."""
    from benchmark.data.published.verification import departures, first_fault, notes

    check_sources(own, regions, guides)
    dataset = own_dataset(own, splits, captions_per_image, data_dir)
    checks = own_checks(own, dataset)
    fault = first_fault(checks)
    if fault is not None and not unverified:
        raise UserError(f"{own.card.name}: {fault}")
    return replace(dataset, departures=departures(checks), notes=[*dataset.notes, *notes(checks)])


def with_computed(
    dataset: Dataset,
    regions: RegionSettings | None,
    guides: GuideSettings | None,
    store: FeatureStore,
    pictures: Callable[[], Dataset] | None = None,
    *,
    show_progress: bool = True,
) -> Dataset:
    """Add the region features and guides that are computed from pictures; those of a folder are there already.

    pictures: loads the same splits as pictures; None: the dataset has them.
    """
    detection, made_of_pictures = None, dataset.splits
    if isinstance(regions, GridRegions):
        dataset = grid_dataset(regions, dataset, store, show_progress=show_progress)
    if isinstance(regions, DetectorRegions):
        detection = Detection(regions, store, show_progress=show_progress)
    if guides is not None and not guides.in_folder:
        if detection is not None:  # both are made of pictures that are decoded once
            dataset = with_images(
                dataset, {name: Remembered(split.images) for name, split in dataset.splits.items()}
            )
        ahead = None if detection is None else detection.fill
        dataset = with_computed_guides(guides, dataset, pictures, store, ahead, show_progress=show_progress)
    if detection is None:
        return dataset
    dataset = with_detected(dataset, detection)
    return with_images(dataset, {name: split.images for name, split in made_of_pictures.items()})


def with_images(dataset: Dataset, images: Mapping[SplitName, Images]) -> Dataset:
    """Return the dataset with other objects for the same pictures."""
    splits = {name: replace(split, images=images[name]) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits)


def _check_numbers(
    captions_per_image: int | None, first_images: Mapping[SplitName, int]
) -> dict[SplitName, int]:
    if captions_per_image is not None and captions_per_image < 1:
        raise UserError(f"field 'data.captions_per_image': found {captions_per_image}, expected 1 or more")
    for split, count in first_images.items():
        if split not in SPLITS:
            raise UserError(f"field 'data.first_images.{split}' is not a split{nearest(split, SPLITS)}")
        if count < 1:
            raise UserError(f"field 'data.first_images.{split}': found {count}, expected 1 or more")
    return dict(first_images)


def _cut(dataset: Dataset, wanted: Mapping[SplitName, int]) -> Dataset:
    """Return the dataset with the first images of some splits."""
    kept = {
        split: found.first_images(wanted[split]) if split in wanted else found
        for split, found in dataset.splits.items()
    }
    return replace(dataset, splits=kept)


def _made_by_code(
    entry: Entry,
    options: DatasetOptions,
    splits: Sequence[SplitName],
    captions_per_image: int,
    data_dir: Path | None,
) -> Dataset:
    if captions_per_image > 5:
        raise UserError(
            f"field 'data.captions_per_image': found {captions_per_image}, {entry.name} has 5 an image"
        )
    if data_dir is not None:
        raise UserError(
            f"data folder {data_dir.as_posix()}: {entry.name} is made by code and reads no folder"
        )
    assert entry.generate is not None, "the entry has no sources"
    loaded = {split: entry.generate(options, split, captions_per_image) for split in splits}
    words, chosen = entry.vocabulary, options.model_dump()
    return Dataset(
        entry.name, entry.revision, "made by code", entry.license, loaded, chosen, vocabulary=words
    )


def _published(
    entry: Entry,
    options: dict[str, Any],
    splits: Sequence[SplitName],
    captions_per_image: int,
    data_dir: Path | None,
    show_progress: bool,
) -> Dataset:
    """Return the splits from the Hub or a local folder, as they are."""
    from benchmark.data.published.hub import Request, hub_split  # `datasets` takes a second to import
    from benchmark.data.published.local import local_split
    from benchmark.data.published.tables import progress_bars

    loaded = {}
    with progress_bars(show_progress):
        for split in splits:
            request = Request(entry, split, bool(options.get("restval")), captions_per_image)
            loaded[split] = hub_split(request) if data_dir is None else local_split(request, data_dir)
    found = list(loaded.values())
    return Dataset(
        entry.name,
        ", ".join(dict.fromkeys(item.revision for item in found)),
        ", ".join(dict.fromkeys(item.source for item in found)),
        entry.license,
        {split: item.split for split, item in loaded.items()},
        options,
        notes=[note for item in found for note in item.notes],
    )


def _as_published(
    entry: Entry,
    options: dict[str, Any],
    splits: Sequence[SplitName],
    captions_per_image: int,
    data_dir: Path | None,
    show_progress: bool,
    unverified: bool,
) -> Dataset:
    """Return the published splits, verified."""
    dataset = _published(entry, options, splits, captions_per_image, data_dir, show_progress)
    return _verified(dataset, entry, captions_per_image, unverified=unverified)


def _by_lists(
    entry: Entry,
    options: dict[str, Any],
    splits: Sequence[SplitName],
    captions_per_image: int,
    data_dir: Path | None,
    show_progress: bool,
    unverified: bool,
) -> Dataset:
    """Load a declared split: Karpathy's part of the whole corpus is verified, then all of it is split."""
    corpus_entry = entry_under(entry, options)
    declared = corpus_entry.declared
    assert declared is not None, "a split by lists is declared by a method"
    lists = read_lists(declared, data_dir)  # before gigabytes are fetched
    # the corpus calls its one part `test`
    whole = _published(corpus_entry, options, ("test",), captions_per_image, data_dir, show_progress)
    corpus = whole.splits["test"]
    departures = corpus_departures(declared, corpus, unverified=unverified)
    known = replace(whole, splits=karpathy_parts(corpus), departures=departures)
    dataset = _verified(known, entry, captions_per_image, unverified=unverified)
    made = split_by_lists(declared, corpus, lists)
    notes = [*dataset.notes, f"{declared.rule}, train the other {len(made['train']):,}"]
    return replace(dataset, name=entry.name, splits={name: made[name] for name in splits}, notes=notes)


def _check_no_files(
    declared: ListedSplit, regions: RegionSettings | None, guides: GuideSettings | None
) -> None:
    """Raise UserError where vectors come from files: those are in the order of Karpathy's splits."""
    for field, source in (("regions", regions), ("guides", guides)):
        if source is not None and source.in_folder:
            raise UserError(
                f"field 'data.{field}.source': files of features are of Karpathy's splits, expected one that computes "
                f"them with data.options.split: {declared.name}"
            )


def _verified(
    dataset: Dataset, entry: Entry, captions_per_image: int, others: Sequence[Check] = (), *, unverified: bool
) -> Dataset:
    """Return the dataset, with what differs from the published one in `departures`; refused unless `unverified`.

    others: checks of what lies beside pictures and captions.
    """
    from benchmark.data.published.verification import check_dataset, departures, first_fault, notes

    checks = [*check_dataset(entry, dataset.splits, dataset.options, captions_per_image), *others]
    fault = first_fault(checks)
    if fault is not None and not unverified:
        raise UserError(f"{entry.name} from {dataset.revision}: {fault}")
    return replace(
        dataset,
        departures=[*dataset.departures, *departures(checks)],
        notes=[*dataset.notes, *notes(checks)],
    )


def _verified_features(
    dataset: Dataset, regions: StoredRegions, entry: Entry, captions_per_image: int, *, unverified: bool
) -> Dataset:
    """Verify a dataset of stored features: its captions and ids as published, and the features themselves."""
    from benchmark.data.regions.verification import check_features

    known = known_of(regions, entry, dataset)
    return _verified(
        dataset, known, captions_per_image, check_features(dataset.splits), unverified=unverified
    )


def _without_corrupt(dataset: Dataset, *, show_progress: bool) -> Dataset:
    """Every picture is decoded once; those that cannot be are left out, and named."""
    from benchmark.data.images.decoding import corrupt_rows

    kept: dict[SplitName, Split] = {}
    lines = []
    for name, split in dataset.splits.items():
        bad = corrupt_rows(split.images, show_progress=show_progress)
        sound = [row for row in range(len(split)) if row not in bad]
        kept[name] = split.select_images(sound) if bad else split
        if bad:
            names = ", ".join(split.filenames[row] for row in sorted(bad)[:5])
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            lines.append(f"split '{name}': left out {len(bad)} that cannot be decoded: {names}{more}")
    return replace(dataset, splits=kept, departures=[*dataset.departures, *lines])


def make_codec(
    text: TextInput,
    dataset: Dataset,
    vocabulary: Path | None = None,
    kept: Path | None = None,
    vectors: Path | None = None,
) -> Codec:
    """Return the codec that a method's text input and a dataset call for.

    vocabulary, kept: a word vocabulary or dictionary that the user names, and the one beside a checkpoint
    (word_codec.py, vectors.py). vectors: a local file of word vectors.
    Raises UserError where the vocabulary is neither cached nor reachable, damaged, or cannot be built.
    """
    check_vocabulary(text, vocabulary)
    match text:
        case WordPieceText():
            return make_piece_codec(text, dataset.vocabulary)
        case WordText():
            return make_word_codec(text, dataset, vocabulary, kept)
        case VectorText():
            return make_vector_codec(text, dataset, vocabulary, kept, vectors)
        case OwnText():
            return text.make()


def check_vocabulary(text: TextInput, vocabulary: Path | None) -> None:
    """Raise UserError for a word vocabulary that the user names and `make_codec` would refuse."""
    if vocabulary is None:
        return
    match text:
        case WordText():
            read_words(vocabulary)
        case VectorText():
            read_dictionary(vocabulary)
        case _:
            raise UserError(
                f"option '--vocab': the recipe reads captions as {text.codec}, which takes no such file"
            )
