"""Measure the learned networks for the atlas (lesson A2): how alike they are on the same images, and what each keeps.

    python lessons/grids/atlas.py    # train the second seed if it is missing in out/atlas, then write the table

The rows: every network of lessons/networks on shapes; NPID trained again, with seed 1, as in networks.py; encoders
untrained; raw pixels; and the images' own causes. What is read of each cause is the networks' record's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import networks
import torch
from torch import Tensor, nn

from course_lib.data.images import ImageSet
from course_lib.evaluate.features import embed, known_causes, raw_pixels
from course_lib.evaluate.scoring import score
from course_lib.files import CHECKOUT
from course_lib.runs.atlas import write_atlas
from course_lib.runs.networks import learned, networks_folder
from course_lib.runs.stored import StoredRun, read_runs
from course_lib.train.loop import fit

KEPT = CHECKOUT / "out" / "atlas"
AGAIN = ("npid",)  # trained a second time; the weights of second seeds are not stored elsewhere
UNTRAINED = {"conv net": "simclr", "deeper conv net": "amdim", "ViT": "mae"}  # encoder -> a method that has it
BEGAN = {"ruc": "scan"}  # RUC mends SCAN's network with views that keep the colours
PANEL = 500  # test images: those that the networks' paths are of


def measured(file: str, make: Callable[[], nn.Module], images: ImageSet) -> tuple[dict, Tensor]:
    """The scores of a network whose weights are not stored, and its features (500, D); both are kept in out/atlas."""
    path = KEPT / f"{file}.pt"
    if not path.exists():
        network = make().eval()
        scores = score(network, networks.images("shapes", None), controls=False, linear=False, factors=True)[0]
        KEPT.mkdir(parents=True, exist_ok=True)
        torch.save((scores, embed(network, images)), path)
        print(f"{file}: kNN {scores['knn']:.3f}", flush=True)
    return torch.load(path, weights_only=True)


def again(name: str) -> nn.Module:
    """A method trained as networks.py trains it, with seed 1."""
    plan, train = networks.PLANS["shapes"][name], networks.images("shapes", None).train
    method = networks.build(name, "shapes", 1)
    fit(method, train if plan.images is None else train.select(torch.arange(plan.images)), steps=plan.steps, seed=1,
        device="cpu", threads=1, progress=False, **plan.fit)
    return method


def row(name: str, kind: str, method: str, encoder: str, seed: int, found: dict, colour: bool = False) -> dict:
    return {"name": name, "kind": kind, "method": method, "encoder": encoder, "seed": seed, "colour": colour,
            "knn": found.get("knn", float("nan")), "factors": found.get("factors", {})}


def encoder(run: StoredRun) -> str:
    deeper = run.method in ("amdim", "yadim")
    return "deeper conv net" if deeper else "ViT" if run.backbone == "vit-tiny" else "conv net"


def rows(images: ImageSet) -> Iterator[tuple[dict, Tensor]]:
    """What is known of each representation, and its features (500, D)."""
    records = {run.id: run for run in read_runs(networks_folder())}
    names = [path.stem.removeprefix("shapes-") for path in sorted(networks_folder().glob("shapes-*.pt"))]
    for name in names:
        run = records[f"shapes-{name}-s0"]
        colour = "gray_p=0.0" not in records[f"shapes-{BEGAN.get(name, name)}-s0"].augmentation
        yield (row(name, "learned", name, encoder(run), 0, run.scores[0], colour),
               embed(learned(name).method, images))
        if name in AGAIN:
            scores, features = measured(f"{name}-s1", partial(again, name), images)
            yield row(f"{name}, seed 1", "again", name, encoder(run), 1, scores, colour), features
    for built, name in UNTRAINED.items():
        for seed in (0, 1, 2):
            make = partial(networks.build, name, "shapes", seed)
            scores, features = measured(f"untrained {built}-s{seed}", make, images)
            yield row(f"untrained {built}, seed {seed}", "untrained", "", built, seed, scores), features
    pixels = next(r for r in records["shapes-simclr-s0"].scores if r["name"] == "raw pixels")
    yield row("raw pixels", "pixels", "", "none", 0, pixels), raw_pixels(images)
    for cause, columns in known_causes(images).items():
        yield row(cause, "cause", "", "none", 0, {}), columns


def main() -> None:
    """Write lessons/runs/A2_atlas/shapes.npz."""
    torch.set_num_threads(1)
    test = networks.images("shapes", None).test
    images = test.select(torch.linspace(0, len(test) - 1, PANEL).round().long())
    about, features = zip(*rows(images))
    write_atlas(about, features, images.factors["lighting"])
    print(f"{len(about)} representations of {len(images)} images")


if __name__ == "__main__":
    main()
