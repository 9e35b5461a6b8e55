"""Where a number was measured: machine, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from course_lib.files import CHECKOUT


def provenance(device: str | None = None) -> dict:
    """Device (None: as for "auto"), CPU and threads, system, library versions and commit; no path, no user."""
    import importlib.metadata

    import torch

    from course_lib.device import pick_device

    used = pick_device(device or "auto")
    versions = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "scikit-learn"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    name = torch.cuda.get_device_name(used) if used.type == "cuda" else used.type
    return {"device": name, "cpu": _cpu_model(), "threads": torch.get_num_threads(), "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}", "versions": versions, "commit": _commit()}


def _cpu_model() -> str:
    try:
        if sys.platform.startswith("linux"):
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        if sys.platform == "darwin":
            return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The checkout's commit, plus "+changes" if library files differ from it; None without git."""
    if Path(_output("git", "rev-parse", "--show-toplevel") or "/").resolve() != CHECKOUT:
        return None  # no git, or installed inside another repository
    commit = _output("git", "rev-parse", "--short=12", "HEAD")
    if not commit:
        return None
    return commit + ("+changes" if _output("git", "status", "--porcelain", "--", "course_lib") else "")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
