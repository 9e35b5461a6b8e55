"""What the grids of stored runs share: the images, the measures of a representation, the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from torch import nn

from course_lib.backbones import ConvNet
from course_lib.data import Splits, load
from course_lib.evaluate import effective_rank, embed, factor_probe, knn_accuracy, raw_pixels, reinitialise
from course_lib.runs import StoredRun, compare_runs, read_runs, runs_folder, write_run

SHAPES = 8000


@lru_cache
def shapes(n: int = SHAPES) -> Splits:
    return load("shapes", n=n)


def measure(name: str, kind: str, encoder: nn.Module | None) -> dict:
    """A row of scores: kNN, effective rank and what can be read of each cause. encoder=None: raw pixels."""
    splits = shapes()
    bank, queries = (raw_pixels(part) if encoder is None else embed(encoder, part) for part in (splits.train, splits.test))
    return {"name": name, "kind": kind, "bank": len(bank), "queries": len(queries),
            "knn": knn_accuracy(bank, splits.train.labels, queries, splits.test.labels),
            "rank": effective_rank(queries) if len(queries) > 2 * queries.shape[1] else None,
            "factors": factor_probe(bank, splits.train, queries, splits.test, limit=3000)}


@lru_cache
def controls() -> tuple[dict, dict]:
    """The rows "random encoder" (the small conv net, untrained) and "raw pixels", which every run carries."""
    return (measure("random encoder", "control", reinitialise(ConvNet(), 0).eval()),
            measure("raw pixels", "control", None))


def main(cells: Mapping[str, Callable[[], StoredRun]], folder: str, say: Callable[[StoredRun], str], about: str,
         arguments: list[str] | None = None) -> int:
    """Make the runs that are missing in lessons/runs/<folder>, or one of them again (--again ID) to compare."""
    parser = argparse.ArgumentParser(description=about.split("\n", 1)[0])
    parser.add_argument("--again", metavar="ID", help="make this run again and compare")
    options = parser.parse_args(arguments)
    where = Path(runs_folder()) / folder
    if options.again:
        if options.again not in cells:
            raise SystemExit(f"no run {options.again!r}; there are: {', '.join(cells)}")
        stored = next(run for run in read_runs(where) if run.id == options.again)
        differences = compare_runs(stored, cells[options.again](), tolerance=0.05)
        print("\n".join(differences) or "the same within the tolerance of 0.05")
        return bool(differences)
    for name, make in cells.items():
        if not (where / f"{name}.json").exists():
            run = make()
            write_run(run, where)
            print(f"{run.id:32s} {run.wall_seconds:5.0f} s  {say(run)}", flush=True)
    return 0
