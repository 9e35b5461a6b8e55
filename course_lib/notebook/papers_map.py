"""The reading list as a map to wander in: families by years, and each paper's card.

    explore_papers()                              # in a notebook
    explore_papers(highlight=("falcon",))         # with some papers ringed: those of a lesson
    explore_papers(word="negative", family="contrastive").html()   # as a page of its own: `course papers --map`

papers_map.js draws it; everything it needs is in `PapersMap.data`, so it works without a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from course_lib.notebook.cards import shell, show_drawn
from course_lib.notebook.knobs import picture
from course_lib.notebook.pages import Part, offline_page
from course_lib.papers import Paper, load_papers, search, year_range
from course_lib.plots import paper_map
from course_lib.runs.reading import where

HERE = Path(__file__)
# the rows in their order: name -> colour, readable on light and dark, and what its papers have in common
FAMILIES = {
    "contrastive": ("#3B82C4", "two views of a thing are pulled together, other things pushed away"),
    "non-contrastive": ("#2AA5C9", "two views agree, and something other than negatives prevents collapse"),
    "clustering": ("#1B9E77", "images get groups, and the groups are the labels"),
    "masked": ("#D9662B", "a part is hidden and has to be told from the rest"),
    "pretext": ("#C99A1E", "an invented task whose answer is known: a puzzle, a rotation, a speed"),
    "dense": ("#C06BA0", "places of an image, rather than whole images, are compared"),
    "generative": ("#8B74D0", "something is drawn, rendered or written"),
    "multi-modal": ("#B0637A", "sound, words or other senses beside the picture"),
    "survey": ("#7F8C4D", "others' methods, compared and put in order"),
    "other": ("#8A8F98", "neighbours of the field: depth, flow, domains, distillation, language"),
}
STAND_IN = ("A picture of the reading list; run this cell to wander in it, or write it as a page: "
            "course papers --map.")
CSS = """body { font: 14px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 1800px; padding: 0 1rem }
h1 { font-size: 22px; margin: 0 } h1 + p { margin: .2em 0 1em; max-width: 60em }"""


class PapersMap:
    """The map as `explore_papers` makes it; it shows itself in a notebook.

    data: families (name, colour, about), papers (what the card shows of each, in the map's order), highlight (keys) and
    start (word, family, first and last year: the filters at the beginning).
    """

    def __init__(self, data: dict):
        self.data = data
        self._widget: Any = None

    def figure(self) -> Figure:
        """The map as a still picture."""
        return paper_map(load_papers(), self.data["highlight"])

    def html(self) -> str:
        """The map as a page of its own, whose address keeps the open card: papers.html#simclr."""
        papers = self.data["papers"]
        taught, built = (sum(bool(paper[what]) for paper in papers) for what in ("lesson", "method"))
        head = (f"<h1>{len(papers)} papers of self-supervised learning</h1><p>The reading list of the course as a map. "
                f"{taught} are taught in lessons, of {built} the method is in the library, the others are there to be "
                "read.</p>")
        part = Part("papers_map", self.data, "window.papersMap = draw(element, data, { hash: true });")
        return offline_page(f"{len(papers)} papers", head, part, css=CSS)

    def __repr__(self) -> str:
        return f"<PapersMap of {len(self.data['papers'])} papers>"

    def _ipython_display_(self) -> None:
        """The widget, and below it a sentence and the picture, which stand there when the widget does not."""
        if shell() is None:
            print(repr(self))
            return
        self._widget = self._widget or _widget(self.data)
        show_drawn(self._widget, "papers", STAND_IN, picture(self.figure(), repr(self)))


def _widget(data: dict) -> Any:
    import anywidget  # loads ipywidgets, which a script does not need
    import traitlets

    class Explorer(anywidget.AnyWidget):
        _esm, _css = HERE.with_suffix(".js"), HERE.with_suffix(".css")
        data = traitlets.Dict().tag(sync=True)

    return Explorer(data=data)


def explore_papers(highlight: Sequence[str] = (), word: str = "", family: str | None = None,
                   year: int | str | None = None) -> PapersMap:
    """All papers as a map. highlight: keys of papers to ring; word, family and year as in `papers.search`: the filters
    that are set at first. ValueError for what no paper has.
    """
    papers = load_papers()
    search(word, family, year, papers=papers)  # complains
    if unknown := sorted(set(highlight) - {paper.key for paper in papers}):
        raise ValueError(f"no paper has the key {unknown[0]!r}; `course papers WORD` finds papers")
    start: dict[str, str | int] = {"word": word, "family": family or ""}
    if year is not None:
        known, (first, last) = sorted({paper.year for paper in papers}), year_range(year)
        within = [one for one in known if first <= one <= last]
        if not within:
            raise ValueError(f"no paper is of {year}; their years are {', '.join(map(str, known))}")
        start |= {"first": within[0], "last": within[-1]}
    order = list(FAMILIES)
    papers.sort(key=lambda paper: (order.index(paper.family), paper.year, _written(paper)))
    return PapersMap({
        "families": [{"name": name, "colour": colour, "about": about} for name, (colour, about) in FAMILIES.items()],
        "papers": [_entry(paper) for paper in papers], "highlight": list(highlight), "start": start})


def _written(paper: Paper) -> str:
    """The month that an arXiv number begins with, then the number; papers without one come last."""
    return paper.url.rpartition("/abs/")[2] if "arxiv.org/abs/" in paper.url else "9"


def _entry(paper: Paper) -> dict:
    """What the page knows of a paper."""
    kept = ("key", "short", "title", "venue", "year", "url", "code_url", "lists", "section", "family", "idea", "detail",
            "equation", "method", "lesson", "correction")
    value = paper.reported_value if paper.reported_value not in ("-", "(empty)") else ""
    return {**{name: getattr(paper, name) for name in kept}, "builds_on": list(paper.builds_on),
            "schedule": paper.in_schedule, "file": where(paper)["file"] if paper.method else "",
            "reported": f"{paper.reported_metric}: {value}" if value else ""}
