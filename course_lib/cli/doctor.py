"""Check packages, devices, precision, data, lessons, disk, and write to folders; each is OK, or FAIL with its fix."""
from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from course_lib.files import CHECKOUT, refusal
from course_lib.text import counted, text_table

FREE_GB = 2.0                      # for checkpoints and CIFAR-10; the lessons need almost nothing
PROJECT = "ssl-image-course"
SETUP = "python course.py setup"


@dataclass(frozen=True)
class Check:
    """One row: what was checked, found and needed, and the fix if it failed."""

    name: str
    found: str
    needed: str = ""
    fix: str = ""                  # empty: OK

    @property
    def ok(self) -> bool:
        return not self.fix


def parse_version(text: str) -> tuple[int, ...]:
    """'2.6.0+cpu' -> (2, 6, 0): the leading numbers."""
    numbers = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in numbers[0].split(".")) if numbers else ()


def at_least(found: str, floor: str) -> bool:
    """Whether version `found` is `floor` or newer; 2.6 equals 2.6.0."""
    a, b = parse_version(found), parse_version(floor)
    length = max(len(a), len(b))
    return a + (0,) * (length - len(a)) >= b + (0,) * (length - len(b))


def requirements() -> dict[str, str]:
    """{package: minimum version} from pyproject.toml, else from the installed package's metadata."""
    path = CHECKOUT / "pyproject.toml"
    if path.is_file():
        import tomllib
        lines: Iterable[str] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        lines = [line for line in importlib.metadata.requires(PROJECT) or [] if "extra ==" not in line]
    pairs = (re.match(r"\s*([A-Za-z0-9_.-]+)\s*(?:>=\s*([\d.]+))?", line) for line in lines)
    return {match[1]: match[2] or "0" for match in pairs if match}


def check_python() -> Check:
    version = platform.python_version()
    fine = sys.version_info >= (3, 11)
    return Check("python", f"{version} ({platform.system()} {platform.machine()})", ">=3.11",
                 "" if fine else "Install Python 3.11 or newer and start course.py with it.")


def check_package(name: str, floor: str) -> Check:
    needed = f">={floor}"
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", needed, f"{SETUP} (conda: conda env update -f environment.yml)")
    if not at_least(found, floor):
        return Check(name, found, needed, f"{sys.executable} -m pip install --upgrade \"{name}{needed}\"")
    return Check(name, found, needed)


def check_import(name: str) -> Check | None:
    """A row only if a package is installed but cannot be imported (torch without its libraries)."""
    try:
        importlib.metadata.version(name)
        if name == "matplotlib":                             # of a home that it cannot write in, a row of its own tells
            logging.getLogger(name).setLevel(logging.ERROR)
        importlib.import_module(name)
    except importlib.metadata.PackageNotFoundError:
        return None                                          # its own row says that it is missing
    except Exception as error:                               # a broken install may raise anything
        more = (" On Windows, torch also needs Microsoft's Visual C++ Redistributable (x64)."
                if platform.system() == "Windows" and name == "torch" else "")
        return Check(f"import {name}", f"{type(error).__name__}: {str(error)[:160]}", "imports",
                     f"python course.py setup --fresh makes the environment anew.{more}")
    return None


def check_devices() -> list[Check]:
    """One row for the devices that torch sees, one for the device and precision of training."""
    try:
        import torch
    except Exception:                                        # its own row says why
        return [Check("devices", "unknown without torch", "", SETUP)]
    threads = torch.get_num_threads()
    seen = [f"CPU ({counted(threads, 'thread')})"]
    if torch.cuda.is_available():
        seen += [f"CUDA {i}: {torch.cuda.get_device_name(i)}, "
                 f"{torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB"
                 for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        seen.append("MPS (Apple GPU)")
    rows = [Check("devices", "; ".join(seen))]
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        index = "COURSE_TORCH_INDEX=https://download.pytorch.org/whl/cu126"   # runs with older drivers
        if torch.version.cuda:
            rows.append(Check("NVIDIA GPU", f"not usable by this torch, of CUDA {torch.version.cuda}", "",
                              f"Update the GPU's driver, or take an older CUDA: {index} {SETUP}"))
        else:
            rows.append(Check("NVIDIA GPU", "not used: this is the CPU build of torch. "
                                            f"To use it: {index} {SETUP}"))
    try:
        from course_lib.device import pick_device, pick_precision
        device = pick_device("auto")
        dtype, reason = pick_precision(device, "auto")
        rows.append(Check("training uses", f"{device}, {str(dtype).removeprefix('torch.')}: {reason}"))
    except Exception as error:
        rows.append(Check("training uses", f"{type(error).__name__}: {error}", "", f"{SETUP} --fresh"))
    return rows


def check_busy_cores() -> list[Check]:
    """Whether other programs slow torch's threads down. OK either way: training then uses fewer."""
    try:
        import torch
    except Exception:                                        # its own row says why
        return []
    from course_lib.threads import VARIABLE, candidates, fastest, race, requested_threads, why_fewer
    try:
        limit, asked = torch.get_num_threads(), requested_threads()
    except ValueError as error:
        return [Check("busy cores", str(error), "", f"Set {VARIABLE} to a number, or remove it.")]
    if limit == 1:
        return []
    raced = race(candidates(limit))
    best = fastest(raced)
    if best == limit:
        gain = raced[1].seconds / raced[limit].seconds
        return [Check("busy cores", f"none: {limit} threads compute {gain:.1f} times as fast as 1")]
    takes = f"${VARIABLE} asks for {asked} all the same" if asked else f"training takes {best} for as long"
    return [Check("busy cores", f"another program keeps one busy: better use {best} of {limit} threads, "
                                f"{why_fewer(raced, best)}; {takes}. "
                                "Close it (a video call, a browser tab) for full speed.")]


def check_data(root: str | Path | None = None) -> list[Check]:
    """The data folder, its contents, and the free disk space."""
    try:
        from course_lib.files import data_root
        folder = Path(data_root(root))
    except ModuleNotFoundError as error:
        return [Check("data", f"unknown without {error.name}", "", SETUP)]
    there = sorted(path.name for path in folder.glob("[!.]*"))
    held = ", ".join(there[:8]) + (" ..." if len(there) > 8 else "")
    why = refusal(folder)
    rows = [Check("data", f"{folder}: {held or 'nothing downloaded yet; generated images need no data'}"
                  + (f"; it cannot be written ({why})" if why else ""), "",
                  "Choose a folder that you can write to: --data-root FOLDER, or COURSE_DATA=FOLDER" if why else "")]
    needed = f">={FREE_GB:.0f} GB"
    try:
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(existing).free / 1e9
    except OSError as error:
        return rows + [Check("free disk", str(error), needed, "Choose another folder: COURSE_DATA=FOLDER")]
    fix = "" if free >= FREE_GB else "Free some space, or keep data elsewhere: COURSE_DATA=FOLDER"
    return rows + [Check("free disk", f"{free:.1f} GB at {existing}", needed, fix)]


def check_lessons() -> Check:
    from course_lib.cli.lessons import list_lessons
    from course_lib.files import lessons_folder, workspace_folder
    try:
        count, mine = len(list_lessons(lessons_folder())), workspace_folder()
        if why := refusal(mine):
            return Check("lessons", f"{count}; your copy, {mine}, cannot be written ({why})", "",
                         "Choose a folder that you can write to: course lab --workspace FOLDER, or "
                         "COURSE_WORKSPACE=FOLDER")
        return Check("lessons", f"{count}; your copy: {mine}")
    except FileNotFoundError as error:
        return Check("lessons", str(error), "", "Clone the course's repository, start its course.py there.")


def _guard(look: Callable[[], list[Check]], name: str) -> list[Check]:
    """The check's rows; an error in it becomes a row."""
    try:
        return look()
    except Exception as error:
        return [Check(name, f"{type(error).__name__}: {error}", "", f"{SETUP} --fresh")]


def report(data_root: str | Path | None = None) -> list[Check]:
    """All rows, in order. Also runs on a bare Python, and then says what is missing."""
    rows = [check_python()]
    rows += _guard(lambda: [check_package(name, floor) for name, floor in requirements().items()], "packages")
    imported = [check_import(name) for name in ("torch", "torchvision", "matplotlib")]
    rows += [row for row in imported if row]
    rows += _guard(check_devices, "devices")
    rows += _guard(check_busy_cores, "busy cores")
    rows += _guard(lambda: check_data(data_root), "data")
    rows += _guard(lambda: [check_lessons()], "lessons")
    return rows


def format_report(rows: list[Check]) -> str:
    """The rows as a table, each FAIL followed by its fix."""
    lines = []
    for row in rows:
        needed = f"   (needed {row.needed})" if row.needed else ""
        lines.append(("OK  " if row.ok else "FAIL", row.name, row.found + needed))
        if not row.ok:
            lines.append(("", "", f"fix: {row.fix}"))
    failed = [row.name for row in rows if not row.ok]
    end = f"All {len(rows)} checks are OK."
    if failed:
        end = f"{len(failed)} of {len(rows)} need fixing: {', '.join(failed)}."
    return f"{text_table(lines)}\n\n{end}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-root", metavar="FOLDER",
                        help="the data folder (default: $COURSE_DATA, else your cache folder)")


def run(args: argparse.Namespace) -> int:
    rows = report(args.data_root)
    print(format_report(rows))
    return 0 if all(row.ok for row in rows) else 1
