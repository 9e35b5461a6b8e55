"""The stored figures of `benchmarks/figures.py` as data, drawn by lessons/A1_speed; hours of a run from a rate."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.files import CHECKOUT

NOT_MEASURED = "not measured"


@dataclass
class Figures:
    """The file's groups, name -> {"measured_on", "rows"}; empty without a file."""

    groups: dict[str, dict] = field(default_factory=dict)

    def pick(self, group: str, **wanted: object) -> list[dict]:
        """The data behind those rows of a group that match `wanted`, such as kind="rate".

        Each has the row's "value" and "beside" as in the table; the value is NOT_MEASURED if the row only says why.
        """
        rows = self.groups.get(group, {}).get("rows", [])
        found = [{"value": row["value"], "beside": row["beside"], **row["data"]} for row in rows if row.get("data")]
        return [each for each in found if all(each.get(key) == value for key, value in wanted.items())]

    def about(self, group: str) -> str:
        """A sentence: where the group was measured, or how to measure it."""
        if group not in self.groups:
            return f"Nobody has measured the group '{group}' in this checkout. {self.how(group)}"
        place = self.groups[group]["measured_on"]
        again = "".join(f"; {part} again at {commit}" for part, commit in place.get("again", {}).items())
        return (f"The group '{group}' was measured on {place['cpu']} (device: {place['device']}), "
                f"{place['threads']} of {place['cores']} threads, torch {place['versions'].get('torch')}, "
                f"commit {place['commit']}{again}.")

    @staticmethod
    def how(group: str) -> str:
        """The command that measures a group, in a sentence."""
        return f"In the course's folder, `python benchmarks/figures.py --only {group}` measures it."


def figures_file() -> Path:
    """$COURSE_FIGURES, else benchmarks/figures.json of the checkout that this library is in."""
    return Path(os.environ.get("COURSE_FIGURES") or CHECKOUT / "benchmarks" / "figures.json")


def read_figures(path: str | Path | None = None) -> Figures:
    """The figures at `path` (default `figures_file()`), empty without a file. Raises ValueError for a damaged one."""
    path = Path(path or figures_file())
    if not path.exists():
        return Figures()
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))["groups"]
        for group in groups.values():
            if not {"cpu", "device", "threads", "cores", "versions", "commit"} <= set(group["measured_on"]):
                raise ValueError("a group does not say where it was measured")
            if not all({"value", "beside"} <= set(row) for row in group["rows"]):
                raise ValueError("a row has no value")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the figures in {path.name} cannot be read ({error}). Restore the file from the "
                         "repository, or measure again with benchmarks/figures.py.") from error
    return Figures(groups)


def run_hours(images: int, epochs: float, rate: float, devices: int = 1, kept: float = 1.0,
              feed: float = math.inf) -> float:
    """Hours of a training run, from measured rates.

    rate: images/s of one device, all views included. kept: fraction of the speed kept at each doubling of the devices
    (1: ideal). feed: images/s of reading and decoding, for all devices. Raises ValueError for numbers out of range.
    """
    numbers = dict(images=images, epochs=epochs, rate=rate, devices=devices, kept=kept, feed=feed)
    for name, value in numbers.items():
        if not value > 0 or (name == "kept" and value > 1):
            raise ValueError(f"{name} is {value}; expected a number above 0" + (" and at most 1." * (name == "kept")))
    speed = min(rate * devices * kept ** math.log2(devices), feed)
    return images * epochs / speed / 3600
