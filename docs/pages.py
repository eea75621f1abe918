"""Gather the site's pages in a folder: docs/ as it is written, and a page a method made from the repository's files.

`python docs/pages.py FOLDER` writes FOLDER/mkdocs.yml and FOLDER/pages; `nox -s docs` then builds them strictly. Needs
PyYAML alone. A number on a method's page comes from results/paper/, results/tables/ or a recipe, and from nowhere else.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent

PLACES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages that are not in docs/, by their place on the site."""
FOLDERS = {
    "benchmark/data/published/split_lists": "papers/data.md",
    "recipes": "methods/index.md",
    "results/paper": "methods/index.md",
}
"""Pages that stand for a folder."""

GENERATED = (("results", "tables"), ("results", "studies"), ("results", "hardware"))
"""Folders of pages that commands write."""

RECALLS = ("i2t R@1", "R@5", "R@10", "t2i R@1", "R@5", "R@10", "rsum")
KEYS = ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "rsum")
FACTS = {"vse_infty": "docs/papers/user.md", "clip": "docs/models.md"}
"""The document of facts of a method whose name it does not bear."""

PACKAGES = {"clip": "dual_encoder"}
"""The method that a paper's file is about, where it has another name."""

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]+)?\)")

Row = dict[str, Any]


class FaultError(Exception):
    """A page that cannot be made, in one line."""


@dataclass(frozen=True)
class Site:
    """The folder that pages are written to, with the place of every file that they may link to."""

    folder: Path

    def add(self, source: str, text: str | None = None) -> None:
        """Write the page of a file of the repository, its links led to where their targets are on the site."""
        if text is None:
            text = (ROOT / source).read_text(encoding="utf-8")
        self.write(place_of(source), LINK.sub(lambda link: self._link(source, link), text))

    def write(self, place: str, text: str) -> None:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def _link(self, source: str, link: re.Match[str]) -> str:
        target = os.path.relpath((ROOT / source).parent / link[1], ROOT)
        return f"]({self.lead(place_of(source), target, f'{source}: link')}{link[2] or ''})"

    def lead(self, page: str, target: str, what: str) -> str:
        """Return the link from a page to a file of the repository, which is copied where it is no page."""
        target = Path(target).as_posix()
        place = FOLDERS.get(target) or place_of(target)
        if target not in FOLDERS:
            if not (ROOT / target).is_file():
                raise FaultError(f"{what} '{target}': no such file, expected a file of the repository")
            if place.startswith("files/"):
                (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / target, self.folder / place)
        return Path(os.path.relpath(place, Path(page).parent)).as_posix()


def place_of(source: str) -> str:
    """Return where a file of the repository lies on the site."""
    path = Path(source)
    if source in PLACES:
        return PLACES[source]
    if path.parts[0] == "baselines" and path.name == "README.md":
        return f"methods/{path.parts[1]}-fidelity.md"
    if path.parts[0] == "docs" and path.suffix in (".md", ".bib", ".css"):
        return path.relative_to("docs").as_posix()
    if path.parts[:2] in GENERATED and path.suffix == ".md":
        return f"{path.parts[1]}/{'index' if path.name == 'README.md' else path.stem}.md"
    return f"files/{source}"


# ---------------------------------------------------------------- what the repository holds


def methods() -> list[str]:
    """Return the names of the methods that have a paper's file."""
    return sorted(path.stem for path in (ROOT / "results/paper").glob("*.yaml"))


def package(method: str) -> str:
    """Return the package, and the folder of recipes, of the method that a paper's file is about."""
    return PACKAGES.get(method, method)


def read(path: Path) -> Row:
    found: Row = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def recipes(method: str) -> dict[str, Row]:
    """Return the recipes of a method by their path in the repository."""
    files = sorted((ROOT / "recipes" / package(method)).glob("*.yaml"))
    return {file.relative_to(ROOT).as_posix(): read(file) for file in files}


def measured(method: str) -> Iterator[Row]:
    """Yield the rows of the committed tables that hold runs of a method."""
    for file in sorted((ROOT / "results/tables").glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if (
                    row.get("method") == method
                    and row.get("run")
                    and row.get("n_seeds") not in (None, "", "0")
                ):
                    yield row


def citation(method: str) -> str:
    """Return a method's entry of references.bib."""
    text = (ROOT / "docs/references.bib").read_text(encoding="utf-8")
    found = re.search(rf"^@\w+\{{{method},\n.*?^\}}$", text, flags=re.MULTILINE | re.DOTALL)
    if found is None:
        raise FaultError(
            f"docs/references.bib: no entry '{method}', expected one for each file of results/paper"
        )
    return found.group()


# ---------------------------------------------------------------- a method's page


def number(value: Any) -> str:
    """Return a number with one decimal, or with those that a paper prints."""
    if value in (None, ""):
        return ""
    short = f"{float(value):.1f}"
    return short if isinstance(value, str) or float(short) == value else str(value)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    cells = [head, tuple("---" for _ in head), *rows]
    return (
        "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in cells) + "\n"
    )


def reported(paper: Row) -> str:
    """Return the paper's rows, a table a dataset, each with its sources below."""
    parts = []
    for dataset in dict.fromkeys(row["dataset"] for row in paper["rows"]):
        lines, sources = [], dict[str, list[str]]()
        for row in paper["rows"]:
            if row["dataset"] == dataset:
                sides = [row.get(side) or {} for side in ("i2t", "t2i")]
                values = [side.get(key) for side in sides for key in ("r1", "r5", "r10")]
                lines.append((row["variant"], *(number(value) for value in (*values, row["rsum"]))))
                kind = row.get("kind", "reported")
                source = row["source"] if kind == "reported" else f"{row['source']} ({kind})"
                sources.setdefault(source, []).append(row["variant"])
        named = [f"- {', '.join(names)}: {source}\n" for source, names in sources.items()]
        parts.append(f"### {dataset}\n\n{table(('variant', *RECALLS), lines)}\n{''.join(named)}")
    unknown = "".join(f"- {name}\n" for name in paper["expected_variants"])
    if unknown:
        parts.append("### Values that could not be read\n\n" + unknown)
    speeds = "".join(f"- {speed(item)}\n" for item in paper["latency"])
    notes = "".join(f"- {note}\n" for note in paper["notes"])
    parts += ["### Speeds that it states\n\n" + speeds] if speeds else []
    return "\n".join([*parts, *(["### Notes\n\n" + notes] if notes else [])])


def speed(item: Row) -> str:
    """Return a speed that a paper states, in its own unit."""
    where = ", ".join(item[key] for key in ("dataset", "hardware") if item[key])
    return f"{item['variant']}{f' ({where})' if where else ''}: {item['value']:g} {item['unit']}; {item['source']}"


def ours(method: str) -> str:
    """Return the committed runs of a method."""
    lines = []
    for row in measured(method):
        numbers = [number(row[key]) for key in KEYS]
        spread = f" ± {number(row['rsum_sd'])}" if row["rsum_sd"] else ""
        numbers[-1] += spread
        lines.append((row["protocol"], row["run"], row["n_seeds"], *numbers, row["verdict"]))
    if not lines:
        return "No run of this method is committed.\n"
    return table(("protocol", "run", "seeds", *RECALLS, "verdict"), lines)


def recipe_part(site: Site, method: str) -> str:
    """Return the recipes of a method, and how they depart from what is published."""
    page, found = f"methods/{method}.md", recipes(method)
    lines, departing = [], dict[tuple[str, ...], list[str]]()
    for path, recipe in found.items():
        row = (recipe.get("paper_row") or {}).get("variant", "")
        given = tuple(recipe.get("departures") or ())
        count = str(len(given)) if "departures" in recipe else "of its members"
        lines.append((f"[{Path(path).stem}]({site.lead(page, path, path)})", recipe["summary"], row, count))
        if given:
            departing.setdefault(given, []).append(Path(path).stem)
    parts = [table(("recipe", "summary", "row of the paper", "departures"), lines)]
    for departures, names in departing.items():
        parts.append(f"**{', '.join(names)}**:\n\n" + "".join(f"- {text}\n" for text in departures))
    return "\n".join(parts)


def method_page(site: Site, method: str) -> str:
    """Return the page of one method."""
    page, paper = f"methods/{method}.md", read(ROOT / f"results/paper/{method}.yaml")
    facts = FACTS.get(method, f"docs/papers/{method}.md")
    places = {
        name: site.lead(page, path, path)
        for name, path in (
            ("facts", facts),
            ("fidelity", f"baselines/{package(method)}/README.md"),
            ("file", f"results/paper/{method}.yaml"),
        )
    }
    code = f"[the authors' code]({paper['code']})" if paper["code"] else "no authors' code is known"
    if paper.get("code_commit"):
        code += f" at `{paper['code_commit'][:7]}`"
    if paper.get("code_licence"):
        code += f", licence: {paper['code_licence']}"
    session = f"reproduce-{package(method).replace('_', '-')}"
    return f"""# {method}

{paper["title"]}, {paper["year"]}. [arXiv {paper["arxiv"]}](https://arxiv.org/abs/{paper["arxiv"]}); {code}.

`nox -s {session}` trains and evaluates it. [What is known of the paper]({places["facts"]});
[how faithful the code is]({places["fidelity"]}).

## What the paper reports

Recalls are in percent, as printed; an empty cell is a value that is not known. All of it with its sources is in
[results/paper/{method}.yaml]({places["file"]}).

{reported(paper)}
## What was run here

Means over seeds of the committed runs, from [the tables](../tables/index.md);
[how to read a verdict](../verdict.md).

{ours(method)}
## Recipes and departures

{recipe_part(site, method)}
## To cite

```bibtex
{citation(method)}
```
"""


def methods_index() -> str:
    """Return the page that lists the methods."""
    rows = []
    for method in methods():
        paper = read(ROOT / f"results/paper/{method}.yaml")
        known = {"missing": "none", "partial": "some", "complete": "all"}[paper["status"]]
        runs = str(len(list(measured(method))))
        rows.append((f"[{method}]({method}.md)", paper["title"], str(paper["year"]), known, runs))
    head = ("method", "paper", "year", "values of the paper known", "committed runs")
    return (
        f"# Methods\n\n{table(head, rows)}\nEvery page is made from `results/paper/`, `results/tables/` and "
        "`recipes/` when the site is built. All citations: [references.bib](../references.bib).\n"
    )


# ---------------------------------------------------------------- the site


def gather(folder: Path) -> None:
    """Write every page and the configuration into a folder, in place of what an earlier call left there."""
    site = Site(folder / "pages")
    shutil.rmtree(site.folder, ignore_errors=True)
    sources = [path for path in sorted((ROOT / "docs").rglob("*")) if path.suffix in (".md", ".bib", ".css")]
    for part in map("/".join, GENERATED):
        sources += sorted((ROOT / part).glob("*.md"))
    sources += [*(ROOT / name for name in PLACES), *sorted((ROOT / "baselines").glob("*/README.md"))]
    for source in sources:
        site.add(source.relative_to(ROOT).as_posix())
    for method in methods():
        site.write(f"methods/{method}.md", method_page(site, method))
    site.write("methods/index.md", methods_index())
    settings = read(ROOT / "docs/mkdocs.yml")
    for part in settings["nav"]:
        if "Methods" in part:
            pages = [{name: f"methods/{name}.md"} for name in methods()]
            notes = [
                {f"{name}: fidelity": f"methods/{name}-fidelity.md"}
                for name in sorted({package(method) for method in methods()})
            ]
            part["Methods"] = ["methods/index.md", *pages, *notes]
    settings["plugins"][-1]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT)]
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(f"docs/pages.py: found {len(sys.argv) - 1} arguments, expected one: the folder to write")
    try:
        gather(Path(sys.argv[1]))
    except FaultError as fault:
        sys.exit(str(fault))


if __name__ == "__main__":
    main()
