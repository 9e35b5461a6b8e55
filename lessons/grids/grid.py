"""What the grids of stored runs share: one way to train a line of a table, to measure it, to store it, to be called.

A week's file is a table: `runs()` lists what is trained and which of its settings are stored, `rows(made)` what is
measured, and a `Grid` says where the records go.

    python lessons/grids/week03.py              # make what is missing in lessons/runs/03_vicreg
    python lessons/grids/week03.py --again ID   # make one run again and compare it with the stored one
    python lessons/grids/week03.py --dry        # a few steps of the first run (--dry ID: that one); stores nothing
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.augment.views import Augment
from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.evaluate.clusters import matched_scores
from course_lib.evaluate.features import embed, raw_pixels, reinitialise
from course_lib.evaluate.measures import effective_rank, kmeans_clusters
from course_lib.evaluate.neighbours import knn_accuracy
from course_lib.evaluate.probes import factor_probe
from course_lib.methods import build_method
from course_lib.models.backbones import ConvNet
from course_lib.runs.stored import Panel, StoredRun, compare_runs, read_runs, runs_folder, write_run
from course_lib.train import checkpoint
from course_lib.train.history import History, record
from course_lib.train.loop import fit
from course_lib.train.tuning import fine_tune

SHAPES = 8000  # training images
LABELS = 800  # labelled images of a fine-tuning
CROPS = Augment(32, scale=(0.7, 1.0), jitter_p=0.0, gray_p=0.0)  # and its views
# An option's name in the records, where it isn't today's: stored runs are never edited, so new ones keep to it.
RECORDED = {"mask_ratio": "hidden"}
_dry = False


def few(number: int, least: int) -> int:
    """The number, in a dry run at most `least`."""
    return min(number, least) if _dry else number


@lru_cache
def _shapes(n: int, seed: int, upright: bool) -> Splits:
    return load("shapes", n=n, seed=seed, upright=upright)


def shapes(n: int = SHAPES, seed: int = 0, upright: bool = False) -> Splits:
    """The generated images, n of them to train with (and 2000 to test with)."""
    return _shapes(few(n, 300), seed, upright)


# ------------------------------------------------------------------------------------------------ a run
def build(run: Run) -> nn.Module:
    """The method of that name over the small conv net, or over the ViT that the run describes."""
    return build_method(run.method, run.backbone, 32, backbone_options=run.vit, **run.options)


@dataclass
class Run:
    """A line of a table: one training.

    options  of the method
    fit      what `fit` is given, beside seed and images
    says     what the record says of the settings, beside `fit`'s and the ViT's
    vit      options of a small ViT; None: the small conv net
    build    (run) -> the method, called right after the seed is set
    """

    id: str
    seed: int
    method: str
    options: dict
    fit: dict
    says: dict
    vit: dict | None = None
    build: Callable[[Run], nn.Module] = build

    @property
    def backbone(self) -> str:
        return "vit-tiny" if self.vit else "convnet"

    def settings(self) -> dict:
        """What is stored, beside batch size and precision; `fit`'s steps have a field of their own in the record."""
        asked = {key: value for key, value in self.fit.items() if key not in ("steps", "device")}
        vit = {f"vit_{key}": value for key, value in (self.vit or {}).items()}
        says = {RECORDED.get(key, key): value for key, value in self.says.items()}
        return {"optimizer": "adamw", **asked, **vit, **says}


@dataclass
class Made:
    """A run after its training. `beside`: file name -> what is kept beside the record, a method or `half(network)`."""

    run: Run
    method: nn.Module
    history: History
    splits: Splits
    untrained: nn.Module | None = None  # the method as it was before
    beside: dict[str, nn.Module | dict] = field(default_factory=dict)


def train(run: Run, splits: Splits | None = None, out: Path | None = None,
          watch: Callable[[nn.Module, History | None], None] | None = None) -> Made:
    """Build and fit; the images are `shapes()` where none are given. out: a folder to go on from if interrupted.

    watch is called with the method, before the training and, with the history so far, whenever losses are recorded;
    such a run is not resumed.
    """
    splits = splits or shapes()
    torch.manual_seed(run.seed)
    method = run.build(run)
    untrained, more = copy.deepcopy(method), {"out": out, "resume": out is not None}
    if watch:
        watch(method, None)
        more = {"watch": lambda history: watch(method, history)}
    history = fit(method, splits.train, seed=run.seed, progress=False, **more,
                  **{**run.fit, "steps": few(run.fit["steps"], 3)})
    return Made(run, method, history, splits, untrained)


def by_hand(run: Run, step: Callable[[int], dict]) -> History:
    """A training that is no `fit`: `step(number of the steps before)` -> its losses; every tenth is recorded."""
    steps, began = few(run.fit["steps"], 3), time.process_time()
    history = History(total_steps=steps, batch_size=run.fit["batch_size"], device="cpu", precision="float32", threads=1)
    for number in range(1, steps + 1):
        parts, history.steps = step(number - 1), number
        if number % 10 == 1 or number == steps:
            record(history, [(number, {k: v for k, v in parts.items() if isinstance(v, Tensor) and not v.ndim})])
    history.seconds = time.process_time() - began
    return history


class Looks:
    """Mixed into a method: in the course of its training it looks `count` times, denser at the beginning.

    Look i is at the share (i / (count - 1))^2 of all steps. `look_at()`, the method's own, is kept in `looks`.
    """

    count = 11
    look_at: Callable[[], object]

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.looks: list = []

    def look(self, progress: float) -> None:
        while len(self.looks) < self.count and progress * (self.count - 1) ** 2 >= len(self.looks) ** 2:
            self.looks.append(self.look_at())

    def on_epoch(self, epoch: int) -> None:
        self.look(0.0)

    def after_update(self, progress: float) -> None:
        super().after_update(progress)  # pyright: ignore[reportAttributeAccessIssue]
        self.look(progress)


# ------------------------------------------------------------------------------------------------ measures
def measure(name: str, kind: str, encoder: nn.Module | None) -> dict:
    """A row of scores: kNN, effective rank and what can be read of each cause. encoder=None: raw pixels."""
    splits = shapes()
    look = raw_pixels if encoder is None else partial(embed, encoder)
    bank, queries = look(splits.train), look(splits.test)
    return {"name": name, "kind": kind, "bank": len(bank), "queries": len(queries),
            "knn": knn_accuracy(bank, splits.train.labels, queries, splits.test.labels),
            "rank": effective_rank(queries) if len(queries) > 2 * queries.shape[1] else None,
            "factors": factor_probe(bank, splits.train, queries, splits.test, limit=3000)}


@lru_cache
def controls() -> tuple[dict, dict]:
    """The rows "random encoder" (the small conv net, untrained) and "raw pixels", which every run carries."""
    return (measure("random encoder", "control", reinitialise(ConvNet(), 0).eval()),
            measure("raw pixels", "control", None))


def cluster_row(name: str, found: tuple[Tensor, Tensor], splits: Splits, clusters: int, kind: str = "method") -> dict:
    """A row of scores: clusters of the first training images, matched with their labels, and of the test images."""
    train, test = found
    return {"name": name, "kind": kind} | matched_scores(train, splits.train.labels[:len(train)], test,
                                                         splits.test.labels, clusters)


def kmeans_row(name: str, features: tuple[Tensor, Tensor], splits: Splits, clusters: int, seed: int = 0) -> dict:
    """The control: k-means of features (N, D) of training images and (M, D) of test images."""
    return cluster_row(name, kmeans_clusters(*features, clusters, seed), splits, clusters, "control")


@lru_cache
def kmeans_rows(name: str, network: nn.Module, clusters: int) -> list[dict]:
    """k-means of raw pixels, of the random encoder's features and of the network's, which is called `name`."""
    looks = {"raw pixels": raw_pixels, "random encoder": partial(embed, reinitialise(network, 0).eval()),
             name: partial(embed, network)}
    return [kmeans_row(f"k-means, {n}", (look(shapes().train), look(shapes().test)), shapes(), clusters)
            for n, look in looks.items()]


def collapse_curves(history: History, width: int) -> dict:
    """Spread (1 at most) and rank of the embedding in the course of training."""
    return {"rank_steps": history.rank_steps, "std_curve": [width**0.5 * value for value in history.std],
            "rank_curve": history.rank}


def tuned(backbone: nn.Module, seed: int, epochs: int, splits: Splits | None = None) -> float:
    """Test accuracy after fine-tuning on few labels; the labelled images are the same for every method of one seed."""
    return fine_tune(backbone, splits or shapes(), epochs=few(epochs, 1), limit=few(LABELS, 64), batch_size=64,
                     seed=seed, augment=CROPS).accuracy


def half(network: nn.Module, **more) -> dict:
    """The weights as float16, to keep beside a record; `more` is kept with them."""
    weights: dict[str, Tensor] = network.state_dict()
    return {"method": {key: t.half() if t.is_floating_point() else t for key, t in weights.items()}, **more}


# ------------------------------------------------------------------------------------------------ the table
@dataclass
class Grid:
    """The runs of one lesson.

    folder  below lessons/runs
    runs    () -> the lines of the table
    rows    (made) -> the rows of scores
    note    a sentence in every record
    show    keys of the first row that are printed when a run is done
    train   (run, out=folder to go on from) -> Made, where training is more than one `fit` on `shapes()`
    panel   (made) -> the embedding that is stored with the record
    rate    store views per second, too
    """

    folder: str
    runs: Callable[[], Iterable[Run]]
    rows: Callable[[Made], list[dict]]
    note: str
    show: tuple[str, ...] = ("knn",)
    train: Callable[..., Made] = train
    panel: Callable[[Made], Panel] | None = None
    rate: bool = False

    def make(self, run: Run, out: Path | None = None) -> tuple[StoredRun, Made]:
        """Train and measure one line; nothing is written but `out`, the checkpoint of an unfinished training."""
        made = self.train(run, out=out)
        scores = self.rows(made)
        rate = {"views_per_second": made.history.views_per_second} if self.rate else {}
        record = StoredRun.from_history(
            run.method, made.splits.train.name, made.history, id=run.id, backbone=run.backbone, scores=scores,
            augmentation=repr(made.method.augment), seed=run.seed, settings={**run.settings(), **rate}, note=self.note,
            panel=self.panel(made) if self.panel else None)
        return record, made

    def line(self, run: StoredRun) -> str:
        row = run.scores[0] if run.scores else {}
        shown = "  ".join(f"{key} {row[key]:.3f}" for key in self.show if key in row)
        loss = f"loss {run.curves['loss'][-1]:.3f}  " if "loss" in run.curves else ""  # of a training
        return f"{run.id:32s} {run.wall_seconds:5.0f} s  {loss}{shown}"

    def main(self, about: str, arguments: list[str] | None = None) -> int:
        """The command line; `about` is the week's docstring."""
        global _dry
        parser = argparse.ArgumentParser(description=about.split("\n", 1)[0])
        parser.add_argument("--again", metavar="ID", help="make this run again and compare it with the stored one")
        parser.add_argument("--dry", metavar="ID", nargs="?", const="", help="a few steps of a run, nothing is stored")
        parser.add_argument("--keep", metavar="FOLDER", type=Path, help="checkpoints to go on from if interrupted")
        options = parser.parse_args(arguments)
        runs, where = {run.id: run for run in self.runs()}, runs_folder() / self.folder
        if options.again or options.dry is not None:
            name = options.again or options.dry or next(iter(runs))
            if name not in runs:
                raise SystemExit(f"no run {name!r}; there are: {', '.join(runs)}")
            if options.again:
                stored = next(run for run in read_runs(where) if run.id == name)
                differences = compare_runs(stored, self.make(runs[name])[0], tolerance=0.05)
                print("\n".join(differences) or "the same within the tolerance of 0.05")
                return bool(differences)
            _dry = True
            try:
                print(f"works: {self.line(self.make(runs[name])[0])}")
            finally:
                _dry = False
            return 0
        for name, run in runs.items():
            if not (where / f"{name}.json").exists():
                record, made = self.make(run, options.keep and options.keep / name)
                for file, network in made.beside.items():
                    keep = checkpoint.save if isinstance(network, dict) else checkpoint.save_small
                    keep(where / file, network)
                write_run(record, where)
                print(self.line(record), flush=True)
        return 0
