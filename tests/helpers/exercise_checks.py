"""What the tests of the engine and of the exercises do with an exercise: stubs, and mutants of its reference."""

from __future__ import annotations

import contextlib
import signal
import threading

from course_lib.exercises import Exercise, grade
from course_lib.exercises.mutants import mutants


@contextlib.contextmanager
def at_most(seconds: float):
    """A mutant may loop for ever: stop it, where the system can (elsewhere pytest's own limit stops the
    test)."""
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()

    def stop(*_):
        raise TimeoutError("stopped: too slow")

    if usable:
        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        if usable:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def stubs():
    """Stubs as lessons have them, whatever arguments they take."""

    def nothing(*_, **__):
        pass

    def dots(*_, **__):
        return ...

    def half(*_, **__):
        middle = ...
        return middle + 1

    def not_yet(*_, **__):
        raise NotImplementedError

    return [None, nothing, dots, half, not_yet]


def survivors(exercise: Exercise, equivalent: dict[str, str]) -> tuple[list[str], int]:
    """Names of the mutants of the reference that the check accepts, and how many there are in all."""
    alive, count = [], 0
    for mutant in mutants(exercise.resolve()):
        if mutant.name in equivalent:
            continue
        count += 1
        with at_most(10):
            if grade(exercise, mutant.function).state == "right":
                alive.append(mutant.name)
    return alive, count
