r"""SwAV: swapping assignments between views. Caron et al., NeurIPS 2020, arXiv 2006.09882.

Embeddings z (length 1) of V crops are compared with K prototypes c (rows of length 1). The two large crops get codes
q, balanced soft assignments by Sinkhorn, without gradient; every *other* crop is to predict them:

    L = mean over i in {0, 1}, v != i, N of  -sum over k of q_ik log softmax_k(z_v . c_k / tau)

    q = the fixed point, after 3 rounds, of exp(z . c / epsilon) under balance: each prototype gets N / K images

tau = 0.1 is the softmax's, epsilon = 0.05 Sinkhorn's. With small batches a queue of earlier embeddings, scored with
the current prototypes, joins the balance once it is full.

What other implementations get wrong: exp overflowing at small epsilon; prototypes not scaled to length 1 before every
forward; gradient through the codes; a crop predicting its own code; balance over one rank's batch; the prototypes
frozen at first by a zero gradient, which decay and momentum still move, instead of none.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...augment import Augment, many_views, normalize
from ...layers import MLP, gather, in_float32, sinkhorn
from ...layers import normalize as unit


@in_float32
def swav_loss(scores: list[Tensor], codes: list[Tensor], temperature: float = 0.1) -> Tensor:
    """Swapped prediction: V crops' scores z . c, (N, K) each, and the first crops' codes, (N, K) each -> scalar.

    scores[i] and codes[i] belong to the same crop, which does not predict itself.
    """
    total = 0.0
    for i, code in enumerate(codes):
        others = [s for v, s in enumerate(scores) if v != i]
        terms = [-(code.detach() * F.log_softmax(s / temperature, dim=1)).sum(1).mean() for s in others]
        total = total + sum(terms) / len(terms)
    return total / len(codes)


class SwAV(nn.Module):
    """The method: encoder, projector and prototypes.

    hidden, out: of the projector (2048, 128). prototypes: K (3000 in the paper). epsilon, iterations: Sinkhorn's.
    crops, crop_size, crop_scale: the small crops beside the two large ones (6 of 96 pixels in the paper; 0 is two
    views). frozen: share of the training in which the prototypes stand still. queue: its length in images (3840 for
    small batches; 0 is none), queue_from: the share of the training after which it is filled.
    """

    recipe = {"lr": 3e-3}

    def __init__(self, backbone: nn.Module, image_size: int = 32, hidden: int = 512, out: int = 128,
                 prototypes: int = 128, temperature: float = 0.1, epsilon: float = 0.05, iterations: int = 3,
                 crops: int = 0, crop_size: int | None = None, crop_scale: tuple[float, float] = (0.05, 0.3),
                 frozen: float = 0.01, queue: int = 0, queue_from: float = 0.0, augment: Augment | None = None):
        super().__init__()
        self.backbone = backbone
        self.projector = MLP(backbone.dim, hidden, out, last_bias=True)
        self.prototypes = nn.Linear(out, prototypes, bias=False)
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.frozen, self.queue_from, self.progress = frozen, queue_from, 0.0
        self.register_buffer("queue", torch.zeros(2, queue, out))  # newest first
        large = Augment(image_size, scale=(0.14, 1.0), jitter=(0.8, 0.8, 0.8, 0.2) if image_size > 64 else
                        (0.4, 0.4, 0.4, 0.1), blur_p=0.5 if image_size > 64 else 0.0)
        self.augment = augment or large
        small = Augment(**{**vars(self.augment), "size": crop_size or image_size // 2, "scale": crop_scale})
        self.crops = [self.augment] * 2 + [small] * crops
        self.normalize_prototypes()

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def views(self, batch, generator: torch.Generator) -> list[Tensor]:
        return many_views(batch.images, self.crops, generator)

    def loss(self, views: list[Tensor], progress: float = 0.0) -> dict[str, Tensor]:
        self.progress = progress
        groups = [torch.cat(views[:2])] + ([torch.cat(views[2:])] if views[2:] else [])  # crops of one size at once
        features = torch.cat([self.backbone(normalize(group)) for group in groups])
        z = unit(self.projector(features))  # (V * N, out)
        with torch.autocast(z.device.type, enabled=False):
            scores = list(self.prototypes(z).chunk(len(views)))  # V times (N, K)
            codes = self.codes(scores[:2], z.detach().chunk(len(views))[:2])
        share = gather(codes[0]).mean(0)
        entropy = -(share * share.clamp(min=1e-12).log()).sum()
        return {"loss": swav_loss(scores, codes, self.temperature), "clusters": entropy.exp(),
                "embedding": z.detach()[: len(views[0])], "views_per_image": len(views)}

    @torch.no_grad()
    def codes(self, scores: list[Tensor], embeddings: list[Tensor]) -> list[Tensor]:
        """Codes of the two large crops, (N, K) each; the queue enters once it is full, and takes the new embeddings."""
        codes = []
        for view, (score, z) in enumerate(zip(scores, embeddings)):
            queue = self.queue[view]
            full = len(queue) > 0 and bool((queue[-1] != 0).any())
            extra = self.prototypes(queue) if full else None
            codes.append(sinkhorn(score, self.epsilon, self.iterations, extra))
            if len(queue) and self.training and self.progress >= self.queue_from:
                self.queue[view] = torch.cat([gather(z), queue])[: len(queue)]
        return codes

    def before_update(self) -> None:
        if self.progress < self.frozen:
            self.prototypes.weight.grad = None  # not zero: neither decay nor momentum may move them

    def after_update(self, progress: float) -> None:
        self.normalize_prototypes()  # so that they have length 1 at the next forward

    def embed(self, images: Tensor) -> Tensor:
        return self.backbone(normalize(images))
