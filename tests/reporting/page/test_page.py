"""The report page without a browser: what it holds, that it asks for nothing, that no record becomes markup."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.load import load_dataset
from benchmark.errors import UserError
from benchmark.places import RESULTS, RUNS
from benchmark.records.record import RunRecord
from benchmark.records.sidecar import Sidecar, read_sidecar
from benchmark.reporting.evidence import read_evidence
from benchmark.reporting.leaderboard.boards import boards_below
from benchmark.reporting.leaderboard.cells import COLUMNS, group_cells
from benchmark.reporting.leaderboard.comparisons import LEVEL
from benchmark.reporting.page import TEMPLATES, render_page
from benchmark.reporting.page.examples import BEST, SHOWN, WORST, Gallery, examples
from benchmark.reporting.writers.csv import FORMULA
from benchmark.reporting.writers.latex import SPECIAL
from tests.data.look.test_contact_sheet import contrast
from tests.paths import ROOT
from tests.reporting import many
from tests.reporting.page.checkout import IMAGE, ODD, OPTIONS, SCRIPT, TITLE, checkout

VOID = {"meta", "link", "br", "input", "img", "hr"}


@dataclass
class Node:
    """An element with its attributes, and the elements and text in it."""

    tag: str
    attributes: dict[str, str]
    content: list[Node | str] = field(default_factory=list)

    @property
    def children(self) -> list[Node]:
        return [item for item in self.content if isinstance(item, Node)]

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def words(self) -> list[str]:
        """Every piece of text inside, in order."""
        return [word for item in self.content for word in (item.words if isinstance(item, Node) else [item])]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def having(self, name: str) -> list[Node]:
        """Elements of a class."""
        return [node for node in self.walk() if name in node.attributes.get("class", "").split()]


class Tree(HTMLParser):
    """The elements of a page; every tag must be closed in its order."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(content.decode())
        self.close()
        assert self.open == [self.root], "a tag is left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag}: an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].content.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].content.append(Node(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].content.append(data)


@dataclass(frozen=True)
class Made:
    """A checkout and its page."""

    root: Path
    records: list[RunRecord]
    content: bytes
    tree: Node

    def run(self, record: RunRecord) -> Node:
        """The section of a run."""
        (found,) = [
            node
            for node in self.tree.having("run")
            if node.attributes["id"] == f"run/{record.path.with_suffix('').as_posix()}"
        ]
        return found

    def section(self, name: str) -> Node:
        (found,) = [node for node in self.tree.walk() if node.attributes.get("id") == name]
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("checkout")
    records = checkout(root)
    content = render_page(read_evidence(root))
    return Made(root, records, content, Tree(content).root)


# ------------------------------------------------------------------------------------ the document


def test_ids_are_unique_and_links_lead_somewhere(made: Made) -> None:
    ids = [node.attributes["id"] for node in made.tree.walk() if "id" in node.attributes]
    assert len(set(ids)) == len(ids)
    links = [node.attributes["href"] for node in made.tree.walk() if node.tag in ("a", "use")]
    assert len(links) > 50
    inside = {link[1:] for link in links if link.startswith("#")}
    assert inside <= set(ids)
    for link in set(links) - {f"#{name}" for name in inside}:
        assert link.startswith(("tables/", "runs/", "../recipes/", "https://")), link
        assert not link.startswith("runs/") or (made.root / "results" / link).is_file()
    labels = [
        node.attributes["aria-labelledby"]
        for node in made.tree.walk()
        if "aria-labelledby" in node.attributes
    ]
    assert set(labels) <= set(ids)


def test_it_asks_for_nothing_outside_itself(made: Made) -> None:
    for node in made.tree.walk():
        for name in ("src", "srcset", "href", "action", "data", "poster", "xlink:href", "style"):
            if (node.tag, name) == ("a", "href"):
                continue  # a link is followed by people, not fetched
            value = node.attributes.get(name, "#")
            assert value.startswith(("#", "data:")), (node.tag, name, value)
    style = next(node for node in made.tree.walk() if node.tag == "style").words[0]
    assert not re.search(r"url\(|@import|https?:", style)
    assert {node.tag for node in made.tree.walk()}.isdisjoint({"iframe", "object", "embed", "base", "img"})


def test_only_its_own_script_may_run(made: Made) -> None:
    (script,) = [node for node in made.tree.walk() if node.tag == "script"]
    assert script.words[0] == (TEMPLATES / "script.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.words[0].encode()).digest()).decode()
    (policy,) = [n.attributes["content"] for n in made.tree.walk() if "http-equiv" in n.attributes]
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}'" in policy
    handlers = [name for node in made.tree.walk() for name in node.attributes if name.startswith("on")]
    assert handlers == []


def test_nothing_in_the_records_becomes_markup(made: Made) -> None:
    text = made.tree.text
    for said in (SCRIPT, IMAGE, TITLE, ODD):
        assert said in text
        assert said.encode() not in made.content
    assert [node for node in made.tree.walk() if node.tag == "b"] == []


def test_the_same_files_give_the_same_bytes_wherever_they_lie(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.root, tmp_path / "elsewhere")
    assert render_page(read_evidence(tmp_path / "elsewhere")) == made.content
    assert str(made.root).encode() not in made.content


def test_a_changed_digit_is_refused(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.root, tmp_path / "damaged")
    path = tmp_path / "damaged" / RUNS / made.records[0].path
    path.write_text(path.read_text().replace('"r1": 76.6', '"r1": 7.6', 1))
    with pytest.raises(UserError, match=path.name):
        render_page(read_evidence(tmp_path / "damaged"))


def test_no_records_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run records; make some with `rematch reproduce hat`"):
        render_page(read_evidence(tmp_path))


def test_colours_are_told_from_their_ground_in_both_schemes() -> None:
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style.split("@media print")[0], re.S)
    )
    assert light.keys() == dark.keys()
    for scheme in (light, dark):
        for ink in ("ink", "soft", "accent"):
            for ground in ("page", "card", "band", "tint"):
                assert contrast(scheme[f"--{ink}"], scheme[f"--{ground}"]) > 4.5, (ink, ground)
        assert contrast(scheme["--on-accent"], scheme["--accent"]) > 4.5
        assert contrast(scheme["--second"], scheme["--card"]) > 3  # of a line


# -------------------------------------------------------------------------------------- what it says


def test_every_run_has_its_section_with_its_record(made: Made) -> None:
    assert len(made.tree.having("run")) == len(made.records) == 8
    for record in made.records:
        text = made.run(record).text
        for result in record.results.values():
            assert result.signature in text
            assert f"{result.metrics.rsum:.1f}" in text
        for said in (record.canonical_hash, record.recipe_digest, record.recipe_path, *record.departures):
            assert said in text
        assert "recipe.training" not in text
        assert "training.batch_size 128" in text or "All else as of " in text
        assert (f"training.seed {record.seed}" in text) == ("seed" in record.recipe["training"])


def test_an_ensemble_leads_to_its_members(made: Made) -> None:
    (record,) = [item for item in made.records if item.members]
    links = [node.attributes["href"] for node in made.run(record).walk() if node.tag == "a"]
    assert {"#run/scenes/hat-i2t/0", "#run/scenes/hat-t2i/0"} <= set(links)


def test_the_first_screen_has_a_verdict_for_each_method_and_benchmark(made: Made) -> None:
    (grid,) = made.tree.having("verdicts")
    head, *rows = (node for node in grid.walk() if node.tag == "tr")
    assert [node.text for node in head.children] == [
        "method",
        "Flickr30K",
        "MSCOCO 1K",
        "MSCOCO 5K",
        "scenes",
    ]
    cells = {row.children[0].text: [node.text for node in row.children[1:]] for row in rows}
    assert len(cells) == 7
    assert cells["SGRAF"][0] == "reproduced not run 5"
    assert cells["SGRAF"][1] == "too few seeds not run 5"
    assert cells["HAT"][3] == "smoke test 4"
    (basis,) = made.tree.having("basis")
    assert basis.text.startswith(
        "3 rows are in a paper's set-up: 1 reproduced, 2 too few seeds. 4 of the 8 run"
    )


def test_a_benchmark_is_one_table_with_the_rows_that_wait(made: Made) -> None:
    boards = made.tree.having("board")
    assert len(boards) == 5  # Flickr30K, MSCOCO 1K and 5K, CUHK-PEDES, scenes
    for board in boards:
        heads = [node.text for node in board.walk() if node.tag == "th" and "scope" in node.attributes]
        assert heads[:2] == ["method", "verdict"]
    caption = next(node for node in boards[0].walk() if node.tag == "caption").text
    assert caption.startswith("dataset:flickr30k|")
    assert len(boards[0].having("waits")) > 20
    assert not boards[-1].having("waits")


def test_the_leaderboard_has_what_is_known_and_no_empty_column(made: Made) -> None:
    table = made.tree.having("board")[0]
    head, row, *_ = (node for node in table.walk() if node.tag == "tr")
    cells = dict(zip((n.text for n in head.children), (n.text for n in row.children), strict=True))
    assert "query ms" not in cells
    assert cells["rsum ± sd"] == "491.5 ± 0.60"
    assert cells["paper"] == "490.9"
    assert cells["difference"] == "+0.60"
    assert cells["verdict"] == "reproduced"
    assert cells["n"] == "3"
    assert "seeds 0 , 1 , 2" in cells["method"]
    assert {"recipe", "record", "paper", "code"} <= set(cells["method"].replace("·", " ").split())


def test_a_board_has_the_cells_of_the_tables(made: Made) -> None:
    """Row by row, as far as both have the column."""
    for table, found in zip(made.tree.having("board"), boards_below(made.root, made.records), strict=True):
        head, *rows = (node for node in table.walk() if node.tag == "tr")
        for group in found.groups:
            for row, expected in zip(rows, group_cells(group, None), strict=False):
                shown = dict(
                    zip((n.text for n in head.children), (n.text for n in row.children), strict=True)
                )
                assert shown["method"].startswith(expected["method"].text)
                for column in COLUMNS.values():
                    if column.title in shown and column.key not in ("method", "verdict", "rsum"):
                        cell = expected[column.key]
                        assert shown[column.title] == cell.text + cell.tail, column.key


def test_the_rules_of_copies_are_those_of_the_files(made: Made) -> None:
    (body,) = [node for node in made.tree.walk() if node.tag == "body"]
    assert json.loads(body.attributes["data-tex"]) == SPECIAL
    assert body.attributes["data-formula"] == FORMULA.pattern


def test_300_runs_are_a_page_of_under_10_mb(tmp_path: Path) -> None:
    """The committed runs once and twice give the part that all share and what a run takes, pictures among them."""
    many.fill(tmp_path, 2 * many.COMMITTED)
    twice = len(render_page(read_evidence(tmp_path)))
    once = (ROOT / RESULTS / "report.html").stat().st_size
    assert many.COMMITTED > 30
    assert once + (300 / many.COMMITTED - 1) * (twice - once) < 10e6


def test_the_mark_of_a_tie_is_explained_as_it_is_computed(made: Made) -> None:
    said = made.section("leaderboard").text
    assert f"level {LEVEL:.0%}".replace("%", " %") in said
    for test in ("sign-flip", "Welch", "over images", "over seeds", "Holm-corrected over all pairs"):
        assert test in said


def test_the_paper_is_drawn_beside_ours_only_where_they_compare(made: Made) -> None:
    section = made.section("paper")
    strips = [node for node in section.having("strips") if node.having("paper")]
    assert len(strips) == 3  # Flickr30K, MSCOCO 1K and 5K
    assert all("sgr" in table.text and "hat" not in table.text for table in strips)


def test_without_comparable_runs_it_says_so(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.root, tmp_path / "scenes", ignore=shutil.ignore_patterns("flickr30k", "mscoco"))
    tree = Tree(render_page(read_evidence(tmp_path / "scenes"))).root
    assert "No run in a paper's set-up is committed yet" in tree.text
    assert not [node for node in tree.walk() if node.attributes.get("id") == "paper"]


def test_seeds_are_dots_and_mean_and_paper_lines(made: Made) -> None:
    flickr = made.section("seeds").having("strips")[0]
    (body,) = [node for node in flickr.walk() if node.tag == "tbody"]
    assert len([node for node in body.walk() if node.tag == "circle"]) == 3
    assert len(body.having("mean")) == len(body.having("paper")) == 1
    scenes = made.section("seeds").having("strips")[-1]
    assert not scenes.having("paper")


def test_charts_have_a_name_or_stand_beside_their_numbers(made: Made) -> None:
    charts = [node for node in made.tree.walk() if node.tag == "svg"]
    assert charts
    for chart in charts:
        named = chart.attributes.get("role") == "img" and chart.attributes["aria-label"]
        assert named or chart.attributes.get("aria-hidden") == "true"
    assert "milliseconds" in made.section("latency").text


def test_scrolling_boxes_can_be_reached_and_have_names(made: Made) -> None:
    boxes = made.tree.having("scroll")
    assert len(boxes) > 20
    for box in boxes:
        assert (box.attributes["role"], box.attributes["tabindex"]) == ("region", "0")
        assert box.attributes["aria-label"]


# ------------------------------------------------------------------------------ pictures and queries


def test_each_picture_is_stored_once_and_is_the_one_it_stands_for(made: Made) -> None:
    symbols = {
        node.attributes["id"]: node.children[0].attributes["href"]
        for node in made.tree.walk()
        if node.tag == "symbol"
    }
    assert len(set(symbols.values())) == len(symbols)
    assert made.content.count(b"data:image/gif") == len(symbols)
    used = {node.attributes["href"][1:] for node in made.tree.walk() if node.tag == "use"}
    held = {
        node.attributes["id"] for node in made.tree.walk() if node.tag == "defs" for node in node.children
    }
    assert held
    assert used == symbols.keys() | held
    split = load_dataset("scenes", OPTIONS, splits=["test"]).splits["test"]
    gallery = Gallery()
    record = made.records[-1]
    sidecar = read_sidecar(record, made.root / RUNS)
    assert record.dataset.name == "scenes"
    for row in range(3):
        item = gallery.item("key", split, row, sidecar.image_ids)
        assert item.picture is not None
        shown = np.asarray(
            Image.open(io.BytesIO(gallery.album.files[item.picture])).convert("RGB"), dtype=int
        )
        assert np.abs(shown - np.asarray(split.images[row], dtype=int)).max() <= 4
        assert item.caption == split.captions[5 * row]


def naive(sidecar: Sidecar, direction: str, row: int) -> list[bool]:
    """Which of the first items retrieved for a query are right."""
    if direction == "i2t":
        return [sidecar.caption_image[item] == row for item in sidecar.i2t_top[row][:SHOWN]]
    return [item == sidecar.caption_image[row] for item in sidecar.t2i_top[row][:SHOWN]]


def test_right_ones_are_those_of_the_sidecar(made: Made) -> None:
    for record in made.records:
        sidecar = read_sidecar(record, made.root / RUNS)
        framed = 0
        for name, found in examples(record, sidecar, Gallery()).items():
            direction = name.split()[0]
            ranks = next(iter(sidecar.ranks.values()))[0 if direction == "i2t" else 1]
            for example in found:
                row = _row(example.query.name, direction)
                assert [hit.right for hit in example.hits] == naive(sidecar, direction, row)
                assert example.rank == ranks[row] + 1
                assert (example.rank > SHOWN) == bool(example.truth)
                framed += sum(hit.right for hit in example.hits)
        assert len(made.run(record).having("right")) == framed
        assert made.run(record).text.count("✓ right") == framed


def _row(name: str, direction: str) -> int:
    """`test-00003` -> 3; `test-00003-2` -> 17; `caption 17 of test-00003` -> 17."""
    if direction == "i2t":
        return int(name.split("-")[1])
    if name.startswith("caption"):
        return int(name.split()[1])
    _, image, caption = name.split("-")
    return 5 * int(image) + int(caption)


def test_worst_rank_last_and_best_lead_most(made: Made) -> None:
    record = made.records[-1]
    sidecar = read_sidecar(record, made.root / RUNS)
    found = examples(record, sidecar, Gallery())
    for side, direction in enumerate(("i2t", "t2i")):
        ranks = sidecar.ranks["scenes"][side]
        worst = found[f"{direction} worst"]
        assert [example.rank - 1 for example in worst] == sorted(ranks.tolist(), reverse=True)[:WORST]
        scores = (sidecar.i2t_scores, sidecar.t2i_scores)[side]
        tops = (sidecar.i2t_top, sidecar.t2i_top)[side]
        leads = []
        for row, rank in enumerate(ranks):
            own = (
                sidecar.caption_image[tops[row]] == row
                if side == 0
                else tops[row] == sidecar.caption_image[row]
            )
            if rank == 0:
                leads.append((float(scores[row][0] - scores[row][~own][0]), row))
        expected = [row for _, row in sorted(leads, key=lambda item: (-item[0], item[1]))[:BEST]]
        assert [_row(e.query.name, direction) for e in found[f"{direction} best"]] == expected


def test_other_datasets_have_ids_and_ranks_and_a_reason(made: Made) -> None:
    record = next(item for item in made.records if item.dataset.name == "flickr30k")
    section = made.run(record)
    assert "Pictures and captions of flickr30k are not part of this page" in section.text
    assert not section.having("pic")
    assert len(section.having("query")) == 2 * (WORST + BEST)
    assert "Its image is in place" in section.text


def test_captions_that_changed_since_are_refused(made: Made) -> None:
    record = made.records[-1]
    sidecar = read_sidecar(record, made.root / RUNS)
    changed = Sidecar(**{**vars(sidecar), "caption_ids_sha256": "0" * 64})
    with pytest.raises(UserError, match="its captions are not those that scenes makes now"):
        examples(record, changed, Gallery())
