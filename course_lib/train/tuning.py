"""Training with labels, by the same loop: fine-tuning a pre-trained network, or a control from scratch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize, to_float
from course_lib.data.images import Batch, ImageSet, Splits
from course_lib.device import pick_device
from course_lib.evaluate.features import accuracy, reinitialise
from course_lib.evaluate.measures import check_labels
from course_lib.methods.base import Method
from course_lib.models.vit import set_drop_path
from course_lib.optim import Group, layer_decay_groups, parameter_groups
from course_lib.train.loop import fit
from course_lib.train.settings import whole_number


class Classifier(Method):
    """A backbone and a linear head, trained with labels; `frozen`: the head alone, on a fixed backbone.

    augment(images uint8, generator) -> float images in [0, 1]; None takes the images as they are. layer_decay (a ViT
    only): each block below the last has its learning rate times this (`optim.layer_decay_groups`). drop_path (a ViT
    only): see `models.vit.set_drop_path`; 0.1 in the papers of MAE, SimMIM and BEiT.
    """

    recipe = {"lr": 1e-3, "weight_decay": 0.05}

    def __init__(self, backbone: nn.Module, head: nn.Linear, frozen: bool = False, augment: Callable | None = None,
                 layer_decay: float | None = None, drop_path: float = 0.0):
        super().__init__()
        if drop_path:
            set_drop_path(backbone, drop_path)
        self.backbone, self.head, self.frozen = backbone.requires_grad_(not frozen), head, frozen
        self.augment, self.layer_decay = augment, layer_decay

    def train(self, mode: bool = True) -> Classifier:
        super().train(mode)
        if self.frozen:
            self.backbone.eval()  # batch norm stays frozen too
        return self

    def views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if batch.labels is None:
            raise ValueError("a classifier is trained with labelled images; these have no labels")
        images = to_float(batch.images) if self.augment is None else self.augment(batch.images, generator)
        return images, batch.labels

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        images, labels = views
        logits = self.head(self.backbone(standardize(images))).float()  # (B, classes)
        return {"loss": F.cross_entropy(logits, labels), "views_per_image": 1}

    def param_groups(self, weight_decay: float) -> list[Group]:
        if self.layer_decay is None or self.frozen:
            return parameter_groups(self, weight_decay)
        body = layer_decay_groups(self.backbone, weight_decay, self.layer_decay)
        return body + parameter_groups(self.head, weight_decay)


@dataclass
class FineTuneResult:
    """`accuracy` is on test after the last epoch (not the best one); accuracies are fractions."""

    accuracy: float
    validation_curve: list[float]    # after each epoch
    loss_curve: list[float]          # mean training loss of each epoch
    train_size: int
    model: nn.Sequential             # (backbone, linear head), the trained copy


def fine_tune(backbone: nn.Module, splits: Splits, *, epochs: int = 10, lr: float = 1e-3, weight_decay: float = 0.05,
              batch_size: int = 256, frozen: bool = False, augment: Callable | None = None, limit: int | None = None,
              seed: int = 0, layer_decay: float | None = None, drop_path: float = 0.0,
              device: str = "auto") -> FineTuneResult:
    """Train a linear head and, unless `frozen`, a copy of the backbone with labels, by `fit` (AdamW, warm-up, cosine).

    `backbone` maps normalised float images (B, 3, H, W) to (B, D) and is left as it was. `limit`: the number of
    images, from a seeded shuffle, to train with (learning from few labels). The rest: see `Classifier` and `fit`.
    """
    whole_number("epochs", epochs, 1)
    if limit is not None:
        whole_number("limit", limit, 1)
    for name in ("train", "validation", "test"):
        part = getattr(splits, name)
        check_labels(part.labels, len(part.images), f"{name} labels")
    if any(part.images is splits.test.images for part in (splits.train, splits.validation)):
        raise ValueError("test and another split are the same images: pass three separate sets.")
    generator = torch.Generator().manual_seed(seed)
    images = splits.train.select(torch.randperm(len(splits.train), generator=generator)[:limit])
    batch_size = min(batch_size, len(images))
    method = Classifier(copy.deepcopy(backbone), _head(backbone, splits.train, generator, device), frozen, augment,
                        layer_decay, drop_path)
    validation: list[float] = []

    def after_an_epoch(_history) -> None:
        validation.append(accuracy(nn.Sequential(method.backbone, method.head), splits.validation, device))

    per_epoch = len(images) // batch_size
    history = fit(method, images, epochs=epochs, batch_size=batch_size, lr=lr, weight_decay=weight_decay, seed=seed,
                  device=device, precision="float32", log_every=per_epoch, progress=False, watch=after_an_epoch)
    losses = torch.tensor(history.loss).view(epochs, per_epoch).mean(1).tolist()
    model = nn.Sequential(method.backbone, method.head)
    return FineTuneResult(accuracy(model, splits.test, device), validation, losses, len(images), model)


@torch.no_grad()
def _head(backbone: nn.Module, images: ImageSet, generator: torch.Generator, device: str) -> nn.Linear:
    """A new linear layer from the backbone's representation to the classes."""
    backbone = copy.deepcopy(backbone).to(pick_device(device)).eval()
    width = backbone(standardize(images.images[:2].to(pick_device(device)))).shape[1]
    head = nn.Linear(width, int(check_labels(images.labels, len(images)).max()) + 1)
    nn.init.trunc_normal_(head.weight, std=0.01, generator=generator)
    nn.init.zeros_(head.bias)
    return head


def supervised_control(model: nn.Module, splits: Splits, epochs: int, seed: int = 0,
                       device: str = "auto") -> nn.Sequential:
    """The control that knows the labels: the method's own network, re-initialised and trained with all training labels.

    model: a method or a backbone, which is left as it was. -> (backbone, linear head), for `evaluate.score`.
    """
    fresh = reinitialise(model, seed)
    return fine_tune(getattr(fresh, "backbone", fresh), splits, epochs=epochs, seed=seed, device=device).model
