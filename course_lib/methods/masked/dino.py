r"""DINO: self-distillation with no labels. Caron et al., ICCV 2021, arXiv 2104.14294.

A student sees V crops (two large ones and several small), a teacher, the student's moving average, the large ones only.
Both end in K scores z; from every *other* crop the student must predict the teacher's distribution of a large crop q:

    L = mean over q in {1, 2}, v != q, N of  -sum over k of P_k(q) log softmax_k(z_v / tau_s)
    P(q) = softmax((z_q - c) / tau_t)         c <- 0.9 c + 0.1 mean of the teacher's z, after the loss

Nothing compares images with each other, so two constants solve it: all images on one score (subtracting the centre c
prevents it) or all images uniform (the teacher's low temperature, tau_t < tau_s, prevents that). Either alone fails.

The head: three GELU layers, a bottleneck scaled to length 1, then K prototypes of length 1 (weight norm with gain 1),
so that scores are cosines; its last layer is frozen at first. Gradients are clipped parameter by parameter. DINOv2
(arXiv 2304.07193) adds KoLeo, which pushes every image away from its nearest neighbour: on small sets of similar images
it decides whether anything is learned. Code: facebookresearch/dino, main_dino.py, vision_transformer.py, utils.py;
facebookresearch/dinov2, loss/koleo_loss.py.

What other implementations get wrong: sharpening by *raising* the teacher's temperature; the centre moved before the
loss, or computed from probabilities, or subtracted from the student too; a crop predicting itself; the teacher fed
small crops; one norm clipped over all parameters; centres of one rank.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import TURNED_VIEWS, Augment, blurred_pair, many_views, official_crop
from course_lib.collectives import all_reduce_sum, gather, rank
from course_lib.data.images import Batch
from course_lib.methods.base import Method
from course_lib.models.layers import Backbone, normalize
from course_lib.models.teacher import EMA
from course_lib.models.vit import ViT, init_truncated
from course_lib.optim import Group, ema_momentum, parameter_groups
from course_lib.precision import at_least_float32, check_positive, check_several, in_float32


# ------------------------------------------------------------------------------------------------ the loss
@in_float32
def teacher_probabilities(logits: Tensor, center: Tensor, temperature: float = 0.04) -> Tensor:
    """softmax((z - c) / tau), first centred, then sharpened, without gradient: (..., K), (K,) -> (..., K).

    ValueError for a temperature that is not above 0.
    """
    check_positive("the teacher's temperature", temperature)
    return ((logits.detach() - center) / temperature).softmax(-1)


@in_float32
def dino_loss(student: list[Tensor], teacher: list[Tensor], center: Tensor, student_temp: float = 0.1,
              teacher_temp: float = 0.04) -> Tensor:
    """Mean cross-entropy over all pairs of different crops: V logits (N, K), the first crops' teacher logits -> scalar.

    student[q] and teacher[q] belong to the same crop, and are not compared. center (K,) or (1, K). ValueError for a
    temperature that is not above 0.
    """
    check_positive("the student's temperature", student_temp)
    targets = [teacher_probabilities(logits, center, teacher_temp) for logits in teacher]
    terms = [-(target * F.log_softmax(logits / student_temp, -1)).sum(-1).mean()
             for q, target in enumerate(targets) for v, logits in enumerate(student) if v != q]
    return torch.stack(terms).mean()


@in_float32
def koleo_loss(z: Tensor) -> Tensor:
    """- mean over images of log |z_i - its nearest neighbour|, rows of length 1: (N, D) -> scalar; low if far apart.

    The neighbour is sought among the images of all ranks. (Sablayrolles et al. 2019, arXiv 1806.03198; DINOv2,
    loss/koleo_loss.py.) ValueError for a single image.
    """
    z = normalize(z, eps=1e-8)
    everyone = check_several(gather(z), "KoLeo")
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
    Both near log K: uniform for all. Their difference is the information that the scores hold about the image.
    """
    rows = probabilities.flatten(0, -2)
    return torch.special.entr(rows).sum(-1).mean(), torch.special.entr(rows.mean(0)).sum()


def warm_temperature(progress: float, start: float, end: float, warmup: float) -> float:
    """Linear from `start` to `end`, which it keeps from `warmup` on (in the units of progress)."""
    return end if progress >= warmup else start + (end - start) * progress / warmup


@torch.no_grad()
def clip_each(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale every parameter's gradient *by itself*, not over all, to a norm of at most `limit`; -> the norms before."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    # one kernel for all gradients, for which torch has no public name
    norms = torch.stack(torch._foreach_norm(gradients))  # pyright: ignore[reportPrivateImportUsage]
    for gradient, scale in zip(gradients, (limit / (norms + 1e-6)).clamp(max=1)):
        gradient.mul_(scale)
    return norms


# ------------------------------------------------------------------------------------------------ the head
class Prototypes(nn.Module):
    """K directions: (..., D) of length 1 -> cosines (..., K). Rows of the weight are scaled to length 1 in the forward.

    This is weight norm with its gain fixed at 1; in float32 under autocast.
    """

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(out, dim), a=5**0.5))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return at_least_float32(x) @ normalize(self.weight).T


class DINOHead(nn.Module):
    """(B, D) -> (B, K): D - hidden - hidden - bottleneck with GELU and no batch norm, to length 1, prototypes."""

    def __init__(self, dim: int, out: int = 256, hidden: int = 256, bottleneck: int = 64):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
                                 nn.Linear(hidden, bottleneck))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last = Prototypes(bottleneck, out)

    def project(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., bottleneck) of length 1, to compare with the prototypes."""
        return normalize(self.mlp(x))

    def scores(self, z: Tensor) -> Tensor:
        return self.last(z)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.project(x))


# ------------------------------------------------------------------------------------------------ the method
class DINO(Method):
    """The method over any backbone; with a ViT its attention becomes interesting. The *teacher* is evaluated.

    out: K (65536 in the paper), hidden, bottleneck: of the head (2048, 256). crops, crop_size, crop_scale: the small
    crops beside the two large ones (10 of 96 pixels). student_temp 0.1; teacher_temp rises from its first to its second
    value over the share `warm` of the run (0.04 to 0.07 over 30 epochs). center: momentum of the centre (0.9), or None
    for no centring. momentum: the teacher's m0 (0.996), which rises to 1. frozen: share of the run in which the
    prototypes are frozen (the first epoch; 1 is always). koleo: weight of KoLeo on what the head compares with its
    prototypes, for large crops and class tokens, summed over the crops (none; DINOv2 0.1, on the backbone's class
    token). clip: limit of each parameter's gradient norm (3), or None. final_decay: weight decay at the end
    of its cosine (the paper's goes from 0.04 to 0.4), or None to keep it. The defaults suit small networks and short
    runs: there few scores need a colder teacher, moving prototypes become alike, and embeddings that start nearly equal
    need KoLeo (lessons/grids/week15.py); with a momentum of 0.9 a centred teacher collapses. A ViT is initialised anew,
    from normals of deviation `std`, hardly cut (0.02; None leaves it as it was built), and by name it has learned
    positions. augment: of all crops; by default, above 64 pixels, the official ones, where one large crop is always
    blurred, the other rarely, and sometimes solarized.
    """

    title = "DINO"
    week = 15
    needs = ("teacher", "clusters")
    shapes_options = {"augment": TURNED_VIEWS}
    recipe = {"lr": 1e-3, "weight_decay": 0.04, "batch_size": 64, "betas": (0.9, 0.999)}
    backbone_options = {"positions": "learned"}
    explored = ("teacher", "center")
    head: DINOHead
    center: Tensor  # (out,)

    def __init__(self, backbone: Backbone, image_size: int = 32, out: int = 256, hidden: int = 256,
                 bottleneck: int = 64, crops: int = 4, crop_size: int | None = None,
                 crop_scale: tuple[float, float] | None = None, student_temp: float = 0.1,
                 teacher_temp: tuple[float, float] = (0.03, 0.03), warm: float = 0.3,
                 center: float | None = 0.9, momentum: float = 0.99, frozen: float = 1.0, koleo: float = 0.15,
                 clip: float | None = 3.0, final_decay: float | None = None, std: float | None = 0.02,
                 augment: Augment | None = None):
        super().__init__()
        if clip is not None:
            check_positive("clip", clip)
        if isinstance(backbone, ViT) and std is not None:
            init_truncated(backbone, std, cut=2.0, rescale=False)
        self.backbone, self.head = backbone, self.make_head(backbone.dim, out, hidden, bottleneck)
        self.teacher = EMA(nn.ModuleList([self.backbone, self.head]))
        self.register_buffer("center", torch.zeros(out))
        self.student_temp, self.warm = student_temp, warm
        self.teacher_temp = teacher_temp[0], teacher_temp[1]
        self.center_momentum = center
        self.momentum, self.frozen, self.clip, self.final_decay = momentum, frozen, clip, final_decay
        self.koleo, self.progress = koleo, 0.0
        large = image_size > 64
        plain = augment or Augment(image_size, scale=(0.4, 1.0), interpolation=official_crop(image_size))
        pair = blurred_pair(plain) if large and augment is None else (plain, plain)
        self.augment = pair[0]
        patch = getattr(backbone, "patch", 1)
        half = max(8, image_size // 16 * 8)
        size = crop_size or max(patch, half // patch * patch)  # in whole patches
        scale = crop_scale or (0.05, 0.4) if large else crop_scale or (0.2, 0.5)
        small = replace(plain, size=size, scale=tuple(scale))
        if large and augment is None:
            small = replace(small, blur_p=0.5)
        self.crops = [*pair] + [small] * crops

    def make_head(self, dim: int, out: int, hidden: int, bottleneck: int) -> DINOHead:
        return DINOHead(dim, out, hidden, bottleneck)

    def views(self, batch: Batch, generator: torch.Generator) -> list[Tensor]:
        return many_views(batch.images, self.crops, generator)

    def temperature(self, progress: float) -> float:
        """The teacher's temperature at `progress`."""
        start, end = self.teacher_temp
        return warm_temperature(progress, start, end, self.warm)

    def loss(self, views: list[Tensor], progress: float = 0.0) -> dict[str, Any]:
        self.progress, temperature = progress, self.temperature(progress)
        # crops of one size at once: (2 N, 3, H, W) and (crops * N, 3, h, w)
        groups = [standardize(torch.cat(group)) for group in (views[:2], views[2:]) if group]
        features = torch.cat([self.backbone(group) for group in groups])  # (V * N, D)
        backbone, head = self.teacher.module
        with torch.no_grad():
            teacher = head(backbone(groups[0]))  # (2 N, K)
        z = self.head.project(features)  # (V * N, bottleneck)
        student = self.head.scores(z).chunk(len(views))  # V times (N, K)
        loss = dino_loss(list(student), list(teacher.chunk(2)), self.center, self.student_temp, temperature)
        parts = self.with_koleo(loss, z[: len(groups[0])])
        parts |= self.teacher_entropies(teacher, self.center, temperature)
        self.recenter("center", teacher)
        return {**parts, "embedding": features.detach()[: len(views[0])], "views_per_image": len(views)}

    def with_koleo(self, loss: Tensor, z: Tensor) -> dict[str, Tensor]:
        """The loss, with KoLeo if it has a weight: its sum over the large crops, with embeddings z (2 N, D)."""
        if not self.koleo:
            return {"loss": loss}
        koleo = torch.stack([koleo_loss(crop) for crop in z.chunk(2)]).sum()
        return {"loss": loss + self.koleo * koleo, "koleo": koleo}

    @torch.no_grad()
    def teacher_entropies(self, teacher: Tensor, center: Tensor, temperature: float,
                          name: str = "") -> dict[str, Tensor]:
        """The two entropies of the teacher, as fractions of their maximum, log K."""
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

    def param_groups(self, weight_decay: float) -> list[Group]:
        groups = parameter_groups(self, weight_decay)
        end = self.final_decay
        return groups if end is None else [{**g, "final_decay": end} if g.get("adapt") else g for g in groups]

    @property
    def evaluated(self) -> nn.Module:
        """The teacher's backbone, for evaluation and export."""
        return self.teacher.module[0]
