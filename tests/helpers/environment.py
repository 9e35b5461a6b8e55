"""Where the tests are, and the environment that they give to kernels and other sub-processes."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
OFFLINE = TESTS / "no_network"
PATHS = [str(OFFLINE), str(ROOT), str(TESTS), str(ROOT / "benchmarks")]  # as pytest's own `pythonpath`


def offline_environment(**more: str) -> dict[str, str]:
    """The environment for a kernel or another sub-process: no network, this checkout's course_lib, inline figures."""
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    before = [p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p and p not in PATHS]
    env["PYTHONPATH"] = os.pathsep.join([*PATHS, *before])
    env["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one the user registered under the same name
    return env | more
