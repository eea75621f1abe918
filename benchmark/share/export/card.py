"""The model card of an exported run: metadata with `model-index` as the Hub specifies it, and Markdown.

Whether the numbers may be held against the paper's comes before the numbers.
"""

from __future__ import annotations

from pathlib import Path

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from markupsafe import Markup

from benchmark.data.published.catalogue import get_entry
from benchmark.places import PAPER, locate
from benchmark.records.paper import Paper, load_paper
from benchmark.records.parts import Interval, ProtocolRecord
from benchmark.records.record import RunRecord
from benchmark.registry import get_method
from benchmark.reporting.sheet import Cell, Column, Sheet, make_sheet
from benchmark.reporting.writers import markdown

TEMPLATES = Path(__file__).parent
DIRECTIONS = {"i2t": "image to text", "t2i": "text to image"}
MADE_BY_CODE = "apache-2.0"
"""Licence of weights that saw nothing but what Rematch itself made."""


def model_card(
    record: RunRecord,
    licence: str | None,
    *,
    has_vocabulary: bool,
    weights_sha256: str | None = None,
    weights_note: str | None = None,
) -> str:
    """Write README.md of the folder. licence: None takes that of data made by code, else `unknown`.

    weights_sha256: of the file of weights, None for the record's. weights_note: how they differ from the training's.
    """
    entry = get_entry(record.dataset.name)
    chosen = licence or (MADE_BY_CODE if entry.embedded else "unknown")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, which has its own escapes
        finalize=_escaped,
    )
    environment.filters |= {"code": _code, "bibtex": _bibtex}
    data = card_data(record, chosen)
    text = environment.get_template("card.md.j2").render(
        card_data=Markup(data.to_yaml()),  # YAML, which quotes what it has to
        record=record,
        title=get_method(record.method).title,
        summary=str(record.recipe["summary"]).strip().rstrip("."),
        tables={
            name: Markup(markdown.table(_results(name, result))) for name, result in record.results.items()
        },
        rsums={
            name: f"{result.metrics.rsum:.1f}{_interval(result.intervals['rsum'])}"
            for name, result in record.results.items()
        },
        has_vocabulary=has_vocabulary,
        weights_sha256=weights_sha256 or record.weights_sha256,
        weights_note=weights_note,
        data_title=entry.title,
        data_licence=entry.license,
        license=chosen,
        named=licence is not None or chosen != "unknown",
        paper=_find_paper(record),
    )
    return str(ModelCard(text).content)


def _escaped(value: object) -> str:
    """Whatever the template prints, harmless as Markdown and as HTML; what is marked as such stays."""
    return value if isinstance(value, Markup) else markdown.escape(str(value))


def _code(text: str) -> Markup:
    """A text as code, which knows no escapes: it ends at a backtick alone."""
    return Markup(f"`{_bibtex(text)}`")


def _bibtex(text: object) -> Markup:
    """A value within a block of code, on one line that does not end the block."""
    return Markup(" ".join(str(text).replace("`", "'").split()))


def card_data(record: RunRecord, licence: str) -> ModelCardData:
    """Metadata of the card; a metric's value is the record's, in percent, unrounded."""
    return ModelCardData(
        language=["en"],
        license=licence,
        library_name="rematch",
        tags=["image-text-retrieval", "cross-modal-retrieval", "rematch", record.method],
        metrics=["recall"],
        model_name=record.run,
        eval_results=[result for protocol in record.results for result in _eval_results(record, protocol)],
    )


def _eval_results(record: RunRecord, protocol: str) -> list[EvalResult]:
    """One protocol's metrics for `model-index`."""
    data, metrics = record.dataset, record.results[protocol].metrics
    mark = "" if record.comparable else " (not comparable with the paper)"
    values = {
        f"{side}_recall_at_{k}": (metrics.value(f"{side}_r{k}"), f"{words} R@{k}")
        for side, words in DIRECTIONS.items()
        for k in (1, 5, 10)
    }
    values["rsum"] = (metrics.rsum, "rsum, the sum of the six")
    return [
        EvalResult(
            task_type="image-text-retrieval",
            task_name="Image-text retrieval",
            dataset_type=data.name,
            dataset_name=f"{get_entry(data.name).title}, {protocol}",
            dataset_config=protocol,
            dataset_split=record.split,
            dataset_revision=data.revision,
            metric_type=kind,
            metric_value=float(
                value
            ),  # the card's library writes a numpy number as an object that nobody reads
            metric_name=f"{name}{mark}",
        )
        for kind, (value, name) in values.items()
    ]


def _results(protocol: str, result: ProtocolRecord) -> Sheet:
    columns = [Column("direction", "direction", "text"), *(Column(f"r{k}", f"R@{k}") for k in (1, 5, 10))]
    columns += [Column("median_rank", "median rank", spec="g"), Column("mean_rank", "mean rank", spec=".1f")]
    rows = []
    for side, words in DIRECTIONS.items():
        found = getattr(result.metrics, side)
        recalls = []
        for k in (1, 5, 10):
            value, bounds = getattr(found, f"r{k}"), result.intervals[f"{side}_r{k}"]  # METRICS has it
            recalls.append(Cell(f"{value:.1f}", value, tail=_interval(bounds)))
        rows.append((words, *recalls, found.median_rank, found.mean_rank))
    return make_sheet(protocol, columns, rows)


def _interval(bounds: Interval) -> str:
    return f" [{bounds.low:.1f}, {bounds.high:.1f}]"


def _find_paper(record: RunRecord) -> Paper | None:
    """The paper in results/paper/; None where it has none, as for a method of another distribution."""
    method = record.paper_method
    return load_paper(method) if locate(PAPER / f"{method}.yaml").is_file() else None
