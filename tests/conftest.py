"""For every test: this checkout first on the path of sub-processes, no network in them, no proxies, few
threads."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from helpers.environment import offline_environment

PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

for _name in PROXIES:
    os.environ.pop(_name, None)
    os.environ.pop(_name.upper(), None)
# What a learner has set up must neither help nor hinder a test.
os.environ.pop("COURSE_WORKSPACE", None)


os.environ.update(offline_environment())
# Of several processes each takes its share of the cores; kernels and other sub-processes inherit that.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
# As many threads as torch has, busy machine or not: a run's last digits depend on their number.
os.environ["COURSE_THREADS"] = str(os.cpu_count() or 1)


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
