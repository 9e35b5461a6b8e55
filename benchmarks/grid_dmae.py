"""Make the stored runs of lesson 16: small ViTs with and without noise and denoising pre-training, and their votes.

    python benchmarks/grid_dmae.py              # what is missing in lessons/runs/16_dmae (50 minutes of one core for the first seed)
    python benchmarks/grid_dmae.py --again ID   # make one run again and compare it with the stored one
    python benchmarks/grid_dmae.py --dry        # a few steps and votes of one run, nothing is stored

Beside the records: dmae.pt (the first seed's pre-trained method) and classifier.pt (what became of it), as float16.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache, partial

import torch

import grid
from course_lib import checkpoint
from course_lib.augment import Augment, to_float
from course_lib.backbones import build_backbone
from course_lib.device import pick_device
from course_lib.methods import build_method
from course_lib.methods.masked.dmae import NoisyClassifier
from course_lib.runs import StoredRun, runs_folder
from course_lib.smoothing import certified_accuracy, certified_radius, count_votes, lower_bound
from course_lib.train import fit
from grid import shapes

FOLDER, BATCH, SIGMA = "16_dmae", 64, 0.25
VIT = {"patch": 8, "dim": 96, "depth": 4, "heads": 3}
TRAIN = 20000  # images: a small ViT that names noisy ones needs more than the other grids have
PRETRAIN, TUNE, LABELS = 6000, 8000, 12000  # steps, steps, labelled images
IMAGES, N0, SIZES = 200, 100, (100, 1000)  # test images, votes that select, votes that estimate
ALPHA, SMOOTH = 0.001, (0.12, 0.25, 0.5)
CROP = Augment(32, scale=(0.6, 1.0), jitter_p=0.0, gray_p=0.0)
# how the classifier starts, and the noise that it is trained with
KINDS = {"plain": ("scratch", 0.0), "noise": ("scratch", SIGMA), "dmae": ("dmae", SIGMA), "mae": ("mae", SIGMA)}


def cells() -> dict[str, tuple[str, float, int]]:
    """Name -> (kind, sigma of the smoothing, seed): three seeds at 0.25, one at the others."""
    return {f"{kind}-{sigma}-s{seed}": (kind, sigma, seed) for seed in (0, 1, 2) for kind in KINDS
            for sigma in (SMOOTH if seed == 0 else (SIGMA,))}


def pretrained(start: str, seed: int, steps: int):
    """A method of MAE's kind after its pre-training, pixels as targets."""
    torch.manual_seed(seed)
    options = {"sigma": SIGMA} if start == "dmae" else {}
    method = build_method(start, "vit-tiny", 32, backbone_options=VIT, augment=CROP, normalized=False, **options)
    method.history = fit(method, shapes(TRAIN).train, steps=steps, batch_size=BATCH, seed=seed, lr=1.5e-3, progress=False)
    return method


@lru_cache
def classifier(kind: str, seed: int, pretrain: int = PRETRAIN, tune: int = TUNE, store: bool = True):
    """The classifier of a kind, and the History of its fine-tuning."""
    start, sigma = KINDS[kind]
    torch.manual_seed(seed)
    backbone = build_backbone("vit-tiny", 32, **VIT)
    if start != "scratch":
        method = pretrained(start, seed, pretrain)
        backbone = method.backbone
        if store and start == "dmae" and seed == 0:
            checkpoint.save_small(runs_folder() / FOLDER / "dmae.pt", method)
    torch.manual_seed(seed)
    network = NoisyClassifier(backbone, 8, 32, sigma=sigma, copies=2 if sigma else 1, augment=CROP)
    history = fit(network, shapes(TRAIN).train.select(range(LABELS)), steps=tune, batch_size=BATCH, seed=seed, lr=1e-3,
                  progress=False)
    if store and kind == "dmae" and seed == 0:
        half = {key: t.half() if t.is_floating_point() else t for key, t in network.state_dict().items()}
        checkpoint.save(runs_folder() / FOLDER / "classifier.pt", {"method": half})
    return network.eval(), history


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


def make(name: str, kind: str, sigma: float, seed: int, images: int = IMAGES, sizes: tuple[int, ...] = SIZES,
         **steps) -> StoredRun:
    network, history = classifier(kind, seed, **steps)
    began = time.perf_counter()
    row = {"name": kind, "kind": "method", **votes(network, sigma, images, sizes)}
    row["certify_seconds"] = time.perf_counter() - began
    k, labels = torch.tensor(row[f"votes_{sizes[-1]}"]), torch.tensor(row["labels"])
    found = torch.tensor(row["found"]).where(lower_bound(k, sizes[-1], ALPHA) >= 0.5, -1)
    accuracy = certified_accuracy(found, certified_radius(k, sizes[-1], sigma, ALPHA), labels, torch.tensor([0.0, 0.25, 0.5]))
    row |= dict(zip(("certified_0", "certified_0.25", "certified_0.5"), accuracy.tolist()))
    settings = {"optimizer": "adamw", "start": KINDS[kind][0], "train_sigma": KINDS[kind][1], "smooth_sigma": sigma,
                "alpha": ALPHA, "n0": N0, "n": sizes[-1], "labels": LABELS, "pretrain_steps": PRETRAIN,
                "n_images": images, **{f"vit_{key}": value for key, value in VIT.items()}}
    return StoredRun.from_history("dmae", shapes(TRAIN).train.name, history, id=name, backbone="vit-tiny",
                                  augmentation=repr(CROP), seed=seed, settings=settings, scores=[row],
                                  note="Lesson 16: votes of a smoothed classifier.")


def say(run: StoredRun) -> str:
    row = run.scores[0]
    return (f"accuracy {row['clean']:.3f} clean, certified {row['certified_0']:.3f} at 0, {row['certified_0.25']:.3f} at "
            f"0.25, {row['certified_0.5']:.3f} at 0.5  ({row['certify_seconds']:.0f} s for the votes)")


if __name__ == "__main__":
    runs = {name: partial(make, name, *cell) for name, cell in cells().items()}
    if "--dry" in sys.argv:
        print(say(make("dmae-0.25-s0", *cells()["dmae-0.25-s0"], images=3, sizes=(50, 100), pretrain=10, tune=10, store=False)))
    else:
        sys.exit(grid.main(runs, FOLDER, say, __doc__))
