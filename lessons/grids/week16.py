"""Make the stored runs of lesson 16: small ViTs with and without noise and denoising pre-training, and their votes.

    python lessons/grids/week16.py --keep FOLDER   # what is missing in lessons/runs/16_dmae (35 minutes a core and seed)

Beside the records: classifier.pt, the first seed's classifier after DMAE, as float16.
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
from course_lib.evaluate.smoothing import certified_accuracy, certified_radius, count_votes, lower_bound
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
# how the classifier starts, and the noise that it is trained with
KINDS = {"plain": ("scratch", 0.0), "noise": ("scratch", SIGMA), "dmae": ("dmae", SIGMA), "mae": ("mae", SIGMA)}


def runs() -> list[Run]:
    """Three seeds at sigma 0.25 of the smoothing, one at the others; the decisive pair first."""
    pairs = [(kind, seed) for two in (("dmae", "mae"), ("noise", "plain")) for seed in (0, 1, 2) for kind in two]
    return [line(kind, sigma, seed) for kind, seed in pairs for sigma in (SMOOTH if seed == 0 else (SIGMA,))]


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
    beside = {"classifier.pt": half(network)} if run.id == "dmae-0.25-s0" else {}
    return Made(run, network, history, shapes(TRAIN), beside=beside)


@torch.no_grad()
def votes(network: NoisyClassifier, sigma: float) -> dict:
    """For each of the first test images: the selected class, and its votes among the first n for each size."""
    test, home, generator = shapes(TRAIN).test.head(few(IMAGES, 3)), pick_device(), torch.Generator().manual_seed(0)
    images, row = to_float(test.images).to(home), {"found": [], "labels": test.labels.tolist()}
    for image in images:
        first, *then = (count_votes(network.predict, image, sigma, few(n, 50), 8, generator)
                        for n in (N0, SIZES[0], SIZES[1] - SIZES[0]))
        row["found"].append(chosen := int(first.argmax()))
        for n, share in zip(SIZES, torch.stack(then).cumsum(0)):
            row.setdefault(f"votes_{n}", []).append(int(share[chosen]))
    clean = torch.cat([network.predict(part).argmax(1).cpu() for part in images.split(100)])
    return {**row, "clean": float((clean == test.labels).double().mean())}


def rows(made: Made) -> list[dict]:
    kind, sigma = made.run.options.values()
    began, n, asked = time.perf_counter(), SIZES[-1], (0, 0.25, 0.5)
    row = {"name": kind, "kind": "method", **votes(made.method, sigma)}
    row["certify_seconds"] = time.perf_counter() - began
    k, labels = torch.tensor(row[f"votes_{n}"]), torch.tensor(row["labels"])
    found = torch.tensor(row["found"]).where(lower_bound(k, n, ALPHA) >= 0.5, -1)
    accuracy = certified_accuracy(found, certified_radius(k, n, sigma, ALPHA), labels, torch.tensor(asked))
    return [row | {f"certified_{least}": value for least, value in zip(asked, accuracy.tolist())}]


GRID = Grid("16_dmae", runs, rows, "Lesson 16: votes of a smoothed classifier.", train=train,
            show=("clean", "certified_0", "certified_0.25", "certified_0.5", "certify_seconds"))

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
