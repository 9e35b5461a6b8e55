r"""SwAV: swapping assignments between views. Caron et al., NeurIPS 2020, arXiv 2006.09882.

Embeddings z (length 1) of V crops are compared with K prototypes c (rows of length 1). The two large crops get codes
q, balanced soft assignments by Sinkhorn, without gradient; every *other* crop must predict them:

    L = mean over i in {0, 1}, v != i, N of  -sum over k of q_ik log softmax_k(z_v . c_k / tau)

    q = columns and rows of exp(z . c / epsilon) scaled in turn, 3 rounds: images sum to 1, prototypes to about N / K

tau = 0.1 is the softmax's, epsilon = 0.05 Sinkhorn's. With small batches a queue of earlier embeddings, scored with
the current prototypes, joins the balance once it is full. A loss stuck at log K is a collapse: all embeddings are alike
and the codes carry no information; the official advice is a smaller epsilon, and prototypes frozen at first.

What other implementations get wrong: exp overflowing at small epsilon; prototypes not scaled to length 1 before every
forward; gradient through the codes; a crop predicting its own code; balance over one rank's batch; prototypes
"frozen" by a zero gradient, with which decay and momentum still move them, instead of by none; biases and norms exempt
from weight decay and from LARC's rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import SHAPES_VIEWS, Augment, many_views
from course_lib.collectives import gather
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.models.layers import MLP, Backbone, normalize, sinkhorn
from course_lib.optim import Group, parameter_groups
from course_lib.precision import check_positive, in_float32


@in_float32
def swav_loss(scores: list[Tensor], codes: list[Tensor], temperature: float = 0.1) -> Tensor:
    """Swapped prediction: V crops' scores z . c, (N, K) each, and the first crops' codes, (N, K) each -> scalar.

    scores[i] and codes[i] belong to the same crop, which does not predict itself. ValueError for a temperature that is
    not above 0.
    """
    check_positive("temperature", temperature)
    total = scores[0].new_zeros(())
    for i, code in enumerate(codes):
        others = [s for v, s in enumerate(scores) if v != i]
        terms = [-(code.detach() * F.log_softmax(s / temperature, dim=1)).sum(1).mean() for s in others]
        total = total + sum(terms) / len(terms)
    return total / len(codes)


@torch.no_grad()
@in_float32
def queue_codes(z: Tensor, queue: Tensor, prototypes: Tensor, epsilon: float = 0.05,
                iterations: int = 3) -> tuple[Tensor, Tensor]:
    """Codes of a batch with the help of earlier ones: z (N, D), queue (L, D), prototypes (K, D) -> (N, K), (L, D).

    The queue is newest first, and zeros at the start. Once it is full (its last row is not zero), its rows, scored
    with the prototypes of now, count in the balance; codes are those of z. The new queue begins with z (of all
    ranks) and has lost as many of its oldest rows; the old one is left as it was. A queue of length 0 is none.
    """
    full = bool(queue[-1:].any())
    codes = sinkhorn(z @ prototypes.T, epsilon, iterations, queue @ prototypes.T if full else None)
    return codes, torch.cat([gather(z), queue])[: len(queue)]


@torch.no_grad()
def normalize_rows(prototypes: nn.Linear) -> None:
    """Scale every prototype, a row of the weight, to length 1, in place: optimizers hold this very tensor."""
    prototypes.weight.copy_(F.normalize(prototypes.weight, dim=1))


class SwAV(Method):
    """The method: encoder, projector and prototypes.

    hidden, out: of the projector (2048, 128). norm: whether it ends in a batch norm (not in the paper; centred
    embeddings differ enough at the start for informative codes). prototypes: K (3000). temperature: the softmax's
    (0.1); epsilon, iterations: Sinkhorn's (0.05, 3). The defaults are for small networks and short runs. crops,
    crop_size, crop_scale: the small crops beside the two large ones (6 of 96 pixels in the paper; 0 is two views).
    frozen: share of the training in which the prototypes are frozen. queue: its length in images (3840 for small
    batches; 0 is none), queue_from: the share of the training after which it is filled.
    """

    title = "SwAV"
    week = 8
    needs = ("clusters",)
    shapes_options = {"augment": SHAPES_VIEWS}
    recipe = {"lr": 2e-3, "batch_size": 128}
    explored = ("projector", "prototypes")
    queue: Tensor  # (2, length, out), newest first

    def __init__(self, backbone: Backbone, image_size: int = 32, hidden: int = 512, out: int = 128, norm: bool = True,
                 prototypes: int = 1024, temperature: float = 0.07, epsilon: float = 0.01, iterations: int = 10,
                 crops: int = 0, crop_size: int | None = None, crop_scale: tuple[float, float] | None = None,
                 frozen: float = 0.01, queue: int = 0, queue_from: float = 0.0, augment: Augment | None = None):
        super().__init__()
        for name, share in (("frozen", frozen), ("queue_from", queue_from)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; expected a share of the training, from 0 to 1")
        self.backbone = backbone
        self.projector = MLP(backbone.dim, hidden, out, last_bias=not norm, last_norm=norm)
        self.prototypes = nn.Linear(out, prototypes, bias=False)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.frozen, self.queue_from, self.progress = frozen, queue_from, 0.0
        self.register_buffer("queue", torch.zeros(2, queue, out))
        large = image_size > 64
        self.augment = augment or Augment(image_size, scale=(0.14, 1.0), blur_p=0.5 if large else 0.0,
                                          jitter=(0.8, 0.8, 0.8, 0.2) if large else (0.4, 0.4, 0.4, 0.1))
        crop_scale = crop_scale or ((0.05, 0.14) if large else (0.2, 0.5))
        small = replace(self.augment, size=crop_size or image_size // 2, scale=tuple(crop_scale))
        self.crops = [self.augment] * 2 + [small] * crops
        normalize_rows(self.prototypes)

    def views(self, batch: Batch, generator: torch.Generator) -> list[Tensor]:
        return many_views(batch.images, self.crops, generator)

    def loss(self, views: list[Tensor], progress: float = 0.0) -> dict[str, Any]:
        self.progress = progress
        groups = [torch.cat(views[:2])] + ([torch.cat(views[2:])] if views[2:] else [])  # crops of one size at once
        features = torch.cat([self.backbone(standardize(group)) for group in groups])
        z = normalize(self.projector(features))  # (V * N, out)
        with torch.autocast(z.device.type, enabled=False):
            scores = self.prototypes(z).chunk(len(views))  # V times (N, K)
        codes = self.codes(z.detach().chunk(len(views))[:2])  # twice (N, K)
        nearest = F.one_hot(scores[0].argmax(1), scores[0].shape[1]).to(z)
        share = gather(nearest).mean(0)  # of the images, by their nearest prototype: no balance helps here
        return {"loss": swav_loss(list(scores), codes, self.temperature),
                "clusters": torch.special.entr(share).sum().exp(), "embedding": z.detach()[: len(views[0])],
                "views_per_image": len(views)}

    @torch.no_grad()
    def codes(self, embeddings: Sequence[Tensor]) -> list[Tensor]:
        """Codes of the two large crops, (N, K) each, from their embeddings, (N, out); the queue takes them in."""
        codes = []
        for view, z in enumerate(embeddings):
            code, queue = queue_codes(z, self.queue[view], self.prototypes.weight, self.epsilon, self.iterations)
            codes.append(code)
            if self.training and self.progress >= self.queue_from:
                self.queue[view] = queue
        return codes

    def param_groups(self, weight_decay: float) -> list[Group]:
        """Biases and norms decay too, as in the official code (LARC over SGD, of all parameters).

        The prototypes apart: torch's fused SGD needs all gradients of a group to initialise its momentum.
        """
        parts = (nn.ModuleList([self.backbone, self.projector]), self.prototypes)
        return [group for part in parts for group in parameter_groups(part, weight_decay, exempt=False)]

    def before_update(self) -> None:
        if self.progress < self.frozen:
            self.prototypes.weight.grad = None  # not zero: optimizers skip what has no gradient

    def after_update(self, progress: float) -> None:
        normalize_rows(self.prototypes)  # for the next forward
