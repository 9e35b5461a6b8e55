"""For every test: this checkout first on the path of sub-processes, no network in them, no proxies, few
threads."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OFFLINE = Path(__file__).resolve().parent / "no_network"
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

for _name in PROXIES:
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)
# What a learner has set up must neither help nor hinder a test.
os.environ.pop("COURSE_WORKSPACE", None)


def offline_environment(**more: str) -> dict[str, str]:
    """The environment for a kernel or another sub-process: no network, this checkout's course_lib, inline
    figures."""
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    before = [
        p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p and p not in (str(OFFLINE), str(ROOT))
    ]
    env["PYTHONPATH"] = os.pathsep.join([str(OFFLINE), str(ROOT), *before])
    env["JUPYTER_PREFER_ENV_PATH"] = (
        "1"  # this environment's kernel, not one the user registered under the same name
    )
    return env | more


os.environ.update(offline_environment())
# Of several processes each takes its share of the cores; kernels and other sub-processes inherit that.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def one_thread():
    """torch on one thread: bit-exact comparisons, and no waiting for a core that another process has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    """An empty workspace of its own, in which progress is kept."""
    monkeypatch.setenv("COURSE_WORKSPACE", str(tmp_path))
    return tmp_path


@pytest.fixture
def ctrl_c():
    """Python's own answer to Ctrl-C; what a shell starts in the background ignores it, and so do tests in there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
