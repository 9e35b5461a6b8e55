r"""DINO: self-distillation with no labels. Caron et al., ICCV 2021, arXiv 2104.14294.

A student sees V crops (two large ones and several small), a teacher, the student's moving average, the large ones only.
Both end in K scores z; the teacher's distribution of a large crop q is what the student has to say about every *other* crop:

    L = mean over q in {1, 2}, v != q, N of  -sum over k of P_k(q) log softmax_k(z_v / tau_s)
    P(q) = softmax((z_q - c) / tau_t)         c <- 0.9 c + 0.1 mean of the teacher's z, after the loss

Nothing compares images with each other, so two constants would do: all images on one score (the centre c, subtracted,
forbids it) or all images uniform (the teacher's low temperature, tau_t < tau_s, forbids that). Each alone collapses.

The head: three GELU layers, a bottleneck scaled to length 1, then K prototypes of length 1 (weight norm with gain 1), so
that scores are cosines; its last layer rests at first. Gradients are clipped parameter by parameter. DINOv2 (arXiv
2304.07193) adds KoLeo, which pushes every image away from its nearest neighbour: on small sets of alike images it
decides whether anything is learned. Code: facebookresearch/dino, main_dino.py, vision_transformer.py, utils.py;
facebookresearch/dinov2, loss/koleo_loss.py.

What other implementations get wrong: sharpening by *raising* the teacher's temperature; the centre moved before the loss,
or taken of probabilities, or subtracted from the student too; a crop predicting itself; the teacher fed with small
crops; one norm clipped over all parameters; centres of one rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...augment import Augment, many_views, normalize
from ...collectives import all_reduce_sum, gather, rank
from ...layers import EMA, at_least_float32, in_float32
from ...layers import normalize as unit
from ...optim import ema_momentum, parameter_groups


# ------------------------------------------------------------------------------------------------ the loss
@in_float32
def teacher_probabilities(logits: Tensor, center: Tensor, temperature: float = 0.04) -> Tensor:
    """softmax((z - c) / tau), first centred, then sharpened, without gradient: (..., K), (K,) -> (..., K)."""
    return ((logits.detach() - center) / temperature).softmax(-1)


@in_float32
def dino_loss(student: list[Tensor], teacher: list[Tensor], center: Tensor, student_temp: float = 0.1,
              teacher_temp: float = 0.04) -> Tensor:
    """Mean cross-entropy over all pairs of different crops: V logits (N, K), the first crops' teacher logits -> scalar.

    student[q] and teacher[q] belong to the same crop, and are not compared. center (K,) or (1, K).
    """
    targets = [teacher_probabilities(logits, center, teacher_temp) for logits in teacher]
    terms = [-(target * F.log_softmax(logits / student_temp, -1)).sum(-1).mean()
             for q, target in enumerate(targets) for v, logits in enumerate(student) if v != q]
    return torch.stack(terms).mean()


@in_float32
def koleo_loss(z: Tensor) -> Tensor:
    """- mean over images of log |z_i - its nearest neighbour|, rows scaled to length 1: (N, D) -> scalar; low when spread.

    The neighbour is sought among the images of all ranks. (Sablayrolles et al. 2019, arXiv 1806.03198; DINOv2,
    loss/koleo_loss.py.)
    """
    z = unit(z)
    everyone = gather(z)
    with torch.no_grad():
        cosines = z @ everyone.T
        own = torch.arange(len(z), device=z.device)
        cosines[own, own + len(z) * rank()] = -2.0  # nobody is its own neighbour
        nearest = cosines.argmax(1)
    return -(F.pairwise_distance(z, everyone[nearest], eps=1e-8) + 1e-8).log().mean()


@torch.no_grad()
@in_float32
def moved_center(center: Tensor, logits: Tensor, momentum: float = 0.9) -> Tensor:
    """momentum * c + (1 - momentum) * mean of the raw teacher logits over all but the last axis and over all ranks."""
    rows = logits.flatten(0, -2)
    mean = all_reduce_sum(rows.sum(0)) / all_reduce_sum(rows.new_tensor(float(len(rows))))
    return center * momentum + mean.view(center.shape) * (1 - momentum)


@in_float32
def entropies(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) -> (mean entropy of a sample, entropy of the mean), in nats, both in [0, log K].

    Healthy: the first low (each image is sure), the second high (images differ). Both near 0: one score for all.
    Both near log K: the uniform distribution for all. Their difference is what the scores tell about the image.
    """
    rows = probabilities.flatten(0, -2)
    return torch.special.entr(rows).sum(-1).mean(), torch.special.entr(rows.mean(0)).sum()


def warm_temperature(progress: float, start: float, end: float, warmup: float) -> float:
    """From `start` in a straight line to `end`, reached at `warmup` (in the units of progress) and kept from there on."""
    return end if progress >= warmup else start + (end - start) * progress / warmup


@torch.no_grad()
def clip_each(parameters, limit: float) -> Tensor:
    """Scale every parameter's gradient *by itself* to a norm of at most `limit` (not the norm over all); -> norms before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    for gradient, scale in zip(gradients, (limit / (norms + 1e-6)).clamp(max=1)):
        gradient.mul_(scale)
    return norms


# ------------------------------------------------------------------------------------------------ the head
class Prototypes(nn.Module):
    """K directions: (..., D) of length 1 -> cosines (..., K). Rows of the weight are scaled to length 1 in the forward.

    Weight norm with its gain fixed at 1, which is all that is left of it here; in float32 under autocast.
    """

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(out, dim), a=5**0.5))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return at_least_float32(x) @ unit(self.weight).T


class DINOHead(nn.Module):
    """(B, D) -> (B, K): D - hidden - hidden - bottleneck with GELU and no batch norm, to length 1, prototypes."""

    def __init__(self, dim: int, out: int = 256, hidden: int = 256, bottleneck: int = 64):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
                                 nn.Linear(hidden, bottleneck))
        for layer in self.mlp[::2]:
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.last = Prototypes(bottleneck, out)

    def project(self, x: Tensor) -> Tensor:
        """What the prototypes are compared with: (..., D) -> (..., bottleneck) of length 1."""
        return unit(self.mlp(x))

    def scores(self, z: Tensor) -> Tensor:
        return self.last(z)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.project(x))


# ------------------------------------------------------------------------------------------------ the method
class DINO(nn.Module):
    """The method over any backbone; a ViT is where its attention becomes interesting. The *teacher* is evaluated.

    out: K (65536 in the paper), hidden, bottleneck: of the head (2048, 256). crops, crop_size, crop_scale: the small crops
    beside the two large ones (10 of 96 pixels). student_temp 0.1; teacher_temp rises from its first to its second value
    over the share `warm` of the run (0.04 to 0.07 over 30 epochs). center: momentum of the centre (0.9), or None for no
    centring. momentum: the teacher's m0 (0.996), which rises to 1. frozen: share of the run in which the prototypes rest
    (the first epoch; 1 is always). koleo: weight of KoLeo on what the head compares with its prototypes, for large crops
    and class tokens (none; DINOv2 0.1, on the backbone's class token). clip: limit of each parameter's gradient norm (3).
    final_decay: weight decay at the end of its cosine (the paper's goes from 0.04 to 0.4), or None to keep it. Defaults are
    for small networks and short runs, in which few scores need a colder teacher, prototypes that move end up alike, and
    embeddings nearly equal at first need KoLeo (benchmarks/grid_ibot.py); a centred teacher that follows at 0.9 collapses.
    """

    recipe = {"lr": 1e-3, "weight_decay": 0.04, "batch_size": 64}

    def __init__(self, backbone: nn.Module, image_size: int = 32, out: int = 256, hidden: int = 256, bottleneck: int = 64,
                 crops: int = 4, crop_size: int | None = None, crop_scale: tuple[float, float] | None = None,
                 student_temp: float = 0.1, teacher_temp: tuple[float, float] = (0.03, 0.03), warm: float = 0.3,
                 center: float | None = 0.9, momentum: float = 0.99, frozen: float = 1.0, koleo: float = 0.3,
                 clip: float | None = 3.0, final_decay: float | None = None, augment: Augment | None = None):
        super().__init__()
        self.backbone, self.head = backbone, self.make_head(backbone.dim, out, hidden, bottleneck)
        self.teacher = EMA(nn.ModuleList([self.backbone, self.head]))
        self.register_buffer("center", torch.zeros(out))
        self.student_temp, self.teacher_temp, self.warm = student_temp, tuple(teacher_temp), warm
        self.center_momentum = center
        self.momentum, self.frozen, self.clip, self.final_decay = momentum, frozen, clip, final_decay
        self.koleo, self.progress = koleo, 0.0
        large = image_size > 64
        self.augment = augment or Augment(image_size, scale=(0.4, 1.0), blur_p=0.5 if large else 0.0)
        size = crop_size or max(8, image_size // 16 * 8)  # half, in whole patches of 4 or 8 pixels
        scale = crop_scale or (0.05, 0.4) if large else crop_scale or (0.2, 0.5)
        small = Augment(**{**vars(self.augment), "size": size, "scale": tuple(scale)})
        self.crops = [self.augment] * 2 + [small] * crops

    def make_head(self, dim: int, out: int, hidden: int, bottleneck: int) -> nn.Module:
        return DINOHead(dim, out, hidden, bottleneck)

    def views(self, batch, generator: torch.Generator) -> list[Tensor]:
        return many_views(batch.images, self.crops, generator)

    def temperature(self, progress: float) -> float:
        """The teacher's temperature at `progress`."""
        return warm_temperature(progress, *self.teacher_temp, self.warm)

    def loss(self, views: list[Tensor], progress: float = 0.0) -> dict:
        self.progress, temperature = progress, self.temperature(progress)
        groups = [normalize(torch.cat(group)) for group in (views[:2], views[2:]) if group]  # crops of one size at once
        features = torch.cat([self.backbone(group) for group in groups])
        backbone, head = self.teacher.module
        with torch.no_grad():
            teacher = head(backbone(groups[0]))
        z = self.head.project(features)
        student = self.head.scores(z).chunk(len(views))
        loss = dino_loss(list(student), list(teacher.chunk(2)), self.center, self.student_temp, temperature)
        parts = {**self.spread(loss, z[: len(groups[0])]), **self.readings(teacher, self.center, temperature)}
        self.recenter("center", teacher)
        return {**parts, "embedding": features.detach()[: len(views[0])], "views_per_image": len(views)}

    def spread(self, loss: Tensor, z: Tensor) -> dict[str, Tensor]:
        """The loss, and KoLeo if it is asked for: the mean of both large crops', whose embeddings are z (2 N, D)."""
        if not self.koleo:
            return {"loss": loss}
        koleo = torch.stack([koleo_loss(crop) for crop in z.chunk(2)]).mean()
        return {"loss": loss + self.koleo * koleo, "koleo": koleo}

    @torch.no_grad()
    def readings(self, teacher: Tensor, center: Tensor, temperature: float, name: str = "") -> dict[str, Tensor]:
        """The two entropies of the teacher, over their largest value log K."""
        own, mean = entropies(teacher_probabilities(teacher, center, temperature))
        full = torch.log(torch.tensor(float(teacher.shape[-1])))
        return {f"{name}entropy": own / full.to(own), f"{name}entropy_of_mean": mean / full.to(own)}

    def recenter(self, name: str, logits: Tensor) -> None:
        """Move a centre, after the loss that used it."""
        if self.training and self.center_momentum is not None:
            setattr(self, name, moved_center(getattr(self, name), logits, self.center_momentum).to(getattr(self, name)))

    def before_update(self) -> None:
        if self.clip is not None:
            clip_each(self.parameters(), self.clip)
        if self.progress < self.frozen:
            for name, parameter in self.head.named_parameters():
                if name.startswith("last"):
                    parameter.grad = None  # not zero: the optimizer would still decay it

    def after_update(self, progress: float) -> None:
        self.teacher.update(nn.ModuleList([self.backbone, self.head]), ema_momentum(self.momentum, progress))

    def param_groups(self, weight_decay: float) -> list[dict]:
        groups = parameter_groups(self, weight_decay)
        return [{**g, "final_decay": self.final_decay} if g["weight_decay"] and self.final_decay else g for g in groups]

    @property
    def evaluated(self) -> nn.Module:
        """The teacher's backbone, which is what is evaluated and exported."""
        return self.teacher.module[0]

    def embed(self, images: Tensor) -> Tensor:
        return self.evaluated(normalize(images))
