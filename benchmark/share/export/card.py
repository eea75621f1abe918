"""The model card of an exported run: YAML front matter with `model-index` as the Hub specifies it, and Markdown.

Whether the numbers may be held against the paper's comes before the numbers.
"""

from __future__ import annotations

from typing import Any

import yaml

from benchmark.data.published.catalogue import get_entry
from benchmark.records.paper import PAPER, Paper, load_paper
from benchmark.records.parts import ProtocolRecord
from benchmark.records.record import RunRecord
from benchmark.registry import get_method

TASK = {"type": "image-text-retrieval", "name": "Image-text retrieval"}
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
MADE_BY_CODE = "apache-2.0"
"""Licence of weights that saw nothing but what Rematch itself made."""


def model_card(record: RunRecord, licence: str | None, *, has_vocabulary: bool) -> str:
    """README.md of the folder. licence: None takes that of data made by code, else `unknown`."""
    made_by_code = not get_entry(record.dataset.name).sources
    chosen = licence or (MADE_BY_CODE if made_by_code else "unknown")
    front = yaml.safe_dump(front_matter(record, chosen), sort_keys=False, allow_unicode=True, width=110)
    title = get_method(record.method).title
    parts = [
        f"---\n{front}---",
        f"# {title}: {record.run}, seed {record.seed}",
        _comparable(record),
        f"{str(record.recipe['summary']).strip().rstrip('.')}. Trained and evaluated with Rematch {record.version}, "
        "a reproducibility benchmark for image-text retrieval.",
        "## Results",
        *(_results(name, result) for name, result in record.results.items()),
        "## Use",
        _use(has_vocabulary),
        "## Data and training",
        _facts(record),
        "## Licence",
        _licence(record, licence, chosen),
        "## Citation",
        _citation(record),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(record: RunRecord, licence: str) -> dict[str, Any]:
    """Metadata of the card; a metric's value is the record's, in percent, unrounded."""
    return {
        "language": ["en"],
        "license": licence,
        "library_name": "rematch",
        "tags": ["image-text-retrieval", "cross-modal-retrieval", "rematch", record.method],
        "metrics": ["recall"],
        "model-index": [{"name": record.run, "results": [_indexed(record, name) for name in record.results]}],
    }


def _indexed(record: RunRecord, protocol: str) -> dict[str, Any]:
    """One protocol's result in `model-index`."""
    data, metrics = record.dataset, record.results[protocol].metrics
    dataset = {
        "type": data.name,
        "name": f"{get_entry(data.name).title}, {protocol}",
        "config": protocol,
        "split": record.split,
    }
    if data.revision is not None:
        dataset["revision"] = data.revision
    mark = "" if record.comparable else " (not comparable with the paper)"
    values: list[dict[str, Any]] = [
        {
            "type": f"{side}_recall_at_{k}",
            "value": metrics.value(f"{side}_r{k}"),
            "name": f"{words} R@{k}{mark}",
        }
        for side, words in DIRECTIONS.items()
        for k in (1, 5, 10)
    ]
    values.append({"type": "rsum", "value": metrics.rsum, "name": f"rsum, the sum of the six{mark}"})
    return {"task": dict(TASK), "dataset": dataset, "metrics": values}


# -------------------------------------------------------------------------------------------- parts


def _comparable(record: RunRecord) -> str:
    if record.comparable:
        return "The set-up is the paper's as far as Rematch knows: nothing departs from it."
    lines = [
        "> **Not comparable with the paper.** These numbers can't be held against the published ones:",
        ">",
        *(f"> - {reason}" for reason in record.departures),
    ]
    return "\n".join(lines)


def _results(protocol: str, result: ProtocolRecord) -> str:
    lines = [
        f"**{protocol}**, {result.images:,} images and {result.captions:,} captions; in brackets the interval "
        f"({result.interval_method}).",
        "",
        "| direction | R@1 | R@5 | R@10 | median rank | mean rank |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for side, words in DIRECTIONS.items():
        direction = getattr(result.metrics, side)
        cells = []
        for k in (1, 5, 10):
            bounds = result.intervals[f"{side}_r{k}"]  # METRICS has it
            cells.append(f"{getattr(direction, f'r{k}'):.1f} [{bounds.low:.1f}, {bounds.high:.1f}]")
        ranks = f"{direction.median_rank:g} | {direction.mean_rank:.1f}"
        lines.append(f"| {words} | {' | '.join(cells)} | {ranks} |")
    bounds = result.intervals["rsum"]
    lines += [
        "",
        f"rsum {result.metrics.rsum:.1f} [{bounds.low:.1f}, {bounds.high:.1f}]. Numbers may stand in one column only "
        "where their signatures agree:",
        "",
        f"    {result.signature}",
    ]
    return "\n".join(lines)


def _use(has_vocabulary: bool) -> str:
    beside = " `vocabulary.json` beside the weights is taken by itself." if has_vocabulary else ""
    return (
        "With Rematch installed, in this folder:\n\n"
        "```sh\n"
        "rematch evaluate --recipe recipe.yaml --checkpoint model.safetensors\n"
        'rematch query recipe.yaml "what to look for" --checkpoint model.safetensors\n'
        "```\n\n"
        "The first gives the numbers above; data of Flickr30K and MSCOCO are fetched, or named with `--data-dir`."
        f"{beside} `record.json` is the whole run record, `record.npz` every query's rank."
    )


def _facts(record: RunRecord) -> str:
    data = record.dataset
    sizes = ", ".join(f"{name} {facts.images:,} images" for name, facts in data.splits.items())
    lines = [
        f"- data: {get_entry(data.name).title}; {data.source}, revision {data.revision or 'unknown'}; {sizes}",
        f"- fingerprint of the test split: `{data.splits[record.split].fingerprint}`",
        f"- captions: {record.codec}",
        f"- recipe: `{record.recipe_path}`, digest `{record.recipe_digest[:16]}`",
    ]
    if "profile" in record.recipe:
        lines.append(
            f"- profile: {record.recipe['profile']}; recipe.yaml has its changes, and so another digest"
        )
    if record.training is not None:
        training = record.training
        lines.append(
            f"- training: {training.epochs} epochs, the best {training.best_epoch + 1}, by {training.selected_by}"
        )
    lines.append(f"- weights: sha256 `{record.weights_sha256}`")
    return "\n".join([*lines, *(f"- note: {note}" for note in record.notes)])


def _licence(record: RunRecord, named: str | None, chosen: str) -> str:
    data = f"The data's: {get_entry(record.dataset.name).license}."
    if named is None and chosen == "unknown":
        return f"Nobody has named a licence for these weights (`rematch export --license`). {data}"
    return f"The weights: {chosen}. {data}"


def _citation(record: RunRecord) -> str:
    paper = _paper_of(record)
    if paper is None:
        return f"Rematch knows of no paper for `{record.paper_row.method}`."
    lines = [
        "```bibtex",
        f"@misc{{{paper.method}{paper.year},",
        f"  title = {{{paper.title}}},",
        f"  year = {{{paper.year}}},",
        f"  eprint = {{{paper.arxiv}}},",
        "  archivePrefix = {arXiv},",
        *([f"  doi = {{{paper.doi}}},"] if paper.doi else []),
        "}",
        "```",
    ]
    return "\n".join(lines)


def _paper_of(record: RunRecord) -> Paper | None:
    """What results/paper/ has on the method; None where it has nothing, as for a method of another distribution."""
    method = record.paper_row.method
    return load_paper(method) if (PAPER / f"{method}.yaml").is_file() else None
