"""How many CPU threads to use: torch's number on a quiet machine, fewer while another program keeps cores busy.

torch splits each operation among its threads and waits for the slowest. If another program occupies one thread's core,
every operation waits for it: on two cores, one of them busy, two threads train at a third to a twentieth of the speed
of one. So a short race picks the number of threads. The race leaves a run's state alone, but a run's last digits depend
on its threads, so the largest number wins unless a smaller one is clearly faster, or its threads wait for cores, and
`fit` records the number.

`threads=`, `--threads` or $COURSE_THREADS fix the number; torch's own ($OMP_NUM_THREADS) is the upper limit. Nothing is
raced under torchrun or on a GPU.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tqdm import tqdm

from course_lib.collectives import world_size

VARIABLE = "COURSE_THREADS"
CLEARLY = 1.2     # fewer threads must be this many times as fast; on a quiet machine they never are
ENOUGH = 0.85     # share of the core time that threads ask for; on a quiet machine they get 0.95 or more
# Seconds until the next race:
SOON = 5.0        # after a step at half the speed, or for new work with all threads
USUAL = 10.0      # with all threads: another program may have paused during the last race
SELDOM = 30.0     # with fewer threads: the cores may be free again, but next to a busy program a race takes longer


# ------------------------------------------------------------------------------------------------ requested threads
def requested_threads(threads: int | str | None = None) -> int | None:
    """The requested number: `threads`, else $COURSE_THREADS; None for "auto" or neither. ValueError for others."""
    name, value = ("threads", threads) if threads is not None else (f"${VARIABLE}", os.environ.get(VARIABLE))
    if value in (None, "", "auto"):
        return None
    if not str(value).isdecimal() or int(value) < 1:
        raise ValueError(f"{name} is {value!r}: give a whole number from 1 up, or auto to take what is fastest")
    return int(value)


# ------------------------------------------------------------------------------------------------ the race
def candidates(limit: int) -> list[int]:
    """The thread counts to race, largest first: all, one fewer, three quarters, half, one."""
    return sorted({limit, max(1, limit - 1), max(1, 3 * limit // 4), max(1, limit // 2), 1}, reverse=True)


@dataclass(frozen=True)
class Raced:
    """What a race found of one thread count: seconds for the workload, and the share of the core time asked for."""

    seconds: float
    share: float = 1.0


@torch.no_grad()
def race(numbers: list[int]) -> dict[int, Raced]:
    """A fixed workload with each thread count: the median of three rounds, or two if the first wins both.

    Takes 0.1 s on two quiet cores, 0.3 s next to a busy program.
    """
    # operations of 1 to 4 ms, long enough to suffer from a thread without a core; shorter ones often escape
    wide, square = torch.linspace(-1, 1, 2**21, device="cpu"), torch.full((512, 512), 1e-2, device="cpu")
    outs = torch.empty_like(wide), torch.empty_like(square)

    def work(times: int) -> None:
        for _ in range(times):
            torch.tanh(wide, out=outs[0])
            torch.mm(square, square, out=outs[1])

    before, times, spent = torch.get_num_threads(), {number: [] for number in numbers}, dict.fromkeys(numbers, 0.0)
    try:
        for turn in range(3):
            for number in numbers:
                torch.set_num_threads(number)
                work(1)  # starts the threads outside the clock
                began, cpu = time.perf_counter(), time.process_time()
                work(4)
                times[number].append(time.perf_counter() - began)
                spent[number] += time.process_time() - cpu
            if turn == 1 and all(times[numbers[0]][i] == min(each[i] for each in times.values()) for i in (0, 1)):
                break
    finally:
        torch.set_num_threads(before)
    return {number: Raced(statistics.median(each), spent[number] / (number * sum(each)))
            for number, each in times.items()}


def fastest(raced: dict[int, Raced]) -> int:
    """The largest thread count, unless another is clearly faster, or as fast and the largest's threads wait for cores.

    A thread that waits for a core delays each operation. In the race operations are few and long; a training step has
    hundreds of short ones, and loses far more.
    """
    most = max(raced)
    best = min(raced, key=lambda number: raced[number].seconds)
    if raced[most].seconds > CLEARLY * raced[best].seconds:
        return best
    served = [number for number in raced if raced[number].share >= ENOUGH]
    if most in served or not served:
        return most
    best = min(served, key=lambda number: raced[number].seconds)
    return best if raced[best].seconds < CLEARLY * raced[most].seconds else most


def why_fewer(raced: dict[int, Raced], number: int) -> str:
    """Why `number` threads are better than all, for a sentence."""
    most = max(raced)
    times = raced[most].seconds / raced[number].seconds
    if times > CLEARLY:
        return f"which is {times:.1f} times as fast now"
    return f"since {most} would get only {raced[most].share:.0%} of the core time that they ask for"


# How the sentences about a busy machine begin; lessons/build.py leaves them out of what is committed.
BUSY, FREE = "Another program seems to keep cores busy", "The cores are free again"


class Machine:
    """The result of the last race; one for the process, so that many short calls race, and announce a change, once."""

    def __init__(self, race: Callable = race, clock: Callable = time.perf_counter, say: Callable = tqdm.write):
        self.race, self.clock, self.say = race, clock, say
        self.limit = self.number = 0
        self.looked = -math.inf

    def threads(self, limit: int, age: float) -> int:
        """The thread count to use, at most `limit`; raced again if the last race is `age` seconds old."""
        if limit != self.limit:
            self.limit, self.number, self.looked = limit, limit, -math.inf
        if self.clock() - self.looked >= age:
            raced = self.race(candidates(limit))
            found, before = fastest(raced), self.number
            self.number, self.looked = found, self.clock()
            if found < limit and found != before:
                self.say(f"{BUSY}: computing with {found} of {limit} threads, {why_fewer(raced, found)}.")
            elif found != before:
                self.say(f"{FREE}: computing with all {limit} threads.")
        return self.number


MACHINE = Machine()


# ------------------------------------------------------------------------------------------------ at work
class Pace:
    """Sets the threads for some work, and races again now and then, or when a step takes twice as long as before.

    The caller restores torch's number afterwards, with `threads_put_back` or `well_threaded`.
    """

    def __init__(self, threads: int | None = None, device: torch.device | str = "cpu", machine: Machine | None = None):
        self.machine, self.limit, self.best = machine or MACHINE, torch.get_num_threads(), math.inf
        asked = requested_threads(threads)
        self.free = asked is None and self.limit > 1 and torch.device(device).type == "cpu" and world_size() == 1
        if asked is not None and asked < self.limit:
            torch.set_num_threads(asked)
        elif self.free:
            self._look(SELDOM if self.machine.number < self.limit else SOON)  # the first race is due at any age

    @property
    def number(self) -> int:
        return torch.get_num_threads()

    def time(self, work: Callable, *args):
        """work(*args), timed as one step."""
        began = self.machine.clock()
        result = work(*args)
        self._took(self.machine.clock() - began)
        return result

    def over(self, items: Iterable) -> Iterator:
        """Yield the items; what the caller does with each is one step."""
        for item in items:
            began = self.machine.clock()
            yield item
            self._took(self.machine.clock() - began)

    def _took(self, seconds: float) -> None:
        if self.free:
            self.best = min(self.best, seconds)
            slow = seconds > 2 * self.best and self.number > 1
            self._look(SOON if slow else USUAL if self.number == self.limit else SELDOM)

    def _look(self, age: float) -> None:
        number = self.machine.threads(self.limit, age)
        if number != self.number:
            torch.set_num_threads(number)
            self.best = math.inf  # the old best was with other threads


@contextmanager
def threads_put_back() -> Iterator[None]:
    """Restore torch's number of threads at the end."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@contextmanager
def well_threaded(device: torch.device | str = "cpu") -> Iterator[Pace]:
    """Run the block, or the decorated function, with a Pace."""
    with threads_put_back():
        yield Pace(device=device)
