"""Queries against a run's gallery: the evaluation's own scores, pictures and sentences, caches, pages, and mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmark.data.load import load_dataset
from benchmark.data.splits import Split
from benchmark.errors import UserError
from benchmark.evaluation.ranking import top_k
from benchmark.run.job import Settings
from benchmark.run.runs import read_run
from benchmark.share.query.answer import Answer, run_query
from benchmark.share.query.page import write_page
from benchmark.training import read_weights
from tests.paths import ROOT
from tests.tiny import BOTH, I2T, T2I, change_recipe, put, rematch, write_recipe

WORK = Path(".rematch/scenes")
SETTINGS = Settings(torch.device("cpu"), show_progress=False)


def gallery() -> Split:
    """The test images of the tiny recipes."""
    return load_dataset("scenes", {"n_train": 40, "n_val": 8, "n_test": 16}, splits=("test",)).splits["test"]


def ask(recipe: Path, sentence: str | None = None, picture: Path | None = None, top: int = 3) -> Answer:
    return run_query(read_run(recipe), SETTINGS, sentence=sentence, picture=picture, top=top)


def scores_of(answer: Answer) -> list[tuple[int, float]]:
    return [(hit.row, hit.score) for hit in answer.hits]


def test_answers_are_the_evaluations_scores(home: Path) -> None:
    split, sims = gallery(), np.load(WORK / "hat-i2t/0/sims.npy")
    best = top_k(sims, 3)
    answer = ask(I2T, split.captions[7])
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    assert [row for row, _ in scores_of(answer)] == best.t2i[7].tolist()
    assert [score for _, score in scores_of(answer)] == pytest.approx(best.t2i_scores[7].tolist(), abs=1e-5)
    assert answer.weights == ["hat-i2t: the last training, seed 0"]
    assert not answer.notes
    split.images[5].save("five.png")
    turned = ask(I2T, picture=Path("five.png"))
    assert [row for row, _ in scores_of(turned)] == best.i2t[5].tolist()
    assert [score for _, score in scores_of(turned)] == pytest.approx(best.i2t_scores[5].tolist(), abs=1e-5)
    first = turned.hits[0]
    assert turned.caption_of(first) == (split.caption_ids[first.row], split.captions[first.row])
    assert turned.image_of(first) == first.row // 5
    # a second time from the codes that were kept; damaged ones are made again
    kept = sorted((home / ".rematch/queries/scenes").iterdir())
    assert [path.name.rsplit("-", 2)[0] for path in kept] == ["hat-i2t-captions", "hat-i2t-images"]
    times = [path.stat().st_mtime_ns for path in kept]
    assert scores_of(ask(I2T, split.captions[7])) == scores_of(answer)
    assert [path.stat().st_mtime_ns for path in kept] == times
    content = kept[1].read_bytes()
    kept[1].write_bytes(content[:-4] + b"\0\0\0\1")
    assert scores_of(ask(I2T, split.captions[7])) == scores_of(answer)
    assert kept[1].read_bytes() == content
    # an ensemble: the mean of its members
    both = (sims.astype(float) + np.load(WORK / "hat-t2i/0/sims.npy")) / 2
    together = ask(BOTH, split.captions[7])
    assert together.run == "hat-ensemble"
    assert [row for row, _ in scores_of(together)] == top_k(both, 3).t2i[7].tolist()
    assert len(together.weights) == 2


def test_what_is_printed_and_the_page(home: Path) -> None:
    words, options = "a small red circle and a [bold]zeppelin[/]", ("--device", "cpu", "--no-progress")
    said = rematch("query", I2T, words, "--top", 4, "--html", "out/a.html", *options).good
    assert "weights of hat-i2t: the last training, seed 0" in said, home
    assert "note: not in the vocabulary: [bold]zeppelin[/]" in said
    assert "4 of 16 images of scenes test" in said
    assert said.count("scenes_test-") == 4, "file names"
    assert "wrote out/a.html" in said
    page = Path("out/a.html").read_text(encoding="utf-8")
    assert page.count("<article") == page.count('src="data:image/jpeg;base64,') == 4
    assert "“a small red circle and a [bold]zeppelin[/]”" in page
    assert "a model for tests" in page, "departures are said"
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_the_page_of_a_picture_shows_it_and_marks_the_caption(home: Path) -> None:
    gallery().images[5].save("five.png")
    answer = ask(I2T, picture=Path("five.png"))
    write_page(answer, Path("b.html"))
    page = Path("b.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/jpeg;base64,') == 4, home
    assert page.count('<li class="hit">') == 3
    write_page(answer, Path("c.html"))
    assert Path("c.html").read_bytes() == Path("b.html").read_bytes()


def test_without_a_training_the_committed_weights_answer(home: Path) -> None:
    trained, committed = (
        WORK / "hat-i2t/0/best.safetensors",
        Path("results/reference/scenes/hat-i2t.safetensors"),
    )
    sentence = gallery().captions[7]
    before = ask(I2T, sentence)
    state, _ = read_weights(trained)
    trained.unlink()
    assert rematch("query", I2T, "a red circle").error == (
        ".rematch/scenes/hat-i2t/0/best.safetensors: no such weights; train them (rematch reproduce "
        "recipes/hat/scenes-i2t.yaml), or name some (--checkpoint)"
    ), home
    committed.parent.mkdir(parents=True)
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file({name: value.clone() for name, value in halved.items()}, committed)
    after = ask(I2T, sentence)
    assert after.weights == [
        "hat-i2t: the committed reference, results/reference/scenes/hat-i2t.safetensors (no training of this recipe "
        "lies here)"
    ]
    assert [hit.score for hit in after.hits] == pytest.approx([hit.score for hit in before.hits], abs=0.02)
    assert [hit.score for hit in after.hits] != [hit.score for hit in before.hits], "in half precision"


def test_mistakes_are_one_line(fresh: Path) -> None:
    assert (
        rematch("query", I2T).error == "query: give a sentence, or a picture (--image FILE); one of them"
    ), fresh
    assert "one of them" in rematch("query", I2T, "a", "--image", "a.png").error
    assert rematch("query", I2T, "  ").error == "query: the sentence is empty"
    assert "option '--top': found 0" in rematch("query", I2T, "a", "--top", 0).error
    assert rematch("query", I2T, "--image", "none.png").error == "none.png: No such file or directory"
    Path("bad.png").write_bytes(b"bad")
    assert rematch("query", I2T, "--image", "bad.png").error == (
        "bad.png: cannot be decoded (not a picture: 3 bytes of no known format)"
    )
    assert (
        "an ensemble has several weights"
        in rematch("query", BOTH, "a", "--checkpoint", "a.safetensors").error
    )
    assert (
        "did you mean 'recipes/hat/scenes-t2i.yaml'"
        in rematch("query", str(T2I).replace("t2i", "t2"), "a").error
    )


def test_detected_regions_of_a_new_picture_cannot_be_made(fresh: Path) -> None:
    Image.new("RGB", (8, 8)).save("p.png")
    source = ROOT / "recipes/sgraf/flickr30k-saf.yaml"
    path = write_recipe(Path("recipes/sgraf/flickr30k-saf.yaml"), {})
    path.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    change_recipe(path, put("data.regions", {"source": "scan"}))
    with pytest.raises(UserError, match="features that a detector found") as caught:
        ask(path, picture=fresh / "p.png")
    assert "query it with a sentence" in str(caught.value)
