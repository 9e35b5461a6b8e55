"""W ranks equal one rank: values, gradients, batch norm's statistics, and `fit` (gloo on the CPU, W = 1, 2, 3).

The library's convention (course_lib/collectives.py): every rank computes the loss of the *global* batch. Then, in
float64, the mean of the ranks' values, their parameter gradients averaged (DDP's averaging) and their input gradients
divided by W equal those of one rank that holds the whole batch. A new loss joins by one line in CASES.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from course_lib import collectives
from course_lib.augment.pixels import to_float
from course_lib.augment.views import Augment
from course_lib.data.images import Batch
from course_lib.methods.clustering.deepcluster import cluster_loss
from course_lib.methods.clustering.gatcluster import GATCluster, entropy_loss, relation_loss
from course_lib.methods.clustering.local_aggregation import aggregation_loss
from course_lib.methods.clustering.mice import (
    assigned_sums,
    expert_log_probabilities,
    gate_log_probabilities,
    max_mahalanobis_centers,
    mice_loss,
)
from course_lib.methods.clustering.ruc import RUC, mixed_losses, smoothed_loss
from course_lib.methods.clustering.scan import scan_loss, self_label_loss
from course_lib.methods.clustering.sela import label_loss
from course_lib.methods.contrastive.adpclr import adpclr_loss
from course_lib.methods.contrastive.align_uniform import alignment_loss, uniformity_loss
from course_lib.methods.contrastive.barlow_twins import barlow_twins_loss
from course_lib.methods.contrastive.byol import byol_loss
from course_lib.methods.contrastive.eqco import eqco_loss, some_others
from course_lib.methods.contrastive.imco import imco_loss
from course_lib.methods.contrastive.mochi import draw_mixtures, mochi_loss
from course_lib.methods.contrastive.moco import moco_loss
from course_lib.methods.contrastive.negatives import weighted_nt_xent
from course_lib.methods.contrastive.relic import relic_loss
from course_lib.methods.contrastive.roco import roco_loss
from course_lib.methods.contrastive.simclr import SimCLR, nt_xent
from course_lib.methods.contrastive.simclr_v2 import distillation_loss
from course_lib.methods.contrastive.simsiam import simsiam_loss
from course_lib.methods.contrastive.sskd import sskd_loss
from course_lib.methods.contrastive.swav import queue_codes, swav_loss
from course_lib.methods.contrastive.unmix import unmix_loss
from course_lib.methods.contrastive.vicreg import vicreg_loss
from course_lib.methods.dense.pixpro import pixpro_loss, propagate
from course_lib.methods.dense.vader import vader_loss
from course_lib.methods.information.amdim import feature_map_loss, pairs_of
from course_lib.methods.information.cmc import cmc_loss
from course_lib.methods.information.cpc import cpc_loss, cut
from course_lib.methods.information.dim import ESTIMATORS, information_loss
from course_lib.methods.information.framework import PAPERS, Framework
from course_lib.methods.masked.beit import beit_loss
from course_lib.methods.masked.dino import dino_loss, koleo_loss, moved_center
from course_lib.methods.masked.dmae import dmae_loss
from course_lib.methods.masked.ibot import patch_loss
from course_lib.methods.masked.mae import mae_loss
from course_lib.methods.masked.simmim import simmim_loss
from course_lib.methods.masked.spark import SparK, spark_loss, sparse
from course_lib.methods.masked.tokenizers import VQVAE
from course_lib.methods.metric.hyperbolic import Hyperbolic
from course_lib.methods.metric.supcon import same_class, supcon_loss
from course_lib.methods.pretext.drlim import pair_losses, pairs
from course_lib.methods.pretext.exemplar import triplet_loss
from course_lib.methods.pretext.jigsaw import jigsaw_loss
from course_lib.methods.pretext.memory import MemoryBank
from course_lib.methods.pretext.npid import instance_softmax, nce_loss
from course_lib.methods.pretext.pirl import pirl_loss
from course_lib.methods.pretext.relative_patch import position_loss
from course_lib.methods.pretext.rotation import rotation_loss
from course_lib.models import batch_norm, layers
from course_lib.models.backbones import ConvNet
from course_lib.models.patches import patchify
from course_lib.train.loop import fit
from course_lib.train.ranks import leave
from helpers.ranks import Plain, close, toy_images

WORLDS = (1, 2, 3)
N = 12  # images of the global batch: a multiple of every world size


# ---------------------------------------------------------------- the cases
@dataclass
class Case:
    """`inputs()` of the global batch, cut along the first axis; `loss(module, *inputs)` a scalar of the global batch.

    `module()` makes the parameters; tensors of floats get gradients. local: the loss is a mean over a rank's own
    batch (what DDP is made for), so only the *mean* over ranks is the global one.
    """

    inputs: Callable[[], tuple[Tensor, ...]]
    loss: Callable[..., Tensor]
    module: Callable[[], nn.Module] = lambda: nn.Linear(5, 7)
    local: bool = False


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def two_views() -> tuple[Tensor, Tensor]:
    return randn(N, 5, seed=1), randn(N, 5, seed=2)


def exemplar_whole(net: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    z = collectives.gather(torch.stack([net(a), net(b)], 1))
    return triplet_loss(z.flatten(0, 1), torch.arange(len(z)).repeat_interleave(2), 1.0)["loss"]


def sskd_whole(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    student = net(x).flatten(0, 1)
    teacher = 3 * student.detach().sin()
    return sskd_loss(student, student * 2 + 1, teacher, teacher.roll(1, 1), labels)["loss"]


def unequal_masks(grid: int = 4) -> Tensor:
    """(N, grid, grid) bool with 1, 2, 3, ... visible patches: every rank has another number of hidden ones."""
    order = randn(N, grid * grid, seed=3).argsort(1).argsort(1)
    return (order < torch.arange(1, N + 1)[:, None]).view(N, grid, grid)


def with_batch_norm(width: int = 7) -> nn.Module:
    return nn.Sequential(nn.Linear(5, width), batch_norm.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 4))


def squares(x: Tensor) -> Tensor:
    return (x * torch.linspace(-1, 1, x.numel() // x.shape[0], dtype=x.dtype).view(1, *x.shape[1:])).square()


def masked_norm_loss(norm: nn.Module, x: Tensor, visible: Tensor) -> Tensor:
    with sparse(nn.Sequential(norm), visible.unsqueeze(1)):
        return collectives.all_reduce_sum(squares(norm(x)).sum())


def images_and_masks() -> tuple[Tensor, Tensor]:
    return randn(N, 3, 16, 16, seed=4), unequal_masks()


def small_spark() -> nn.Module:
    return SparK(ConvNet(2, (4, 6)), image_size=16, width=8)


def spark_whole(method: SparK, images: Tensor, visible: Tensor) -> Tensor:
    return spark_loss(method.decode(images, visible), images, visible)


def beit_words(net: nn.Module, images: Tensor, visible: Tensor) -> Tensor:
    """Seven words, here by the brightness of a patch; images hide another number of patches each."""
    words = (images.unfold(2, 4, 4).unfold(3, 4, 4).mean((1, 4, 5)) * 20).round().long() % 7
    return beit_loss(net(images).flatten(2).mT, words, visible)


class Queued(nn.Linear):
    """A linear layer with MoCo's queue, whose rows and pointer must come out the same on every rank."""

    def __init__(self):
        super().__init__(5, 7)
        self.queue = layers.Queue(16, 7)


def moco_step(net: Queued, a: Tensor, b: Tensor) -> Tensor:
    loss = moco_loss(net(a), net(b), net.queue.rows, 0.2)["loss"] + 0 * b.sum()  # keys have no gradient
    net.queue.enqueue(layers.normalize(net(b)))
    return loss


def roco_step(net: Queued, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    loss = roco_loss(net(a), net(b), net.queue.rows, net(t).unsqueeze(1))["loss"] + 0 * (b.sum() + t.sum())
    net.queue.enqueue(layers.normalize(net(b)))
    return loss


def mochi_step(net: Queued, a: Tensor, b: Tensor, *draws: Tensor) -> Tensor:
    loss = mochi_loss(net(a), net(b), net.queue.rows, 5, draws, 0.2)["loss"] + 0 * b.sum()
    net.queue.enqueue(layers.normalize(net(b)))
    return loss


def imco_step(net: Queued, a: Tensor, b: Tensor) -> Tensor:
    order = torch.arange(16).roll(5)
    loss = imco_loss(net(a), net(b), net.queue.rows, 0.2, 1.4, 0.3, order)["loss"] + 0 * b.sum()
    net.queue.enqueue(layers.normalize(net(b)))
    return loss


def mochi_inputs() -> tuple[Tensor, ...]:
    draws = draw_mixtures(N, 5, 4, 3, torch.Generator().manual_seed(9))
    return *two_views(), *(draw.double() if draw.is_floating_point() else draw for draw in draws)


def simo_inputs() -> tuple[Tensor, ...]:
    return *two_views(), some_others(N, N, 7, torch.Generator().manual_seed(9))


def unmix_step(net: Queued, a: Tensor, b: Tensor, mixed: Tensor) -> Tensor:
    """With lam 1: the reverse of a rank's own batch is another partner than that of the global one."""
    loss = unmix_loss(net(a), net(mixed), net(b), net.queue.rows, 1.0, 0.2)["loss"] + 0 * b.sum()
    net.queue.enqueue(layers.normalize(net(b)))
    return loss


def swav_step(net: nn.Module, *crops: Tensor) -> Tensor:
    """Four crops, codes of the first two balanced over the global batch and a queue."""
    scores = [layers.normalize(net(crop)) for crop in crops]
    codes = [layers.sinkhorn(score, 0.05, 3, extra=randn(9, 7, seed=8).tanh()) for score in scores[:2]]
    return swav_loss(scores, codes)


class Remembered(nn.Linear):
    """A linear layer with SwAV's queue, which must come out the same on every rank."""

    def __init__(self):
        super().__init__(5, 7)
        self.register_buffer("queue", torch.zeros(9, 7))


def swav_queue_steps(net: Remembered, a: Tensor, b: Tensor) -> Tensor:
    """Two losses, the second with the queue that the first has filled."""
    prototypes, total = layers.normalize(randn(6, 7, seed=8)), 0.0
    for scale in (1.0, -0.5):
        first, second = (layers.normalize(net(view * scale)) for view in (a, b))
        codes, net.queue = queue_codes(first.detach(), net.queue, prototypes, 0.1)
        total = total + swav_loss([first @ prototypes.T, second @ prototypes.T], [codes])
    return total + 0 * a.sum()


def four_views() -> tuple[Tensor, ...]:
    return *two_views(), randn(N, 5, seed=6), randn(N, 5, seed=7)


class Centred(nn.Linear):
    """A linear layer with DINO's two centres, which must come out the same on every rank."""

    def __init__(self):
        super().__init__(5, 7)
        self.register_buffer("center", torch.zeros(7))
        self.register_buffer("patch_center", torch.zeros(7))


def dino_steps(net: Centred, *crops: Tensor) -> Tensor:
    """Two losses, the second with the centre that the first has left."""
    total = 0.0
    for scale in (1.0, 0.5):
        teacher = [net(crop * scale).detach() for crop in crops[:2]]
        total = total + dino_loss([net(crop) for crop in crops], teacher, net.center, 0.5, 0.3)
        net.center = moved_center(net.center, torch.cat(teacher))
    return total


def ibot_steps(net: Centred, x: Tensor, seen: Tensor) -> Tensor:
    """The same on patches, with another number of hidden ones in each image."""
    tokens, total = x.flatten(1).unflatten(1, (16, -1))[..., :5], 0 * x.sum()
    for scale in (1.0, 0.5):
        teacher = net(tokens * scale).detach()
        total = total + patch_loss(net(tokens), teacher, seen, net.patch_center, 0.5, 0.3)
        net.patch_center = moved_center(net.patch_center, teacher)
    return total


class Experts(nn.Linear):
    """Three experts' heads with MiCE's queue and the sums of its M-step, the same on every rank."""

    def __init__(self):
        super().__init__(5, 12)
        self.queue = layers.Queue(16, 12)
        self.register_buffer("sums", torch.zeros(3, 4))


def mice_steps(net: Experts, a: Tensor, b: Tensor) -> Tensor:
    """Two losses, the second with the queue that the first has left."""
    total = 0.0
    for scale in (1.0, -0.5):
        f, v = (layers.normalize(net(x * scale).unflatten(1, (3, 4))) for x in (a, b))
        log_pi = gate_log_probabilities(f[:, 0], max_mahalanobis_centers(3, 4).to(f), 0.5)
        queue = net.queue.rows.unflatten(1, (3, 4))
        parts = mice_loss(log_pi, expert_log_probabilities(f, v, net.weight.view(5, 3, 4)[0], queue, 0.5))
        net.queue.enqueue(v.flatten(1))
        net.sums += assigned_sums(v, parts["posterior"])
        total = total + parts["loss"]
    return total + 0 * b.sum()


class Doubled(ConvNet):
    def stages(self, images: Tensor) -> list[Tensor]:
        return super().stages(images.double())


def small_gatcluster() -> nn.Module:
    """One pass over a pool of two batches, without transformations."""
    still = Augment(16, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray_p=0.0)
    return GATCluster(Doubled(2, (4, 6)), 16, clusters=3, width=6, pool=2 * N, passes=1, augment=still)


def gatcluster_steps(method: GATCluster, x: Tensor) -> Tensor:
    """Three steps, the third on a new pool of what was in the first two batches."""
    total = 0 * x.sum()
    for turn in range(3):
        images = (x.detach().sigmoid() * 255).to(torch.uint8).roll(turn, 3)
        if turn == 0:
            method.prepare((randn(2 * N, 3, 16, 16, seed=5).sigmoid() * 255).to(torch.uint8))
        views = method.views(Batch(images, torch.arange(len(images))), torch.Generator())
        total = total + method.loss(views)["loss"]
    return total


class Remembering(nn.Linear):
    """A linear layer with a memory bank, whose rows, ages and Z must come out the same on every rank."""

    def __init__(self):
        super().__init__(5, 7)
        self.memory = MemoryBank(7)
        self.memory.prepare(torch.zeros(N + 8, 3, 2, 2, dtype=torch.uint8))


def with_rows(views: int) -> Callable[[], tuple[Tensor, ...]]:
    """Views of images, their numbers in a set of N + 8, and the rows that each meets, its own first."""
    indices = torch.arange(N).flip(0) + 3
    drawn = torch.randint(N + 8, (N, 6), generator=torch.Generator().manual_seed(4))
    return lambda: (*four_views()[:views], indices, torch.cat([indices[:, None], drawn], 1))


def npid_steps(net: Remembering, x: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    """Two steps, the second with the rows that the first has left and its Z; and one over all rows."""
    total = 0.0
    for scale in (1.0, -0.5):
        v = layers.normalize(net(x * scale))
        scores = net.memory.scores(v, rows, 0.5)
        total = total + nce_loss(scores, net.memory.log_partition(scores), N + 8)["loss"]
        net.memory.update(indices, v)
    return total + instance_softmax(net.memory.scores(net(x), None, 0.5), indices)


def pirl_steps(net: Remembering, x: Tensor, t: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    total = 0.0
    for scale in (1.0, -0.5):
        scores = [net.memory.scores(net(view * scale), rows, 0.5) for view in (t, x)]
        total = total + pirl_loss(*scores, net.memory.log_partition(scores[0]), N + 8, 0.3)["loss"]
        net.memory.update(indices, net(x))
    return total


class BothRemembering(nn.Linear):
    """A linear layer with the banks of two views."""

    def __init__(self):
        super().__init__(5, 7)
        self.banks = nn.ModuleList(Remembering().memory for _ in range(2))


def cmc_steps(net: BothRemembering, a: Tensor, b: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    total = 0.0
    for scale in (1.0, -0.5):
        v = [net(view * scale) for view in (a, b)]
        scores = [bank.scores(each, rows, 0.5) for each, bank in zip(v, net.banks[::-1])]
        log_z = [bank.log_partition(each) for each, bank in zip(scores, net.banks[::-1])]
        total = total + cmc_loss(scores, log_z, N + 8)["loss"] + cmc_loss(scores, None, N + 8)["loss"]
        for bank, each in zip(net.banks, v):
            bank.update(indices, each)
    return total


def two_maps() -> tuple[Tensor, ...]:
    """A map of each of two views, and the draws of a cell of each for two pairs."""
    draws = torch.rand(N, 2, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    return randn(N, 5, 2, 2, seed=1), randn(N, 5, 2, 2, seed=2), draws


def amdim_pairs(net: nn.Module, a: Tensor, b: Tensor, draws: Tensor) -> Tensor:
    first, second = ([net(x.mean((2, 3)))[:, :, None, None], net(x.movedim(1, 3)).movedim(3, 1)] for x in (a, b))
    loss = feature_map_loss(first, second, draws.detach().permute(1, 2, 0), pairs_of("01,11", 2), 5.0)["loss"]
    return loss + 0 * draws.sum()


def cpc_rows(net: nn.Module, x: Tensor) -> Tensor:
    maps = net(x.movedim(1, 3)).movedim(3, 1)
    return cpc_loss(maps.flip(1), maps, 1)["loss"] + cpc_loss(maps, maps, 2)["loss"]


def dim_estimators(net: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """A map and codes, by every estimator: the pairs are those of the global batch."""
    places, codes = net(a.movedim(1, 3)).movedim(3, 1).flatten(2), net(b)[..., None]
    return sum(information_loss(places, codes, name) for name in ESTIMATORS) + 0 * b.sum()


def chosen(paper: str) -> Callable[[], nn.Module]:
    return lambda: Framework(ConvNet(2, (4, 6), norm="layer" if paper == "CPC v2" else "batch"), 16, *PAPERS[paper])


def framework_loss(method: Framework, a: Tensor, b: Tensor) -> Tensor:
    """Of given views, of one or of two, as its augmentation makes them."""
    draws = torch.full((len(method.pairs), 2, len(a)), 0.6, dtype=torch.float64)
    views = (a, b) if method.choices[0] != "cpc" else (cut(a, 4, 2) + 0 * b.sum(),)
    return method.loss((*views, draws))["loss"] + 0 * (a.sum() + b.sum())


def two_images() -> tuple[Tensor, Tensor]:
    return randn(N, 3, 16, 16, seed=1), randn(N, 3, 16, 16, seed=2)


def aggregation_steps(net: Remembering, x: Tensor, indices: Tensor, rows: Tensor) -> Tensor:
    groups, total = torch.arange(2 * (N + 8)).view(-1, 2) % 5, 0.0
    for scale in (1.0, -0.5):
        v = net(x * scale)
        total = total + aggregation_loss(net.memory.scores(v, None, 0.5), groups[indices], groups, 9)["loss"]
        net.memory.update(indices, v)
    return total


def supcon_both(net: nn.Module, a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    z, same = torch.stack([net(a), net(b)], 1), same_class(collectives.gather(labels))
    return supcon_loss(z, same, 0.3)["loss"] + supcon_loss(z, same, 0.3, inside=True)["loss"]


def small_hyperbolic() -> nn.Module:
    method = Hyperbolic(ConvNet(2, (4, 6)), 16, clusters=(4, 2))
    method.use_levels(torch.ones(3, 2, dtype=torch.long))  # buffers are compared, so none is empty
    return method


def pixpro_maps(net: nn.Module, a: Tensor, b: Tensor, corners: Tensor) -> Tensor:
    first, second = (net(x.movedim(1, 3)).movedim(3, 1) for x in (a, b))
    parts = pixpro_loss(propagate(first, first.sin()), propagate(second, second.sin()), first, second, corners.detach(),
                        0.9 * corners.detach() + 0.05, 1.0)
    return parts["loss"] + 0 * corners.sum()


def vader_step(net: Queued, a: Tensor, b: Tensor, found: Tensor) -> Tensor:
    """Some ranks have more images whose views overlap than others."""
    q, k = (net(x)[:, None] for x in (a, b))
    loss = vader_loss(q, k, net.queue.rows, found, 0.2)["loss"] + 0 * b.sum()
    net.queue.enqueue(layers.normalize(k).flatten(0, 1))
    return loss


def drlim_whole(net: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    return pair_losses(*pairs(collectives.gather(net(a)), collectives.gather(net(b)), 5), 4.0).mean()


def ruc_losses(net: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """Of clean rows that are unequally many on each rank."""
    clean, labels = a.detach()[:, 0] > 0.3, b.detach().argmax(1) % 3
    mixed, error = mixed_losses(net(a), b.detach().softmax(1), clean)
    return mixed + error + smoothed_loss(net(a), labels, clean) + 0 * b.sum()


class Vectors(nn.Module):
    """A backbone that hands on what it gets."""

    dim = 5

    def forward(self, x: Tensor) -> Tensor:
        return x


def small_ruc() -> nn.Module:
    """RUC with labels of a set of N + 8, half of them clean, whose changes must come out the same on every rank."""
    method, rows = RUC(Vectors(), clusters=3, relabel=0.6), torch.arange(N + 8)
    method.memory.fill(labels=rows % 3, clean=rows % 2 == 0, confidence=torch.zeros(N + 8, 2),
                       weight=torch.zeros(N + 8, 2))
    return method


def ruc_steps(method: RUC, x: Tensor, indices: Tensor) -> Tensor:
    """Two steps, the second with what the first has left, and the end of an epoch."""
    total = 0.0
    for scale in (1.0, -2.0):
        logits = [network(x * scale) for network in method.networks]
        labels, clean = method.memory.labels[indices], method.memory.clean[indices]
        total = total + sum(smoothed_loss(each, labels, clean) for each in logits)
        method.remember(indices, [each.detach().softmax(1) for each in logits], 0.0)
    method.on_epoch(1)
    return total


def weighted(z: Tensor) -> Tensor:
    """Rows (W*N, D) times weights that differ for each of their numbers, so that none may change its place."""
    return z * randn(*z.shape, seed=5)


CASES = {
    "vicreg": Case(two_views, lambda net, a, b: vicreg_loss(net(a), net(b))["loss"]),
    "vicreg invariance": Case(two_views, lambda net, a, b: vicreg_loss(net(a), net(b))["invariance"]),
    "vicreg variance": Case(two_views, lambda net, a, b: vicreg_loss(net(a), net(b))["variance"]),
    "vicreg covariance": Case(two_views, lambda net, a, b: vicreg_loss(net(a), net(b))["covariance"]),
    "vicreg through batch norm": Case(two_views, lambda net, a, b: vicreg_loss(net(a), net(b))["loss"],
                                      with_batch_norm),
    "align": Case(two_views, lambda net, a, b: alignment_loss(*map(collectives.gather, (net(a), net(b))))),
    "gathered, not contiguous": Case(two_views, lambda net, a, b: (
        weighted(collectives.gather(net(a).t().contiguous().t())) * weighted(collectives.gather(net(b)))).sin().sum()),
    "summed, not contiguous": Case(two_views, lambda net, a, b: collectives.all_reduce_sum(
        (net(a).t() @ net(b)).t()).mul(randn(7, 7, seed=4)).sum()),
    "uniform": Case(lambda: two_views()[:1], lambda net, a: uniformity_loss(collectives.gather(net(a)))),
    "simclr": Case(two_views, lambda net, a, b: nt_xent(net(a), net(b))["loss"]),
    "simclr through batch norm": Case(two_views, lambda net, a, b: nt_xent(net(a), net(b))["loss"], with_batch_norm),
    "simclr v2, distillation": Case(two_views, lambda net, a, b: distillation_loss(net(a), net(b), 2.0) + 0 * b.sum(),
                                    local=True),
    "moco, and its queue": Case(two_views, moco_step, Queued, local=True),
    "mochi, and its queue": Case(mochi_inputs, mochi_step, Queued, local=True),
    "adpclr": Case(two_views, lambda net, a, b: adpclr_loss(torch.stack([net(a), net(b)], 1), 2)["loss"]),
    "dcl": Case(two_views, lambda net, a, b: weighted_nt_xent(net(a), net(b), 0.5, 0.1)["loss"]),
    "hcl, a share of the negatives": Case(
        two_views, lambda net, a, b: weighted_nt_xent(net(a), net(b), 0.5, 0.1, 1.0, (0.1, 0.8))["loss"]),
    "eqco": Case(simo_inputs, lambda net, a, b, columns: eqco_loss(net(a), net(b), columns)["loss"] + 0 * b.sum(),
                 local=True),
    "relic": Case(two_views, lambda net, a, b: relic_loss(net(a), net(b), net(a), net(b), 2.0, 0.5)["loss"]),
    "relic, with targets": Case(four_views, lambda net, a, b, c, d: relic_loss(
        net(a), net(b), net(c).detach(), net(d).detach(), 2.0, 0.5)["loss"] + 0 * (c + d).sum()),
    "roco, and its queue": Case(lambda: four_views()[:3], roco_step, Queued, local=True),
    "imco, and its queue": Case(two_views, imco_step, Queued, local=True),
    "unmix, and its queue": Case(lambda: four_views()[:3], unmix_step, Queued, local=True),
    "byol": Case(four_views, lambda net, *views: byol_loss(*map(net, views)) + 0 * sum(v.sum() for v in views),
                 local=True),
    "simsiam": Case(four_views, lambda net, *views: simsiam_loss(*map(net, views)) + 0 * sum(v.sum() for v in views),
                    local=True),
    "swav": Case(four_views, swav_step, local=True),
    "swav, and its queue": Case(two_views, swav_queue_steps, Remembered, local=True),
    "barlow twins": Case(two_views, lambda net, a, b: barlow_twins_loss(net(a), net(b))["loss"]),
    "barlow twins through batch norm": Case(two_views, lambda net, a, b: barlow_twins_loss(net(a), net(b))["loss"],
                                            with_batch_norm),
    "spark loss": Case(images_and_masks, lambda net, x, seen: spark_loss(net(x), x.detach(), seen),
                       lambda: nn.Conv2d(3, 3, 1)),
    "mae loss": Case(images_and_masks, lambda net, x, seen: mae_loss(patchify(net(x), 4), x.detach(), seen),
                     lambda: nn.Conv2d(3, 3, 1)),
    "simmim loss": Case(images_and_masks, lambda net, x, seen: simmim_loss(net(x), x.detach(), seen),
                        lambda: nn.Conv2d(3, 3, 1)),
    "beit loss": Case(images_and_masks, beit_words, lambda: nn.Conv2d(3, 7, 4, 4)),
    "scan": Case(two_views, lambda net, a, b: scan_loss(net(a), net(b))["loss"]),
    "scan's own labels": Case(two_views, lambda net, a, b: self_label_loss(4 * net(a), net(b), 0.5) + 0 * a.sum()),
    "ruc": Case(two_views, ruc_losses, lambda: nn.Linear(5, 5)),
    "ruc, and what it remembers": Case(lambda: (3 * randn(N, 5), torch.arange(N).flip(0) + 3), ruc_steps, small_ruc),
    "vqvae, and its words": Case(lambda: (randn(N, 3, 8, 8).sigmoid(),), lambda net, x: net.loss(x)["loss"],
                                 lambda: VQVAE(6, 4, width=8, dim=3), local=True),
    "dmae loss": Case(images_and_masks, lambda net, x, seen: dmae_loss(patchify(net(x), 4), x.detach()),
                      lambda: nn.Conv2d(3, 3, 1), local=True),
    "dino, and its centre": Case(four_views, dino_steps, Centred, local=True),
    "koleo": Case(lambda: two_views()[:1], lambda net, a: koleo_loss(net(a)), local=True),
    "ibot's patches, and their centre": Case(images_and_masks, ibot_steps, Centred, local=True),
    "spark, whole forward": Case(images_and_masks, spark_whole, small_spark),
    "mice, its queue and sums": Case(two_views, mice_steps, Experts, local=True),
    "gatcluster's entropy": Case(lambda: two_views()[:1], lambda net, a: entropy_loss(net(a).softmax(1))),
    "gatcluster's pairs": Case(lambda: (*two_views()[:1], torch.arange(N) % 3),
                               lambda net, a, labels: relation_loss(net(a).softmax(1), labels)),
    "gatcluster, and its pool": Case(lambda: (randn(N, 3, 16, 16, seed=4),), gatcluster_steps, small_gatcluster,
                                     local=True),
    "npid, and its bank": Case(with_rows(1), npid_steps, Remembering, local=True),
    "pirl, and its bank": Case(with_rows(2), pirl_steps, Remembering, local=True),
    "local aggregation, and its bank": Case(with_rows(1), aggregation_steps, Remembering, local=True),
    "sela's labels": Case(lambda: (randn(N, 5), torch.arange(N)[:, None] % 7),
                          lambda net, x, labels: label_loss(net(x)[:, None], labels), local=True),
    "jigsaw": Case(lambda: (randn(N, 5), torch.arange(N) % 7), lambda net, x, which: jigsaw_loss(net(x), which)["loss"],
                   local=True),
    "rotation": Case(lambda: (randn(N, 5), torch.arange(N) % 4),
                     lambda net, x, turns: rotation_loss(net(x), turns)["loss"], local=True),
    "relative patch": Case(lambda: (randn(N, 8, 5),), lambda net, x: position_loss(net(x))["loss"],
                           lambda: nn.Linear(5, 8), local=True),
    "deepcluster": Case(lambda: (randn(N, 5), torch.arange(N) % 7),
                        lambda net, x, labels: cluster_loss(net(x), labels)["loss"], local=True),
    "exemplar": Case(two_views, exemplar_whole),
    "sskd": Case(lambda: (randn(N, 4, 5), torch.arange(N) % 5), sskd_whole),
    "supcon": Case(lambda: (*two_views(), torch.arange(N) % 3), supcon_both),
    "hyperbolic": Case(lambda: (randn(N, 3, 16, 16).sigmoid(), torch.arange(N)[:, None] % torch.tensor([4, 2])),
                       lambda method, x, labels: method.loss((x, labels))["loss"],
                       small_hyperbolic),
    "pixpro": Case(lambda: (*two_maps()[:2], randn(N, 4, seed=3).sigmoid()), pixpro_maps, local=True),
    "vader, and its queue": Case(lambda: (*two_views(), torch.arange(N) > 4), vader_step, Queued, local=True),
    "simclr, four views": Case(four_views, lambda net, *views: supcon_loss(torch.stack([net(v) for v in views], 1),
                                                                           temperature=0.2)["loss"]),
    "drlim": Case(two_views, drlim_whole),
    "amdim": Case(two_maps, amdim_pairs),
    "cpc": Case(lambda: (randn(N, 5, 4, 2),), cpc_rows),
    "dim": Case(lambda: (randn(N, 5, 2, 2, seed=1), randn(N, 5, seed=2)), dim_estimators),
    "cmc, and its banks": Case(with_rows(2), cmc_steps, BothRemembering, local=True),
    "framework as SimCLR": Case(two_images, framework_loss, chosen("SimCLR")),
    "framework as BYOL": Case(two_images, framework_loss, chosen("BYOL")),
    "framework as YADIM": Case(two_images, framework_loss, chosen("YADIM")),
    "framework as CPC v2": Case(two_images, framework_loss, chosen("CPC v2")),
    "framework as MoCo v2": Case(two_images, framework_loss, chosen("MoCo v2"), local=True),
    "gather": Case(lambda: (randn(N, 5),),
                   lambda net, x: squares(collectives.gather(net(x)).T @ collectives.gather(x)).sum()),
    "all_reduce_sum": Case(lambda: (randn(N, 5),),
                           lambda net, x: squares(collectives.all_reduce_sum(net(x).sum(0))[None]).sum()),
    "BatchNorm1d": Case(lambda: (randn(N, 6) * 3 + 1,), lambda norm, x: squares(norm(x)).mean(),
                        lambda: batch_norm.BatchNorm1d(6), local=True),
    "BatchNorm1d, sequences": Case(lambda: (randn(N, 6, 3) * 3 + 1,), lambda norm, x: squares(norm(x)).mean(),
                                   lambda: batch_norm.BatchNorm1d(6), local=True),
    "BatchNorm2d": Case(lambda: (randn(N, 6, 4, 4) * 3 + 1,), lambda norm, x: squares(norm(x)).mean(),
                        lambda: batch_norm.BatchNorm2d(6), local=True),
    "BatchNorm2d, visible only": Case(lambda: (randn(N, 6, 8, 8) * 3 + 1, unequal_masks()), masked_norm_loss,
                                      lambda: batch_norm.BatchNorm2d(6)),
}


def compute(case: Case) -> dict:
    """One rank's share of a case: value, gradients and buffers, after what DDP does with gradients."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    torch.manual_seed(0)
    module = case.module().double().train()
    share = N // world
    inputs = [x[rank * share : (rank + 1) * share].clone() for x in case.inputs()]
    for x in inputs:
        x.requires_grad_(x.is_floating_point())
    value = case.loss(module, *inputs)
    value.backward()
    gradients = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is not None:
            total = parameter.grad.clone()
            if world > 1:
                dist.all_reduce(total)
            gradients[name] = total / world
    return {"value": value.detach(), "parameters": gradients, "inputs": [x.grad for x in inputs if x.requires_grad],
            "buffers": dict(module.named_buffers())}


# ---------------------------------------------------------------- fit over ranks
class PlainSimCLR(SimCLR):
    """Four views; functions of the image alone."""

    def views(self, batch, generator):
        images = to_float(batch.images).double()
        return [images, images.flip(3) * 0.8 + 0.1, images.flip(2), images.roll(3, 3)]


class PlainSparK(SparK):
    def views(self, batch, generator):
        order = torch.stack([torch.randperm(self.grid**2, generator=torch.Generator().manual_seed(int(i)))
                             for i in batch.indices])
        visible = order < 6 + batch.indices[:, None] % 3  # another number in each image
        return to_float(batch.images).double(), visible.view(-1, self.grid, self.grid)


KINDS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "vicreg": lambda backbone: Plain(backbone, 16, width=8),
    "spark": lambda backbone: PlainSparK(backbone, 16, width=8),
    "simclr": lambda backbone: PlainSimCLR(backbone, 16, hidden=8, out=6)}


def built(kind: str) -> nn.Module:
    torch.manual_seed(1)
    return KINDS[kind](ConvNet(2, (4, 6))).double()


def train(kind: str) -> dict:
    method = built(kind)
    history = fit(method, toy_images(), steps=3, batch_size=N, accumulate=1, lr=1e-2,
                  precision="float32", device="cpu", progress=False, optimizer="sgd", log_every=1)
    return {"state": method.state_dict(), "loss": history.loss}


# ---------------------------------------------------------------- running W processes, once for each W
def work(folder: Path, rank: int, world: int, port: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    results = {name: compute(case) for name, case in CASES.items()}
    results |= {f"fit {kind}": train(kind) for kind in KINDS}
    steps_in_seconds = fit(Plain(ConvNet(1, (4,)), 16, width=4).double(), toy_images(), seconds=0.3, batch_size=6,
                           device="cpu", precision="float32", progress=False)
    results["seconds"] = [steps_in_seconds.total_steps, steps_in_seconds.steps]
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()
    leave()
    assert collectives.world_size() == 1 and not dist.is_initialized()


@cache
def ranks(world: int) -> list[dict]:
    """The results of all ranks of a world of `world` processes."""
    import tempfile

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "OMP_NUM_THREADS": "1",
               "PYTHONPATH": os.environ["PYTHONPATH"]}
        processes = [subprocess.Popen([sys.executable, __file__, folder, str(rank), str(world), str(port)], env=env,
                                      stderr=subprocess.PIPE, text=True) for rank in range(world)]
        errors = []
        for process in processes:
            try:
                errors.append(process.communicate(timeout=300)[1])
            except subprocess.TimeoutExpired:
                for each in processes:
                    each.kill()
                errors.append("timed out")
        assert all(process.returncode == 0 for process in processes), "\n".join(errors)
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(world)]


@cache
def one_rank() -> dict:
    """The same in this process, without any process group."""
    torch.set_num_threads(1)
    return {name: compute(case) for name, case in CASES.items()} | {f"fit {kind}": train(kind) for kind in KINDS}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("name", CASES)
def test_ranks_equal_one_rank(name, world):
    one, many = one_rank()[name], [result[name] for result in ranks(world)]
    if not CASES[name].local:  # each rank has the global loss, not its share
        for result in many:
            close(result["value"], one["value"], "value of a rank")
    close(torch.stack([result["value"] for result in many]).mean(), one["value"], "mean of the values")
    assert one["parameters"].keys() == many[0]["parameters"].keys() and one["parameters"]
    for key, wanted in one["parameters"].items():
        for result in many:
            close(result["parameters"][key], wanted, f"gradient of {key}")
    for number, wanted in enumerate(one["inputs"]):
        close(torch.cat([result["inputs"][number] for result in many]) / world, wanted, f"gradient of input {number}")
    for key, wanted in one["buffers"].items():
        for result in many:
            close(result["buffers"][key].double(), wanted.double(), f"buffer {key}")


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("kind", KINDS)
def test_fit_on_ranks_equals_fit_on_one(kind, world):
    one, many = one_rank()[f"fit {kind}"], [result[f"fit {kind}"] for result in ranks(world)]
    start = train_start(kind)
    for result in many:
        assert result["loss"] == pytest.approx(one["loss"], rel=1e-6)
        for key, wanted in one["state"].items():
            close(result["state"][key].double(), wanted.double(), f"{kind} {key}", 1e-6)
    moved = [key for key in start if not torch.equal(start[key], one["state"][key])]
    assert len(moved) == len(start), f"not trained: {set(start) - set(moved)}"


def train_start(kind: str) -> dict:
    return {name: p.detach() for name, p in built(kind).named_parameters()
            if p.ndim > 1 and name != "mask_tokens.0"}


@pytest.mark.parametrize("world", WORLDS)
def test_a_budget_in_seconds_is_one_number_of_steps(world):
    """Each rank measures its own time; all must still make the same steps, or they wait for each other for ever."""
    assert len({tuple(result["seconds"]) for result in ranks(world)}) == 1


if __name__ == "__main__":
    work(Path(sys.argv[1]), *map(int, sys.argv[2:]))
