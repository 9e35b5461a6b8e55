"""The table that grows with the lessons: every method so far at equal compute, from the runs in lessons/runs/recap.

Each run is one CPU minute on generated shapes, with the same images, network, views and seeds
(`benchmarks/figures.py --only recap`). On photographs each method has one run, of five CPU minutes on CIFAR-10 with the
same network (`--only photographs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from course_lib.runs.stored import StoredRun, read_runs, runs_folder
from course_lib.text import html_table, text_table

CONTROLS = ("random encoder", "raw pixels")
# key of a row -> (heading, format, factor)
COLUMNS = {"knn": ("kNN (%)", ".1f", 100), "linear": ("linear probe (%)", ".1f", 100),
           "effective_rank": ("effective rank", ".1f", 1), "alignment": ("alignment", ".2f", 1),
           "uniformity": ("uniformity", ".2f", 1), "views_per_second": ("views/s", ".0f", 1),
           "photographs": ("photographs: kNN (%)", ".1f", 100)}


def recap_runs(upto: int | None = None, folder: str | Path | None = None) -> list[StoredRun]:
    """The stored runs of methods up to week `upto` (None: all), in the order of the lessons."""
    from course_lib.methods import METHODS, method_class  # imports torch, which reading runs does not need

    folder = Path(folder) if folder is not None else runs_folder() / "recap"
    if not folder.is_dir():
        return []
    runs = [run for run in read_runs(folder)
            if run.method in METHODS and (upto is None or method_class(run.method).week <= upto)]
    return sorted(runs, key=lambda run: (list(METHODS).index(run.method), run.seed))


def recap_rows(upto: int | None = None, folder: str | Path | None = None) -> list[dict]:
    """A row per method and control: "name", "week", "seeds", "needs", and a list of values for each of COLUMNS.

    The lists have a value per seed, "photographs" one (none without a run). "factors" maps each cause to such a list of
    scores (see `factor_probe`); "needs" is the method's (see `Method.needs`).
    """
    from course_lib.methods import method_class

    folder = Path(folder) if folder is not None else runs_folder() / "recap"
    runs, photographs = recap_runs(upto, folder), _photographs(folder.parent)
    rows = []
    for method in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == method]
        found = [{**run.scores[0], "views_per_second": run.settings.get("views_per_second")} for run in mine]
        rows.append(_row(method_class(method).title, method_class(method).week, found)
                    | {"needs": method_class(method).needs, "photographs": photographs.get(method, [])})
    for control in CONTROLS if runs else ():
        found = [row for run in runs for row in run.scores if row["name"] == control]
        rows.append(_row(control, None, [row for i, row in enumerate(found) if row not in found[:i]])
                    | {"needs": (), "photographs": photographs.get(control, [])})
    return rows


def _photographs(folder: Path) -> dict[str, list[float]]:
    """kNN on photographs of each method and control, from the runs cifar10-METHOD-convnet-s0 of a folder."""
    runs = [run for run in (read_runs(folder) if folder.is_dir() else [])
            if run.id == f"cifar10-{run.method}-convnet-s0"]
    found = {run.method: [run.scores[0]["knn"]] for run in runs}
    controls = {name: {row["knn"] for run in runs for row in run.scores if row["name"] == name} for name in CONTROLS}
    return found | {name: sorted(values) for name, values in controls.items()}


def _row(name: str, week: int | None, found: list[dict]) -> dict:
    row = {"name": name, "week": week, "seeds": len(found)}
    row |= {key: [each[key] for each in found if each.get(key) is not None] for key in COLUMNS}
    factors = [each["factors"] for each in found if each.get("factors")]
    causes = found[0].get("factors") or {} if found else {}
    return row | {"factors": {cause: [each[cause] for each in factors] for cause in causes}}


@dataclass
class RecapTable:
    """The rows as text or, in a notebook, as a table that a click on a heading sorts.

    Each cell is the mean over seeds, ± std if there are several.
    """

    rows: list[dict]

    def _lines(self) -> list[list[str]]:
        lines = [["", "week", "seeds", *(heading for heading, _, _ in COLUMNS.values()), "needs", "causes kept"]]
        for row in self.rows:
            cells = [_cell(row[key], form, factor) for key, (_, form, factor) in COLUMNS.items()]
            lines.append([row["name"], str(row["week"] or ""), str(row["seeds"]), *cells,
                          ", ".join(row["needs"]) or "-", ", ".join(kept(row)) or "-"])
        return lines

    def __repr__(self) -> str:
        return text_table(self._lines()) if self.rows else EMPTY

    def _repr_html_(self) -> str:
        return html_table(self._lines(), head=True, sort=True) if self.rows else f"<p>{EMPTY}</p>"


EMPTY = "No runs of the recap are stored in this checkout; `python benchmarks/figures.py --only recap` makes them."


def kept(row: dict, share: float = 0.5) -> list[str]:
    """The causes that a linear probe reads with a mean score of at least `share`."""
    return [cause for cause, scores in row["factors"].items() if scores and sum(scores) / len(scores) >= share]


def _cell(values: list[float], form: str, factor: float) -> str:
    if not values:
        return "-"
    mean = format(factor * fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {format(factor * stdev(values), form)}"


def recap_table(upto: int | None = None, folder: str | Path | None = None, by: str | None = None) -> RecapTable:
    """All methods up to week `upto`, raw pixels and a random encoder; show it as the last line of a cell.

    by: one of COLUMNS by whose mean rows are sorted, the largest first; None: in the order of the lessons. ValueError
    for another word.
    """
    if by is not None and by not in COLUMNS:
        raise ValueError(f"by is {by!r}; expected one of {', '.join(COLUMNS)}")
    rows = recap_rows(upto, folder)
    if by is not None:
        rows.sort(key=lambda row: fmean(row[by]) if row[by] else float("-inf"), reverse=True)
    return RecapTable(rows)
