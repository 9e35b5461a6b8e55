"""The group "masked" of figures.py: what masked autoencoding costs and paints (weeks 12 and 13)."""

from __future__ import annotations

import statistics

import torch
from torch import nn

from course_lib.data.images import Splits
from course_lib.data.loading import load
from course_lib.evaluate.reconstruction import hidden_errors
from course_lib.methods import build_method
from course_lib.train.loop import fit


def rates(methods: dict[str, nn.Module], images, rounds: int = 3, steps: int = 10,
          batch: int = 128) -> dict[str, list[float]]:
    """Views/s of whole training steps (views, loss, backward, update), alternately, after a warm-up."""
    found: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(rounds + 1):
        for name, method in methods.items():
            rate = fit(method, images, steps=steps, batch_size=batch, device="cpu", progress=False).views_per_second
            found[name] += [rate] * (turn > 0)
    return found


def speed() -> list[dict]:
    """A step of MAE with three quarters dropped, against the same encoder and decoder with all tokens, and SimMIM."""
    images = load("shapes", n=4000).train
    torch.manual_seed(0)
    methods = {"dropped": build_method("mae", "vit-tiny"), "all": build_method("mae", "vit-tiny", drop=False),
               "simmim": build_method("simmim", "vit-tiny")}
    found = rates(methods, images)

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(found["dropped"], found[other]))

    return [dict(figure="MAE training step, 75 % dropped, against the same encoder on all tokens",
                 value=f"{ratio('all'):.2f}x", target=">= 2.5x", holds=ratio("all") >= 2.5,
                 beside=f"{statistics.median(found['dropped']):.0f} views/s; against SimMIM {ratio('simmim'):.2f}x")]


# patch -> share hidden; small networks, which see more images in the time
SETTINGS = {4: 0.75, 8: 0.6}
VIT = {"dim": 128, "depth": 5, "heads": 4}


def errors(splits: Splits, what: str, seconds: float = 300.0) -> list[dict]:
    """MAE on pixels for five CPU minutes: last-step error on the test images' hidden pixels, next to both fills."""
    rows = []
    for patch, mask_ratio in SETTINGS.items():
        torch.manual_seed(0)
        method = build_method("mae", "vit-tiny", splits.train.size, backbone_options={**VIT, "patch": patch},
                              mask_ratio=mask_ratio, normalized=False, width=128, depth=2, heads=4)
        history = fit(method, splits.train, seconds=seconds, device="cpu", batch_size=64, lr=1.5e-3, progress=False)
        found = hidden_errors(method, splits.test, seed=0, name="mae")
        ours = found.pop("mae")
        rows.append(dict(figure=f"{what}, {seconds:.0f} CPU seconds, MAE, patch {patch}, {100 * mask_ratio:.0f} % "
                                "hidden: error on hidden pixels over variance",
                         value=f"{ours:.3f}", target="below both fills",
                         holds=ours < min(found.values()),
                         beside=", ".join(f"{k} {v:.3f}" for k, v in found.items()) + f"; {history.steps} steps"))
        print(rows[-1], flush=True)
    return rows


def figures(photographs: str) -> list[dict]:
    """The rows of the group; photographs: 'cifar10' or a folder of them."""
    return speed() + errors(load("shapes"), "shapes") + errors(load(photographs), "CIFAR-10 photographs")
