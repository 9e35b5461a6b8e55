"""Learned networks: stored runs that kept their weights, for lessons to look into.

lessons/networks holds, for each method and set of images, the weights (`shapes-byol.pt`, float16), the records of its
trainings (`shapes-byol-s0.json`, ...) and how the embedding of a few test images moved (`shapes-byol.npz`).
`course networks` makes them, from the table in lessons/grids/networks.py.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.data.images import ImageSet
from course_lib.evaluate.scoring import table
from course_lib.files import CHECKOUT, atomic
from course_lib.methods import build_method
from course_lib.methods.base import Method
from course_lib.models.backbones import build_backbone
from course_lib.runs.stored import StoredRun, read_runs
from course_lib.train import checkpoint
from course_lib.train.history import History
from course_lib.train.loop import fit

COMPONENTS = 16         # principal components that a path keeps
LARGEST = 2_500_000     # bytes of the weights
SETS = ("shapes", "photographs")
FIT = {"optimizer", "lr", "weight_decay", "batch_size", "warmup", "final_lr", "clip", "accumulate", "betas"}


class NotStored(nn.Module):
    """Stands where a learned network has a part that only its loss needs, such as a projector."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, *inputs: object) -> Tensor:
        raise RuntimeError(f"a learned network keeps what is looked into, not its {self.name}: it cannot compute its "
                           "loss. Train the method anew for that.")


@dataclass
class Journey:
    """The embedding of the test images `numbers` during training: points float16 (T, N, 16) at `steps`.

    maps: float16 (T, N, 2), flat maps of them by t-SNE, each set out from the next one's; None if not stored.
    """

    steps: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray
    maps: np.ndarray | None = None


@dataclass
class Learned:
    """A learned network: the method in evaluation mode, the record of its training, those of all seeds, its path."""

    method: Method
    record: StoredRun
    seeds: list[StoredRun]
    path: Journey | None = None

    @property
    def controls(self) -> dict[str, dict]:
        """Rows of scores by name: "raw pixels", "random encoder" (the same network untrained), ..."""
        return {row["name"]: row for row in self.record.scores if row.get("kind") == "control"}

    def begin(self, images: ImageSet, steps: int, watch: Callable[[History], None] | None = None,
              **more: Any) -> tuple[Method, History]:
        """Train the first `steps` of this network's own training anew, from the same weights, on the same schedule.

        images: those that it was trained on (`load("shapes").train`, all of them). more: for `fit`. Bit for bit the
        beginning of the stored run, on the same machine with as many threads (there: one).
        """
        seen = self.record.settings["images"]
        if len(images) != seen:
            raise ValueError(f"the network was trained on {seen} images, these are {len(images)}: give it the training "
                             "images as they come, or its beginning would be another run's")
        torch.manual_seed(self.record.seed)
        method, options = _built(self.method.settings), self.method.settings["options"]
        with torch.random.fork_rng(devices=[]):  # as `build_on` does: reading draws nothing
            first = {name: learned(options[name]).method for name in method.begins_with if options.get(name)}
        if first:
            method.begin(**first)
        asked = {key: value for key, value in self.record.settings.items() if key in FIT}
        history = fit(method, images, steps=steps, schedule_steps=self.record.steps, seed=self.record.seed,
                      watch=watch, progress=False, **{**asked, **more})
        return method, history


def score_rows(networks: Mapping[str, Learned]) -> dict[str, dict]:
    """Stored scores by name: of each network, of itself before training ("MAE, untrained"), and "raw pixels"."""
    rows = {}
    for name, network in networks.items():
        rows |= {name: network.record.scores[0], f"{name}, untrained": network.controls["random encoder"]}
    return rows | {"raw pixels": next(iter(networks.values())).controls["raw pixels"]}


def score_table(rows: Mapping[str, Mapping], columns: Sequence[str] = ("knn", "linear", "fine_tuned")) -> str:
    """The rows of `score_rows` as text, some of their columns."""
    return table([{"name": name, **{key: row.get(key) for key in columns}} for name, row in rows.items()])


def networks_folder() -> Path:
    """$COURSE_NETWORKS, else lessons/networks of the checkout that this library is in."""
    return Path(os.environ.get("COURSE_NETWORKS") or CHECKOUT / "lessons" / "networks")


# ------------------------------------------------------------------------------------------------ write
def kept_names(method: Method) -> set[str]:
    """The entries of the state dict that explorers need: the evaluated backbone, and the parts named in `explored`."""
    evaluated = next(name for name, module in method.named_modules() if module is method.evaluated)
    parts = (evaluated, *method.explored)
    return {key for key in method.state_dict() if key.startswith(tuple(f"{part}." for part in parts)) or key in parts}


def keep(method: Method, name: str, on: str, folder: str | Path | None = None) -> Path:
    """Write the weights that explorers need, as float16, for `learned(name, on)`; ValueError if they are too large."""
    names = kept_names(method)
    weights = {key: t.detach().cpu().half() if t.is_floating_point() else t.detach().cpu()
               for key, t in method.state_dict().items() if key in names}
    size = sum(t.numel() * t.element_size() for t in weights.values())
    if size > LARGEST:
        raise ValueError(f"the weights of {name} on {on} take {size / 1e6:.1f} MB; expected at most "
                         f"{LARGEST / 1e6:.1f}. Use a smaller backbone or decoder.")
    return checkpoint.save(_folder(folder) / f"{on}-{name}.pt",
                           {"name": type(method).__name__, "method": weights, "settings": method.settings})


def journey(steps: list[int], embeddings: list[Tensor], labels: Tensor, numbers: Tensor) -> Journey:
    """Embeddings (N, D) of the same images at several steps, in their 16 first common principal components."""
    stacked = torch.stack([e.float() for e in embeddings])  # (T, N, D)
    centred = stacked - stacked.mean((0, 1))
    basis = torch.linalg.svd(centred.flatten(0, 1), full_matrices=False)[2][:COMPONENTS]  # (16, D)
    return Journey(np.array(steps), (centred @ basis.T).half().numpy(), labels.numpy().astype(np.int16),
                   numbers.numpy().astype(np.int32))


def keep_path(path: Journey, name: str, on: str, folder: str | Path | None = None) -> Path:
    """Write the path of a learned network, for `learned(name, on).path`."""
    file = _folder(folder) / f"{on}-{name}.npz"
    with atomic(file) as out:
        np.savez_compressed(out, **{key: value for key, value in vars(path).items() if value is not None})
    return file


# ------------------------------------------------------------------------------------------------ read
def learned(name: str, on: str = "shapes", folder: str | Path | None = None) -> Learned:
    """The network that method `name` learned on "shapes" or "photographs", read without running code.

    Raises ValueError for a name or set without one, `checkpoint.CheckpointError` for a file that cannot be used.
    """
    folder = _folder(folder)
    path = folder / f"{on}-{name}.pt"
    if not path.exists():
        known = sorted(p.stem for p in folder.glob("*.pt"))
        raise ValueError(f"there is no learned network of {name!r} on {on!r}; there are: {', '.join(known) or 'none'}. "
                         f"`course networks --method {name} --set {on}` makes it.")
    seeds = [run for run in read_runs(folder) if run.id.startswith(f"{on}-{name}-s")]
    if not seeds:
        raise ValueError(f"the record of {path.name} is missing: restore {path.stem}-s0.json from the repository.")
    return Learned(_method(path), seeds[0], seeds, _path(path.with_suffix(".npz")))


def open_network(where: str | Path) -> tuple[nn.Module, int]:
    """A network in evaluation mode, and the size of pictures that it was trained on.

    where: a run's folder, its last.pt or backbone.pt, a backbone of `course export` (with the .json beside it), or the
    name of a learned network: "byol", "photographs:mae". Raises FileNotFoundError where there is neither a file nor a
    network of that name, `checkpoint.CheckpointError` for a file that cannot be used.
    """
    path = Path(where).expanduser()
    if path.exists():
        return _of_file(path)
    on, _, name = str(where).rpartition(":")
    on = on or SETS[0]
    if len(path.parts) > 1 or path.suffix or not name:
        raise FileNotFoundError(f"there is no run and no file {where}: give a run's folder, its last.pt, or the name "
                                "of a learned network, such as byol or photographs:mae")
    stored = _folder(None) / f"{on}-{name}.pt"
    if not stored.exists():
        known = [path.stem.replace(f"{kind}-", "" if kind == SETS[0] else f"{kind}:", 1) for kind in SETS
                 for path in sorted(_folder(None).glob(f"{kind}-*.pt"))]
        raise FileNotFoundError(f"there is no run {where} and no learned network of that name; there are: "
                                f"{', '.join(known) or 'none'}")
    method = _method(stored)
    return method, method.settings["image_size"]


def _of_file(path: Path) -> tuple[nn.Module, int]:
    run = path if path.is_dir() else path.parent
    about = path.with_suffix(".json")
    if path.name == "backbone.pt" and (run / "last.pt").exists():  # of the same run, and it says how it was built
        path = run / "last.pt"
    elif path.suffix == ".pt" and about.exists():
        try:
            made = json.loads(about.read_text(encoding="utf-8"))
            backbone = build_backbone(made["backbone"], made["size"], **made["options"])
        except (OSError, *checkpoint.MALFORMED) as error:
            raise checkpoint.CheckpointError(f"{about} does not say how {path.name} was built ({type(error).__name__}: "
                                             f"{error}): write both again by `course export`.") from error
        return checkpoint.load_backbone(path, backbone).eval(), made["size"]
    method = checkpoint.load_method(path)
    return method, method.settings["image_size"]


def _method(path: Path) -> Method:
    """The method of a file of `keep`, in evaluation mode; parts that it does not hold are `NotStored`."""
    state = checkpoint.load(path)
    settings: Any = state.get("settings")
    try:
        method = _built(settings)
        missing, unexpected = method.load_state_dict(state["method"], strict=False)
        if unexpected or (lost := kept_names(method) & set(missing)):
            raise ValueError(f"{(unexpected or sorted(lost))[0]!r} is not what this network has")
    except checkpoint.MALFORMED as error:
        why = f"{type(error).__name__}: {error}"
        raise checkpoint.CheckpointError(f"{path.name} is not a learned network of this version of the course ({why}). "
                                         "Restore it from the repository.") from error
    there = {key.partition(".")[0] for key in state["method"]}
    for part, module in list(method.named_children()):
        if part not in there and any(True for _ in module.parameters()):
            setattr(method, part, NotStored(part))
    return method.eval()


def _built(settings: dict[str, Any]) -> Method:
    """The method that `build_method` described so, untrained."""
    return build_method(settings["method"], settings["backbone"], settings["image_size"],
                        backbone_options=settings["backbone_options"], **settings["options"])


def _path(path: Path) -> Journey | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return Journey(**{key: file[key] for key in ("steps", "points", "labels", "numbers")},
                           maps=file["maps"] if "maps" in file else None)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} cannot be read ({error}). Restore it from the repository.") from error


def _folder(folder: str | Path | None) -> Path:
    return networks_folder() if folder is None else Path(folder)
