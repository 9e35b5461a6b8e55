"""Make the stored runs of lesson 25: estimators against the truth, invertible encoders, digits in a row, ReLIC, DIM.

    python lessons/grids/week25.py   # what is missing in lessons/runs/25_mutual_information (20 minutes of one core)
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from grid import SHAPES, Grid, Made, Run, controls, few, measure, shapes, train

from course_lib.augment.colour import adjust_hue
from course_lib.augment.pixels import to_float
from course_lib.augment.views import SHAPES_VIEWS
from course_lib.evaluate.features import embed
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.methods.contrastive.relic import ReLIC, divergence, log_likeness
from course_lib.methods.information import estimators as mi
from course_lib.methods.information.dim import as_they_are
from course_lib.notebook import information_toys as toys
from course_lib.train.history import History

NATS, DIM, BATCH, STEPS = (0.5, 1.0, 2.0, 3.0, 8.0), 4, 256, 1200  # of the Gaussians
SEEDS, DIGITS, TURNS = (0, 1, 2), 4, (0.0, 0.25, 0.5)
READERS = {"mine": ("MINE",), "nwj": ("NWJ",), "infonce": ("InfoNCE",), "jsd": ("JSD, read as NWJ", "SMILE")}
ALPHAS, LINES = (0.0, 5.0), {"local": {}, "global": {"local_weight": 0.0, "global_weight": 1.0}}


class Toy(Run):
    """A small training of `information_toys`, which has no backbone of the library's."""

    @property
    def backbone(self) -> str:
        return "mlp"


def runs() -> list[Run]:
    return [run for seed in SEEDS for run in (
        *(toy("gaussians", f"gaussians-{name}", seed, STEPS, BATCH, trained_by=name) for name in READERS),
        *(toy("halves", f"halves-{start}", seed, 600, 128, scrambled=start) for start in (0.0, 0.7)),
        *(toy("rows", f"rows-{weight}", seed, 1000, 64, penalty=weight) for weight in (0.0, 1.0)),
        *(line("dim", f"dim-{name}", seed, 300, {"estimator": "infonce", **options})
          for name, options in LINES.items()),
        *(line("relic", f"relic-{alpha}", seed, 150, {"alpha": alpha}) for alpha in ALPHAS))]


def toy(kind: str, name: str, seed: int, steps: int, batch: int, **says) -> Run:
    return Toy(f"{name}-s{seed}", seed, kind, {"augment": as_they_are(8)},
               {"steps": steps, "batch_size": batch, "optimizer": "adam"}, {"line": name, **says})


def line(method: str, name: str, seed: int, steps: int, options: dict) -> Run:
    lr = ReLIC.recipe["lr"] if method == "relic" else 1e-3
    return Run(f"{name}-s{seed}", seed, method, {"augment": SHAPES_VIEWS, **options},
               {"steps": steps, "batch_size": 64, "lr": lr}, {"line": name, "n": SHAPES, **options})


# ------------------------------------------------------------------------------------------------ the toys
def gaussians(run: Run, steps: int) -> tuple[list[dict], dict]:
    """A critic for each truth, trained by the first of its readers; what they read of 200 fresh batches."""
    readers, found = READERS[run.says["trained_by"]], []
    for nats in NATS:
        draws = torch.Generator().manual_seed(100 + run.seed)
        draw = partial(mi.correlated_gaussians, BATCH, mi.gaussian_correlation(nats, DIM), DIM, draws)
        torch.manual_seed(run.seed)
        critic = toys.train_critic(readers[0], draw, DIM, steps)
        for name in readers:
            read = toys.readings(critic, draw, toys.ESTIMATORS[name], few(200, 3))
            found.append({"name": f"{name}, {nats:g} nats", "kind": "method", "estimator": name, "truth": nats,
                          "reading": float(read.mean()), "spread": float(read.std())})
    return found, {"loss": [-found[-1]["reading"]]}


def halves(run: Run, steps: int) -> tuple[list[dict], dict]:
    made = toys.train_halves(run.seed, run.says["scrambled"], steps, every=few(100, steps))
    names = ("bound", "knn", "probe", "few", "error")
    curves: dict[str, Any] = {"at": made.steps, "loss": [-value for value in made.bound],
                              **{name: getattr(made, name) for name in names}}
    return [{"name": "upper halves", "kind": "method", **{name: curves[name][-1] for name in names}}], curves


def rows_of_digits(run: Run, steps: int) -> tuple[list[dict], dict]:
    bound, accuracy = toys.train_rows(run.seed, run.says["penalty"], DIGITS, steps)
    pixels = toys.probed(lambda x: x.flatten(1), DIGITS, torch.Generator().manual_seed(run.seed))
    return [{"name": "rows", "kind": "method", "bound": bound, "digits": accuracy},
            {"name": "raw pixels", "kind": "control", "digits": pixels}], {"loss": [-bound]}


KINDS = {"gaussians": gaussians, "halves": halves, "rows": rows_of_digits}


def made(run: Run, out: Path | None = None) -> Made:
    """A network by `fit`, or a toy, whose rows are made on the way."""
    if run.method not in KINDS:
        return train(run, out=out)
    steps, began = few(run.fit["steps"], 2), time.process_time()
    found, curves = KINDS[run.method](run, steps)
    history = History(steps=steps, total_steps=steps, batch_size=run.fit["batch_size"], device="cpu", threads=1,
                      precision="float32", seconds=time.process_time() - began,
                      curve_steps=curves.pop("at", [steps]), curves=curves)
    method: Any = SimpleNamespace(augment=run.options["augment"], rows=found)
    splits: Any = SimpleNamespace(train=SimpleNamespace(name="digits" if run.method != "gaussians" else "Gaussians"))
    return Made(run, method, history, splits)


# ------------------------------------------------------------------------------------------------ the networks
@torch.no_grad()
def shifted(method: ReLIC) -> dict:
    """Under a hue turned by a part of the circle: kNN of turned test images, and the KL of views with turned ones."""
    bank, test = shapes().train, shapes().test
    known, images = embed(method, bank), to_float(test.images)
    turned = [adjust_hue(images, torch.full((len(images),), turn)) for turn in TURNS]
    looks = [embed(method, (255 * each).round().byte()) for each in turned]
    outputs = [method.critic(each) for each in looks]
    plain = log_likeness(outputs[0][:256], outputs[0][:256], method.temperature)
    kl = [float(divergence(plain, log_likeness(each[:256], outputs[0][:256], method.temperature))) for each in outputs]
    return {"turned_knn": [knn_accuracy(known, bank.labels, z, test.labels) for z in looks], "turned_kl": kl}


def rows(made: Made) -> list[dict]:
    if made.run.method in KINDS:
        return made.method.rows  # pyright: ignore
    row = measure(made.run.says["line"], "method", made.method)
    return [row | (shifted(made.method) if isinstance(made.method, ReLIC) else {}), *controls()]


GRID = Grid("25_mutual_information", runs, rows, "Lesson 25: what is read of mutual information, and what is learned.",
            show=("reading", "bound", "knn"), train=made)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
