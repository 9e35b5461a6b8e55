"""Ctrl-C, and a notebook's stop button, at the end of a step instead of in the middle of it."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager


@contextmanager
def between_steps():
    """Hold back one SIGINT until the block is done, then raise KeyboardInterrupt; a second one raises at once.

    Cut in the middle, a step would leave weights, optimizer and statistics at different steps, and a run resumed from
    that would be another run. Only Python's main thread gets signals: elsewhere, and where the program has a handler
    of its own, this does nothing.
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
