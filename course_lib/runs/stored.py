"""Stored runs: written by a command, drawn by lessons, never edited by hand.

A run is `<id>.json` (settings, provenance, loss curve, scores) and, with a panel, `<id>.npz`: float16 embeddings of a
fixed set of images, with label and (split, class, number) of each. No photograph is stored.
"""

from __future__ import annotations

import getpass
import json
import math
import os
import re
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.files import CHECKOUT, atomic, write_text
from course_lib.runs.origin import provenance

FORMAT = 1           # increased when a field changes its meaning
CURVE_POINTS = 200
SETTINGS = ("optimizer", "lr", "weight_decay", "warmup", "clip", "accumulate", "compile", "image_size",
            "limit", "options")
LARGEST_JSON = 32_000  # bytes; a run is a record, not a log


@dataclass
class Panel:
    """The embedding of a fixed set of images: features float16 (N, D), labels int64 (N,), and their origin."""

    features: np.ndarray
    labels: np.ndarray
    images: list[tuple[str, str, int]]  # (split, class, number) of each
    points: np.ndarray | None = None    # float16 (N, 2), a projection to draw

    def __post_init__(self) -> None:
        self.features = np.asarray(self.features, dtype=np.float16)
        self.labels = np.asarray(self.labels, dtype=np.int64)
        self.points = None if self.points is None else np.asarray(self.points, dtype=np.float16)
        self.images = [(str(split), str(name), int(number)) for split, name, number in self.images]
        if not len(self.features) == len(self.labels) == len(self.images):
            raise ValueError(f"a panel has {len(self.features)} features, {len(self.labels)} labels and "
                             f"{len(self.images)} images; expected as many of each.")
        if not np.isfinite(self.features).all():
            raise ValueError("a panel's features must be finite in float16 (up to 65504): scale them first.")


@dataclass
class StoredRun:
    """One run. `scores` are rows of `evaluate.score`, with accuracies as fractions; `curves` maps names to values at
    `curve_steps`; `settings` holds numbers, words and flat lists only.
    """

    method: str
    data: str
    backbone: str = ""
    augmentation: str = ""
    settings: dict = field(default_factory=dict)
    seed: int = 0
    steps: int = 0
    images_seen: int = 0
    wall_seconds: float = 0.0
    curve_steps: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    scores: list[dict] = field(default_factory=list)
    provenance: dict = field(default_factory=dict)  # filled by write_run if empty
    note: str = ""
    id: str = ""                                    # the files' name; made from the above if empty
    panel: Panel | None = None

    def __post_init__(self) -> None:
        parts = (self.method, self.data, self.backbone, f"seed{self.seed}")
        self.id = self.id or re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower()).strip("-")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.id):
            raise ValueError(f"a run's id is {self.id!r}; expected letters, digits, '-', '_' and '.'.")
        for name, values in self.curves.items():
            if len(values) != len(self.curve_steps):
                raise ValueError(f"the curve {name!r} has {len(values)} values at "
                                 f"{len(self.curve_steps)} steps.")

    @classmethod
    def from_history(cls, method: str, data: str, history, **rest) -> StoredRun:
        """A run from the History of `train.fit`; `rest` are the other fields."""
        settings = {"batch_size": history.batch_size, "precision": history.precision,
                    **rest.pop("settings", {})}
        place = provenance(history.device or None)
        used = list(dict.fromkeys(number for _, number in history.stretches))  # a list only where they changed
        place["threads"] = used if len(used) > 1 else history.threads or place["threads"]
        return cls(method, data, settings=settings, steps=history.steps,
                   images_seen=history.steps * history.batch_size, wall_seconds=history.seconds,
                   curve_steps=list(history.curve_steps), curves=dict(history.curves),
                   **{"provenance": place, **rest})

    def value(self, key: str, row: str | None = None) -> float | None:
        """A score, such as value("knn") of the method or value("knn", "raw pixels"); None if there is none."""
        for candidate in self.scores:
            if candidate.get("name") == row or (row is None and candidate.get("kind") == "method"):
                return candidate.get(key)
        return None


def runs_folder() -> Path:
    """$COURSE_RUNS, else lessons/runs of the checkout that this library is in."""
    return Path(os.environ.get("COURSE_RUNS") or CHECKOUT / "lessons" / "runs")


# ------------------------------------------------------------------------------------------------ write
def write_run(run: StoredRun, folder: str | Path | None = None) -> Path:
    """Write a run into `folder` (default `runs_folder()`), atomically, and return the path of its JSON file.

    Curves are thinned to 200 points, numbers rounded to 5 digits. Raises ValueError if a text names a folder or user of
    this machine, or if the record exceeds 32 kB.
    """
    folder = Path(runs_folder() if folder is None else folder)
    record = {"format": FORMAT, **{key: value for key, value in asdict(run).items() if key != "panel"}}
    record["provenance"] = record["provenance"] or provenance()
    record["curve_steps"] = _thin(record["curve_steps"])
    record["curves"] = {name: _thin(values) for name, values in record["curves"].items()}
    record["panel"] = run.panel is not None
    record = _plain(record, run.id)
    lines = (f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in record.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"  # one field per line, for readable diffs
    if len(text.encode()) > LARGEST_JSON:
        raise ValueError(f"the record of run {run.id} has {len(text.encode())} bytes; expected at most "
                         f"{LARGEST_JSON}. Store fewer curves or settings.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.id}.json"
    if run.panel is not None:
        panel = run.panel
        arrays = {"features": panel.features, "labels": panel.labels,
                  "split": np.array([image[0] for image in panel.images], dtype=np.str_),
                  "class_name": np.array([image[1] for image in panel.images], dtype=np.str_),
                  "number": np.array([image[2] for image in panel.images], dtype=np.int32)}
        if panel.points is not None:
            arrays["points"] = panel.points
        with atomic(path.with_suffix(".npz")) as file:
            np.savez_compressed(file, **arrays)
    write_text(path, text)
    if run.panel is None:
        path.with_suffix(".npz").unlink(missing_ok=True)  # of an older run with this id
    return path


def record_run(id: str, method, splits, history, rows: list[dict], arguments: dict,
               folder: str | Path | None = None, panel: int = 256) -> Path:
    """Store a run of `course train`, with a panel of `panel` evenly spread test images.

    arguments: the command's; only SETTINGS are stored, so that no path gets in.
    """
    import torch

    from course_lib.evaluate.features import embed

    # evenly spread, as files of a folder are sorted by class
    places = np.linspace(0, len(splits.test) - 1, min(panel, len(splits.test))).round().astype(int)
    test = splits.test.select(torch.from_numpy(places))
    labels = [-1] * len(test) if test.labels is None else test.labels.tolist()
    names = [test.classes[label] if test.classes and label >= 0 else "" for label in labels]
    images = [(test.split or "test", name, number) for number, name in zip(places.tolist(), names)]
    stored = Panel(embed(method, test).numpy(), np.array(labels), images) if len(test) else None
    run = StoredRun.from_history(
        arguments.get("method", type(method).__name__.lower()), splits.train.name, history, id=id,
        scores=rows, backbone=arguments.get("backbone", ""),
        augmentation=repr(getattr(method, "augment", "")),
        seed=arguments.get("seed", 0), panel=stored,
        settings=_settings(arguments))
    return write_run(run, folder)


def check_record(id: str, data: str, arguments: dict) -> None:
    """ValueError for an id, a data set's name or arguments that `record_run` would refuse: before the training."""
    _plain(asdict(StoredRun("", data, id=id, settings=_settings(arguments))), id)


def _settings(arguments: dict) -> dict:
    return {key: arguments[key] for key in SETTINGS if arguments.get(key) not in (None, [], False)}


def _thin(values: list) -> list:
    if len(values) <= CURVE_POINTS:
        return list(values)
    keep = np.linspace(0, len(values) - 1, CURVE_POINTS).round().astype(int)  # first and last stay
    return [values[i] for i in keep]


def _plain(value: Any, where: str) -> Any:
    """`value` as JSON types, NaN as null. Raises ValueError for other types and for texts that name this machine."""
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, where) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()  # numbers of NumPy and torch
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, str) and _names_this_machine(value):
        raise ValueError(f"{where} is {value!r}: a stored run names no folder and no user of the machine "
                         "that made it. Give the data set's name.")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise ValueError(f"{where} is a {type(value).__name__}; expected numbers, words, lists and dicts.")


def _names_this_machine(text: str) -> bool:
    if re.search(r"(^|[\s='\"(])(/[^\s/]+/|~/|[A-Za-z]:\\|\\\\)", text):
        return True
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no account behind this process
        return False
    # account names that are ordinary words identify nobody
    return len(user) > 2 and user not in ("root", "user") and bool(re.search(rf"\b{re.escape(user)}\b", text))


# ------------------------------------------------------------------------------------------------ read
def read_runs(folder: str | Path | None = None, **filters: object) -> list[StoredRun]:
    """The runs in `folder` (default `runs_folder()`), sorted by id, whose fields and settings match the filters.

    For example read_runs(method="vicreg", batch_size=[128, 256]), where a list allows any of its values. Raises
    FileNotFoundError without the folder, ValueError for a damaged file or an unknown filter.
    """
    folder = Path(runs_folder() if folder is None else folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of stored runs at {folder}. They are in lessons/runs of "
                                "the course's checkout; set COURSE_RUNS to read them from elsewhere.")
    runs = [_read(path) for path in sorted(folder.glob("*.json"))]
    names = {field.name for field in fields(StoredRun)} | {key for run in runs for key in run.settings}
    unknown = sorted(set(filters) - names)
    if unknown and runs:
        raise ValueError(f"no stored run has {', '.join(unknown)}; filter by {', '.join(sorted(names))}.")

    def fits(run: StoredRun) -> bool:
        for key, wanted in filters.items():
            value = getattr(run, key) if hasattr(run, key) else run.settings.get(key)
            if value not in (wanted if isinstance(wanted, (list, tuple, set)) else [wanted]):
                return False
        return True

    return [run for run in runs if fits(run)]


def _read(path: Path) -> StoredRun:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise ValueError("an unknown format")
        if record.pop("panel"):
            with np.load(path.with_suffix(".npz"), allow_pickle=False) as file:
                images = list(zip(*(file[key].tolist() for key in ("split", "class_name", "number"))))
                record["panel"] = Panel(file["features"], file["labels"], images,
                                        file["points"] if "points" in file else None)
        return StoredRun(**record)
    except (KeyError, TypeError, ValueError, OSError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"the stored run {path.name} cannot be read ({error}). Restore it from the "
                         "repository, or make it again.") from error


# ------------------------------------------------------------------------------------------------ compare
def compare_runs(a: StoredRun, b: StoredRun, tolerance: float = 0.02) -> list[str]:
    """The differences between two runs, a sentence each; [] if `b` reproduces `a`.

    Method, data, backbone, augmentation, settings, seed and steps must be equal. Scores and the last value of each
    curve may differ by `tolerance`, absolute below 1 and relative above: 0.02 is two points of accuracy or 2 % of a
    rank. Device, versions and time are ignored.
    """
    found = []
    for key in ("method", "data", "backbone", "augmentation", "seed", "steps", "images_seen"):
        if getattr(a, key) != getattr(b, key):
            found.append(f"{key}: {getattr(a, key)!r} and {getattr(b, key)!r}")
    for key in sorted(set(a.settings) | set(b.settings)):
        one, other = (_plain(run.settings.get(key), key) for run in (a, b))
        if one != other:
            found.append(f"setting {key}: {one!r} and {other!r}")

    def numbers(run: StoredRun) -> dict[str, float]:
        values = {f"last {name}": curve[-1] for name, curve in run.curves.items() if curve}
        for row in run.scores:
            flat = {**row, **{f"factor {key}": value for key, value in row.get("factors", {}).items()}}
            values |= {f"{key} of {row.get('name')}": value for key, value in flat.items()
                       if isinstance(value, (int, float)) and not isinstance(value, bool)
                       and key != "linear_setting"}  # a choice, not a result
        return values

    one, other = numbers(a), numbers(b)
    for key in sorted(set(one) | set(other)):
        if key not in one or key not in other:
            found.append(f"{key}: only in {'the first' if key in one else 'the second'} run")
        elif not abs(one[key] - other[key]) <= tolerance * max(1, abs(one[key]), abs(other[key])):
            found.append(f"{key}: {one[key]:.4g} and {other[key]:.4g}")
    return found
