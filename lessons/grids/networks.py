"""Make the learned networks: every method on generated shapes and on CIFAR-10 photographs, longer than a lesson can.

    course networks                              # what is missing in lessons/networks; goes on where it stopped
    course networks --method byol --set shapes   # that one
    course networks --photographs FOLDER         # CIFAR-10 as pictures in class folders, if torchvision's isn't there
    course networks --dry                        # a few steps of each; stores nothing
    course networks --table                      # what there is

Seed 0 keeps its weights, the others their numbers. One thread each; the last step counts, not the best.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import torch
from torch import nn

from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.evaluate.clusters import matched_scores, score_clusters
from course_lib.evaluate.features import embed
from course_lib.evaluate.measures import check_labels, kmeans_clusters
from course_lib.evaluate.reconstruction import hidden_errors
from course_lib.evaluate.scoring import score
from course_lib.files import CHECKOUT
from course_lib.methods import METHODS, build_method, method_class
from course_lib.methods.base import ClusteringMethod, Method, ReconstructionMethod
from course_lib.methods.clustering.shared import through
from course_lib.methods.contrastive.swav import SwAV
from course_lib.models.layers import normalize
from course_lib.notebook.flattening import flat_maps
from course_lib.runs.networks import Journey, journey, keep, keep_path, learned, networks_folder
from course_lib.runs.sources import build_on
from course_lib.runs.stored import StoredRun, read_runs, write_run
from course_lib.text import text_table
from course_lib.train.loop import fit
from course_lib.train.tuning import fine_tune

SEEDS, CHECKPOINTS, PANEL, LABELS, EPOCHS = (0, 1, 2), 12, 500, 800, 20
PHOTOGRAPHS = ("simclr", "moco-v2", "byol", "swav", "vicreg", "barlow-twins", "spark", "mae", "simmim", "ibot", "dino",
               "roco", "imco", "scan", "ruc", "mice", "gatcluster", "npid", "pirl", "amdim", "yadim")
# on photographs; on shapes every method has three
THREE_SEEDS = ("simclr", "byol", "mae", "swav", "scan", "ruc", "mice", "gatcluster")
# where the first weights decide whether it learns, three seeds say little
MORE_SEEDS = {("shapes", "gatcluster"): (3, 4, 5)}
CLUSTERED = ("simclr", "swav")  # clustered by k-means, to compare clusterings with
# one for all methods that need a ViT; with positions and initialisation of its own, for the same controls
VIT = {"patch": 4, "dim": 96, "depth": 3, "heads": 3, "stem": (32, 64), "positions": "sincos", "relative": None,
       "layer_scale": None, "key_bias": True}
PATCHES, CLASS = {**VIT, "pool": "mean"}, {**VIT, "pool": "class"}  # what is evaluated
DECODER = {"width": 96, "depth": 2, "heads": 4}
DEEPER = {"depth": 4, "widths": (32, 64, 128, 128)}  # each place of its last map, 2x2, sees the whole picture
DISTILLED = {"std": None, "crops": 0}


@dataclass(frozen=True)
class Plan:
    """How a network is trained: steps, what else `fit` is given beside the method's recipe, options of the method.

    images: how many of the training images, the first ones; None: all.
    """

    steps: int
    fit: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    vit: dict | None = None
    convnet: dict | None = None  # its options, where they are not the usual ones
    images: int | None = None

    @property
    def backbone(self) -> str:
        return "vit-tiny" if self.vit else "convnet"


SHAPES = {
    "vicreg": Plan(2000), "simclr": Plan(4000), "moco": Plan(4000), "moco-v2": Plan(4000), "byol": Plan(6000),
    "simsiam": Plan(8000), "swav": Plan(3500), "barlow-twins": Plan(4000),
    "align-uniform": Plan(3000, {"batch_size": 128}),
    "roco": Plan(4000), "imco": Plan(4000), "looc": Plan(1200, {"lr": 3e-3}, {"temperature": 0.1}),
    "amdim": Plan(800, {"batch_size": 64, "lr": 3e-3}, convnet=DEEPER),
    "yadim": Plan(800, {"batch_size": 64, "lr": 3e-3}, convnet=DEEPER),
    "cpc": Plan(300, {"batch_size": 64}, {"patch": 16, "step": 8, "rows": (1, 2)}),
    "spark": Plan(2500, {"batch_size": 128}),
    "mae": Plan(2000, {"batch_size": 128}, DECODER, PATCHES),
    "simmim": Plan(2000, {"batch_size": 128}, {"std": 0.1}, PATCHES),
    "beit": Plan(1800, {"batch_size": 128}, {"codes": 128}, PATCHES),
    "dino": Plan(900, {"batch_size": 128, "weight_decay": 1e-4}, DISTILLED, CLASS),
    "ibot": Plan(800, {"batch_size": 128, "weight_decay": 1e-4},
                 {**DISTILLED, "weights": (1.0, 0.3), "mask_from": 0.5}, CLASS),
    "dmae": Plan(2000, {"batch_size": 128}, DECODER, PATCHES),
    "scan": Plan(400, {"batch_size": 64, "lr": 3e-3},
                 {"pretext": "simclr", "clusters": 8, "head_lr": 10.0, "self_label": 1.0}),
    "ruc": Plan(600, {"batch_size": 64, "optimizer": "adamw", "lr": 3e-3},
                {"labels_from": "scan", "clusters": 8, "threshold": 0.8, "unclean": 3.0}),
    "mice": Plan(1500, {"lr": 3e-3}, {"pretext": "moco-v2", "tau": 1.0}),
    # a bank's row is met once in an epoch: of 1000 images 45 times in as many steps as 20,000 would be met twice
    "npid": Plan(700, {"batch_size": 64}, {"negatives": 0, "warm": True}, images=1000),
    "pirl": Plan(400, {"batch_size": 64}, {"negatives": 512, "cross_entropy": True, "warm": True}, images=1000),
    "gatcluster": Plan(4000, {"batch_size": 128}, {"pool": 2048, "passes": 2}),
    "exemplar": Plan(600),
    "vader": Plan(1500), "pixpro": Plan(2500),
    "supcon": Plan(2000),
    # clusters of all 20,000 images take half a minute, and are made anew in each epoch
    "hyperbolic": Plan(500, {"lr": 1e-3}, {"pretext": "simclr", "clusters": (128, 24, 8), "weight": 1.0, "out": 64},
                       images=8000),
    "dim": Plan(1200, {}, {"estimator": "infonce"}),
}
ON_PHOTOGRAPHS = {name: replace(plan, steps=3 * plan.steps) for name, plan in SHAPES.items() if name in PHOTOGRAPHS}
ON_PHOTOGRAPHS |= {name: replace(plan, options={**plan.options, "clusters": 10})
                   for name, plan in ON_PHOTOGRAPHS.items() if "clusters" in plan.options}
# a step of these is short; more of them, and all images, fit into the same minutes
ON_PHOTOGRAPHS |= {name: replace(SHAPES[name], steps=steps, images=None)
                   for name, steps in {"npid": 20_000, "pirl": 4000, "amdim": 8000, "yadim": 8000}.items()}
ON_PHOTOGRAPHS["mice"] = Plan(4500, {}, {"pretext": "moco-v2", "clusters": 10, "tau": 1.0})
PLANS = {"shapes": SHAPES, "photographs": ON_PHOTOGRAPHS}


@lru_cache
def images(on: str, folder: str | None) -> Splits:
    """The images of a set; the photographs from a folder, or torchvision's."""
    splits = load("shapes") if on == "shapes" else load(folder or "cifar10")
    if on == "photographs":
        for part in (splits.train, splits.validation, splits.test):
            part.name = "CIFAR-10 photographs"
    return splits


def build(name: str, on: str, seed: int) -> nn.Module:
    """The method, untrained, as its seed makes it."""
    plan = PLANS[on][name]
    own = method_class(name).shapes_options if on == "shapes" else {}
    torch.manual_seed(seed)
    if begins(name, plan):
        return build_on(name, 32, on, **{**own, **plan.options})
    return build_method(name, plan.backbone, 32, backbone_options=plan.vit or plan.convnet, **{**own, **plan.options})


def begins(name: str, plan: Plan) -> bool:
    """Whether it begins with networks that have been learned already: those that its options name."""
    return any(plan.options.get(option) for option in method_class(name).begins_with)


def make(name: str, on: str, seed: int, splits: Splits, out: Path, steps: int, store: Path) -> StoredRun:
    """Train in pieces, each resumed from the one before, and look at the same test images after each."""
    plan = PLANS[on][name]
    train = splits.train if plan.images is None else splits.train.select(torch.arange(plan.images))
    method, looks = build(name, on, seed), out / "looks.pt"
    numbers = torch.linspace(0, len(splits.test) - 1, min(PANEL, len(splits.test))).round().long()
    panel = splits.test.select(numbers)
    seen = torch.load(looks, weights_only=True) if looks.exists() else {0: embed(method, panel)}
    history, whole, began = None, not out.exists(), time.process_time()
    # the first steps move most, so the looks are close together there
    for stop in sorted({max(1, round(steps * (i / (CHECKPOINTS - 1)) ** 2)) for i in range(1, CHECKPOINTS)}):
        history = fit(method, train, steps=stop, schedule_steps=steps, seed=seed, device="cpu", threads=1,
                      progress=False, out=out, resume=True, **plan.fit)
        if stop not in seen:
            seen[stop] = embed(method, panel)
            torch.save(seen, looks)
    assert history is not None
    spent = {"cpu_seconds": round(time.process_time() - began)} if whole else {}  # unknown after an interruption
    rows = measures(method, None if begins(name, plan) else build(name, on, seed), name, seed, splits)
    settings = {**method.recipe, **plan.fit, "images": len(train), **plan.options,
                **{f"vit_{k}": v for k, v in (plan.vit or {}).items()},
                **{f"convnet_{k}": v for k, v in (plan.convnet or {}).items()},
                "views_per_second": history.views_per_second, **spent}
    run = StoredRun.from_history(name, splits.train.name, history, id=f"{on}-{name}-s{seed}", backbone=plan.backbone,
                                 augmentation=repr(method.augment), seed=seed, settings=settings, scores=rows,
                                 note="A learned network: last step; one CPU core.")
    if seed == 0:
        keep(method, name, on, store)
        path = journey(sorted(seen), [seen[step] for step in sorted(seen)], panel.labels, numbers)
        keep_path(with_maps(path), name, on, store)
    write_run(run, store)
    return run


def with_maps(path: Journey) -> Journey:
    """The path with its flat maps, which take half a minute to make."""
    return replace(path, maps=flat_maps(path, "tsne").half().numpy())


def measures(method: nn.Module, untrained: nn.Module | None, name: str, seed: int, splits: Splits) -> list[dict]:
    """Rows of `score`; of methods that reconstruct, also the error and the accuracy fine-tuned on a few labels.

    Of clusterings, also `score_clusters`: in the method's own row, and rows of k-means; of `CLUSTERED` the latter
    alone. untrained: the method as it was, None if it began with a learned network.
    """
    rows = score(method, splits, name=name, factors=True, random_encoder=untrained and untrained.eval(), seed=seed)
    if isinstance(method, ClusteringMethod):
        own, *others = score_clusters(method, splits, name=name, seed=seed)
        rows = [rows[0] | own, *rows[1:], *others]
    if name in CLUSTERED:
        rows += clustered(method, name, seed, splits)
    if METHODS[name].startswith("masked") and untrained is not None:
        for row, start in zip(rows, (method, untrained)):
            row["fine_tuned"] = fine_tune(start.evaluated, splits, epochs=EPOCHS, limit=LABELS, batch_size=64,
                                          seed=seed).accuracy
    if isinstance(method, ReconstructionMethod) and method.pixels:
        rows[0]["hidden_error"] = hidden_errors(method, splits.test, seed=0)
    return rows


def clustered(method: nn.Module, name: str, seed: int, splits: Splits) -> list[dict]:
    """Rows of k-means with as many clusters as there are classes; of SwAV also one of its prototypes in such groups."""
    assert isinstance(method, Method)
    rows = score_clusters(method, splits, name=name, clusters=len(splits.train.classes), seed=seed)
    return rows + [prototype_row(method, seed, splits)] if isinstance(method, SwAV) else rows


def with_clusters(run: StoredRun, on: str, splits: Splits, folder: Path) -> StoredRun:
    """The record of a network of `CLUSTERED`, stored before they were, with rows of clusters from the weights kept."""
    name = run.id.split("-", 1)[1].rpartition("-s")[0]
    rows = clustered(learned(name, on, folder).method, name, run.seed, splits)
    return replace(run, scores=[*run.scores, *rows], note=f"{run.note} Rows of clusters: of the weights kept, float16.")


def prototype_row(method: SwAV, seed: int, splits: Splits) -> dict:
    """Clusters of an image's most similar prototype: the prototypes are joined to as many groups as there are classes.

    k-means joins them, each once however many images it has.
    """
    def prototype(images: torch.Tensor) -> torch.Tensor:
        return method.prototypes(normalize(method.projector(method.embed(images)))).argmax(1)

    prototypes, count = method.prototypes.weight.detach(), len(splits.train.classes)
    group = kmeans_clusters(prototypes, prototypes, count, seed)[0]
    train, test = (group[through(method, prototype, part.images).long()] for part in (splits.train, splits.test))
    return {"name": "SwAV's prototypes", "kind": "control", "clusters": count} | matched_scores(
        train, check_labels(splits.train.labels, len(train)), test, check_labels(splits.test.labels, len(test)), count)


def table(folder: Path) -> str:
    """Per method and set: kNN, linear probe and fine-tuning, raw pixels and the untrained network.

    Of several seeds the mean, and of the network itself the least and the most. minutes: of one core; for a run that
    was interrupted, from its start to its end, pauses included.
    """
    lines = [["network", "set", "seeds", "kNN", "raw pixels", "untrained", "linear", "untrained", "fine-tuned",
              "untrained", "minutes"]]
    runs = read_runs(folder) if folder.is_dir() else []
    for on, plans in PLANS.items():
        for name in plans:
            mine = [run for run in runs if run.id.startswith(f"{on}-{name}-s")]
            if mine:
                cells = [(key, row) for key, row in (("knn", None), ("knn", "raw pixels"), ("knn", "random encoder"),
                         ("linear", None), ("linear", "random encoder"), ("fine_tuned", None),
                         ("fine_tuned", "random encoder"))]
                values = [[v for run in mine if (v := run.value(key, row)) is not None] for key, row in cells]
                lines.append([method_class(name).title, on, str(len(mine)),
                              *(spread(v, row is None) for v, (_, row) in zip(values, cells)),
                              f"{fmean(run.settings.get('cpu_seconds', run.wall_seconds) for run in mine) / 60:.1f}"])
    return text_table(lines) if len(lines) > 1 else "There are no learned networks yet; `course networks` makes them."


def spread(values: list[float], ends: bool) -> str:
    """The mean as a percentage, with the least and the most of several seeds if `ends`; "-" of none."""
    around = f" ({100 * min(values):.1f} to {100 * max(values):.1f})" if ends and len(values) > 1 else ""
    return f"{100 * fmean(values):.1f} %{around}" if values else "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--method", action="append", choices=sorted(SHAPES), help="this method only (can be repeated)")
    parser.add_argument("--set", choices=tuple(PLANS), dest="on", help="these images only (default: both)")
    parser.add_argument("--seed", type=int, choices=range(6), action="append", help="this seed only")
    parser.add_argument("--photographs", metavar="FOLDER", help="CIFAR-10 in class folders (default: torchvision's)")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, default=CHECKOUT / "out" / "networks",
                        help="unfinished trainings, to go on from (default: out/networks)")
    parser.add_argument("--dry", action="store_true", help="a few steps of each, nothing is stored")
    parser.add_argument("--table", action="store_true", help="only print what there is")


def seeds_of(name: str, on: str) -> tuple[int, ...]:
    """The seeds of a network that are stored, or will be."""
    return SEEDS[:3 if on == "shapes" or name in THREE_SEEDS else 1] + MORE_SEEDS.get((on, name), ())


def run(args: argparse.Namespace) -> int:
    """Make what is missing, seed 0 of all first, then print the table."""
    folder = networks_folder()
    wanted = [(seed, on, name) for on, plans in PLANS.items() for name in plans for seed in seeds_of(name, on)]
    wanted.sort(key=lambda one: one[0])
    for seed, on, name in () if args.table else wanted:
        asked = (not args.method or name in args.method) and args.on in (None, on)
        id = f"{on}-{name}-s{seed}"
        if not asked or (args.seed and seed not in args.seed):
            continue
        if (folder / f"{id}.json").exists() and not args.dry:
            stored = next(run for run in read_runs(folder) if run.id == id)
            if name in CLUSTERED and seed == 0 and not any("acc" in row for row in stored.scores):
                write_run(with_clusters(stored, on, images(on, args.photographs), folder), folder)
            continue
        splits = images(on, args.photographs)
        with tempfile.TemporaryDirectory() as elsewhere:
            out, store = (Path(elsewhere) / "out", Path(elsewhere)) if args.dry else (args.keep / id, folder)
            made = make(name, on, seed, splits, out, 12 if args.dry else PLANS[on][name].steps, store)
            print(f"{id:32s} {made.wall_seconds / 60:5.1f} min  kNN {100 * made.scores[0]['knn']:.1f} %", flush=True)
            shutil.rmtree(out)
    if not args.dry:
        print(table(folder))
    return 0


def main(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    add_arguments(parser)
    return run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
