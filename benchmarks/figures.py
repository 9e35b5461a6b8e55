"""The course's figures, measured and printed as one table; see README.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import augmenting
import growth
import learning
import limit
import loading
import masked
import peers
import torch

from course_lib.runs.origin import provenance

HERE = Path(__file__).resolve().parent
COMPARED = ("lightly", "kornia")  # where installed
QUICK = {"peers": peers.peers, "limit": limit.limit, "augment": augmenting.augment, "growth": growth.growth,
         "loading": loading.loading}  # the groups that know quick=True


def lessons(wanted: str = "", known: list[dict] = ()) -> list[dict]:
    """Each lesson from top to bottom, run as by `course lesson`; `wanted`: only these, "01,A1"."""
    from tempfile import TemporaryDirectory

    from course_lib.cli.lessons import list_lessons, render_lesson

    rows = []
    with TemporaryDirectory() as folder:
        for path in list_lessons(HERE.parent / "lessons"):
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


def table(groups: dict[str, dict]) -> str:
    """The groups' rows as one Markdown table, and where each group was measured."""
    says = {True: "yes", False: "NO", None: "-"}
    lines = ["| figure | measured | target | holds | beside it |", "|---|---|---|---|---|"]
    lines += [f"| {r['figure']} | {r['value']} | {r['target']} | {says[r['holds']]} | {r['beside']} |"
              for group in groups.values() for r in group["rows"]]
    places = "\n".join(f"- {name}: {json.dumps(group['measured_on'])}" for name, group in groups.items())
    return "# Figures\n\n" + "\n".join(lines) + f"\n\nMeasured on:\n\n{places}\n"


def measured_on() -> dict:
    """Machine, versions (of the compared libraries too) and commit."""
    found = provenance()
    for name in COMPARED:
        with suppress(importlib.metadata.PackageNotFoundError):
            found["versions"][name] = importlib.metadata.version(name)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="comma-separated groups (default: all)")
    parser.add_argument("--quick", action="store_true",
                        help=f"{', '.join(QUICK)} in about a minute each, to see that they run; printed, not stored")
    parser.add_argument("--photographs", default="cifar10", help="'cifar10' (torchvision's) or a folder of them")
    parser.add_argument("--methods", default=",".join(["spark", *learning.JOINT]),
                        help="recap and photographs: these only")
    parser.add_argument("--lessons", default="", help="measure these weeks only, such as 01,03; others keep their row")
    parser.add_argument("--works", default="", help="peers: measure these methods only; others keep their rows")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    stored = HERE / "figures.json"
    old = json.loads(stored.read_text(encoding="utf-8"))["groups"] if stored.exists() else {}
    methods = tuple(args.methods.split(","))
    parts = {"peers": args.works, "lessons": args.lessons}  # groups of which only a part may be measured
    kept = {name: old.get(name, {}).get("rows", []) for name in parts}
    groups = {**{name: partial(measure, args.quick) for name, measure in QUICK.items()},
              "peers": lambda: peers.peers(args.quick, args.works, kept["peers"]),
              "recap": lambda: learning.recap(methods),
              "photographs": lambda: learning.photographs(args.photographs, methods),
              "masked": lambda: masked.figures(args.photographs),
              "lessons": lambda: lessons(args.lessons, kept["lessons"])}
    wanted = args.only.split(",") if args.only else list(QUICK if args.quick else groups)
    known = QUICK if args.quick else groups
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"unknown group {unknown[0]!r}: choose of {', '.join(known)}")
    methods_of_peers = {work.method for work in peers.works(False, "cpu")}
    if args.works and (unknown := sorted(set(args.works.split(",")) - methods_of_peers)):
        parser.error(f"unknown work {unknown[0]!r}: choose of {', '.join(sorted(methods_of_peers))}")
    torch.set_num_threads(args.threads)
    if args.quick:
        print(table({name: {"measured_on": measured_on(), "rows": groups[name]()} for name in wanted}))
        return 0
    old = {name: old[name] for name in groups if name in old}
    for name in wanted:
        on, rows = measured_on(), groups[name]()
        if parts.get(name) and kept[name]:  # the whole group's machine, and the commit of the remeasured part
            again = dict.fromkeys(parts[name].split(","), on["commit"])
            on = {**old[name]["measured_on"], "again": {**old[name]["measured_on"].get("again", {}), **again}}
        old[name] = {"measured_on": on, "rows": rows}
        stored.write_text(json.dumps({"groups": old}, indent=1) + "\n", encoding="utf-8")
    text = table(old)
    (HERE / "figures.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
