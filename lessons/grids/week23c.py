"""Make the stored runs of lesson 23's Further on adversarial pre-training: a pretext learned on attacked images.

    python lessons/grids/week23c.py   # what is missing in lessons/runs/23_further (40 seconds of one core each)

Rotation, on shapes that stand upright. Each turned image is moved by PGD before the update, which costs a pass a step;
"plain-long" has as many passes, without an attack. Batch norm is in training mode in the attack as in the update.
The labelled images are the same in each way of reading: a linear head on the frozen network, and fine-tuning.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from grid import CROPS, Grid, Made, Run, few, shapes, train
from torch import Tensor, nn

from course_lib.augment.pixels import to_float
from course_lib.data.images import Splits
from course_lib.evaluate.features import embed, reinitialise
from course_lib.evaluate.probes import linear_head
from course_lib.evaluate.robustness import InPixels, pgd_accuracy, pgd_step, projected
from course_lib.methods.pretext.rotation import Rotation
from course_lib.models.backbones import ConvNet, build_backbone
from course_lib.train.tuning import fine_tune

IMAGES, LABELS, ATTACKED, STEPS = 4000, 200, 200, 400
EPSILON, STEP, NUMBER = 1 / 255, 0.5 / 255, 3  # of the attack in training: how far, by how much, how often
LINES = {"plain": (STEPS, 0), "plain-long": (STEPS * (1 + NUMBER), 0), "attacked": (STEPS, NUMBER)}
FIT = {"batch_size": 12, "lr": 2e-3, "device": "cpu", "threads": 1}
ATTACK: dict[str, Any] = {"epsilon": EPSILON, "step": EPSILON / 4, "steps": (0, 1, 5, 10, 20), "restarts": 2}


class Attacked(Rotation):
    """Rotation on images that were moved to make its loss large; number: of the attack's steps, 0 for none."""

    def __init__(self, number: int):
        super().__init__(build_backbone("convnet"), augment=CROPS)
        self.number = number

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, quarters = views
        x = projected(images + EPSILON * (2 * torch.rand_like(images) - 1), images, EPSILON) if self.number else images
        network = InPixels(self.backbone, self.head)
        for _ in range(self.number):
            x, _ = pgd_step(network, x, images, quarters, EPSILON, STEP)
        return super().loss((x, quarters), progress)


def runs() -> list[Run]:
    says = {"n": IMAGES, "upright": True, "epsilon": EPSILON, "labels": LABELS, "attacked": ATTACKED,
            "restarts": ATTACK["restarts"]}
    return [Run(f"rotation-{line}-s{seed}", seed, "rotation", {}, {"steps": steps, **FIT},
                {"line": line, "attack_steps": number, **says}, build=lambda run: Attacked(run.says["attack_steps"]))
            for seed in (0, 1, 2) for line, (steps, number) in LINES.items()]


def upright() -> Splits:
    return shapes(IMAGES, upright=True)


def robust(name: str, kind: str, backbone: nn.Module, seed: int) -> dict:
    """Accuracies after each number of an attack's steps: of a "frozen" network and of a "tuned" one."""
    whole, some = upright(), upright().test.head(few(ATTACKED, 8))
    splits = Splits(whole.train.head(LABELS), whole.validation.head(LABELS), whole.test)
    known, held = ((embed(backbone, part), part.labels) for part in (splits.train, splits.validation))
    tuned = fine_tune(backbone, splits, epochs=few(20, 1), batch_size=20, seed=seed, device="cpu")
    networks = {"frozen": InPixels(backbone, linear_head(known, held)), "tuned": InPixels(*tuned.model)}
    return {"name": name, "kind": kind} | {
        f"{way} {steps}": right for way, network in networks.items() for steps, right in pgd_accuracy(
            network.eval(), to_float(some.images), some.labels, seed=seed, **ATTACK).items()}


@lru_cache
def control(seed: int) -> dict:
    return robust("random encoder", "control", reinitialise(ConvNet(), seed).eval(), seed)


def rows(made: Made) -> list[dict]:
    row = robust(made.run.says["line"], "method", made.method.eval().backbone, made.run.seed)
    last = {key: made.history.curves[key][-10:] for key in ("loss", "accuracy")}
    return [row | {f"pretext {key}": sum(values) / len(values) for key, values in last.items()}, control(made.run.seed)]


def train_upright(run: Run, out: Path | None = None) -> Made:
    return train(run, upright(), out)


GRID = Grid("23_further", runs, rows, "Lesson 23, Further: a pretext learned on attacked images.",
            show=("frozen 0", "frozen 20", "tuned 0", "tuned 20", "pretext accuracy"), train=train_upright)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
