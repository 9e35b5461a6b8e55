"""Ctrl-C, and a notebook's stop button: held back to the end of a step, and the end of a run of cells."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import Any

_STOPPED: list[bool] = []  # something in it while a cell goes on whose training was interrupted


@contextmanager
def between_steps():
    """Hold back one SIGINT until the block is done, then raise KeyboardInterrupt; a second one raises at once.

    A step cut in the middle would leave weights, optimizer and statistics out of step, and a run resumed from there
    would differ. Only Python's main thread gets signals: elsewhere, and where the program has its own handler, this
    does nothing.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    waiting = False

    def hold(number, frame):
        nonlocal waiting
        if waiting:
            raise KeyboardInterrupt
        waiting = True

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if waiting:
        raise KeyboardInterrupt


def shell() -> Any:
    """The IPython shell that runs this code, or None."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def last_of_its_cell() -> None:
    """In a notebook, end the run of cells (Run All) with the one that is running, whose training was interrupted.

    The cell itself goes on, so that it has its name for the run so far, but not into another training: `not_stopped`.
    A kernel drops the cells that wait as soon as one has failed; this one is said to have, and no error is shown.
    """
    here = shell()
    if not hasattr(here, "kernel"):  # none, or a terminal's
        return

    def end(result: Any) -> None:
        here.events.unregister("post_run_cell", end)
        _STOPPED.clear()
        if result is not None and result.success:
            result.error_in_exec = KeyboardInterrupt("a training of this cell was interrupted")

    _STOPPED.append(True)
    here.events.register("post_run_cell", end)
    print("Interrupted: the run so far is kept, and the cells that were waiting are not run. Run them to go on, "
          "or run this cell again.")


def not_stopped() -> None:
    """KeyboardInterrupt where a training that the same cell ran before was interrupted."""
    if _STOPPED:
        raise KeyboardInterrupt("the training before this one was interrupted: this cell stops here")
