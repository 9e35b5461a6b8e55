r"""SimCLR v2: big self-supervised models are strong semi-supervised learners. Chen et al., NeurIPS 2020, arXiv 2006.10029.

Three steps, each a method for the same loop:

1. `SimCLRv2`: SimCLR with a head of three layers (the same NT-Xent).
2. `FineTune`: the network with the *first* layer of the head kept (ft_proj_selector = 1), on the few labels there are:
       L = mean cross-entropy of the labels
3. `Distill`: a student learns the fine-tuned teacher's soft labels on all images, no label needed:
       L = mean over images of  -sum over y of P_T(y | x; tau) log P_S(y | x; tau),   P(y | x; tau) = softmax(logits / tau)

What other implementations get wrong: fine-tuning from the encoder's output, which throws the useful part of a deep
head away; a temperature on one side only; gradient or batch-norm updates in the teacher.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...augment import Augment, normalize
from ...layers import in_float32
from .simclr import SimCLR


class SimCLRv2(SimCLR):
    """Step 1: SimCLR with a deeper head (3 layers), whose first layer is kept for fine-tuning."""

    def __init__(self, backbone: nn.Module, image_size: int = 32, layers: int = 3, **options):
        super().__init__(backbone, image_size, layers=layers, **options)

    def classifier(self, classes: int, keep: int = 1) -> nn.Sequential:
        """A network (B, 3, H, W) -> (B, classes) logits: the backbone, the head's first `keep` layers, a linear layer.

        It shares no weight with this method (copies are taken). keep=0 drops the head, as SimCLR v1 does.
        """
        import copy

        linears = [i for i, module in enumerate(self.head) if isinstance(module, nn.Linear)]
        if not 0 <= keep <= len(linears):
            raise ValueError(f"keep must be between 0 and the head's {len(linears)} layers, got {keep}")
        ends = [*linears[1:], len(self.head)]  # a layer ends after its batch norm and ReLU
        kept = self.head[: ends[keep - 1]] if keep else nn.Sequential()
        width = self.head[linears[keep - 1]].out_features if keep else self.backbone.dim
        last = nn.Linear(width, classes)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        device = next(self.parameters()).device
        return nn.Sequential(copy.deepcopy(self.backbone), copy.deepcopy(kept), last).to(device).requires_grad_()


class FineTune(nn.Module):
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

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Tensor]:
        images, labels = views
        logits = self.network(normalize(images)).float()
        return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean(),
                "views_per_image": 1}

    def predict(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, classes) logits."""
        return self.network(normalize(images))

    def embed(self, images: Tensor) -> Tensor:
        return self.backbone(normalize(images))


@in_float32
def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's logits with the teacher's soft labels, (N, classes) each -> scalar.

    Both are divided by the temperature; the teacher's are constants.
    """
    soft = (teacher.detach() / temperature).softmax(1)
    return -(soft * (student / temperature).log_softmax(1)).sum(1).mean()


class Distill(FineTune):
    """Step 3: `network` (the student: the same size, or smaller) learns what `teacher` says of images without labels."""

    def __init__(self, network: nn.Sequential, teacher: nn.Module, image_size: int = 32, temperature: float = 1.0,
                 augment: Augment | None = None):
        super().__init__(network, image_size, augment)
        self.teacher = teacher.requires_grad_(False)
        self.temperature = temperature

    def train(self, mode: bool = True) -> Distill:
        super().train(mode)
        self.teacher.eval()  # its batch norm neither sees nor follows the student's batches
        return self

    def views(self, batch, generator: torch.Generator) -> Tensor:
        return self.augment(batch.images, generator)

    def loss(self, views: Tensor, progress: float = 0.0) -> dict[str, Tensor]:
        images = normalize(views)
        with torch.no_grad():
            teacher = self.teacher(images)
        student = self.network(images)
        agree = (student.argmax(1) == teacher.argmax(1)).float().mean()
        return {"loss": distillation_loss(student, teacher, self.temperature), "agreement": agree, "views_per_image": 1}
