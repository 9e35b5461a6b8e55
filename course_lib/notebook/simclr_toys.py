"""Lesson 04's small experiments: SimCLR with one wrong line, and the parts that are taken away from the views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.methods.contrastive.simclr import SimCLR
from course_lib.models.backbones import ConvNet
from course_lib.models.layers import normalize
from course_lib.runs.stored import StoredRun
from course_lib.seeds import generator

# what is taken away from the views -> as the stored runs call it
PARTS = {"nothing": "all", "crop": "no crop", "jitter": "no jitter", "flip": "no flip", "grey": "no grey"}
LABELS = {part: f"without {part}" if part != "nothing" else "all parts" for part in PARTS}
LAYERS = {"before the head": "SimCLR", "behind the head": "behind the head"}  # -> the row of a stored run
BUGS = ("right", "one draw", "itself", "neighbours")


def closest(looks: Tensor) -> Tensor:
    """For each row of (2N, ...), the number of the nearest other row by Euclid's distance, int64 (2N,)."""
    flat = looks.flatten(1)
    return torch.cdist(flat, flat).fill_diagonal_(torch.inf).argmin(1)


def chosen(runs: Sequence[StoredRun], views: str, temperature: float = 0.2) -> list[StoredRun]:
    """The stored runs with these views and this temperature."""
    return [run for run in runs if run.settings["views"] == views and run.settings["temperature"] == temperature]


class Logged(NamedTuple):
    """A short training: loss and own accuracy of each step, computed with its bug, and the network at the end."""

    loss: list[float]
    accuracy: list[float]
    network: SimCLR


def logged(bug: str, images: Tensor, batch: int, view: Callable[[Tensor, torch.Generator], Tensor],
           temperature: float = 0.2) -> Logged:
    """SimCLR on batches of images uint8 (N, 3, H, W), once through, with one of `BUGS`; view(images, generator).

    "one draw": the second view is the first; "itself": an anchor is among its own candidates; "neighbours": the partner
    of a row is the one beside it. ValueError for another bug.
    """
    if bug not in BUGS:
        raise ValueError(f"there is no bug {bug!r}; expected one of {', '.join(BUGS)}")
    torch.manual_seed(1)
    network, source = SimCLR(ConvNet()), generator(1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    rows, itself = torch.arange(2 * batch), torch.eye(2 * batch, dtype=torch.bool)
    partner = rows ^ 1 if bug == "neighbours" else rows.roll(batch)
    losses, accuracies = [], []
    for some in images.split(batch):
        first = view(some, source)
        second = first if bug == "one draw" else view(some, source)
        z = normalize(network.head(network.backbone(torch.cat([first, second]))))
        logits = z @ z.T / temperature
        if bug != "itself":
            logits = logits.masked_fill(itself, -torch.inf)
        loss = F.cross_entropy(logits, partner)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        accuracies.append((logits.argmax(1) == partner).float().mean().item())
    return Logged(losses, accuracies, network.eval())


@torch.no_grad()
def embedded(network: SimCLR, views: Tensor) -> Tensor:
    """Views (N, 3, H, W) in [0, 1] -> the embeddings behind the head, (N, D)."""
    return network.head(network.backbone(standardize(views)))
