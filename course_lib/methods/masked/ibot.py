r"""iBOT: image BERT pre-training with an online tokenizer. Zhou et al., ICLR 2022, arXiv 2111.07832.

DINO, and one thing more: the student sees its large crops with patches hidden, and says for each hidden patch what the
teacher, who sees the whole crop, says there. The teacher is BEiT's tokenizer, learned on the way.

    L_cls   = DINO's loss between *different* crops, on class tokens (the student's from the masked crops)
    L_patch = mean over large crops q and N of  1 / max(1, hidden) * sum over hidden i of
              -sum over k of P_k(q, i) log softmax_k(z_qi / tau_s)         the *same* crop, patch by patch
    L       = lambda_1 L_cls + lambda_2 L_patch

Two centres (class tokens; *all* patches of the teacher, hidden or not), two temperatures, one head: its MLP and, as
released, its prototypes serve both kinds of token. Which share of an image is hidden is drawn for each image: none with
probability 1/2, else 10 to 50 %. Small crops are never masked and give a class token only. Code: bytedance/ibot,
main_ibot.py, models/head.py, loader.py.

What other implementations get wrong: the patch loss across crops; one mean over all hidden patches of the batch instead
of a mean per image, or images without a hidden patch left out of the mean; a patch centre of hidden patches only;
centres moved before the loss; a mask token added after the positions; the teacher given the masked crops.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.masks import RATIOS, ibot_masks
from course_lib.augment.pixels import standardize
from course_lib.data.images import Batch
from course_lib.methods.masked.dino import (
    DINO,
    DINOHead,
    Prototypes,
    dino_loss,
    teacher_probabilities,
    warm_temperature,
)
from course_lib.models.vit import ViT, require_vit
from course_lib.moved import signpost
from course_lib.precision import check_positive, in_float32

__getattr__ = signpost(__name__)  # says where names are that have left this file

# ------------------------------------------------------------------------------------------------ the loss


@in_float32
def patch_loss(student: Tensor, teacher: Tensor, visible: Tensor, center: Tensor, student_temp: float = 0.1,
               teacher_temp: float = 0.04) -> Tensor:
    """Cross-entropy on hidden patches: their mean in each image, then the mean over images (0 where nothing is hidden).

    student, teacher (N, L, K) logits of the same crops, visible (N, L) or (N, g, g) bool, True = visible, center (K,)
    or (1, 1, K) -> scalar.
    """
    check_positive("the student's temperature", student_temp)
    hidden = ~visible.flatten(1)
    weights = hidden.to(student) / hidden.sum(1, keepdim=True).clamp(min=1)  # (N, L): each image's sum to 1, or to 0
    targets = teacher_probabilities(teacher[hidden], center.flatten(), teacher_temp)  # (hidden patches, K)
    errors = -(targets * F.log_softmax(student[hidden] / student_temp, -1)).sum(-1)
    return (errors * weights[hidden]).sum() / len(hidden)


# ------------------------------------------------------------------------------------------------ the head


class IBOTHead(DINOHead):
    """DINO's head over tokens: (B, 1 + L, D) -> (B, K) of the class token and (B, L, K') of the patches.

    Without patches (B, D) -> (B, K). patch_out: K' where patches have prototypes of their own; None: they share those
    of the class token (as released).
    """

    def __init__(self, dim: int, out: int = 256, hidden: int = 256, bottleneck: int = 64, patch_out: int | None = None):
        super().__init__(dim, out, hidden, bottleneck)
        self.last_patch = None if patch_out is None else Prototypes(bottleneck, patch_out)

    def scores(self, z: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if z.dim() == 2:  # class tokens only
            return self.last(z)
        return self.last(z[:, 0]), (self.last_patch or self.last)(z[:, 1:])


# ------------------------------------------------------------------------------------------------ the method


class IBOT(DINO):
    """The method over a ViT. Options of DINO, and of its own:

    weights: lambda_1 and lambda_2 (1, 1). patch_temp: the teacher's temperature for patches, from its first to its
    second value (0.04 to 0.07 in the paper). patch_out: prototypes of patches, None = shared. masks: "block" or
    "random". ratios: see `random_ratio`. mask_from: share of the run before which nothing is hidden.
    """

    title = "iBOT"
    week = 15
    needs = ("teacher", "clusters", "masks")
    explored = ("teacher", "center", "patch_center", "mask_token")
    backbone: ViT
    head: IBOTHead
    patch_center: Tensor  # (patch_out or out,)

    def __init__(self, backbone: ViT, image_size: int = 32, *, weights: tuple[float, float] = (1.0, 1.0),
                 patch_temp: tuple[float, float] = (0.03, 0.04), patch_out: int | None = None, masks: str = "block",
                 ratios: tuple[tuple[float, float], ...] = RATIOS, mask_from: float = 0.0, **options):
        require_vit(backbone, "iBOT needs a ViT, whose embeddings a mask token can replace, got a {}")
        if masks not in ("block", "random"):
            raise ValueError(f"masks must be 'block' or 'random', got {masks!r}")
        if not all(0 <= middle - half <= middle + half < 1 for middle, half in ratios):
            raise ValueError(f"ratios is {ratios}; expected pairs (middle, half width) of shares from 0 to below 1")
        self.patch_out = patch_out
        super().__init__(backbone, image_size, **options)
        self.register_buffer("patch_center", torch.zeros(patch_out or len(self.center)))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, backbone.dim))
        self.grid, self.weights = image_size // backbone.patch, tuple(weights)
        self.patch_temp = patch_temp[0], patch_temp[1]
        self.masks, self.mask_from = masks, mask_from
        self.ratios = tuple((middle, half) for middle, half in ratios)

    def make_head(self, dim: int, out: int, hidden: int, bottleneck: int) -> IBOTHead:
        return IBOTHead(dim, out, hidden, bottleneck, self.patch_out)

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[list[Tensor], Tensor]:
        crops = super().views(batch, generator)
        large = 2 * len(crops[0])  # images in both large crops
        return crops, ibot_masks(large, self.grid, generator, crops[0].device, self.masks, self.ratios)

    def loss(self, views: tuple[list[Tensor], Tensor], progress: float = 0.0) -> dict[str, Any]:
        crops, visible = views
        if progress < self.mask_from:
            visible = torch.ones_like(visible)
        self.progress, temperature = progress, self.temperature(progress)
        patch_temp = warm_temperature(progress, *self.patch_temp, self.warm)
        large = standardize(torch.cat(crops[:2]))  # (2 N, 3, H, W)
        backbone, head = self.teacher.module
        with torch.no_grad():
            teacher, teacher_patches = head(backbone.tokens(large))  # (2 N, K), (2 N, L, K')
        tokens = self.backbone.tokens(large, visible, mask_token=self.mask_token)  # (2 N, 1 + L, D)
        z = self.head.project(tokens)  # (2 N, 1 + L, bottleneck)
        student, student_patches = self.head.scores(z)  # (2 N, K), (2 N, L, K')
        student = list(student.chunk(2))
        if crops[2:]:
            small = self.backbone.tokens(standardize(torch.cat(crops[2:])))[:, 0]  # (crops * N, D)
            student += self.head(small).chunk(len(crops) - 2)  # V times (N, K) in all
        cls = dino_loss(student, list(teacher.chunk(2)), self.center, self.student_temp, temperature)
        # one mean over the images of both crops: the mean of the crops' means
        patches = patch_loss(student_patches, teacher_patches, visible, self.patch_center, self.student_temp,
                             patch_temp)
        loss = self.weights[0] * cls + self.weights[1] * patches
        parts = {**self.with_koleo(loss, z[:, 0]), "class_loss": cls, "patch_loss": patches,
                 **self.teacher_entropies(teacher, self.center, temperature),
                 **self.teacher_entropies(teacher_patches, self.patch_center, patch_temp, "patch_")}
        self.recenter("center", teacher)
        self.recenter("patch_center", teacher_patches)
        embedding = self.backbone.represent(tokens).detach()[: len(crops[0])]
        return {**parts, "embedding": embedding, "views_per_image": len(crops)}
