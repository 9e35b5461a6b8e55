r"""SimSiam: exploring simple Siamese representation learning. Chen and He, CVPR 2021, arXiv 2011.10566.

Two views pass through the same encoder and projector, z = g(f(x)), and a predictor, p = h(z). Neither negatives nor a
second network; only the gradient through z is stopped:

    L = -( cos(p1, stop(z2)) + cos(p2, stop(z1)) ) / 2        mean over N, in [-1, 1]

As alternating optimisation (the paper's section 5): hold one target per image and fit the network to it, then compute
new targets with the network. `AlternatingSimSiam` does so every k steps; k = 1 is SimSiam.

What other implementations get wrong: the stop on p instead of z, or on neither; a last batch norm of the projector
with affine parameters, or none; batch norm or ReLU on the predictor's output; a predictor without a bottleneck; its
learning rate decayed with the rest; biases and norms exempt from weight decay (the official code decays all).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import standardize
from course_lib.augment.views import Augment, moco_view
from course_lib.methods.base import TwoViewMethod
from course_lib.models.layers import MLP, Backbone, normalize
from course_lib.models.teacher import EMA
from course_lib.optim import Group, parameter_groups
from course_lib.precision import in_float32


@in_float32
def negative_cosine(p: Tensor, z: Tensor, stop: bool = True) -> Tensor:
    """Minus the mean cosine of predictions and projections, (N, D) each -> scalar.

    stop=False lets the gradient through z.
    """
    return -F.cosine_similarity(p, z.detach() if stop else z, dim=1).mean()


def simsiam_loss(p1: Tensor, p2: Tensor, z1: Tensor, z2: Tensor, stop: bool = True) -> Tensor:
    """The mean of the two directions, (N, D) each -> scalar in [-1, 1]."""
    return (negative_cosine(p1, z2, stop) + negative_cosine(p2, z1, stop)) / 2


def best_prediction(z: Tensor) -> Tensor:
    """The unit vectors with the largest mean cosine to A views of each image: (A, N, D) -> (N, D).

    What an ideal predictor says before it has seen the other view: the expectation over augmentations.
    """
    directions = F.normalize(z, dim=-1)
    return F.normalize(directions.mean(dim=0), dim=-1)


class SimSiam(TwoViewMethod):
    """The method: encoder, projector and a bottleneck predictor.

    width, layers: of the projector (2048 and 3; 2 on CIFAR-size images), whose last batch norm has no affine
    parameters. bottleneck: the predictor's hidden width (a quarter). stop, predictor, norm (that batch norm): parts
    that a lesson removes. The predictor's learning rate is `predictor_lr` times that of the rest (1 in the
    paper; a fast one keeps more directions alive in short runs), and does not decay with it.
    """

    title = "SimSiam"
    week = 7
    needs = ("predictor",)
    recipe = {"optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4, "warmup": 0.1, "batch_size": 64}
    resnet_options = {"zero_init_residual": True}

    def __init__(self, backbone: Backbone, image_size: int = 32, width: int = 512, layers: int | None = None,
                 bottleneck: int | None = None, stop: bool = True, predictor: bool = True, norm: bool = True,
                 predictor_lr: float = 30.0, augment: Augment | None = None, other: Augment | None = None):
        super().__init__()
        self.backbone = backbone
        layers = layers or (3 if image_size > 64 else 2)
        self.projector = MLP(backbone.dim, *[width] * layers, hidden_bias=False, last_norm=norm)
        self.predictor = (MLP(width, bottleneck or width // 4, width, hidden_bias=False, last_bias=True)
                          if predictor else nn.Identity())
        self.stop, self.predictor_lr = stop, predictor_lr
        self.augment = augment or moco_view(image_size)
        self.other = other or self.augment

    def project(self, view: Tensor) -> Tensor:
        return self.projector(self.backbone(standardize(view)))

    def loss(self, views: tuple[Tensor, Tensor], progress: float = 0.0) -> dict[str, Any]:
        # one view at a time, as in the official code: batch norm's statistics are those of a view
        z1, z2 = (self.project(view) for view in views)
        t1, t2 = self.targets(views, z1, z2)
        loss = simsiam_loss(self.predictor(z1), self.predictor(z2), t1, t2, self.stop)
        return {"loss": loss, "embedding": normalize(z1.detach())}

    def targets(self, views: tuple[Tensor, Tensor], z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
        return z1, z2

    def param_groups(self, weight_decay: float) -> list[Group]:
        body = parameter_groups(nn.ModuleList([self.backbone, self.projector]), weight_decay, exempt=False)
        head = parameter_groups(self.predictor, weight_decay, exempt=False)
        return body + [{**group, "fixed_lr": True, "lr_scale": self.predictor_lr}
                       for group in head if group.get("params")]


class AlternatingSimSiam(SimSiam):
    """SimSiam whose targets come from a copy of encoder and projector, renewed only every `every` steps.

    ValueError for an `every` below 1.
    """

    age: Tensor  # updates so far

    def __init__(self, backbone: Backbone, image_size: int = 32, every: int = 1, **options):
        if every < 1:
            raise ValueError(f"every is {every}; expected 1 (SimSiam) or more steps between renewals")
        super().__init__(backbone, image_size, **options)
        self.every = every
        self.copy = EMA(nn.Sequential(self.backbone, self.projector))
        self.register_buffer("age", torch.zeros((), dtype=torch.long))

    def targets(self, views: tuple[Tensor, Tensor], z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
        return self.copy(standardize(views[0])), self.copy(standardize(views[1]))

    def after_update(self, progress: float) -> None:
        self.age += 1
        if int(self.age) % self.every == 0:
            self.copy.update(nn.Sequential(self.backbone, self.projector), 0.0)
