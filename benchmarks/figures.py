"""The course's figures, measured and printed as one table; see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

import learning
import masked
from course_lib.augment import Augment, normalize, two_views
from course_lib.backbones import ConvNet
from course_lib.data import load
from course_lib.device import pick_device, pick_precision
from course_lib.layers import MLP
from course_lib.methods import build_method
from course_lib.provenance import provenance
from course_lib.recap import METHODS
from course_lib.train import fit

HERE = Path(__file__).resolve().parent
BATCH, WIDTH = 256, 512


# ------------------------------------------------------------------------------------------------ speed
class Lightly:
    """The same work by lightly: its transform, its collation through a DataLoader, its loss; same encoder and head."""

    def __init__(self, pictures, augment: Augment, half: bool, workers: int = 2):
        from lightly.loss import VICRegLoss
        from lightly.transforms.vicreg_transform import VICRegTransform
        from PIL import Image

        brightness, contrast, saturation, hue = augment.jitter
        transform = VICRegTransform(
            input_size=augment.size, cj_prob=augment.jitter_p, cj_strength=1.0, cj_bright=brightness,
            cj_contrast=contrast, cj_sat=saturation, cj_hue=hue, min_scale=augment.scale[0],
            random_gray_scale=augment.gray_p, gaussian_blur=0.0, solarize_prob=0.0, hf_prob=augment.flip)
        images = [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pictures.images]

        class InMemory(torch.utils.data.Dataset):
            def __len__(self):
                return len(images)

            def __getitem__(self, index):
                return transform(images[index])

        self.loader = torch.utils.data.DataLoader(InMemory(), BATCH, shuffle=True, drop_last=True,
                                                  num_workers=workers, persistent_workers=workers > 0)
        self.net, self.criterion, self.half = ConvNet(), VICRegLoss(), half
        self.head = MLP(self.net.dim, WIDTH, WIDTH, WIDTH)
        self.layout = torch.channels_last if half else torch.contiguous_format
        self.net.to(memory_format=self.layout)
        self.optimizer = torch.optim.AdamW([*self.net.parameters(), *self.head.parameters()], 1e-3)
        self.batches = iter([])

    def views_per_second(self, steps: int) -> float:
        done, began = 0, time.perf_counter()
        while done < steps:
            batch = next(self.batches, None)
            if batch is None:
                self.batches = iter(self.loader)
                continue
            a, b = (view.to(memory_format=self.layout) for view in batch)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
                za, zb = self.head(self.net(a)), self.head(self.net(b))
            loss = self.criterion(za.float(), zb.float())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            done += 1
        return steps * BATCH * 2 / (time.perf_counter() - began)


def speed(rounds: int = 2, steps: int = 20, run: int = 300) -> list[dict]:
    """Views/s of `fit` against lightly, interleaved; and how much of a step is not the network's.

    `fit` is measured over whole short runs of `run` steps, as lessons make them: it looks at collapse 50 times a run,
    however short, so runs of a few steps would measure that.
    """
    pictures, augment = load("shapes").train, Augment()
    half = pick_precision(pick_device("cpu"))[0] == torch.bfloat16
    ours = build_method("vicreg", "convnet", width=WIDTH, augment=augment)

    def course() -> float:
        return fit(ours, pictures, steps=run, device="cpu", batch_size=BATCH, progress=False).views_per_second

    def network() -> float:
        """Encoder and head, forward and backward, on ready tensors."""
        with torch.no_grad():
            views = [normalize(v).contiguous(memory_format=torch.channels_last)
                     for v in two_views(pictures.images[:BATCH], augment, torch.Generator().manual_seed(0))]
        ours.train()
        began = time.perf_counter()
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                z = [ours.expander(ours.backbone(view)) for view in views]
            sum(part.float().square().mean() for part in z).backward()
            ours.zero_grad(set_to_none=True)
        return steps * BATCH * 2 / (time.perf_counter() - began)

    default, equal = Lightly(pictures, augment, half=False), Lightly(pictures, augment, half=half)
    rates = []
    for turn in range(rounds + 1):  # interleaved
        row = {"course": course(), "network": network(), "lightly": default.views_per_second(steps // 2),
               "lightly_equal": equal.views_per_second(steps // 2)}
        rates += [row] * (turn > 0)  # the first round warms up
        print({name: round(value) for name, value in row.items()}, flush=True)
    middle = {name: statistics.median(row[name] for row in rates) for name in rates[0]}

    def ratio(name: str) -> float:
        return statistics.median(row["course"] / row[name] for row in rates)

    share = statistics.median(1 - row["course"] / row["network"] for row in rates)
    return [
        dict(figure="views/s against lightly, each at its default precision", value=f"{ratio('lightly'):.2f}x",
             target=">= 3.5x", holds=ratio("lightly") >= 3.5,
             beside=f"{middle['course']:.0f} against {middle['lightly']:.0f} views/s"),
        dict(figure="the same at equal precision, layout and in-memory source", value=f"{ratio('lightly_equal'):.2f}x",
             target=">= 2.2x", holds=ratio("lightly_equal") >= 2.2,
             beside=f"{middle['course']:.0f} against {middle['lightly_equal']:.0f} views/s"),
        dict(figure="share of the step that is not the network's", value=f"{100 * share:.0f} %", target="<= 25 %",
             holds=share <= 0.25, beside=f"encoder and head alone {middle['network']:.0f} views/s"),
    ]


def lessons(wanted: str = "", known: list[dict] = ()) -> list[dict]:
    """Each lesson top to bottom, as the command that writes it as HTML runs it; `wanted`: only these weeks, "01,03"."""
    from tempfile import TemporaryDirectory

    from course_lib.workspace import render_lesson

    rows = []
    with TemporaryDirectory() as folder:
        for path in sorted((HERE.parent / "lessons").glob("[0-9]*.ipynb")):
            if wanted and path.name[:2] not in wanted.split(","):
                rows += [row for row in known if path.stem in row["figure"]]
                continue
            began = time.perf_counter()
            render_lesson(path.stem, Path(folder) / "out.html")
            took = time.perf_counter() - began
            rows.append(dict(figure=f"lesson {path.stem} top to bottom", value=f"{took:.0f} s", target="<= 120 s",
                             holds=took <= 120, beside="kernel start and HTML included"))
            print(rows[-1], flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="speed,recap,photographs,masked,lessons", help="comma-separated (default: all)")
    parser.add_argument("--photographs", default="cifar10", help="'cifar10' (torchvision's) or a folder of them")
    parser.add_argument("--methods", default=",".join(["spark", *METHODS]), help="recap and photographs: these only")
    parser.add_argument("--lessons", default="", help="measure these weeks only, such as 01,03; others keep their row")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    methods = tuple(args.methods.split(","))
    groups = {"speed": speed, "recap": lambda: learning.recap(methods),
              "photographs": lambda: learning.photographs(args.photographs, methods),
              "masked": lambda: masked.figures(args.photographs),
              "lessons": lambda: lessons(args.lessons, old.get("lessons", {}).get("rows", []))}
    stored = HERE / "figures.json"
    old = json.loads(stored.read_text(encoding="utf-8"))["groups"] if stored.exists() else {}
    old = {name: old[name] for name in groups if name in old}
    for name in args.only.split(","):
        old[name] = {"measured_on": provenance(), "rows": groups[name]()}
        stored.write_text(json.dumps({"groups": old}, indent=1) + "\n", encoding="utf-8")
    says = {True: "yes", False: "NO", None: "-"}
    lines = ["| figure | measured | target | holds | beside it |", "|---|---|---|---|---|"]
    lines += [f"| {r['figure']} | {r['value']} | {r['target']} | {says[r['holds']]} | {r['beside']} |"
              for group in old.values() for r in group["rows"]]
    places = "\n".join(f"- {name}: {json.dumps(group['measured_on'])}" for name, group in old.items())
    text = "# Figures\n\n" + "\n".join(lines) + f"\n\nMeasured on:\n\n{places}\n"
    (HERE / "figures.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
