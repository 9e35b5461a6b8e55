"""Where modules and names of earlier versions are now: one table for failing imports and for rewriting notebooks."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

# All names without "course_lib.". Package -> the modules that moved into it under their old names
PACKAGES = {
    "augment": "geometry",
    "cli": "commands doctor workspace",
    "data": "batches cache downloads folder photo shapes",
    "evaluate": "attention measures probes reconstruction smoothing",
    "models": "backbones blocks layers positions vit",
    "notebook": "claims controls explorers knobs live predictions toys",
    "plots": "pictures sketch",
    "runs": "recap",
    "train": "checkpoint history interrupt lock ranks",
}
# old module -> new module
MODULES = {name: f"{package}.{name}" for package, names in PACKAGES.items() for name in names.split()} | {
    "exercises.cards": "exercises.result", "exercises.quiz": "exercises.questions", "speed_plots": "plots.speed",
    "layout": "data.splits", "exercises.compare": "exercises.difference",
    "exercises.store": "notebook.store", "provenance": "runs.origin"}
# old module -> {new module: names that moved elsewhere than the rest of it}
NAMES = {
    "batches": {"seeds": "mix"},
    "commands": {"cli.common": "SETS", "cli.training": "train"},
    "checkpoint": {"seeds": "rng_state set_rng_state", "files": "atomic write_text"},
    "data": {"files": "data_root", "device": "free_memory"},
    "evaluate": {"train.tuning": "FineTuneResult fine_tune", "device": "pick_device"},
    "exercises.compare": {"exercises.relations": "relation"},
    "exercises.cards": {"notebook.cards": "LOOK card fold"},
    "layers": {"models.batch_norm": "BatchNorm1d BatchNorm2d convert_batch_norm replace_batch_norm split_batch_norm",
               "precision": "at_least_float32 in_float32",
               "models.teacher": "EMA ema_update"},
    "methods.masked.beit": {"augment.masks": "add_block block_mask hide_blocks"},
    "methods.masked.ibot": {"augment.masks": "RATIOS ibot_masks random_ratio scattered"},
    "methods.masked.mae": {"augment.masks": "kept_count random_masking"},
    "methods.masked.simmim": {"augment.masks": "coarse_mask hidden_count"},
    "methods.masked.spark": {"augment.masks": "enlarge",
                             "models.patches": "normalize_patches paint patchify unpatchify"},
    "probes": {"train.tuning": "FineTuneResult fine_tune"},
    "recap": {"methods": "METHODS"},
    "shapes": {"data.shapes": "FACTOR_KINDS"},  # the package re-exports another of this name
    "toys": {"seeds": "generator"},
    "train": {"device": "pick_device pick_precision", "optim": "build_optimizer parameter_groups"},
    "vit": {"augment.masks": "visible_count visible_indices"},
    "workspace": {"cli.lessons": "LESSON_SECONDS LessonFailed cell_times facilitator_guide find_lesson list_lessons "
                                 "render_lesson", "files": "lessons_folder workspace_folder write_atomic"},
}
# (its module now, old name) -> new name; unless that is a package, it also needs `__getattr__ = signpost(__name__)`
RENAMED = {
    ("files", "write_atomic"): "write_bytes", ("augment.pixels", "normalize"): "standardize",
    ("train.history", "spread"): "std_and_rank", ("train.lock", "alone_in_out"): "holding_out_folder",
    ("train.ranks", "first_of_a_machine"): "download_once_per_machine",
    ("methods.contrastive.barlow_twins", "one_rank_s_gradient"): "divide_gradient_by_ranks",
}


@cache
def reexports(package: str) -> dict[str, str]:
    """{name: module} of what a package re-exports from its modules; parsed, not imported."""
    file = Path(__file__).parent.joinpath(*package.split("."), "__init__.py")
    tree = ast.parse(file.read_text(encoding="utf-8") if package and file.exists() else "")
    return {alias.name: node.module.removeprefix("course_lib.") for node in tree.body
            if isinstance(node, ast.ImportFrom) and node.module for alias in node.names}


def place(module: str, name: str) -> tuple[str, str]:
    """(module, name) to import today for what was `name` of `module`; the package if it re-exports the name.

    name: "*" for all; a module is a name of its package. What has not moved is returned unchanged.
    """
    whole = f"{module}.{name}".lstrip(".")
    if name in reexports(module):
        return module, name
    if whole in MODULES:
        parent, _, last = MODULES[whole].rpartition(".")
        return parent, last
    listed = next((new for new, names in NAMES.get(module, {}).items() if name in names.split()), None)
    home, now = listed or MODULES.get(module, module), name
    for (at, old), new in RENAMED.items():
        if old == name and f"{at}.".startswith(f"{home}."):
            home, now = at, new
    package = home.rpartition(".")[0]
    handed = reexports(package)
    # modules used to re-export their neighbours' names, so an unlisted name may be anywhere in the package
    through = home in handed.values() if name == "*" else handed.get(now) == home or (now in handed and not listed)
    return (package if through and (home, now) != (module, name) else home), now


# ---------------------------------------------------------------- imports that fail


def raise_if_moved(module: str, name: str) -> None:
    """Raise ImportError with the line to write instead if `name` of `module` has moved."""
    whole = f"{module}.{name}".lstrip(".")
    places: dict[str, list[str]] = {}
    if whole in MODULES:
        places[place(whole, "*")[0]] = ["..."]
        old = [(whole, each) for names in NAMES.get(whole, {}).values() for each in names.split()]
    else:
        old = [(module, name)] if place(module, name) != (module, name) else []
    for at, now in (place(*each) for each in old):
        places.setdefault(at, []).append(now)
    if places:
        lines = " or ".join(f"`from course_lib.{at} import {', '.join(names)}`" for at, names in places.items())
        raise ImportError(f"course_lib.{whole} has moved: write {lines}. `python course.py lab` puts a copy of your "
                          "notebook with its imports rewritten beside it: NAME.moved.ipynb.",
                          name=f"course_lib.{whole}")


class Signpost:
    """Python's last finder, asked about what `import course_lib.x` or `from course_lib.x import y` did not find."""

    @staticmethod
    def find_spec(fullname: str, path=None, target=None) -> None:
        """Find nothing; raise ImportError if the name has moved."""
        if fullname.startswith("course_lib."):
            module, _, name = fullname.removeprefix("course_lib.").rpartition(".")
            raise_if_moved(module, name)


def signpost(module: str):
    """`__getattr__` for a plain module that names have left: Python asks `Signpost` only about packages."""

    def __getattr__(name: str):
        raise_if_moved(module.removeprefix("course_lib."), name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__
