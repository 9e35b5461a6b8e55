"""The reading list as data: `papers.csv`, loaded, searched and printed."""

from __future__ import annotations

import csv
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from course_lib.files import PACKAGE
from course_lib.text import text_table

FILE = PACKAGE / "papers.csv"
STUDY_GROUP = "study group"  # its name in `lists`; the course follows its schedule


@dataclass(frozen=True)
class Paper:
    """One paper. `treatment` is what the course does with it: implement, reproduce small, or read."""

    key: str
    title: str
    venue: str
    year: int
    url: str
    code_url: str
    lists: str           # the reading lists that have it
    section: str         # its heading there
    family: str          # contrastive, masked, clustering, ...
    treatment: str
    reported_metric: str
    reported_value: str  # as the list states it
    idea: str            # one sentence
    correction: str      # of an error in the list's entry
    short: str           # the name on the map
    detail: str          # one more sentence: what to look at
    equation: str        # of its loss, in one line, where the course has the method or a lesson
    builds_on: tuple[str, ...]  # keys of papers here whose ideas, networks or code it uses or examines
    method: str          # its name in `course_lib.methods.METHODS`, "" without
    lesson: str          # such as 04_simclr, "" without

    @property
    def in_schedule(self) -> bool:
        """Whether it is in the study group's own schedule."""
        return STUDY_GROUP in self.lists


def load_papers(path: str | Path = FILE) -> list[Paper]:
    """All papers in the order of the file."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        wanted = [field.name for field in fields(Paper)]
        if rows.fieldnames != wanted:
            raise ValueError(f"{Path(path).name} has the columns {rows.fieldnames}; expected {wanted}.")
        return [Paper(**{**row, "year": int(row["year"]), "builds_on": tuple(row["builds_on"].split())})
                for row in rows]


def search(text: str = "", family: str | None = None, year: int | str | None = None,
           treatment: str | None = None, papers: Iterable[Paper] | None = None) -> list[Paper]:
    """Papers with every word of `text` (in any case) in key, names, venue, section, family or idea.

    year: one, or a range such as "2019-2021". Raises ValueError, with a list of the choices, for an unknown family or
    treatment.
    """
    papers = list(load_papers() if papers is None else papers)
    first, last = year_range(year)
    for name, value in (("family", family), ("treatment", treatment)):
        known = sorted({getattr(paper, name) for paper in papers})
        if value is not None and value not in known:
            raise ValueError(f"no paper has the {name} {value!r}; expected one of {', '.join(known)}.")
    words = text.lower().split()

    def fits(paper: Paper) -> bool:
        where = (paper.key, paper.short, paper.title, paper.venue, paper.section, paper.family, paper.idea)
        return (all(word in " ".join(where).lower() for word in words) and first <= paper.year <= last
                and family in (None, paper.family) and treatment in (None, paper.treatment))

    return [paper for paper in papers if fits(paper)]


def year_range(year: int | str | None) -> tuple[int, int]:
    """The first and the last year of 2020 or "2019-2021"; None: all. ValueError for anything else."""
    if year is None:
        return 0, 9999
    first, _, last = str(year).partition("-")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise ValueError(f"year is {year!r}; expected a year, 2020, or a range, 2019-2021.") from None


def table(papers: list[Paper], width: int | None = None, ideas: bool = False) -> str:
    """The papers as text, oldest first, one per line of at most `width` columns (default: the terminal's).

    ideas: add each paper's idea and the addresses of paper and code.
    """
    width = max(60, width or shutil.get_terminal_size((100, 24)).columns)
    papers = sorted(papers, key=lambda paper: (paper.year, paper.family, paper.title))
    rows = [(str(paper.year), textwrap.shorten(paper.venue, 16, placeholder="…") or paper.venue[:16], paper.family,
             paper.treatment, paper.title) for paper in papers]
    lines = []
    for paper, line in zip(papers, text_table(rows).splitlines() if rows else ()):
        lines.append(line if len(line) <= width else line[: width - 1].rstrip() + "…")
        if ideas:
            lines += textwrap.wrap(paper.idea, width - 6, initial_indent=" " * 6, subsequent_indent=" " * 6)
            lines += [f"      {address}" for address in (paper.url, paper.code_url) if address] + [""]
    return "\n".join(lines).rstrip()
