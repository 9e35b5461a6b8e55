"""The command record: the best representation of CIFAR-10 photographs that so many minutes give, and how it was made.

`SWITCHES` is the recipe, a staircase: each switch changes settings of `fit`, SimCLR, its views or its network, on top
of the switches before. benchmarks/staircase.py climbs it.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from course_lib.files import lessons_folder, write_text
from course_lib.text import text_table

SPARE = 0.1  # of the time: runs of this recipe took from 5 % less to 12 % more than their first steps promised
# groups of settings: backbone, its options, whether its first layer whitens, fit's, SimCLR's, its views'
START = {"backbone": "convnet", "network": {}, "whitened": False, "fit": {}, "method": {}, "views": {}}
SWITCHES: dict[str, dict[str, Any]] = {
    "four views of each image": {"method": {"count": 4}},
    "crops from .2": {"views": {"scale": (0.2, 1.0)}},
    "temperature .1": {"method": {"temperature": 0.1}},
    "views of 24 pixels": {"views": {"size": 24}},
    "Muon": {"fit": {"optimizer": "muon", "lr": 3e-3, "weight_decay": 1e-4}},
    "a whitened first layer": {"whitened": True},
    "all layers twice as wide": {"network": {"widths": (64, 128, 256)}},
}
GPU = {"backbone": "resnet18", "network": {}, "whitened": False,
       "fit": {"batch_size": 512, "lr": 2e-3, "compile": True},
       "method": {"count": 4, "temperature": 0.1, "hidden": 2048}, "views": {"scale": (0.2, 1.0)}}


class record:
    """Train on CIFAR-10 photographs for some minutes, without a label, and measure the last step on test images.

    Time counts from the start of the command to the last step; the evaluation comes after. What was measured is added
    to benchmarks/record.json. The recipe is in course_lib/cli/record.py; python benchmarks/staircase.py measures what
    each part of it is worth.

    examples:
      course record                                        (five minutes)
      course record --minutes 30 --photographs FOLDER      (with train/CLASS and test/CLASS)
      course record --minutes 10 --device cuda             (a ResNet-18 on a GPU)
    """

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--minutes", type=float, default=5.0, help="default: %(default)g")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
        parser.add_argument("--switches", type=int, metavar="N", help=f"only the first N of the recipe's "
                            f"{len(SWITCHES)}; on a CPU (default: all)")
        parser.add_argument("--photographs", metavar="FOLDER", default="cifar10",
                            help="CIFAR-10 as pictures in class folders, if torchvision's isn't there")
        parser.add_argument("--no-controls", action="store_false", dest="controls",
                            help="measure the trained network only, not also the untrained one and raw pixels")
        parser.add_argument("--dry", action="store_true",
                            help="a few steps with few images, on whatever there is; stores nothing")

    @staticmethod
    def run(args: argparse.Namespace) -> int:
        began = time.time()
        settings, where = GPU if args.device == "cuda" else climbed(args.switches), stored_at()
        from course_lib.cli.common import measure
        from course_lib.data.loading import load
        from course_lib.runs.origin import provenance
        from course_lib.train.loop import fit

        splits = load(args.photographs, limit=60 if args.dry else None)
        method, device = built(settings, args.seed, splits.train.images), args.device
        given = dict(settings["fit"])
        if args.dry:
            given |= {"batch_size": 16, "compile": False, "steps": 3}
            device = "auto" if device == "cuda" else device
        else:
            left = 60 * args.minutes * (1 - SPARE) - (time.time() - began)
            if left <= 0:
                raise ValueError(f"{args.minutes:g} minutes are over before the photographs are read: give --minutes "
                                 "more; a second time they are read from the cache")
            given["seconds"] = left
        history = fit(method, splits.train, seed=args.seed, device=device, **given)
        took = time.time() - began
        if history.interrupted:
            return 0
        rows = measure(method, splits, "SimCLR", device, probe_limit=None, controls=args.controls)
        found = {"minutes": args.minutes, "seed": args.seed, "device": args.device, "switches": named(args),
                 "settings": settings, "seconds": took, "steps": history.steps,
                 "views": history.steps * history.batch_size * method.count,
                 "views_per_second": history.views_per_second, **size_of(method.backbone), "rows": rows,
                 "measured_on": provenance(device)}
        print(summary(found))
        if not args.dry:
            write_text(where, json.dumps([*stored(), found], indent=1) + "\n")
            print(f"Added to {where}")
        return 0


# ------------------------------------------------------------------------------------------------ the recipe
def climbed(switches: int | None = None) -> dict[str, Any]:
    """The settings after the first `switches` of SWITCHES, None: all of them. ValueError for more than there are."""
    if switches is not None and not 0 <= switches <= len(SWITCHES):
        raise ValueError(f"--switches is {switches}; there are {len(SWITCHES)}: {', '.join(SWITCHES)}")
    settings: dict[str, Any] = dict(START)
    for change in list(SWITCHES.values())[:switches]:
        for group, new in change.items():
            settings[group] = {**settings[group], **new} if isinstance(new, dict) else new
    return settings


def named(args: argparse.Namespace) -> list[str]:
    """The switches that are on."""
    return [] if args.device == "cuda" else list(SWITCHES)[:args.switches]


def built(settings: dict[str, Any], seed: int, images: Any) -> Any:
    """SimCLR, untrained, with these settings; images uint8 (N, 3, 32, 32), for the first layer's filters."""
    import torch

    from course_lib.methods import build_method
    from course_lib.methods.contrastive.simclr import simclr_views
    from course_lib.models.whitening import whiten_first_layer

    torch.manual_seed(seed)
    method: Any = build_method("simclr", settings["backbone"], 32, backbone_options=settings["network"],
                               **settings["method"])
    # set afterwards: `build_method` gives views the size of the images, and the recipe's are smaller
    method.augment = method.other = replace(simclr_views(32), **settings["views"])
    if settings["whitened"]:
        whiten_first_layer(method.backbone, images)
    return method


def size_of(network) -> dict[str, int]:
    """Parameters, and floating-point operations of one image of 32 pixels, forward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    where = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32, device=where))
    return {"parameters": sum(p.numel() for p in network.parameters()), "flops": counter.get_total_flops()}


# ------------------------------------------------------------------------------------------------ what was measured
def stored_at(name: str = "record") -> Path:
    """The file of all records, or "beside_lightly". Raises FileNotFoundError without the course's checkout."""
    return lessons_folder().parent / "benchmarks" / f"{name}.json"


def stored(name: str = "record") -> list[dict]:
    """The records so far, oldest first, or the runs of benchmarks/beside_lightly.py."""
    return json.loads(stored_at(name).read_text(encoding="utf-8")) if stored_at(name).exists() else []


def measured(switches: int | None, minutes: float, found: list[dict]) -> dict[int, dict]:
    """seed -> the latest record on a CPU of so many minutes with the first `switches` as they are today, None: all."""
    settings = json.loads(json.dumps(climbed(switches)))  # as they are stored
    return {each["seed"]: each for each in found if each["minutes"] == minutes and each["settings"] == settings}


def summary(found: dict) -> str:
    """What was trained, for how long and on what, as a table."""
    on = found["measured_on"]
    return text_table([
        ("trained", f"{found['seconds']:.0f} s from the start of the command, {found['steps']:,} steps, "
                    f"{found['views_per_second']:,.0f} views/s, seed {found['seed']}"),
        ("network", f"{found['settings']['backbone']}, {found['parameters'] / 1e6:.2f} M parameters, "
                    f"{found['flops'] / 1e6:.0f} MFLOP an image"),
        ("switches", "; ".join(found["switches"]) or "none"),
        ("machine", f"{on['device']}, {on['cpu']}, {on['cores']} cores, {on['system']}; "
                    f"threads: {on['threads']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in on["versions"].items())),
        ("commit", str(on["commit"]))])
