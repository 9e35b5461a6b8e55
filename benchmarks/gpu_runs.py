"""Train the methods for long on real photographs, on a GPU, and store what lessons show "beyond the laptop".

    python benchmarks/gpu_runs.py                                      # CIFAR-10, 50 epochs each: hours on one GPU
    python benchmarks/gpu_runs.py --methods simclr --epochs 800 --id-suffix long
    python benchmarks/gpu_runs.py --methods vicreg --minutes 15 --data FOLDER
    python benchmarks/gpu_runs.py --quick --data FOLDER                # a few steps on any device, nothing is stored

Convolutional methods use a ResNet-18 with the stem for small images, masked ones on ViTs vit-tiny. Each run becomes
lessons/runs/gpu-<method>-<backbone>-s<seed>.json and .npz: curves, kNN, linear probe, rank, the float16 embedding of a
fixed panel, wall time, share of the device's FLOP/s, provenance. To repeat a stored run, delete its file. Scores are
from the last step, by the course's protocol (evaluate.score); settings are each method's `recipe`, which was chosen on
small sets and not tuned for long runs.
"""

from __future__ import annotations

import argparse
import sys
from functools import lru_cache

import torch
from contenders import Course, Work
from limit import ceilings, flops_of_step

from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.device import pick_device
from course_lib.evaluate.reconstruction import hidden_errors
from course_lib.evaluate.scoring import score
from course_lib.methods import METHODS, build_method
from course_lib.runs.stored import record_run, runs_folder
from course_lib.train.loop import fit

ON_VIT = ("mae", "simmim", "beit", "dino", "ibot", "dmae")
PIXELS = ("spark", "mae")  # their error on hidden pixels is stored too
LEFT_OUT = ("align-uniform", "simclr-v2")  # a lesson's first loss; SimCLR's deeper head
QUICK = {"convnet": {"depth": 2, "widths": (8, 16)}, "vit-tiny": {"patch": 8, "dim": 24, "depth": 2, "heads": 3}}
ALL = tuple(name for name in METHODS if name not in LEFT_OUT)


def backbone_of(name: str, quick: bool = False) -> str:
    return "vit-tiny" if name in ON_VIT else "convnet" if quick else "resnet18"


def build(name: str, seed: int, quick: bool):
    """The method on its backbone, and the backbone's name."""
    torch.manual_seed(seed)
    backbone = backbone_of(name, quick)
    options = {"normalized": False} if name in PIXELS else {}
    return build_method(name, backbone, backbone_options=QUICK[backbone] if quick else None, **options), backbone


@lru_cache
def ceiling(device: str, quick: bool) -> float:
    return ceilings(device, quick)["flops"]


def utilisation(name: str, backbone: str, batch: int, rate: float, device: str, quick: bool) -> float | None:
    """FLOP/s at `rate` views/s as a share of a large matrix product's; None for what `Work` cannot build."""
    try:
        course = Course(Work(name, backbone, batch=batch, images=batch, device=device,
                             options={"backbone_options": QUICK[backbone]} if quick else {}))
        return flops_of_step(course) / (batch * course.work.views) * rate / ceiling(device, quick)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        print(f"{name}: no share of FLOP/s ({error})", flush=True)
        return None


def make(name: str, splits: Splits, seed: int, budget: dict, device: str, quick: bool, compile: bool, **changes):
    """Train and score one method; -> (method, History, rows, settings); `changes` override its recipe."""
    method, backbone = build(name, seed, quick)
    recipe = {**getattr(method, "recipe", {}), **changes}
    history = fit(method, splits.train, seed=seed, device=device, compile=compile, **budget, **recipe)
    rows = score(method, splits, name=name, linear=not quick)
    rate = history.views_per_second
    rows[0] |= {"views_per_second": rate,
                "flop_utilisation": utilisation(name, backbone, history.batch_size, rate, device, quick)}
    if name in PIXELS:
        rows[0]["hidden_error"] = hidden_errors(method, splits.test, seed=0)
    settings = {"method": name, "backbone": backbone, "seed": seed, "optimizer": "adamw", "compile": compile, **recipe}
    return method, history, rows, settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--methods", default=",".join(ALL), help="comma-separated (default: %(default)s)")
    parser.add_argument("--data", default="cifar10", help="'cifar10' (torchvision's) or a folder of photographs")
    parser.add_argument("--epochs", type=float, default=50)
    parser.add_argument("--minutes", type=float, help="instead of epochs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch-size", type=int, help="instead of the recipe's")
    parser.add_argument("--id-suffix", default="", help="appended to the run's id, such as 'long'")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--any-device", action="store_true", help="also without a GPU: days")
    parser.add_argument("--quick", action="store_true", help="a few steps of tiny networks, printed only")
    given = parser.parse_args(arguments)
    names = given.methods.split(",")
    if unknown := [name for name in names if name not in METHODS]:
        parser.error(f"unknown method {unknown[0]!r}: choose of {', '.join(METHODS)}")
    device = pick_device("auto").type
    if device != "cuda" and not (given.quick or given.any_device):
        parser.error("there is no NVIDIA GPU here; --quick runs a few steps, --any-device trains anyway")
    splits = load(given.data)
    budget = {"seconds": 60 * given.minutes} if given.minutes else {"epochs": given.epochs}
    budget = {"steps": 4} if given.quick else budget
    batch = given.batch_size or (16 if given.quick else None)
    changes = {"batch_size": batch} if batch else {}
    for name in names:
        id = "-".join(filter(None, ["gpu", name, backbone_of(name), f"s{given.seed}", given.id_suffix]))
        if (runs_folder() / f"{id}.json").exists() and not given.quick:
            print(f"{id}: stored already", flush=True)
            continue
        method, history, rows, settings = make(name, splits, given.seed, budget, device, given.quick, given.compile,
                                                **changes)
        print(f"{id}: {history.steps} steps, {history.seconds:.0f} s, kNN {100 * rows[0]['knn']:.1f} %, "
              f"{history.views_per_second:.0f} views/s", flush=True)
        if not given.quick:
            record_run(id, method, splits, history, rows, settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
