"""What each switch of `course record` is worth: the recipe without any, then with one more at a time, three seeds each.

    python benchmarks/staircase.py --photographs FOLDER            # what record.json lacks, then the table
    python benchmarks/staircase.py --minutes 10 --last             # the whole recipe only
    python benchmarks/staircase.py --dry                           # a few steps of each; stores nothing

Each run is a `course record` of its own; those of seed 0 also measure the untrained network and raw pixels. It may be
stopped at any time: what is stored is not made again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from statistics import fmean

from course_lib.cli.record import SWITCHES, measured, stored
from course_lib.files import CHECKOUT
from course_lib.text import text_table

SEEDS = (0, 1, 2)


def table(minutes: float, found: list[dict]) -> str:
    """A row for each step of the staircase that has been measured, and what it gains over the row above; Markdown."""
    lines, before = [("switch", "kNN of each seed", "mean", "gain", "linear probe", "views/s")], None
    for steps, name in enumerate(["SimCLR as in lesson 04", *(f"+ {name}" for name in SWITCHES)]):
        if runs := [run for _, run in sorted(measured(steps, minutes, found).items())]:
            knn = [100 * run["rows"][0]["knn"] for run in runs]
            lines.append((name, " ".join(f"{value:.1f}" for value in knn), f"{fmean(knn):.1f}",
                          "" if before is None else f"{fmean(knn) - before:+.1f}",
                          f"{100 * fmean(run['rows'][0]['linear'] for run in runs):.1f}",
                          f"{fmean(run['views_per_second'] for run in runs):,.0f}"))
            before = fmean(knn)
    return text_table(lines, "<<>", markdown=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="of each run (default: %(default)g)")
    parser.add_argument("--photographs", default="cifar10", help="'cifar10' (torchvision's) or a folder of them")
    parser.add_argument("--last", action="store_true", help="the whole recipe only, not each of its switches")
    parser.add_argument("--dry", action="store_true", help="a few steps of each, one seed; stores nothing")
    given = parser.parse_args(arguments)
    for seed in SEEDS[:1] if given.dry else SEEDS:
        for steps in range(len(SWITCHES) if given.last else 0, len(SWITCHES) + 1):
            if given.dry or seed not in measured(steps, given.minutes, stored()):
                more = ["--no-controls"] * (seed > 0) + ["--dry"] * given.dry
                words = ["--minutes", str(given.minutes), "--seed", str(seed), "--switches", str(steps)]
                if code := subprocess.call([sys.executable, "-m", "course_lib", "record", *words, "--photographs",
                                            given.photographs, *more], cwd=CHECKOUT):
                    return code  # it has said why
    print(table(given.minutes, stored()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
