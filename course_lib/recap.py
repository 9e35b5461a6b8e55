"""The table that fills across lessons: every method so far at equal compute, from the stored runs in lessons/runs/recap.

Each run is one CPU minute on generated shapes: same images, network, views and seeds. `benchmarks/figures.py --only
recap` makes them.
"""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from pathlib import Path

from .runs import StoredRun, read_runs, runs_folder

# method -> (week, name), in the order of the lessons
METHODS = {
    "align-uniform": (1, "alignment and uniformity"), "vicreg": (3, "VICReg"), "simclr": (4, "SimCLR"),
    "moco": (5, "MoCo"), "moco-v2": (5, "MoCo v2"), "byol": (6, "BYOL"), "simsiam": (7, "SimSiam"),
    "swav": (8, "SwAV"), "barlow-twins": (9, "Barlow Twins"),
}
CONTROLS = ("random encoder", "raw pixels")
# key of a row -> (heading, format, factor)
COLUMNS = {"knn": ("kNN (%)", ".1f", 100), "linear": ("linear probe (%)", ".1f", 100),
           "effective_rank": ("effective rank", ".1f", 1), "alignment": ("alignment", ".2f", 1),
           "uniformity": ("uniformity", ".2f", 1), "views_per_second": ("views/s", ".0f", 1)}


def recap_runs(upto: int | None = None, folder: str | Path | None = None) -> list[StoredRun]:
    """The stored runs of the methods up to week `upto` (None: all), in the order of the lessons; [] without any."""
    folder = Path(folder) if folder is not None else runs_folder() / "recap"
    if not folder.is_dir():
        return []
    weeks = {name: week for name, (week, _) in METHODS.items()}
    runs = [run for run in read_runs(folder) if run.method in weeks and (upto is None or weeks[run.method] <= upto)]
    return sorted(runs, key=lambda run: (list(METHODS).index(run.method), run.seed))


def recap_rows(upto: int | None = None, folder: str | Path | None = None) -> list[dict]:
    """One row a method and the two controls: "name", "week", "seeds", and lists with one value a seed.

    The lists: those of COLUMNS, and "factors" -> name of a cause -> scores (see `factor_probe`).
    """
    runs = recap_runs(upto, folder)
    rows = []
    for method in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == method]
        found = [{**run.scores[0], "views_per_second": run.settings.get("views_per_second")} for run in mine]
        rows.append(_row(METHODS[method][1], METHODS[method][0], found))
    for control in CONTROLS if runs else ():
        found = [row for run in runs for row in run.scores if row["name"] == control]
        rows.append(_row(control, None, [row for i, row in enumerate(found) if row not in found[:i]]))
    return rows


def _row(name: str, week: int | None, found: list[dict]) -> dict:
    row = {"name": name, "week": week, "seeds": len(found)}
    row |= {key: [each[key] for each in found if each.get(key) is not None] for key in COLUMNS}
    causes = found[0].get("factors") or {} if found else {}
    return row | {"factors": {cause: [each["factors"][cause] for each in found if each.get("factors")] for cause in causes}}


@dataclass
class RecapTable:
    """The rows as text and, in a notebook, as a table; each cell the mean over seeds and, if there are several, ± std."""

    rows: list[dict]

    def _lines(self) -> list[list[str]]:
        lines = [["", "week", "seeds", *(heading for heading, _, _ in COLUMNS.values()), "causes kept"]]
        for row in self.rows:
            cells = [_cell(row[key], form, factor) for key, (_, form, factor) in COLUMNS.items()]
            lines.append([row["name"], str(row["week"] or ""), str(row["seeds"]), *cells, ", ".join(kept(row)) or "-"])
        return lines

    def __repr__(self) -> str:
        if not self.rows:
            return EMPTY
        lines = self._lines()
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<p>{EMPTY}</p>"
        lines = [[html.escape(cell) for cell in line] for line in self._lines()]
        head = "".join(f"<th style='text-align:left'>{cell}</th>" for cell in lines[0])
        body = "".join("<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in line) + "</tr>"
                       for line in lines[1:])
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


EMPTY = "No runs of the recap are stored in this checkout; `python benchmarks/figures.py --only recap` makes them."


def kept(row: dict, share: float = 0.5) -> list[str]:
    """The causes that a linear probe reads from the representation with a mean score of at least `share`."""
    return [cause for cause, scores in row["factors"].items() if scores and sum(scores) / len(scores) >= share]


def _cell(values: list[float], form: str, factor: float) -> str:
    if not values:
        return "-"
    mean = sum(values) / len(values)
    if len(values) == 1:
        return format(factor * mean, form)
    std = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return f"{format(factor * mean, form)} ± {format(factor * std, form)}"


def recap_table(upto: int | None = None, folder: str | Path | None = None) -> RecapTable:
    """All methods up to week `upto` side by side, with raw pixels and a random encoder (the last line of its cell)."""
    return RecapTable(recap_rows(upto, folder))
