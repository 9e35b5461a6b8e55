"""Make the stored runs of lesson 16: small ViTs with and without noise and denoising pre-training, and their votes.

    python lessons/grids/week16.py   # what is missing in lessons/runs/16_dmae (35 minutes of one core for each seed)

classifier.pt, beside the records: the first seed's after DMAE.
"""

from __future__ import annotations

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
from course_lib.evaluate.smoothing import ABSTAIN, certified_accuracy, certified_radius, elections
from course_lib.methods import build_method
from course_lib.methods.masked.dmae import NoisyClassifier
from course_lib.models.backbones import build_backbone
from course_lib.train.history import History
from course_lib.train.loop import fit

SIGMA, ALPHA, SMOOTH = 0.25, 0.001, (0.12, 0.25, 0.5)
VIT = {"patch": 8, "dim": 96, "depth": 4, "heads": 3}
TRAIN = 20000  # images: a small ViT that names noisy ones needs more than the other grids have
PRETRAIN, TUNE, LABELS = 6000, 8000, 12000  # steps, steps, labelled images
IMAGES, N0, SIZES = 200, 100, (100, 1000)  # test images, votes that select, votes that estimate
CROP = Augment(32, scale=(0.6, 1.0), jitter_p=0.0, gray_p=0.0)
# how a classifier starts, and the noise of its training
KINDS = {"plain": ("scratch", 0.0), "noise": ("scratch", SIGMA), "dmae": ("dmae", SIGMA), "mae": ("mae", SIGMA)}


def runs() -> list[Run]:
    """Three seeds at sigma 0.25 of the smoothing, one at the others; the decisive pair first."""
    return [line(kind, sigma, seed) for two in (("dmae", "mae"), ("noise", "plain")) for seed in (0, 1, 2)
            for kind in two for sigma in (SMOOTH if seed == 0 else (SIGMA,))]


def line(kind: str, sigma: float, seed: int) -> Run:
    start, noise = KINDS[kind]
    return Run(f"{kind}-{sigma}-s{seed}", seed, "dmae", {"kind": kind, "sigma": sigma}, fit={}, vit=VIT,
               says={"start": start, "train_sigma": noise, "smooth_sigma": sigma, "alpha": ALPHA, "n0": N0,
                     "n": SIZES[-1], "labels": LABELS, "pretrain_steps": PRETRAIN, "n_images": IMAGES})


@lru_cache
def classifier(kind: str, seed: int, keep: Path | None) -> tuple[NoisyClassifier, History]:
    """The classifier of a kind, and its fine-tuning; before it, a pre-training with pixels as targets or none."""
    (start, sigma), images = KINDS[kind], shapes(TRAIN).train

    def trained(network: nn.Module, some, steps: int, lr: float, part: str) -> History:
        return fit(network, some, steps=few(steps, 3), batch_size=64, seed=seed, lr=lr, progress=False,
                   out=keep and keep / f"{kind}-s{seed}" / part, resume=keep is not None)

    torch.manual_seed(seed)
    if start == "scratch":
        backbone = build_backbone("vit-tiny", 32, **VIT)
    else:
        method = build_method(start, "vit-tiny", 32, backbone_options=VIT, augment=CROP, normalized=False,
                              **({"sigma": SIGMA} if start == "dmae" else {}))
        trained(method, images, PRETRAIN, 1.5e-3, "pretraining")
        backbone = method.backbone
    torch.manual_seed(seed)
    network = NoisyClassifier(backbone, 8, 32, sigma=sigma, copies=2 if sigma else 1, augment=CROP)
    return network, trained(network, images.select(range(few(LABELS, 200))), TUNE, 1e-3, "fine-tuning")


def train(run: Run, out: Path | None = None) -> Made:
    """The same classifier for every sigma of the smoothing."""
    network, history = classifier(run.options["kind"], run.seed, out and out.parent)
    return Made(run, network, history, shapes(TRAIN),
                beside={"classifier.pt": half(network)} if run.id == "dmae-0.25-s0" else {})


@torch.no_grad()
def rows(made: Made) -> list[dict]:
    (kind, sigma), classify, asked = made.run.options.values(), made.method.predict, (0, 0.25, 0.5)
    test, began = shapes(TRAIN).test.head(few(IMAGES, 3)), time.perf_counter()
    images = to_float(test.images).to(pick_device())
    row = {"name": kind, "kind": "method", "labels": test.labels.tolist(),
           **elections(classify, images, sigma, 8, torch.Generator().manual_seed(0), N0, SIZES)}
    row["clean"] = float((classify(images).argmax(1).cpu() == test.labels).double().mean())
    row["certify_seconds"] = time.perf_counter() - began
    radius = certified_radius(torch.tensor(row[f"votes_{SIZES[-1]}"]), SIZES[-1], sigma, ALPHA)
    found = torch.tensor(row["found"]).where(radius > 0, ABSTAIN)
    accuracy = certified_accuracy(found, radius, test.labels, torch.tensor(asked))
    return [row | {f"certified_{least}": value for least, value in zip(asked, accuracy.tolist())}]


GRID = Grid("16_dmae", runs, rows, "Lesson 16: votes of a smoothed classifier.", train=train,
            show=("clean", "certified_0", "certified_0.25", "certified_0.5", "certify_seconds"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
