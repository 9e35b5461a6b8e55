"""The reading list as data: `papers.csv`, loaded, searched, and printed by `course papers`."""

from __future__ import annotations

import argparse
import csv
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

FILE = Path(__file__).with_name("papers.csv")
STUDY_GROUP = "study group"  # how `lists` names the schedule that this course follows


@dataclass(frozen=True)
class Paper:
    """One paper. `treatment` says what the course does with it: implement, reproduce small, or read."""

    key: str
    title: str
    venue: str
    year: int
    url: str
    code_url: str
    lists: str           # the reading lists that it stands on
    section: str         # its heading there
    family: str          # contrastive, masked, clustering, ...
    treatment: str
    reported_metric: str
    reported_value: str  # as the list has it
    idea: str            # one sentence
    correction: str      # what is wrong in the list's entry

    @property
    def in_schedule(self) -> bool:
        """Whether the study group had it on its own list."""
        return STUDY_GROUP in self.lists


def load_papers(path: str | Path = FILE) -> list[Paper]:
    """All papers in the order of the file."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        wanted = [field.name for field in fields(Paper)]
        if rows.fieldnames != wanted:
            raise ValueError(f"{Path(path).name} has the columns {rows.fieldnames}; expected {wanted}.")
        return [Paper(**{**row, "year": int(row["year"])}) for row in rows]


def search(text: str = "", family: str | None = None, year: int | str | None = None,
           treatment: str | None = None, papers: Iterable[Paper] | None = None) -> list[Paper]:
    """Papers that hold every word of `text` (any case) in key, title, venue, section, family or idea.

    `year` is one year or a range such as "2019-2021". Raises ValueError for a family or treatment that no
    paper has, with those there are.
    """
    papers = list(load_papers() if papers is None else papers)
    first, last = _years(year)
    for name, value in (("family", family), ("treatment", treatment)):
        known = sorted({getattr(paper, name) for paper in papers})
        if value is not None and value not in known:
            raise ValueError(f"no paper has the {name} {value!r}; expected one of {', '.join(known)}.")
    words = text.lower().split()

    def fits(paper: Paper) -> bool:
        where = (paper.key, paper.title, paper.venue, paper.section, paper.family, paper.idea)
        return (all(word in " ".join(where).lower() for word in words) and first <= paper.year <= last
                and family in (None, paper.family) and treatment in (None, paper.treatment))

    return [paper for paper in papers if fits(paper)]


def _years(year: int | str | None) -> tuple[int, int]:
    if year is None:
        return 0, 9999
    first, _, last = str(year).partition("-")
    try:
        return int(first), int(last or first)
    except ValueError:
        raise ValueError(f"year is {year!r}; expected a year, 2020, or a range, 2019-2021.") from None


def table(papers: list[Paper], width: int | None = None, ideas: bool = False) -> str:
    """The papers as text of at most `width` columns (default: the terminal's), oldest first, one a line.

    `ideas` adds the idea, the paper's address and its code below each line.
    """
    width = max(60, width or shutil.get_terminal_size((100, 24)).columns)
    family, treatment, venue = (max((len(getattr(paper, name)) for paper in papers), default=0)
                                for name in ("family", "treatment", "venue"))
    venue = min(16, venue)
    room = width - (4 + venue + family + treatment + 8)
    lines = []
    for paper in sorted(papers, key=lambda p: (p.year, p.family, p.title)):
        short = textwrap.shorten(paper.venue, venue, placeholder="…") or paper.venue[:venue]
        title = paper.title if len(paper.title) <= room else paper.title[:room - 1].rstrip() + "…"
        kind = f"{paper.family:{family}}  {paper.treatment:{treatment}}"
        lines.append(f"{paper.year}  {short:{venue}}  {kind}  {title}")
        if ideas:
            lines += textwrap.wrap(paper.idea, width - 6, initial_indent=" " * 6, subsequent_indent=" " * 6)
            lines += [f"      {address}" for address in (paper.url, paper.code_url) if address] + [""]
    return "\n".join(lines).rstrip()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `course papers`."""
    parser.add_argument("search", nargs="*", metavar="WORD", help="words that title, venue or idea must hold")
    parser.add_argument("--family", help="contrastive, non-contrastive, masked, clustering, ...")
    parser.add_argument("--year", help="a year, 2020, or a range, 2019-2021")
    parser.add_argument("--treatment", help="the course's: implement, 'reproduce small' or read")
    parser.add_argument("--ideas", action="store_true", help="with one sentence on each, and its addresses")


def run(args: argparse.Namespace) -> int:
    """Print the papers that fit; 0, or 1 where there is none."""
    everything = load_papers()
    found = search(" ".join(args.search), args.family, args.year, args.treatment, everything)
    if not found:
        print(f"None of the {len(everything)} papers fits. Try fewer words, or leave out --family, --year.")
        return 1
    # A few are shown in full, as somebody who searched for one paper wants its address.
    print(table(found, ideas=args.ideas or len(found) <= 3))
    print(f"\n{len(found)} of {len(everything)} papers")
    return 0
