"""Ctrl-C, and a notebook's stop button, held back to the end of a step."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager


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
