"""Train the small ViT of lesson 15 by iBOT (or DINO) on generated shapes, and store the run and its float16 checkpoint.

    python benchmarks/stored_ibot.py                          # iBOT, 1500 steps: about 15 minutes on one CPU core
    python benchmarks/stored_ibot.py --method dino
    python benchmarks/stored_ibot.py --steps 30 --n 600 --dry  # does it run?
    python benchmarks/stored_ibot.py --keep FOLDER            # go on there if interrupted

Writes lessons/runs/15_ibot/<method>-s<seed>.json (settings, curves, scores beside a random ViT and raw pixels, wall
seconds) and <method>-s<seed>.pt (weights as float16, for `checkpoint.load_method`). The last step counts, not the best.
"""

from __future__ import annotations

import argparse
import copy

import torch

from course_lib.augment import TURNED_VIEWS, Augment
from course_lib.checkpoint import load_method, save_small
from course_lib.data import Splits, load
from course_lib.evaluate import fine_tune, score
from course_lib.methods import build_method
from course_lib.runs import StoredRun, runs_folder, write_run
from course_lib.train import fit

FOLDER = "15_ibot"
VIT = {"patch": 4, "dim": 96, "depth": 3, "heads": 3, "stem": (32, 64)}
OPTIONS = {"augment": TURNED_VIEWS, "crops": 0, "out": 256, "momentum": 0.99, "teacher_temp": (0.03, 0.03), "koleo": 0.3,
           "frozen": 1.0, "final_decay": None}
PATCHES = {"patch_temp": (0.03, 0.04), "weights": (1.0, 0.3), "mask_from": 0.5}  # of iBOT: patches once crops say something
RECIPE = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128, "warmup": 0.1}
FRESH = 7  # seed of the test images: the settings above were found with those of seed 0
LABELS, EPOCHS, TUNING_SEEDS = 800, 20, (0, 1, 2)  # fine-tuning; a seed draws the labelled images, head and order


def tuned(network, splits) -> list[float]:
    """Test accuracy after fine-tuning on few labels, one for each seed."""
    crop = Augment(32, scale=(0.7, 1.0), jitter_p=0.0, gray_p=0.0)
    settings = dict(epochs=EPOCHS, batch_size=64, limit=LABELS, augment=crop)
    return [fine_tune(network.evaluated, splits, seed=seed, **settings).accuracy for seed in TUNING_SEEDS]


def build(name: str, seed: int, options: dict):
    torch.manual_seed(seed)
    return build_method(name, "vit-tiny", 32, backbone_options=VIT, **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--method", choices=("ibot", "dino"), default="ibot")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=20000, help="training images")
    parser.add_argument("--keep", help="folder of the checkpoint, from which an interrupted run goes on")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--dry", action="store_true", help="print the scores, store nothing")
    arguments = parser.parse_args()
    options = {**OPTIONS, **(PATCHES if arguments.method == "ibot" else {})}
    splits = load("shapes", n=arguments.n)
    splits = Splits(splits.train, splits.validation, load("shapes", n=2000, seed=FRESH).test)
    method = build(arguments.method, arguments.seed, options)
    untrained = copy.deepcopy(method)
    history = fit(method, splits.train, steps=arguments.steps, seed=arguments.seed, precision=arguments.precision,
                  out=arguments.keep, resume=arguments.keep is not None, **RECIPE)
    rows = score(method, splits, name=arguments.method, factors=True, random_encoder=untrained, probe_limit=3000)
    for row, start in zip(rows, (method, untrained)):
        values = tuned(start, splits)
        row |= {"fine_tuned": sum(values) / len(values), "fine_tuned_seeds": values}
        print("fine-tuned from", row["name"], values)
    for row in rows:
        print(f"{row['name']:16s} kNN {row['knn']:.3f}  linear {row['linear']:.3f}  rank {row['effective_rank']}")
    print(history)
    if arguments.dry:
        return
    folder, name = runs_folder() / FOLDER, f"{arguments.method}-s{arguments.seed}"
    weights = save_small(folder / f"{name}.pt", method)
    again = score(load_method(weights), splits, name="as stored", controls=False, linear=False)[0]
    rows[0]["knn_float16"] = again["knn"]
    settings = {"optimizer": "adamw", **RECIPE, **{k: v for k, v in options.items() if k != "augment"},
                **{f"vit_{k}": v for k, v in VIT.items()}, "images": len(splits.train), "test_seed": FRESH,
                "views_per_second": history.views_per_second, "labels": LABELS, "epochs": EPOCHS}
    run = StoredRun.from_history(
        arguments.method, splits.train.name, history, id=name, backbone="vit-tiny", augmentation=repr(TURNED_VIEWS),
        seed=arguments.seed, settings=settings, scores=rows,
        note="Lesson 15: one CPU core; the network that its explorers look into.")
    write_run(run, folder)
    print(f"{weights.name}: {weights.stat().st_size / 1e6:.1f} MB, kNN {again['knn']:.3f} as float16")


if __name__ == "__main__":
    main()
