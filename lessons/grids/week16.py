"""Make the stored runs of lesson 16: small ViTs with and without noise and denoising pre-training, and their votes.

    python lessons/grids/week16.py   # what is missing in lessons/runs/16_dmae (50 minutes a core for the first seed)

Beside the records: dmae.pt (the first seed's pre-trained method) and classifier.pt (what became of it), as float16.
"""

from __future__ import annotations

import copy
import sys
import time
from functools import lru_cache
from pathlib import Path

import torch
from grid import Grid, Made, Run, few, half, shapes
from torch import nn

from course_lib.augment.pixels import to_float
from course_lib.augment.views import Augment
from course_lib.device import pick_device
from course_lib.evaluate.smoothing import certified_accuracy, certified_radius, count_votes, lower_bound
from course_lib.methods import build_method
from course_lib.methods.masked.dmae import NoisyClassifier
from course_lib.models.backbones import build_backbone
from course_lib.train.history import History
from course_lib.train.loop import fit

BATCH, SIGMA = 64, 0.25
VIT = {"patch": 8, "dim": 96, "depth": 4, "heads": 3}
TRAIN = 20000  # images: a small ViT that names noisy ones needs more than the other grids have
PRETRAIN, TUNE, LABELS = 6000, 8000, 12000  # steps, steps, labelled images
IMAGES, N0, SIZES = 200, 100, (100, 1000)  # test images, votes that select, votes that estimate
ALPHA, SMOOTH = 0.001, (0.12, 0.25, 0.5)
CROP = Augment(32, scale=(0.6, 1.0), jitter_p=0.0, gray_p=0.0)
# how the classifier starts, and the noise that it is trained with
KINDS = {"plain": ("scratch", 0.0), "noise": ("scratch", SIGMA), "dmae": ("dmae", SIGMA), "mae": ("mae", SIGMA)}


def runs() -> list[Run]:
    """Three seeds at sigma 0.25 of the smoothing, one at the others."""
    return [line(kind, sigma, seed) for seed in (0, 1, 2) for kind in KINDS
            for sigma in (SMOOTH if seed == 0 else (SIGMA,))]


def line(kind: str, sigma: float, seed: int) -> Run:
    start, noise = KINDS[kind]
    return Run(f"{kind}-{sigma}-s{seed}", seed, "dmae", {"kind": kind, "sigma": sigma}, fit={}, vit=VIT,
               says={"start": start, "train_sigma": noise, "smooth_sigma": sigma, "alpha": ALPHA, "n0": N0,
                     "n": SIZES[-1], "labels": LABELS, "pretrain_steps": PRETRAIN, "n_images": IMAGES})


def pretrained(start: str, seed: int) -> nn.Module:
    """A method of MAE's kind after its pre-training, pixels as targets."""
    torch.manual_seed(seed)
    options = {"sigma": SIGMA} if start == "dmae" else {}
    method = build_method(start, "vit-tiny", 32, backbone_options=VIT, augment=CROP, normalized=False, **options)
    fit(method, shapes(TRAIN).train, steps=few(PRETRAIN, 3), batch_size=BATCH, seed=seed, lr=1.5e-3, progress=False)
    return method


@lru_cache
def classifier(kind: str, seed: int) -> tuple[NoisyClassifier, History, dict]:
    """The classifier of a kind, the History of its fine-tuning, and what is kept beside the first one's record."""
    start, sigma = KINDS[kind]
    torch.manual_seed(seed)
    backbone, beside = build_backbone("vit-tiny", 32, **VIT), {}
    if start != "scratch":
        method = pretrained(start, seed)
        backbone, beside["dmae.pt"] = method.backbone, copy.deepcopy(method)
    torch.manual_seed(seed)
    network = NoisyClassifier(backbone, 8, 32, sigma=sigma, copies=2 if sigma else 1, augment=CROP)
    labelled = shapes(TRAIN).train.select(range(few(LABELS, 200)))
    history = fit(network, labelled, steps=few(TUNE, 3), batch_size=BATCH, seed=seed, lr=1e-3, progress=False)
    return network.eval(), history, {**beside, "classifier.pt": half(network)}


def train(run: Run, out: Path | None = None) -> Made:
    """The same classifier for every sigma of the smoothing; an interrupted one is trained again."""
    network, history, beside = classifier(run.options["kind"], run.seed)
    return Made(run, network, history, shapes(TRAIN), beside=beside if run.id == "dmae-0.25-s0" else {})


@torch.no_grad()
def votes(network: NoisyClassifier, sigma: float, images: int, sizes: tuple[int, ...]) -> dict:
    """For each of the first test images: the selected class, and its votes among the first n for each size."""
    test, home = shapes(TRAIN).test.head(images), pick_device()
    generator, found, counts = torch.Generator().manual_seed(0), [], {n: [] for n in sizes}
    for image in to_float(test.images):
        image = image.to(home)
        chosen = int(count_votes(network.predict, image, sigma, N0, 8, generator).argmax())
        found.append(chosen)
        done, total = 0, 0
        for n in sizes:
            total += int(count_votes(network.predict, image, sigma, n - done, 8, generator)[chosen])
            done = n
            counts[n].append(total)
    clean = torch.cat([network.predict(part.to(home)).argmax(1).cpu() for part in to_float(test.images).split(100)])
    return {"found": found, "labels": test.labels.tolist(), **{f"votes_{n}": counts[n] for n in sizes},
            "clean": float((clean == test.labels).double().mean())}


def rows(made: Made) -> list[dict]:
    kind, sigma = made.run.options.values()
    images, sizes = few(IMAGES, 3), tuple(few(n, least) for n, least in zip(SIZES, (50, 100)))
    began = time.perf_counter()
    row = {"name": kind, "kind": "method", **votes(made.method, sigma, images, sizes)}
    row["certify_seconds"] = time.perf_counter() - began
    k, labels = torch.tensor(row[f"votes_{sizes[-1]}"]), torch.tensor(row["labels"])
    found = torch.tensor(row["found"]).where(lower_bound(k, sizes[-1], ALPHA) >= 0.5, -1)
    radius, asked = certified_radius(k, sizes[-1], sigma, ALPHA), (0, 0.25, 0.5)
    accuracy = certified_accuracy(found, radius, labels, torch.tensor(asked))
    return [row | {f"certified_{least}": value for least, value in zip(asked, accuracy.tolist())}]


GRID = Grid("16_dmae", runs, rows, "Lesson 16: votes of a smoothed classifier.", train=train,
            show=("clean", "certified_0", "certified_0.25", "certified_0.5", "certify_seconds"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
