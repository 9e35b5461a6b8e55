r"""MiCE: mixture of contrastive experts. Tsai, Li and Zhu, ICLR 2021, arXiv 2105.01899.

Which image is it (instance discrimination, as in MoCo), and which of K experts knows the image best? Three crops of an
image give a student's embeddings f (one for each expert), a teacher's v (likewise) and the gate's g; all have length 1.
z is the image's unseen cluster, y says which image it is:

    gate     pi_k  = softmax over k of  omega_k . g / kappa                                     p(z = k | x)
    expert   Phi_k = exp(v_k . (f_k + mu_k) / tau) / the same summed over v_k and a queue of earlier v_k    p(y | x, k)

    L = mean over N of  -log( sum over k of pi_k Phi_k )
      = mean over N of  -sum over k of q_k (log pi_k + log Phi_k - log q_k),   q_k = pi_k Phi_k / sum of the same

The second line is EM's bound (ELBO); at the exact posterior q (E-step) it is the first, also in its gradient, so one
may detach q or not. M-step: gradients for the networks, and once an epoch mu_k <- the sum of the v_k of those images
whose likeliest cluster is k, scaled to length 1. The gate's K centres omega are *fixed*, as far from each other as they
can be (Max-Mahalanobis: cosine -1 / (K - 1)), which keeps the clusters apart. An image's cluster is the largest q_k.

What other implementations get wrong: one embedding shared by all experts (each has a linear head of its own, and the
queue K embeddings an image); mu not scaled to length 1 before every use, though gradients and weight decay move it
between epochs; a small temperature (tau = kappa = 1 in all official runs); keys enqueued before the loss; the teacher's
batch norm in evaluation mode. The official code (TsungWeiTsai/MiCE, ELBO.py) leaves mu uninitialised, saves no pointer
of the queue, and sets mu_k to zero where no image chose k: here mu starts at random and such an expert keeps its mu.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import check_images, standardize
from course_lib.augment.views import TURNED_VIEWS, Augment, many_views, moco_v1_view
from course_lib.collectives import all_reduce_sum
from course_lib.data.images import Batch
from course_lib.methods.base import ClusteringMethod, Method
from course_lib.methods.clustering.shared import check_begun, check_clusters
from course_lib.methods.contrastive.moco import shuffled_keys
from course_lib.models.batch_norm import split_batch_norm
from course_lib.models.layers import Backbone, Queue, check_queue, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import Group, parameter_groups
from course_lib.precision import check_positive, in_float32

GATES = ("fixed", "learned", "uniform")


def max_mahalanobis_centers(clusters: int, dim: int) -> Tensor:
    """K vectors of length 1 with cosines -1 / (K - 1) between any two: (K, D), the corners of a simplex, float32.

    Each new corner has its cosines with the earlier ones from the coordinates that these use, and the rest of its
    length in a coordinate of its own. ValueError unless K is at least 2 and D at least K - 1.
    """
    if clusters < 2:
        raise ValueError(f"clusters is {clusters}; expected 2 or more: with one there is nothing to tell apart")
    if dim < clusters - 1:
        raise ValueError(f"{clusters} centres equally far from each other need {clusters - 1} dimensions or more, got "
                         f"out={dim}: use a larger out, or fewer clusters")
    corners = torch.zeros(clusters, clusters, dtype=torch.float64)
    for i in range(clusters):
        for j in range(i):
            corners[i, j] = (-1 / (clusters - 1) - corners[i, :j] @ corners[j, :j]) / corners[j, j]
        corners[i, i] = (1 - corners[i, :i].square().sum()).clamp(min=0).sqrt()  # of the last corner: 0
    return F.pad(corners[:, : clusters - 1], (0, dim - clusters + 1)).float()


@in_float32
def gate_log_probabilities(g: Tensor, centers: Tensor, kappa: float = 1.0) -> Tensor:
    """log pi: the gate's embeddings (N, D) and K centres (K, D), all of length 1 -> (N, K)."""
    check_positive("kappa", kappa)
    return F.log_softmax(g @ centers.T / kappa, dim=1)


@in_float32
def expert_log_probabilities(f: Tensor, v: Tensor, prototypes: Tensor, queue: Tensor, tau: float = 1.0) -> Tensor:
    """log Phi: that each expert takes the teacher's v of an image for it, among those of the queue -> (N, K).

    f, v: (N, K, D) of student and teacher, of length 1; v is a constant. prototypes: mu (K, D), scaled to length 1
    here. queue: earlier v, (M, K, D). ValueError for a temperature that is not above 0.
    """
    check_positive("tau", tau)
    wanted = f + normalize(prototypes)  # (N, K, D)
    positive = (wanted * v.detach()).sum(2) / tau  # (N, K)
    others = torch.einsum("nkd,mkd->nkm", wanted, queue.detach()) / tau  # (N, K, M)
    return positive - torch.logaddexp(positive, others.logsumexp(2))


@in_float32
def elbo(log_pi: Tensor, log_phi: Tensor, q: Tensor) -> Tensor:
    """EM's lower bound of log evidence, for any distribution q over clusters: (N, K) each -> scalar, mean over N."""
    return (q * (log_pi + log_phi) + torch.special.entr(q)).sum(1).mean()


@in_float32
def mice_loss(log_pi: Tensor, log_phi: Tensor) -> dict[str, Tensor]:
    """log pi and log Phi, (N, K) each -> "loss", minus the mean log evidence, and "posterior" q (N, K), a constant.

    The mean over this rank's images; the queue already holds the embeddings of all ranks.
    """
    joint = log_pi + log_phi  # (N, K)
    return {"loss": -joint.logsumexp(1).mean(), "posterior": joint.detach().softmax(1)}


@torch.no_grad()
@in_float32
def assigned_sums(v: Tensor, posterior: Tensor) -> Tensor:
    """For each expert k the sum of v_k over the images whose likeliest cluster is k, of all ranks.

    v: (N, K, D), posterior: (N, K) -> (K, D).
    """
    chosen = F.one_hot(posterior.argmax(1), posterior.shape[1]).to(v)  # (N, K)
    return all_reduce_sum(torch.einsum("nk,nkd->kd", chosen, v))


@torch.no_grad()
def new_prototypes(prototypes: Tensor, sums: Tensor) -> Tensor:
    """M-step: the sums (K, D) scaled to length 1; an expert that no image has chosen (a sum of 0) keeps its own."""
    empty = (sums == 0).all(1, keepdim=True)
    return torch.where(empty, prototypes, F.normalize(sums, dim=1))


class MiCE(ClusteringMethod):
    """The method: one backbone with K expert heads and a gate, its moving average as the teacher, and a queue.

    clusters: K, which the method must be told. out: D (128). queue: embeddings of earlier images (16384). tau, kappa:
    temperatures of experts and gate (1 and 1); with a small kappa one expert may take all images. momentum: of the
    teacher (0.999). gate: "fixed" centres, "learned" ones, or "uniform", which leaves the choice to the experts.
    splits, shuffle: batch norm over that many parts of the batch, and the teacher's batch shuffled, as in MoCo.
    augment: of all three crops, MoCo v1's in the paper. pretext: a trained network whose backbone is taken over, as the
    folder of a run or the name of a learned network; the paper has none. The defaults are for small networks and short
    runs; the paper has SGD, 1.0 for 256 images, for 1000 epochs.
    """

    title = "MiCE"
    week = 18
    needs = ("negatives", "queue", "teacher", "clusters")
    recipe = {"lr": 1e-3, "weight_decay": 1e-4, "batch_size": 128}
    shapes_options = {"augment": TURNED_VIEWS, "clusters": 8}
    explored = ("experts", "gate", "teacher", "queue", "prototypes", "centers")
    begins_with = ("pretext",)
    sums: Tensor  # (K, D), of the epoch so far: see `assigned_sums`

    def __init__(self, backbone: Backbone, image_size: int = 32, clusters: int = 10, out: int = 64, queue: int = 512,
                 tau: float = 1.0, kappa: float = 1.0, momentum: float = 0.99, gate: str = "fixed", splits: int = 2,
                 shuffle: bool = True, augment: Augment | None = None, pretext: str = ""):
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate must be one of {', '.join(GATES)}, got {gate!r}")
        check_clusters(clusters)
        for name, value in (("tau", tau), ("kappa", kappa)):
            check_positive(name, value)
        centers = max_mahalanobis_centers(clusters, out)
        self.clusters, self.out, self.tau, self.kappa, self.momentum = clusters, out, tau, kappa, momentum
        self.backbone = split_batch_norm(backbone, splits)
        self.experts = nn.Linear(backbone.dim, clusters * out)  # K heads in one
        self.gate = None if gate == "uniform" else nn.Linear(backbone.dim, out)
        self.centers = nn.Parameter(centers, requires_grad=gate == "learned")
        self.prototypes = nn.Parameter(F.normalize(torch.randn(clusters, out), dim=1))
        self.teacher = EMA(nn.Sequential(self.backbone, self.experts))
        self.queue = Queue(queue, clusters * out)  # the K embeddings of an image in a row, each of length 1
        self.queue.rows = normalize(self.queue.rows.unflatten(1, (clusters, out))).flatten(1)
        self.register_buffer("sums", torch.zeros(clusters, out))
        self.shuffle = shuffle and splits > 1
        self.augment = augment or moco_v1_view(image_size)
        self.pretext, self.begun = pretext, not pretext

    def begin(self, pretext: Method | None = None) -> None:
        """The pretext's backbone, as it was evaluated, for student, gate and teacher."""
        if pretext is not None:
            self.backbone.load_state_dict(pretext.evaluated.state_dict())
            self.teacher.module.load_state_dict(nn.Sequential(self.backbone, self.experts).state_dict())
        self.begun = True

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.begun = True  # with the weights of a run that has

    def prepare(self, images: Tensor) -> None:
        check_begun(self, "pretext")
        check_clusters(self.clusters, len(images))
        check_queue(self.queue, len(images), False)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, ...]:
        order = torch.randperm(len(batch.images), generator=generator, device=generator.device)
        return *many_views(batch.images, [self.augment] * 3, generator), order.to(batch.images.device)

    def teach(self, images: Tensor) -> Tensor:
        """The teacher's K embeddings of normalised images, not yet of length 1: (N, K, D)."""
        return self.teacher(images).unflatten(1, (self.clusters, self.out))

    def log_pi(self, images: Tensor) -> Tensor:
        """What the gate says of normalised images: (N, K)."""
        if self.gate is None:
            return torch.full((len(images), self.clusters), -math.log(self.clusters), device=images.device)
        g = normalize(self.gate(self.backbone(images)))  # (N, D)
        return gate_log_probabilities(g, normalize(self.centers), self.kappa)

    def log_phi(self, images: Tensor, v: Tensor) -> Tensor:
        """What the experts say of normalised images and the teacher's embeddings (N, K, D): (N, K)."""
        f = normalize(self.experts(self.backbone(images)).unflatten(1, (self.clusters, self.out)))  # (N, K, D)
        queue = self.queue.rows.unflatten(1, (self.clusters, self.out))  # (M, K, D)
        return expert_log_probabilities(f, v, self.prototypes, queue, self.tau)

    def loss(self, views: tuple[Tensor, ...], progress: float = 0.0) -> dict[str, Any]:
        student, teacher, gate, order = views
        return self.mixed(standardize(student), standardize(teacher), standardize(gate), order)

    def mixed(self, student: Tensor, teacher: Tensor, gate: Tensor, order: Tensor) -> dict[str, Any]:
        """The loss and its parts of what the backbone takes: three views of each image, and the order to shuffle in."""
        v = shuffled_keys(self.teach, teacher, order) if self.shuffle else normalize(self.teach(teacher))
        log_pi, log_phi = self.log_pi(gate), self.log_phi(student, v)  # (N, K) each
        parts = mice_loss(log_pi, log_phi)
        q = parts["posterior"]
        if self.training:  # after the loss: no image is among its own negatives
            self.queue.enqueue(v.flatten(1))
            self.sums += assigned_sums(v, q)
        share = all_reduce_sum(F.one_hot(q.argmax(1), self.clusters).to(q).sum(0))
        return {"loss": parts["loss"], "gate": -(q * log_pi.detach()).sum(1).mean(),
                "experts": -(q * log_phi.detach()).sum(1).mean(), "entropy": torch.special.entr(q).sum(1).mean(),
                "clusters": torch.special.entr(share / share.sum()).sum().exp(),
                "embedding": v.flatten(1), "views_per_image": 3}

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """log pi + log Phi of each image, without crops: (B, 3, H, W), uint8 or in [0, 1] -> (B, K)."""
        return self.joint(standardize(check_images(images)))

    @torch.no_grad()
    def joint(self, x: Tensor) -> Tensor:
        """log pi + log Phi of what the backbone takes, without views: (B, K)."""
        return self.log_pi(x) + self.log_phi(x, normalize(self.teach(x)))

    def on_epoch(self, epoch: int) -> None:
        """The M-step of the prototypes, from the embeddings of the epoch that has ended."""
        with torch.no_grad():
            self.prototypes.copy_(new_prototypes(self.prototypes, self.sums))
            self.sums.zero_()

    def after_update(self, progress: float) -> None:
        self.teacher.update(nn.Sequential(self.backbone, self.experts), self.momentum)

    def param_groups(self, weight_decay: float) -> list[Group]:
        return parameter_groups(self, weight_decay, exempt=False)
