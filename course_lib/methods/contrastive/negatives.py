r"""One contrastive loss with a weight for each negative, and the works that differ in the weights.

DCL: debiased contrastive learning. Chuang et al., NeurIPS 2020, arXiv 2007.00224; official code: chingyaoc/DCL.
HCL: contrastive learning with hard negative samples. Robinson et al., ICLR 2021, arXiv 2010.04592; joshr17/HCL.
Are all negatives created equal? Cai et al., 2020, arXiv 2010.06682 (no official code found).

An anchor has a positive, s+, and M negatives, s_j: cosines. With w_j of mean 1 over the negatives that are kept:

    L = mean over anchors of  -log( exp(s+ / tau) / (exp(s+ / tau) + N_g) )

    N_g = max( (sum over j of w_j exp(s_j / tau)  -  tau+ M exp(s+ / tau)) / (1 - tau+),  M exp(-1 / tau) )

- NT-Xent: w_j = 1, tau+ = 0. Here M = 2N - 2: without the anchor and without its positive.
- debias (DCL): a random image is of the anchor's own class with the probability tau+. That share is taken off,
  estimated by the positive; what is left can never be below M exp(-1 / tau).
- reweight (HCL): w_j ~ exp(beta s_j / tau): the nearer, the more it counts.
- select: only the negatives between two ranks, counted from the hardest: keep = (0, 0.05) are the hardest 5 %,
  (0.05, 1) the easiest 95 %, (0.001, 1) all but the very hardest; M is then their number. The paper ranks MoCo v2's
  queue: `contrast` of the columns of `moco_logits`.
- alpha (EqCo, see eqco.py): N_g times alpha / M, as if there were alpha negatives.

What other implementations get wrong: M counted with the anchor or the positive; the floor left out, so that N_g is
negative and the loss NaN (where it holds, negatives have no gradient); beta times the cosine and not times the cosine
over tau; weights detached (the official gradient flows through them), or not divided by their *mean*, so that the sum
shrinks; the two taus confused; fewer negatives compared with all of them at another temperature: the control is as many
random ones. The official DCL reads `--debiased False` as True.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.collectives import gather, world_size
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import MLP, Backbone, normalize
from course_lib.optim import Group, parameter_groups
from course_lib.precision import check_positive, check_several, in_float32

Keep = tuple[float, float]


def check_switches(tau_plus: float = 0.0, beta: float = 0.0, keep: Keep = (0.0, 1.0),
                   alpha: float | None = None) -> None:
    """ValueError for a switch that is out of its range."""
    if not 0 <= tau_plus < 1:
        raise ValueError(f"tau_plus is {tau_plus}; expected a probability from 0 to below 1: how often a random image "
                         "is of the anchor's own class (0.1 for ten classes)")
    if not 0 <= beta < math.inf:
        raise ValueError(f"beta is {beta}; expected a number from 0 up: 0 weighs all negatives alike")
    if len(keep) != 2 or not 0 <= keep[0] < keep[1] <= 1:
        raise ValueError(f"keep is {tuple(keep)}; expected two shares, 0 <= low < high <= 1, counted from the hardest: "
                         "(0, 0.05) keeps the hardest 5 %")
    if alpha is not None:
        check_positive("alpha", alpha)


def rivals(z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Embeddings (2N, D) of length 1, first views above second ones -> logits: positive (2N,), negatives (2N, 2N - 2).

    Row i of the negatives holds all others but i itself and its partner, from i + 1 on and around the end.
    """
    total = len(z)
    steps = torch.arange(1, total, device=z.device)
    columns = (torch.arange(total, device=z.device)[:, None] + steps) % total  # (2N, 2N - 1)
    others = (z @ z.T / temperature).gather(1, columns)
    partner = total // 2 - 1  # N steps on
    return others[:, partner], torch.cat([others[:, :partner], others[:, partner + 1 :]], 1)


def ranked(scores: Tensor, first: int, last: int) -> Tensor:
    """Columns of the entries of rank first, ..., last - 1 in each row, the highest score first: (A, last - first)."""
    return scores.detach().topk(last, dim=1).indices[:, first:]


def select(negatives: Tensor, keep: Keep, by_rank: bool = True) -> Tensor:
    """The negatives (A, M) between two shares of each row, counted from the hardest -> (A, M'), sorted.

    by_rank=False counts places in the row, which are random in a shuffled batch: the control with as many negatives.
    ValueError if none is left.
    """
    if tuple(keep) == (0, 1):
        return negatives
    first, last = (round(share * negatives.shape[1]) for share in keep)
    if first >= last:
        raise ValueError(f"keep is {tuple(keep)}, which leaves none of {negatives.shape[1]} negatives: widen it, or "
                         "use a larger batch")
    return negatives.gather(1, ranked(negatives, first, last)) if by_rank else negatives[:, first:last]


def log_weights(negatives: Tensor, beta: float) -> Tensor:
    """HCL: logits (A, M) -> logarithms of the weights (A, M), whose mean over each row is 1; not detached."""
    tilt = beta * negatives
    return tilt - tilt.logsumexp(1, keepdim=True) + math.log(negatives.shape[1])


@in_float32
def log_mass(positive: Tensor, negatives: Tensor, temperature: float, tau_plus: float = 0.0,
             beta: float = 0.0) -> Tensor:
    """log N_g from the logits of the positive (A,) and of the negatives (A, M) -> (A,); never below the floor."""
    count = negatives.shape[1]
    mass = (negatives + log_weights(negatives, beta)).logsumexp(1)  # (A,): log of the weighted sum
    if not tau_plus:
        return mass
    floor = math.log(count) - 1 / temperature
    gap = mass - positive - math.log(tau_plus * count)  # above 0: more than the own class's share
    some = gap > 0
    left = mass + (-torch.expm1(-torch.where(some, gap, 1.0))).log() - math.log1p(-tau_plus)
    return torch.where(some, left, floor).clamp(min=floor)


@in_float32
def contrast(positive: Tensor, negatives: Tensor, temperature: float, tau_plus: float = 0.0, beta: float = 0.0,
             keep: Keep = (0.0, 1.0), alpha: float | None = None, by_rank: bool = True) -> dict[str, Tensor]:
    """The loss from logits (cosines over the temperature): positive (A,), negatives (A, M) -> "loss" and "accuracy".

    "accuracy" is the share of anchors whose positive is above all M negatives, whichever are kept.
    """
    check_switches(tau_plus, beta, keep, alpha)
    chosen = select(negatives, keep, by_rank)
    mass = log_mass(positive, chosen, temperature, tau_plus, beta)
    if alpha is not None:
        mass = mass + math.log(alpha / chosen.shape[1])
    accuracy = (positive > negatives.amax(1)).to(positive.dtype).mean()
    return {"loss": (torch.logaddexp(positive, mass) - positive).mean(), "accuracy": accuracy}


@in_float32
def weighted_nt_xent(a: Tensor, b: Tensor, temperature: float = 0.5, tau_plus: float = 0.0, beta: float = 0.0,
                     keep: Keep = (0.0, 1.0), alpha: float | None = None, by_rank: bool = True,
                     unit_length: bool = True) -> dict[str, Tensor]:
    """NT-Xent of the global batch with these switches: (N, D), (N, D) -> "loss" and "accuracy".

    Row i of `a` and row i of `b` are the two views of image i. With no switch set it is `simclr.nt_xent`. Over several
    ranks both are gathered first. unit_length=False takes the rows as they are, which are then of length 1 already.
    ValueError for a switch out of its range, or fewer than two images.
    """
    check_positive("temperature", temperature)
    a, b = gather(a), gather(b)  # (N, D) of all ranks
    check_several(a, "a contrastive loss")
    z = torch.cat([a, b])  # (2N, D), view 1 above view 2
    positive, negatives = rivals(normalize(z) if unit_length else z, temperature)  # (2N,), (2N, 2N - 2)
    return contrast(positive, negatives, temperature, tau_plus, beta, keep, alpha, by_rank)


class DCL(TwoViewMethod):
    """SimCLR with the debiased loss; its other switches are off by default.

    hidden, out: of the head (512, 128). temperature: 0.5. tau_plus: the chance that a random image is of the same class
    (0.1 for ten classes; 0 is SimCLR's loss). beta: how much more near negatives count (0: all alike). keep: the share
    of the negatives that is kept, counted from the hardest, such as 0,0.05. by_rank: False keeps as many at random, the
    control of keep. alpha: as if there were so many negatives (EqCo; None: as many as there are). The recipe is the
    official one, with AdamW in place of Adam.
    """

    title = "DCL"
    week = 10
    needs = ("negatives",)
    recipe = {"lr": 1e-3, "weight_decay": 1e-6, "batch_size": 256}

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128,
                 temperature: float = 0.5, tau_plus: float = 0.1, beta: float = 0.0, keep: Keep = (0.0, 1.0),
                 by_rank: bool = True, alpha: float | None = None, augment: Augment | None = None,
                 other: Augment | None = None):
        super().__init__()
        check_positive("temperature", temperature)
        check_switches(tau_plus, beta, keep, alpha)
        self.backbone = backbone
        self.head = MLP(backbone.dim, hidden, out, hidden_bias=False, last_bias=True)
        self.temperature, self.tau_plus, self.beta = temperature, tau_plus, beta
        self.keep, self.by_rank, self.alpha = (keep[0], keep[1]), by_rank, alpha
        self.augment = augment or Augment(image_size, scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.5)
        self.other = other or self.augment

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        if world_size() == 1:
            check_several(views[0], self.title)
        # one view at a time, as in the official code: batch norm's statistics are those of a view
        a, b = (self.head(self.backbone(standardize(view))) for view in views)  # (N, out) each
        parts = weighted_nt_xent(a, b, self.temperature, self.tau_plus, self.beta, self.keep, self.alpha,
                                 self.by_rank)
        return {**parts, "embedding": normalize(a.detach())}

    def param_groups(self, weight_decay: float) -> list[Group]:
        return parameter_groups(self, weight_decay, exempt=False)


class HCL(DCL):
    """DCL whose negatives count the more, the nearer they are.

    beta: how much more (1; 0.5 in the published run on STL-10; 0 is DCL). The others are DCL's: hidden, out,
    temperature (of the loss; not tau_plus, the chance that a random image is of the same class), keep, by_rank, alpha.
    The official code can also lower beta in the course of training; that is not done here.
    """

    title = "HCL"
    week = 10

    def __init__(self, backbone: Backbone, image_size: int = 32, beta: float = 1.0, **options):
        super().__init__(backbone, image_size, beta=beta, **options)
