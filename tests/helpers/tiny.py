"""Runs that take a tenth of a second: the settings, images and methods that the tests of `fit` share."""

from __future__ import annotations

import torch
from torch import nn

from course_lib.data.images import Batch, ImageSet
from course_lib.methods import build_method
from course_lib.methods.base import Method
from course_lib.models.vit import ViT
from course_lib.train.loop import fit
from helpers.draws import generator

SMALL = dict(batch_size=8, device="cpu", precision="float32", progress=False)


def images(n=36, size=16, seed=0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8),
                    torch.arange(n) % 3)


def views(method, n=8, seed=0):
    """What the method sees of `n` images."""
    return method.views(Batch(images(n).images, torch.arange(n), None), generator(seed))


def vicreg(seed=0, width=8):
    torch.manual_seed(seed)
    return build_method("vicreg", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, width=width)


def spark(seed=0):
    torch.manual_seed(seed)
    return build_method("spark", "convnet", 16, backbone_options={"depth": 2, "widths": (4, 8)}, width=8)


def vit(seed=0):
    torch.manual_seed(seed)
    return ViT(16, 4, 12, 2, 3).eval()


def ibot():
    torch.manual_seed(0)
    return build_method("ibot", "vit-tiny", 16, backbone_options=dict(patch=4, dim=12, depth=2, heads=3), out=8,
                        hidden=8, bottleneck=4, crops=0)


class Toy(Method):
    """The smallest method: one weight, quadratic loss; records what the loop calls."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
        self.calls: list[tuple] = []

    def views(self, batch, generator):
        self.calls.append(("views", batch.indices.tolist(), torch.rand(3, generator=generator).tolist()))
        return batch.images.float() / 255

    def loss(self, views, progress):
        self.calls.append(("loss", progress))
        z = self.backbone(views)
        return {"loss": z.square().mean(), "part": z.abs().mean(), "views_per_image": 1}

    def embed(self, images):
        return self.backbone(images.float() / 255)

    def named(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


def state(method) -> dict:
    return {name: tensor.clone() for name, tensor in method.state_dict().items()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Stop:
    """watch= for `fit`: interrupts the run at a step, as a notebook's stop button does."""

    def __init__(self, step, error=KeyboardInterrupt):
        self.step, self.error = step, error

    def __call__(self, history):
        if history.steps == self.step:
            raise self.error


def resumes(build, folder) -> bool:
    """Whether build(seed), stopped after three of six steps and resumed, has the curves and weights of a whole run."""
    settings = {**SMALL, "steps": 6, "log_every": 1, "lr": 0.01}
    whole, part, again = build(0), build(0), build(7)
    history = fit(whole, images(), out=folder / "whole", **settings)
    fit(part, images(), out=folder / "cut", watch=Stop(3), **settings)
    resumed = fit(again, images(), out=folder / "cut", resume=True, **settings)
    return same(state(whole), state(again)) and resumed.curves == history.curves
