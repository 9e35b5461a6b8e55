"""Checkpoints: safe against a kill at any moment, and read without running code from the file."""

from __future__ import annotations

import math
import re
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib import collectives
from course_lib.files import atomic
from course_lib.methods import build_method
from course_lib.methods.base import Method
from course_lib.seeds import rng_state, set_rng_state
from course_lib.train.contents import history_of, load_optimizer
from course_lib.train.history import History, NonFiniteLoss, non_finite, write_metrics

FORMAT = 1
# What has been renamed, so that older files read as if written today. No pattern may fit a name of today, and the
# parameters must keep their order, by which optimizers know them.
KEYS = [  # names of parameters in methods and backbones: (pattern, replacement)
    (r"^((?:backbone|teacher\.module\.0)\.)?embed\.(weight|bias)$", r"\1patch_embed.\2"),
]
OPTIONS: dict[str, dict[str, str]] = {  # method -> {its option's old name: new name}
    name: {"hidden": "mask_ratio"} for name in ("spark", "mae", "simmim", "beit", "dmae")}
BACKBONE_OPTIONS: dict[str, str] = {}  # old name -> new name
# method -> options of its ViT that were meant where a file says nothing, since `build_method` gave others
EARLIER_VIT: dict[str, dict[str, Any]] = {name: {"positions": "sincos"} for name in ("dino", "ibot")}

MALFORMED = (RuntimeError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError)  # by odd contents


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message says why and what to do."""


def save(path: str | Path, state: dict) -> Path:
    """Write `state` to `path` atomically (see `atomic`)."""
    with atomic(path) as file:
        torch.save({"format": FORMAT, **state}, file)
    return Path(path)


def _read(path: str | Path):
    """What a file, or last.pt of a run's folder, holds: tensors and plain values, never code (`weights_only=True`).

    Its checksums must match.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / "last.pt"
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}; train one first, or give the path of a last.pt")
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load ignores the checksums that torch.save wrote
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} is not a readable checkpoint ({type(error).__name__}): it may be cut short "
                              "or of another program. Give another one; this one is left as it is.") from error


def load(path: str | Path) -> dict:
    """Read a checkpoint of this or an earlier version, under today's names (`KEYS`, `OPTIONS`); it runs no code.

    Raises FileNotFoundError where there is none, CheckpointError where it cannot be used.
    """
    state = _read(path)
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path} is a file of tensors but not a checkpoint of this course's `fit`: give "
                              "the folder of a run, or the last.pt in it")
    if not isinstance(state["format"], int):
        raise CheckpointError(f"{path} has a 'format' of another program, {state['format']!r}")
    if state["format"] > FORMAT:
        raise CheckpointError(f"{path} has format {state['format']}, this version reads up to {FORMAT}: update it")
    if isinstance(state.get("method"), dict):
        state["method"] = current_names(state["method"])
    settings = state.get("settings")
    if isinstance(settings, dict):
        renamed = {"options": OPTIONS.get(str(settings.get("method")), {}), "backbone_options": BACKBONE_OPTIONS}
        for part, names in renamed.items():
            if isinstance(settings.get(part), dict):
                settings[part] = {names.get(name, name): value for name, value in settings[part].items()}
        if str(settings.get("backbone")).startswith("vit") and isinstance(settings.get("backbone_options"), dict):
            meant = EARLIER_VIT.get(str(settings.get("method")), {})
            settings["backbone_options"] = {**meant, **settings["backbone_options"]}
    return state


def current_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a method or a backbone, of this or an earlier version, under today's names (`KEYS`)."""
    for pattern, replacement in KEYS:
        state = {re.sub(pattern, replacement, str(name)): tensor for name, tensor in state.items()}
    return state


def load_backbone(path: str | Path, backbone: nn.Module) -> nn.Module:
    """`backbone` with the weights of a file of `export`, of this or an earlier version: backbone.pt, or a run's folder.

    Raises FileNotFoundError where there is none, CheckpointError where it does not fit.
    """
    path = Path(path).expanduser()
    path = path / "backbone.pt" if path.is_dir() else path
    state = _read(path)
    if isinstance(state, dict) and "format" in state:
        raise CheckpointError(f"{path} is a whole run and not a backbone: give its folder, or the backbone.pt in it")
    inner: Any = backbone.net if hasattr(backbone, "export") else backbone  # of a ResNet, torchvision's part
    try:
        inner.load_state_dict(current_names(state))
    except MALFORMED as error:
        raise CheckpointError(f"{path} does not hold the weights of this {type(backbone).__name__}: build it with the "
                              f"name, size and options of its run ({type(error).__name__}: {error})") from error
    return backbone


def load_method(path: str | Path) -> Method:
    """The trained method of a checkpoint of `fit`, built again from its settings, in evaluation mode."""
    state = load(path)
    settings = state.get("settings") or {}
    if not isinstance(settings, dict) or not settings.get("backbone"):
        raise CheckpointError(f"{path} does not say how its method was built (it was made from a backbone object): "
                              "build it yourself and load state['method'] into it")
    try:
        method = build_method(settings["method"], settings["backbone"], settings["image_size"],
                              backbone_options=settings["backbone_options"], **settings["options"])
        method.load_state_dict(state["method"])
        method.settings |= {"run": settings["run"]} if "run" in settings else {}
    except MALFORMED as error:
        raise CheckpointError(f"{path} does not fit the method that it names, {settings.get('method')!r}: it may be of "
                              f"another version of the course ({type(error).__name__}: {error})") from error
    return method.eval()


# Of the recipe; earlier versions did not write these.
LATER = ("augmentation", "other", "betas", "image_size", "checksum", "precision")


class Checkpoint:
    """last.pt of a run in its folder `out`: writes it, and resumes a run from it. out=None: neither.

    recipe: plain values that must be the same when a run resumes.
    """

    def __init__(self, out: str | Path | None, method: Method, optimizer: torch.optim.Optimizer,
                 scaler: torch.amp.GradScaler, device: torch.device, recipe: dict):
        self.path = Path(out) / "last.pt" if out is not None else None
        self.method, self.optimizer, self.scaler, self.device = method, optimizer, scaler, device
        self.recipe = {"name": type(method).__name__, **views_of(method), **recipe}
        self.late = False  # whether the run began with the earlier schedule: see `Schedule`

    def restore(self, total: int | None) -> tuple[int, int | None, History | None]:
        """Load the run found there -> its step, its total steps, its History; 0, None, None if there is none.

        total: the steps asked for, None for the run's own. CheckpointError if it is another run's.
        """
        if self.path is None or not self.path.exists():
            return 0, None, None
        state = load(self.path)
        self._check_same_run(state, total)
        try:
            self.late = "schedule" not in state
            self.method.load_state_dict(state["method"])
            self._fit_groups(state["optimizer"])
            load_optimizer(self.optimizer, state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            history = history_of(state["history"])
            set_rng_state(state["rng"], self.device)
            step, length = int(state["step"]), int(state["total_steps"])
            if not 0 <= step <= length:
                raise ValueError(f"step {step} of {length}")
            return step, length, history
        except MALFORMED as error:
            raise CheckpointError(
                f"{self.path} is of a {self.recipe['name']} of another shape, or not whole ({type(error).__name__}): "
                "resume with the same backbone and widths, or choose another out folder") from error

    def save(self, step: int, history: History) -> None:
        """Write the whole run after `step`, on the first rank. NonFiniteLoss if a weight is not finite."""
        if self.path is None or collectives.rank():
            return
        broken = [n for n, t in self.method.state_dict().items() if t.is_floating_point() and not t.isfinite().all()]
        if broken:
            raise NonFiniteLoss(non_finite(step, f"the weights {broken[0]!r} are not", history))
        history.checkpoint = str(self.path)
        save(self.path, {
            **self.recipe, "recipe": self.recipe, "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "rng": rng_state(self.device),
            "step": step, "total_steps": history.total_steps, "ranks": collectives.world_size(),
            "history": asdict(history), "settings": self.method.settings,
            **({} if self.late else {"schedule": 2})})

    def finish(self, history: History) -> None:
        """Write metrics.csv and backbone.pt, the evaluated backbone alone, beside it, on the first rank."""
        if self.path is None or collectives.rank():
            return
        write_metrics(history, self.path.with_name("metrics.csv"))
        with atomic(self.path.with_name("backbone.pt")) as file:
            torch.save(export(self.method), file)

    def _fit_groups(self, stored: dict) -> None:
        """Bring an optimizer's state into today's groups, where an earlier version grouped the parameters otherwise.

        Its groups were: matrices, vectors, and apart what is called a table or prototypes; each in the module's order.
        """
        groups = self.optimizer.param_groups
        if [len(group["params"]) for group in stored["param_groups"]] == [len(group["params"]) for group in groups]:
            return
        named = [(name, p) for name, p in self.method.named_parameters() if p.requires_grad]
        then = sorted(named, key=lambda item: (item[0].endswith(("relative.table", "prototypes.weight")),
                                               item[1].ndim <= 1))
        state = {id(p): stored["state"].get(number) for number, (_, p) in enumerate(then)}
        now = [p for group in groups for p in group["params"]]
        rest = {key: value for key, value in stored["param_groups"][0].items()
                if key not in ("params", "lr", "weight_decay", "adapt")}
        numbers, first = [], 0
        for group in groups:
            numbers.append(list(range(first, first := first + len(group["params"]))))
        stored["state"] = {n: state[id(p)] for n, p in enumerate(now) if state.get(id(p)) is not None}
        stored["param_groups"] = [{**{k: v for k, v in group.items() if k != "params"}, **rest, "params": part}
                                  for group, part in zip(groups, numbers)]

    def _check_same_run(self, state: dict, total: int | None) -> None:
        recipe = state.get("recipe")
        found = {**state, **(recipe if isinstance(recipe, dict) else {})}
        expected = self.recipe if total is None else {**self.recipe, "total_steps": total}
        blocks = [found.get(key, 1) for key in ("ranks", "accumulate")]
        if all(isinstance(number, int) for number in blocks) and (
                math.prod(blocks) == collectives.world_size() * expected["accumulate"]):
            expected = {**expected, "accumulate": found.get("accumulate")}  # the same blocks, on other ranks
        pairs = [(key, found.get(key), value) for key, value in expected.items()
                 if key in found or key not in LATER]
        refuse(self.path, pairs[:1] + different(state.get("settings"), self.method.settings) + pairs[1:])


def refuse(path: str | Path | None, pairs: list[tuple[str, Any, Any]]) -> None:
    """CheckpointError for the first (name, the run's value, the value now) whose values differ."""
    for key, theirs, ours in pairs:
        if isinstance(theirs, Tensor) or theirs != ours:
            key = "names and labels of the images, by their checksum," if key == "checksum" else key
            raise CheckpointError(f"{path} is of a run with {key} {theirs!r}, this one has {ours!r}; resume with the "
                                  "same settings or choose another out folder")


def views_of(method: Method) -> dict[str, str]:
    """What a method's views are, in words, under the names that checkpoints have for them."""
    return {key: repr(getattr(method, name, None)) for key, name in (("augmentation", "augment"), ("other", "other"))}


def shaped(state: dict, method: Method) -> list[tuple[str, Any, Any]]:
    """What `different` finds between a run and a method, and (name, the run's, the method's) of their views."""
    views = views_of(method)
    return different(state.get("settings"), method.settings) + [
        (key, state.get(key, value), value) for key, value in views.items()]


def different(theirs: Any, ours: dict) -> list[tuple[str, Any, Any]]:
    """(name, their value, our value) of what shapes a method in two `settings` and differs; [] where one is empty.

    theirs: as a file has it, so of whatever kind.
    """
    if not isinstance(theirs, dict) or not theirs or not ours:
        return []

    def flat(settings: dict) -> dict[str, Any]:
        found = {key: settings.get(key) for key in ("method", "backbone", "image_size")}
        for part in ("backbone_options", "options"):
            options = settings.get(part)
            for name, value in options.items() if isinstance(options, dict) else ():
                found |= {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}

    one, other = flat(theirs), flat(ours)
    # a field of the views, "augment.flip", may be missing in what an earlier version wrote
    keys = [key for key in {**one, **other} if "." not in key or key in one and key in other]
    pairs = [(key, one.get(key, "by default"), other.get(key, "by default")) for key in keys]
    return [pair for pair in pairs if isinstance(pair[1], Tensor) or pair[1] != pair[2]]


def save_small(path: str | Path, method: Method) -> Path:
    """A trained method alone, its weights as float16: for `load_method`, not to resume. Stored with lessons (<= 3 MB).

    ValueError for a method that was not made by `build_method` from a backbone's name.
    """
    settings = {key: value for key, value in method.settings.items() if key != "run"}  # that names folders
    if not settings.get("backbone"):
        raise ValueError("only a method that build_method made from a backbone's name can be built again: give a name")
    weights = {name: t.detach().cpu().half() if t.is_floating_point() else t.detach().cpu()
               for name, t in method.state_dict().items()}
    return save(path, dict(name=type(method).__name__, method=weights, settings=settings))


def export(method: Method) -> dict[str, Tensor]:
    """The evaluated backbone alone, as a plain state dict; for a ResNet, one that torchvision's model loads."""
    backbone: Any = method.evaluated
    state = backbone.export() if hasattr(backbone, "export") else backbone.state_dict()
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
