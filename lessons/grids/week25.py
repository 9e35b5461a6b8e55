"""Make the stored runs of lesson 25: estimators, invertible encoders, latent trees, digits in a row, ReLIC, DIM.

    python lessons/grids/week25.py   # what is missing in lessons/runs/25_mutual_information (20 minutes of one core)
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes, train

from course_lib.augment.views import SHAPES_VIEWS
from course_lib.methods.contrastive.relic import ReLIC
from course_lib.methods.information.dim import as_they_are
from course_lib.methods.information.latent_tree import read_tree
from course_lib.notebook import information_toys as toys
from course_lib.train.history import History

NATS, DIM, BATCH, STEPS = (0.5, 1.0, 2.0, 3.0, 8.0), 4, 256, 1200  # of the Gaussians
SEEDS, DIGITS, TURNS = (0, 1, 2), 4, (0.0, 0.25, 0.5)
READERS = {"mine": ("MINE",), "nwj": ("NWJ",), "infonce": ("InfoNCE",), "jsd": ("JSD, read as NWJ", "SMILE")}
DATA = {"gaussians": "Gaussians", "trees": "latent trees"}
ALPHAS = (0.0, 5.0)
LINES = {"local": {}, "global": {"local_weight": 0.0, "global_weight": 1.0}, "prior": {"prior_weight": 0.1}}


class Toy(Run):
    """A small training of `information_toys`, which has no backbone of the library's."""

    backbone = "mlp"


def runs() -> list[Run]:
    return [run for seed in SEEDS for run in (
        *(toy("gaussians", f"gaussians-{name}", seed, STEPS, BATCH, trained_by=name) for name in READERS),
        *(toy("halves", f"halves-{start}", seed, 600, 128, scrambled=start) for start in (0.0, 0.7)),
        *(toy("trees", f"tree-{width}", seed, 400, 128, width=width) for width in (2, 10)),
        *(toy("rows", f"rows-{weight}", seed, 1000, 64, penalty=weight) for weight in (0.0, 1.0)),
        *(line("dim", f"dim-{name}", seed, 300, 1e-3, {"estimator": "infonce", **own}) for name, own in LINES.items()),
        *(line("relic", f"relic-{alpha}", seed, 150, ReLIC.recipe["lr"], {"alpha": alpha}) for alpha in ALPHAS))]


def toy(kind: str, name: str, seed: int, steps: int, batch: int, **says) -> Run:
    return Toy(f"{name}-s{seed}", seed, kind, {"augment": as_they_are(8)},
               {"steps": steps, "batch_size": batch, "optimizer": "adam"}, {"line": name, **says})


def line(method: str, name: str, seed: int, steps: int, lr: float, options: dict) -> Run:
    return Run(f"{name}-s{seed}", seed, method, {"augment": SHAPES_VIEWS, **options},
               {"steps": steps, "batch_size": 64, "lr": lr}, {"line": name, "n": SHAPES, **options})


def trained(run: Run, steps: int) -> tuple[list[dict], dict]:
    """A toy -> its rows, and its curves, "at" which steps if at more than the last."""
    if run.method == "gaussians":
        found = toys.read_gaussians(READERS[run.says["trained_by"]], NATS, DIM, BATCH, run.seed, steps, few(200, 3))
        return found, {"loss": [-found[-1]["reading"]]}
    if run.method == "halves":
        made = toys.train_halves(run.seed, run.says["scrambled"], steps, every=few(100, steps))
        curves = {name: getattr(made, name) for name in ("bound", "knn", "probe", "few", "error")}
        row = {"name": "upper halves", "kind": "method", **{name: values[-1] for name, values in curves.items()}}
        return [row], {"at": made.steps, "loss": [-value for value in made.bound], **curves}
    if run.method == "trees":
        found, losses = read_tree(run.seed, run.says["width"], steps)
        return found, {"loss": losses[-1:]}
    found = toys.read_rows(run.seed, run.says["penalty"], DIGITS, steps)
    return found, {"loss": [-found[0]["bound"]]}


def made(run: Run, out: Path | None = None) -> Made:
    """A network by `fit`, or a toy, whose rows are made on the way."""
    if not isinstance(run, Toy):
        return train(run, out=out)
    steps, began = few(run.fit["steps"], 2), time.process_time()
    found, curves = trained(run, steps)
    history = History(steps=steps, total_steps=steps, batch_size=run.fit["batch_size"], device="cpu", threads=1,
                      precision="float32", seconds=time.process_time() - began,
                      curve_steps=curves.pop("at", [steps]), curves=curves)
    method: Any = SimpleNamespace(augment=run.options["augment"], rows=found)
    splits: Any = SimpleNamespace(train=SimpleNamespace(name=DATA.get(run.method, "digits")))
    return Made(run, method, history, splits)


def rows(made: Made) -> list[dict]:
    if isinstance(made.run, Toy):
        return made.method.rows  # pyright: ignore
    row = measure(made.run.says["line"], "method", made.method)
    if isinstance(made.method, ReLIC):
        row |= toys.under_turned_hues(made.method, shapes().train, shapes().test, TURNS)
    return [row, *controls()]


GRID = Grid("25_mutual_information", runs, rows, "Lesson 25: what is read of mutual information, and what is learned.",
            show=("reading", "bound", "knn"), train=made)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
