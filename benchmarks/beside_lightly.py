"""lightly's SimCLR for ten minutes, then `course record` for one, by turns on the same photographs: who is better?

    python benchmarks/beside_lightly.py --photographs FOLDER       # what is missing of three seeds: 35 minutes
    python benchmarks/beside_lightly.py --dry                      # a few steps; stores nothing

lightly trains as its example for CIFAR-10 has it (its transform without blur, 256 images, NT-Xent at 0.5, SGD at 0.06,
a DataLoader with a worker for each core), on the network of `course record` and with the course's scaling of pixels, in
which both are measured. The minutes of both begin with their
program; the test images are looked at after the last step. Stored in beside_lightly.json, with machine and versions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version

from course_lib.cli.record import SWITCHES, climbed, measured, stored, stored_at
from course_lib.files import CHECKOUT, write_text
from course_lib.text import text_table

SEEDS = (0, 1, 2)


def trained_by_lightly(photographs: str, seed: int, minutes: float, dry: bool = False) -> dict:
    """One run of lightly in this process: what it reached, and how."""
    began = time.time()
    import torch
    from contenders import InMemory
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from lightly_peer import NORMALIZE
    from PIL import Image

    from course_lib.data.loading import load
    from course_lib.evaluate.neighbours import knn
    from course_lib.models.backbones import build_backbone
    from course_lib.runs.origin import provenance

    splits = load(photographs, limit=60 if dry else None)
    torch.manual_seed(seed)
    settings = climbed()
    backbone = build_backbone(settings["backbone"], 32, **settings["network"])
    model = torch.nn.Sequential(backbone, SimCLRProjectionHead(backbone.dim, 512, 128)).train()
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4), NTXentLoss()
    pictures = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in splits.train.images]
    data = InMemory(pictures, SimCLRTransform(input_size=32, gaussian_blur=0.0, normalize=NORMALIZE))
    workers = os.cpu_count() or 1
    loader = torch.utils.data.DataLoader(data, 16 if dry else 256, shuffle=True, drop_last=True, num_workers=workers)
    views, last = 0, began + 60 * minutes
    while time.time() < last and not (dry and views):
        for first, second in loader:
            loss = criterion(model(first), model(second))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            views += 2 * len(first)
            if time.time() >= last:
                break
    seconds = time.time() - began
    return {"seed": seed, "minutes": minutes, "seconds": seconds, "views": views, "lightly": version("lightly"),
            "knn": knn(backbone.eval(), splits), "measured_on": provenance("cpu")}


def table(lightly: list[dict], ours: dict[int, dict]) -> str:
    """A row for each seed that both have."""
    lines = [("seed", "lightly: seconds", "views", "kNN", "course: seconds", "views", "kNN")]
    for run in sorted(lightly, key=lambda run: run["seed"]):
        if (mine := ours.get(run["seed"])) is not None:
            lines.append((str(run["seed"]), f"{run['seconds']:.0f}", f"{run['views']:,}", f"{100 * run['knn']:.1f}",
                          f"{mine['seconds']:.0f}", f"{mine['views']:,}", f"{100 * mine['rows'][0]['knn']:.1f}"))
    return text_table(lines, "<>", markdown=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--photographs", default="cifar10", help="'cifar10' (torchvision's) or a folder of them")
    parser.add_argument("--minutes", type=float, default=10.0, help="lightly's (default: %(default)g)")
    parser.add_argument("--ours", type=float, default=1.0, help="the course's (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="lightly's run of this seed only, printed as JSON")
    parser.add_argument("--dry", action="store_true", help="a few steps of each, one seed; stores nothing")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        print(json.dumps(trained_by_lightly(given.photographs, given.seed, given.minutes, given.dry)))
        return 0
    runs = [] if given.dry else stored("beside_lightly")
    both = ["--photographs", given.photographs, *(["--dry"] if given.dry else [])]
    for seed in SEEDS[:1] if given.dry else SEEDS:
        if not any((run["seed"], run["minutes"]) == (seed, given.minutes) for run in runs):
            words = [sys.executable, __file__, "--seed", str(seed), "--minutes", str(given.minutes), *both]
            done = subprocess.run(words, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                return done.returncode  # it has said why
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            if not given.dry:
                write_text(stored_at("beside_lightly"), json.dumps(runs, indent=1) + "\n")
        if given.dry or seed not in measured(len(SWITCHES), given.ours, stored()):
            words = ["record", "--minutes", str(given.ours), "--seed", str(seed), *["--no-controls"] * (seed > 0)]
            if code := subprocess.call([sys.executable, "-m", "course_lib", *words, *both], cwd=CHECKOUT):
                return code
    print(table([run for run in runs if run["minutes"] == given.minutes],
                measured(len(SWITCHES), given.ours, stored())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
