"""rematch diff: every difference of two runs is there, none is made up, and what cannot be compared is refused."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.data.load import load_dataset
from benchmark.errors import UserError
from benchmark.evaluation.ranking import Ranks
from benchmark.files import sha256_bytes
from benchmark.places import RUNS
from benchmark.records.record import RunRecord, new_record, write_record
from benchmark.records.sidecar import Sidecar, caption_ids_hash, pack, write_sidecar
from benchmark.reporting.diff.captions import caption_texts
from benchmark.reporting.diff.compare import METRIC_NAMES, RunDiff, compare
from benchmark.reporting.diff.queries import Items, Retrieved, query_changes
from benchmark.reporting.diff.revision import diff_revision
from benchmark.reporting.diff.show import diff_sheets, document
from benchmark.reporting.diff.sides import load_side
from benchmark.reporting.writers.formats import Format, write_sheets
from tests.reporting.factory import RECALLS, latency, parts, recipe, sidecar
from tests.tiny import rematch

BETTER = (77.6, *RECALLS[1:])
A, B = "scenes/hat-i2t/0", "scenes/hat-i2t/1"


def put(found: Sidecar | None = None, runs: Path = RUNS, **changes: Any) -> RunRecord:
    """Write a record with its sidecar where they belong."""
    found = found or sidecar(0)
    packed = pack(found)
    record = new_record(**parts(**changes | {"sidecar_sha256": sha256_bytes(packed)}))
    write_sidecar(packed, record, runs)
    write_record(record, runs)
    return record


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def render(found: RunDiff, form: Format) -> str:
    return write_sheets(diff_sheets(found), form)


def diff(old: str = A, new: str = B, **options: Any) -> RunDiff:
    return compare(load_side(old), load_side(new), **options)


# --------------------------------------------------------------------------------------- metrics


def test_every_metric_has_old_new_and_change(home: Path) -> None:
    put(seed=0), put(seed=1, recalls=BETTER)
    (protocol,) = diff().protocols
    found: dict[str, Any] = {
        change.name: (change.old, change.new, change.change) for change in protocol.metrics
    }
    assert tuple(found) == METRIC_NAMES, home
    assert found["i2t_r1"] == (76.6, 77.6, pytest.approx(1.0))
    assert found["rsum"] == (sum(RECALLS), sum(BETTER), pytest.approx(1.0))
    assert found["mean_r1"] == (pytest.approx(66.35), pytest.approx(66.85), pytest.approx(0.5))
    assert found["t2i_mean_rank"] == (4.25, 4.25, 0.0)


def test_every_protocol_is_compared(home: Path) -> None:
    both = ("mscoco-1k", "mscoco-5k")
    for seed in (0, 1):
        put(sidecar(seed, 10, both), seed=seed, run="hat", protocols=both)
    found = diff("mscoco/hat/0", "mscoco/hat/1")
    assert [protocol.protocol for protocol in found.protocols] == ["mscoco-1k", "mscoco-5k"], home


def test_several_seeds_are_means_with_their_spread(home: Path) -> None:
    for seed, shift in enumerate((0.0, 1.0, 5.0)):
        put(sidecar(seed), seed=seed, recalls=(70 + shift, *RECALLS[1:]))
    put(sidecar(7), run="hat-t2i", recalls=BETTER)
    found = diff("scenes/hat-i2t", "hat-t2i")
    assert (found.old_seeds, found.new_seeds) == ((0, 1, 2), (0,)), home
    change = found.protocols[0].metrics[0]
    assert change.old == pytest.approx(72.0)
    assert change.new == 77.6
    assert change.old_sd == pytest.approx(np.std([70, 71, 75], ddof=1))
    assert change.new_sd is None
    assert all(item.old_first is None for item in found.protocols[0].queries.most)
    assert "seeds 0 1 2" in render(found, "text")
    assert "not of others" in render(found, "markdown")


def test_a_run_against_itself_has_no_difference(home: Path) -> None:
    put(seed=0, latency=latency())
    found = diff(A, A)
    assert found.same_hash, home
    assert all(change.change == 0 for change in found.protocols[0].metrics)
    assert found.protocols[0].queries.moved == 0
    assert all(test.p_value == 1 for test in found.protocols[0].queries.tests.values())
    assert (found.recipe, found.other, found.latency_differs_in) == ((), (), ())
    assert all(change.change in (0, None) for change in found.training)


# --------------------------------------------------------------------------------------- queries


def naive_changes(old: Sidecar, new: Sidecar) -> dict[tuple[str, int], tuple[int, int]]:
    """(direction, row) -> ranks from 1, of the queries that moved."""
    found = {}
    for place, direction in enumerate(("i2t", "t2i")):
        for row, (a, b) in enumerate(
            zip(old.ranks["scenes"][place], new.ranks["scenes"][place], strict=True)
        ):
            if a != b:
                found[direction, row] = (int(a) + 1, int(b) + 1)
    return found


def test_queries_that_changed_most_are_named(home: Path) -> None:
    old, new = sidecar(0), sidecar(1)
    put(old, seed=0), put(new, seed=1)
    found = diff(most=8).protocols[0].queries
    moved = naive_changes(old, new)
    assert found.queries == 12 + 60, home
    assert found.better == sum(b < a for a, b in moved.values())
    assert found.worse == sum(b > a for a, b in moved.values())
    assert len(found.most) == 8
    ratios = sorted((abs(np.log(b / a)) for a, b in moved.values()), reverse=True)
    for change, ratio in zip(found.most, ratios, strict=False):
        a, b = moved[change.direction, change.row]
        assert (change.old_rank, change.new_rank) == (a, b)
        assert abs(np.log(b / a)) == pytest.approx(ratio)
        if change.direction == "i2t":
            first = int(new.i2t_top[change.row, 0])
            assert (change.image_id, change.caption_number) == (f"image-{change.row}", None)
            assert change.new_first == f"image-{first // 5} #{first % 5 + 1}"
        else:
            assert (change.image_id, change.caption_number) == (
                f"image-{change.row // 5}",
                change.row % 5 + 1,
            )
            assert change.old_first == f"image-{old.t2i_top[change.row, 0]}"


def test_the_paired_test_sees_a_shift_and_no_noise() -> None:
    draw = np.random.default_rng(0)
    n, items = 60, Items([str(row) for row in range(60)], np.repeat(np.arange(60), 2))

    def run(i2t: Any, t2i: Any) -> list[Retrieved]:
        return [Retrieved(Ranks(i2t, t2i, 0, 0), np.zeros(n, np.int64), np.zeros(2 * n, np.int64))]

    i2t, t2i = draw.integers(0, 12, n), draw.integers(0, 12, 2 * n)
    worse = query_changes(run(i2t, t2i), run(i2t + 3, t2i + 3), items)
    assert worse.tests["rsum"].p_value < 0.001
    assert worse.tests["rsum"].difference < 0
    assert (worse.better, worse.worse) == (0, 3 * n)
    swapped = t2i.reshape(n, 2)[
        :, ::-1
    ].ravel()  # two captions of an image change places: no image's value moves
    same = query_changes(run(i2t, t2i), run(i2t, swapped), items)
    assert same.moved > 0
    assert same.tests["t2i_r1"].p_value == 1
    only = {"i2t": np.zeros(n, bool), "t2i": np.arange(2 * n) == 5}
    assert [c.row for c in query_changes(run(i2t, t2i), run(i2t, t2i + 1), items, only=only).most] == [5]
    assert all(c.old_first is not None for c in worse.most)
    in_folds = query_changes(run(i2t, t2i), run(i2t + 3, t2i + 3), items, folds=2)
    assert [c.old_first for c in in_folds.most] == [None] * len(worse.most)  # ranks there are within the fold


def test_captions_of_scenes_are_shown(home: Path) -> None:
    options = {"n_train": 10, "n_val": 4, "n_test": 12, "image_size": 64, "seed": 0, "hard_share": 0.25}
    split = load_dataset("scenes", options, splits=("test",)).splits["test"]
    facts = parts()["dataset"] | {"options": options}
    facts["splits"]["test"]["images"] = 12
    digest = caption_ids_hash(split.caption_ids)
    for seed in (0, 1):
        put(dataclasses.replace(sidecar(seed), caption_ids_sha256=digest), seed=seed, dataset=facts)
    texts = caption_texts(load_side(A), None)
    assert texts == split.captions, home
    shown = rematch("diff", A, B, "--captions", "--format", "json").good
    named = [
        item for item in json.loads(shown)["protocols"][0]["queries"]["most"] if item["direction"] == "t2i"
    ]
    assert named
    assert all(item["text"] == split.captions[item["row"]] for item in named)
    put(seed=2, dataset=facts)
    with pytest.raises(UserError, match="are not the captions"):
        caption_texts(load_side("scenes/hat-i2t/2"), None)


def test_captions_that_would_be_downloaded_are_refused(home: Path) -> None:
    facts = parts()["dataset"] | {"name": "flickr30k", "source": "the Hub"}
    facts["splits"]["test"]["images"] = 1000
    put(sidecar(0, 12, ("flickr30k",)), protocols=("flickr30k",), dataset=facts)
    with pytest.raises(UserError, match="--data-dir"):
        caption_texts(load_side("hat-i2t"), None)
    assert home


# --------------------------------------------------------------------------- latency, recipe, facts


def test_latency_is_noise_where_the_hardware_differs(home: Path) -> None:
    put(seed=0, latency=latency(2.0)), put(seed=1, latency=latency(3.0))
    put(seed=2, latency=latency(3.0) | {"hardware": "another", "threads": 8}), put(seed=3)
    found = diff()
    assert found.latency_differs_in == (), home
    assert {c.change for c in found.latency if "batch" in c.name} == {1.0}
    other = diff(A, "scenes/hat-i2t/2")
    assert other.latency_differs_in == ("hardware (a processor, another)", "threads (2, 8)")
    for form in ("text", "markdown"):
        assert "are noise, measured under other conditions: hardware" in render(other, form)
        assert "other conditions" not in render(found, form)
    assert "only the old side was timed" in render(diff(A, "scenes/hat-i2t/3"), "text")


def test_recipe_fields_and_other_facts_that_differ_are_listed(home: Path) -> None:
    other = recipe(seed=1) | {"extra": {"list": [1, 2]}}
    other["training"]["lr"] = 2e-4
    environment = parts()["environment"] | {"packages": {"torch": "2.13.0"}}
    put(seed=0), put(seed=1, recipe=other, environment=environment)
    found = diff()
    assert {(c.name, c.old, c.new) for c in found.recipe} == {
        ("training.lr", 1e-4, 2e-4),
        ("extra.list.0", None, 1),
        ("extra.list.1", None, 2),
    }, home
    assert [(c.name, c.old, c.new) for c in found.other] == [
        ("environment.packages.torch", "2.12.1", "2.13.0")
    ]


def test_training_facts_are_compared(home: Path) -> None:
    later = parts()["training"] | {"best_epoch": 1, "final_loss": 0.04}
    put(seed=0), put(seed=1, training=later)
    found = {change.name: change.change for change in diff().training}
    assert found["best_epoch"] == -1, home
    (epoch,) = (change for change in diff().training if change.name == "best_epoch")
    assert (epoch.old, epoch.new) == (3, 2), "epochs count from 1, as the report page has them"
    assert found["final_loss"] == pytest.approx(-0.01)
    assert found["first loss"] == 0


# ---------------------------------------------------------------------------------------- refusals


def test_other_signatures_are_refused_by_field(home: Path) -> None:
    put(seed=0), put(seed=1, version="0.2.0", score_precision="float64")
    assert rematch("diff", A, B).error == (
        f"{A} and {B}: not comparable: the signatures of scenes differ in precision (float32, float64), "
        "version (0.1.0, 0.2.0)"
    ), home
    put(sidecar(0, 12, ("flickr30k",)), run="other", protocols=("flickr30k",))
    error = rematch("diff", A, "other").error
    assert "not comparable" in error
    assert "dataset (scenes, flickr30k)" in error


def test_other_images_behind_one_signature_are_refused(home: Path) -> None:
    put(seed=0), put(dataclasses.replace(sidecar(1), image_ids=[f"x{row}" for row in range(12)]), seed=1)
    assert "their sidecars name other images or captions" in rematch("diff", A, B).error, home


def test_seeds_of_different_recipes_have_no_mean(home: Path) -> None:
    other = recipe(seed=1)
    other["training"]["lr"] = 0.1
    put(seed=0), put(seed=1, recipe=other)
    assert "seeds 0 and 1 were made by different recipes" in rematch("diff", "hat-i2t", A).error, home


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hat-i2", A), "did you mean 'hat-i2t'?"),
        (("scenes/hat-i2t/7", A), "run 'scenes/hat-i2t/7': no such run in results/runs"),
        (("nowhere/0.json", A), "nowhere/0.json: no such run record"),
        ((A,), "diff takes two runs"),
        ((), "diff takes two runs"),
        ((A, B, "--against", "HEAD"), "diff takes one name with --against"),
        (("--against", "HEAD"), "'HEAD': no revision of a git repository here"),
        (("no-such:hat-i2t", A), "'no-such': no revision"),
        (("--against", "--output=x"), "no revision"),
    ],
)
def test_mistakes_are_one_line(home: Path, arguments: tuple[str, ...], said: str) -> None:
    put(seed=0)
    assert said in rematch("diff", *arguments).error, home


def test_a_changed_sidecar_is_refused(home: Path) -> None:
    put(seed=0)
    (RUNS / "scenes/hat-i2t/0.npz").write_bytes(pack(sidecar(5)))
    assert "checksum differs" in rematch("diff", A, A).error, home
    (RUNS / "scenes/hat-i2t/0.npz").unlink()
    assert "cannot be read" in rematch("diff", A, A).error


# ----------------------------------------------------------------------------------- names, formats


def test_a_record_is_found_by_path_and_by_name(home: Path) -> None:
    put(seed=0), put(seed=1), put(runs=Path("elsewhere"), seed=3, run="hat-i2t")
    for name in ("results/runs/scenes/hat-i2t/1.json", "scenes/hat-i2t/1", "elsewhere/scenes/hat-i2t/3.json"):
        assert len(load_side(name).records) == 1, home
    assert [record.seed for record in load_side("hat-i2t").records] == [0, 1]
    put(sidecar(0, 12, ("flickr30k",)), protocols=("flickr30k",))
    with pytest.raises(UserError, match="several runs: flickr30k/hat-i2t, scenes/hat-i2t"):
        load_side("hat-i2t")


def test_numbers_are_rounded_alike_on_both_sides(home: Path) -> None:
    later = parts()["training"] | {"final_loss": 0.0401239876}
    times = {"train": 12345.678, "evaluate": 0.1}
    put(seed=0), put(seed=1, training=later, recalls=BETTER, wall_seconds=times)
    sheets = {sheet.title: sheet for sheet in diff_sheets(diff())}
    rows = {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in sheets["training"].rows}
    assert rows["final_loss"] == ["0.05000", "0.04012", "-0.00988"], home
    assert rows["best_epoch"] == ["3", "3", "0"]
    assert rows["seconds, train"] == ["100", "12,346", "+12,245"]
    assert rows["selected_by"] == ["rsum", "rsum", ""]
    scores = {row.cells[0].text: row.cells for row in sheets["scenes"].rows}
    for name in ("rsum", "i2t_r1", "t2i_mean_rank"):
        for cell in scores[name][1:4]:
            assert re.fullmatch(r"[+-]?\d+\.\d\d", cell.text)
            assert isinstance(cell.value, float)


def test_formats_say_the_same(home: Path) -> None:
    put(sidecar(0), seed=0), put(sidecar(1), seed=1, recalls=BETTER)
    found = diff()
    text = rematch("diff", A, B).good
    markdown = rematch("diff", A, B, "--format", "markdown").good
    said = rematch("diff", A, B, "--format", "json", "--output", "out/diff.json").good
    assert said == "wrote out/diff.json\n"
    loaded = json.loads(Path("out/diff.json").read_text())
    assert loaded == json.loads(json.dumps(document(found))), home
    values = {item["name"]: item["change"] for item in loaded["protocols"][0]["metrics"]}
    assert values["rsum"] == pytest.approx(1.0)
    for name in METRIC_NAMES:
        assert f"\n| {name} " in markdown
        assert name in text
    change = found.protocols[0].queries.most[0]
    assert change.image_id in text
    assert change.image_id in markdown
    assert list(Path("out").iterdir()) == [Path("out/diff.json")]


# -------------------------------------------------------------------------------------------- git


def run_git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(home: Path) -> Path:
    """Four runs committed; since then one has other numbers, one other times, one another version, one is gone."""
    runs = ("changed", "timed", "version", "gone", "same")
    for run in runs:
        put(run=run)
    run_git("init", "-q")
    run_git("add", ".")
    run_git("commit", "-q", "-m", "runs")
    put(sidecar(1), run="changed", recalls=BETTER)
    put(run="timed", wall_seconds={"train": 7.0})
    put(run="version", version="0.2.0")
    for suffix in ("json", "npz"):
        (RUNS / f"scenes/gone/0.{suffix}").unlink()
    put(run="fresh")
    return home


def test_all_records_that_differ_from_a_revision(repository: Path) -> None:
    found = diff_revision("HEAD")
    what = {entry.record: entry.what for entry in found.entries}
    assert what.pop("scenes/version/0").endswith("differ in version (0.1.0, 0.2.0)"), repository
    assert what == {
        "scenes/changed/0": "changed",
        "scenes/timed/0": "times and environment alone",
        "scenes/gone/0": "gone",
        "scenes/fresh/0": "new",
    }
    assert [entry.record for entry in found.entries if entry.refused] == ["scenes/version/0"]
    markdown = rematch("diff", "--against", "HEAD", "--format", "markdown").good
    assert markdown.count("<details>") == markdown.count("</details>") > 0
    assert "HEAD:scenes/changed/0 -&gt; scenes/changed/0" in markdown
    assert "HEAD:scenes/timed/0 -&gt;" not in markdown
    for form in ("text", "json"):
        assert "scenes/gone/0" in rematch("diff", "--against", "HEAD", "--format", form).good


def test_one_run_against_a_revision(repository: Path) -> None:
    named = json.loads(rematch("diff", "changed", "--against", "HEAD", "--format", "json").good)
    spelt = json.loads(rematch("diff", "HEAD:changed", "changed", "--format", "json").good)
    path = json.loads(
        rematch("diff", "HEAD:results/runs/scenes/changed/0.json", "changed", "--format", "json").good
    )
    assert named == spelt, repository
    assert named["protocols"] == path["protocols"]
    assert named["protocols"][0]["metrics"][0]["old"] == RECALLS[0]
    assert named["protocols"][0]["metrics"][0]["new"] == BETTER[0]
    assert "run 'nope': no such run in results/runs at HEAD" in rematch("diff", "HEAD:nope", "changed").error


def test_no_change_is_said(repository: Path) -> None:
    run_git("add", "-A")
    run_git("commit", "-q", "-m", "more")
    assert diff_revision("HEAD").entries == (), repository
    assert "no record changed" in rematch("diff", "--against", "HEAD").good
