r"""SimCLR v2: big self-supervised models are strong semi-supervised learners. Chen et al., NeurIPS 2020, arXiv
2006.10029.

Three steps, each a method for the same loop:

1. `SimCLRv2`: SimCLR with a head of three layers (the same NT-Xent).
2. `FineTune`: the network with the *first* layer of the head kept (ft_proj_selector = 1), on the few labels:
       L = mean cross-entropy of the labels
3. `Distill`: a student learns the fine-tuned teacher's soft labels on all images, without labels:
       L = mean over images of  -sum over y of P_T(y | x) log P_S(y | x),   P(. | x) = softmax(logits / tau)

What other implementations get wrong: fine-tuning from the encoder's output, which discards the useful part of a
deep head; a temperature on one side only; gradient or batch-norm updates in the teacher.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment
from course_lib.methods.base import Method
from course_lib.methods.contrastive.simclr import SimCLR
from course_lib.models.layers import Backbone
from course_lib.precision import at_least_float32, check_positive, in_float32


class SimCLRv2(SimCLR):
    """Step 1: SimCLR with a deeper head (3 layers), whose first layer is kept for fine-tuning."""

    title = "SimCLR v2"
    week = 4

    def __init__(self, backbone: Backbone, image_size: int = 32, layers: int = 3, **options):
        super().__init__(backbone, image_size, layers=layers, **options)

    def classifier(self, classes: int, keep: int = 1) -> nn.Sequential:
        """A network (B, 3, H, W) -> (B, classes) logits: the backbone, the head's first `keep` layers, a linear layer.

        It is a copy and shares no weights with this method. keep=0 drops the head, as SimCLR v1 does.
        """
        linears = {i: module for i, module in enumerate(self.head) if isinstance(module, nn.Linear)}
        if not 0 <= keep <= len(linears):
            raise ValueError(f"keep must be between 0 and the head's {len(linears)} layers, got {keep}")
        ends = [*list(linears)[1:], len(self.head)]  # a layer ends after its batch norm and ReLU
        layers = list(linears.values())
        kept = self.head[: ends[keep - 1]] if keep else nn.Sequential()
        width = layers[keep - 1].out_features if keep else layers[0].in_features
        last = nn.Linear(width, classes)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        device = next(self.parameters()).device
        return nn.Sequential(copy.deepcopy(self.backbone), copy.deepcopy(kept), last).to(device).requires_grad_()


class FineTune(Method):
    """Step 2: a classifier (see `SimCLRv2.classifier`) trained on labelled images, crops and flips only."""

    recipe = {"lr": 1e-3, "weight_decay": 1e-4}

    def __init__(self, network: nn.Sequential, image_size: int = 32, augment: Augment | None = None):
        super().__init__()
        self.network, self.backbone = network, network[0]
        self.augment = augment or Augment(image_size, scale=(0.5, 1.0), jitter_p=0.0, gray_p=0.0)

    def views(self, batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if batch.labels is None:
            raise ValueError("fine-tuning needs labelled images; for images without labels use Distill")
        return self.augment(batch.images, generator), batch.labels

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, labels = views
        logits = at_least_float32(self.network(standardize(images)))
        return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean(),
                "views_per_image": 1}

    def predict(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes) logits."""
        return self.network(standardize(images))


@in_float32
def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's logits with the teacher's soft labels, (N, classes) each -> scalar.

    Both are divided by the temperature, above 0; the teacher's are constants.
    """
    check_positive("temperature", temperature)
    soft = (teacher.detach() / temperature).softmax(1)
    return -(soft * (student / temperature).log_softmax(1)).sum(1).mean()


class Distill(FineTune):
    """Step 3: `network`, a student no larger than `teacher`, learns the teacher's soft labels of unlabelled images."""

    def __init__(self, network: nn.Sequential, teacher: nn.Module, image_size: int = 32, temperature: float = 1.0,
                 augment: Augment | None = None):
        super().__init__(network, image_size, augment)
        self.teacher = teacher.requires_grad_(False).eval()
        self.temperature = temperature

    def train(self, mode: bool = True) -> Distill:
        super().train(mode)
        self.teacher.eval()  # its batch norm neither sees nor follows the student's batches
        return self

    def views(self, batch, generator: torch.Generator) -> Tensor:
        return self.augment(batch.images, generator)

    def loss(self, views: Tensor, progress: float = 0.0) -> dict[str, Any]:
        images = standardize(views)
        with torch.no_grad():
            teacher = self.teacher(images)
        student = self.network(images)
        agree = (student.argmax(1) == teacher.argmax(1)).float().mean()
        return {"loss": distillation_loss(student, teacher, self.temperature), "agreement": agree, "views_per_image": 1}
