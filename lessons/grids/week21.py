"""Make the stored runs of lesson 21: the same small conv net on crops of one photograph, on noise, on many images.

    python lessons/grids/week21.py   # what is missing in lessons/runs/21_single_image (half a minute of one core each)
    COURSE_PHOTOGRAPHS=FOLDER python lessons/grids/week21.py   # CIFAR-10 in class folders, if torchvision's isn't there

A line differs from the next in its 10,000 images alone. Every layer is read on two targets, beside the layers of the
same network before the training. Kept beside the records: first filters, and SimCLR's network on one photograph.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from functools import lru_cache

import torch
from grid import Grid, Made, Run, few, half, shapes, train
from torch import nn

from course_lib.data.images import ImageSet, Splits, draw
from course_lib.data.loading import load
from course_lib.data.one_photo import noise_picture, photo_crops, same_spectrum, sample_photograph
from course_lib.evaluate.features import accuracy
from course_lib.evaluate.layers import probed_layers, probed_pixels
from course_lib.evaluate.norms import renew_statistics
from course_lib.methods import build_method
from course_lib.methods.pretext.rotation import four_turns
from course_lib.models.backbones import ConvNet

COUNT, PROBED, FEATURES, LR, FIRST = 10_000, 2000, 512, 1e-3, 7  # images; of the probe, and its numbers a layer
METHODS = {"simclr": (400, 96), "rotation": (200, 64), "deepcluster": (400, 128)}  # steps, and images in a step
PICTURES = {"one photograph": sample_photograph, "white noise": noise_picture,
            "its spectrum": lambda: same_spectrum(sample_photograph()), "a flower": lambda: sample_photograph("flower")}
SOURCES = ("one photograph", "photographs", "its spectrum", "white noise", "shapes", "a flower")  # first four: 3 seeds


def runs() -> list[Run]:
    lines = [(name, seed) for seed in (0, 1, 2) for name in SOURCES[:4 if seed else 6]]
    build = lambda run: build_method(run.method, "convnet", 32, backbone_options={"first": FIRST})  # noqa: E731
    return [Run(f"{method}-{name.replace(' ', '-')}-s{seed}", seed, method, {}, build=build,
                fit={"steps": steps, "batch_size": size, "lr": LR, "device": "cpu", "threads": 1},
                says={"source": name, "n": COUNT, "first": FIRST, "probed": PROBED, "features": FEATURES})
            for name, seed in lines for method, (steps, size) in METHODS.items()]


def some(images: ImageSet, number: int) -> ImageSet:
    return images.select(draw(len(images), number, 0))


@lru_cache
def targets() -> dict[str, Splits]:
    """The labelled images that layers are read on; up to 5000 to test with."""
    photographs, number = load(os.environ.get("COURSE_PHOTOGRAPHS") or "cifar10", size=32), few(5000, 60)
    return {name: Splits(s.train, some(s.validation, number).select(range(few(1000, 60))), some(s.test, number))
            for name, s in (("shapes", shapes(COUNT)), ("photographs", photographs))}


@lru_cache
def source(name: str) -> ImageSet:
    """The 10,000 images of a line."""
    number = few(COUNT, 300)
    return photo_crops(number, PICTURES[name]()) if name in PICTURES else some(targets()[name].train, number)


def on_source(run: Run, out=None) -> Made:
    return train(run, replace(shapes(COUNT), train=source(run.says["source"])), out)


def layers(name: str, kind: str, backbone: nn.Module) -> dict:
    return {"name": name, "kind": kind, **probed_layers(backbone, targets(), FEATURES, few(PROBED, 200))}


@lru_cache
def controls(seed: int) -> list[dict]:
    """The network of this seed before its training; the same with batch norm's statistics from crops; raw pixels."""
    torch.manual_seed(seed)
    fresh, crops = ConvNet(first=FIRST), source("one photograph").images[:few(6400, 200)]
    settled = renew_statistics(fresh, crops, lambda network, images: [network(part) for part in images.split(200)])
    return [layers("random encoder", "control", fresh.eval()),
            layers("random filters, statistics of crops", "control", settled),
            {"name": "raw pixels", "kind": "control", **probed_pixels(targets(), few(PROBED, 200))}]


def turns_named(method: nn.Module) -> dict[str, float]:
    """RotNet's accuracy on 1000 fresh images, all four turns: crops of each picture, and photographs."""
    sets = {name: photo_crops(few(1000, 60), picture(), seed=1).images for name, picture in PICTURES.items()}
    sets["photographs"] = targets()["photographs"].test.images[:few(1000, 60)]
    network = nn.Sequential(method.backbone, method.head)  # pyright: ignore
    return {name: accuracy(network, ImageSet(*four_turns(images)), "cpu") for name, images in sets.items()}


def rows(made: Made) -> list[dict]:
    run, method = made.run, made.method.eval()
    made.beside[f"{run.id}.pt"] = half(method.backbone.blocks[0])  # pyright: ignore
    if run.id == "simclr-one-photograph-s0":
        made.beside["one-photograph.pt"] = method
    more = {"turns": turns_named(method)} if run.method == "rotation" else {}
    return [layers(run.method, "method", method.backbone) | more, *controls(run.seed)]  # pyright: ignore


GRID = Grid("21_single_image", runs, rows, "Lesson 21: one photograph, noise, many images; every layer read.",
            show=("last",), train=on_source)

if __name__ == "__main__":
    sys.exit(GRID.main(__doc__))
