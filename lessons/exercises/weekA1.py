"""Exercises of appendix A1: a fair clock, what a convolution costs, the floor of a step, two versions by turns.

No check reads a real clock: a `Machine` says how long each call takes, and its clock shows the sum.
"""
from __future__ import annotations

import statistics
from statistics import fmean, median

import torch
from torch import Tensor

from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.notebook.claims import interval, median_interval
from lessons.exercises.shared import number, numbers, rand


class Machine:
    """A device that tells how long each call takes; the share `queued` of it goes on after the call has returned."""

    def __init__(self, seconds, queued: float = 0.0):
        self.seconds, self.queued = [float(s) for s in seconds], float(queued)
        self.now, self.rest, self.calls = 5.0, 0.0, 0

    def work(self) -> None:
        spent = self.seconds[self.calls % len(self.seconds)]
        self.calls += 1
        self.now += (1 - self.queued) * spent
        self.rest += self.queued * spent

    def wait(self) -> None:
        self.now, self.rest = self.now + self.rest, 0.0

    def clock(self) -> float:
        return self.now


# ------------------------------------------------------------------------------------------------ A1.time_fairly
def time_fairly(work, wait, clock, rounds, warmup):
    """The median seconds of `rounds` calls of work(), each waited for, after `warmup` calls that do not count."""
    for _ in range(warmup):
        work()
        wait()
    seconds = []
    for _ in range(rounds):
        began = clock()
        work()
        wait()
        seconds.append(clock() - began)
    return median(seconds)


def _fair_probes(generator, dtype):
    def seconds(cold: list[float], warm: int) -> Tensor:
        later = 0.3 + 0.2 * rand(generator, dtype, warm)
        later[warm // 2] += 3.0  # a neighbour
        return torch.cat([torch.tensor(cold, dtype=dtype), later])

    return [(seconds([4.0, 1.5], 5), 0.75, 5, 2), (seconds([2.0], 4), 0.5, 4, 1), (seconds([], 7), 0.0, 7, 0),
            (seconds([6.0, 2.5, 1.25], 6), 0.25, 6, 3), (seconds([3.0], 3), 0.875, 1, 1)]


def _clocked(fn, seconds, queued, rounds, warmup):
    """The harness: the seconds of a machine's calls, of which a share is queued."""
    machine = Machine(seconds.tolist(), queued)
    return number(fn(machine.work, machine.wait, machine.clock, rounds, warmup))


def _seconds(work, wait, clock, rounds, warmup=0, waits=True):
    for _ in range(warmup):
        work()
        wait()
    found = []
    for _ in range(rounds):
        began = clock()
        work()
        if waits:
            wait()
        found.append(clock() - began)
    return found


def _warm_counted(work, wait, clock, rounds, warmup):
    return median(_seconds(work, wait, clock, rounds + warmup))


def _no_warmup(work, wait, clock, rounds, warmup):
    return median(_seconds(work, wait, clock, rounds))


def _leftover(work, wait, clock, rounds, warmup):
    for _ in range(warmup):
        work()
    return median(_seconds(work, wait, clock, rounds))


def _after_the_call(work, wait, clock, rounds, warmup):
    _seconds(work, wait, clock, 0, warmup)
    found = []
    for _ in range(rounds):
        work()
        began = clock()
        wait()
        found.append(clock() - began)
    return median(found)


def _from_the_start(work, wait, clock, rounds, warmup):
    _seconds(work, wait, clock, 0, warmup)
    began, found = clock(), []
    for _ in range(rounds):
        work()
        wait()
        found.append(clock() - began)
    return median(found)


def _all_timed(work, wait, clock, rounds, warmup):
    """A right answer: everything is timed, and the warm-up cut off."""
    return statistics.median(_seconds(work, wait, clock, warmup + rounds)[warmup:])


def _by_hand(work, wait, clock, rounds, warmup):
    for _ in range(warmup):
        work()
    wait()
    found = sorted(_seconds(work, wait, clock, rounds))
    return (found[(rounds - 1) // 2] + found[rounds // 2]) / 2


fairly = Exercise(
    key="A1.time_fairly", title="A fair clock", minutes=6, difficulty=2,
    reference=time_fairly, probes=_fair_probes, call=_clocked,
    words={"seconds": "how long each call takes", "queued": "the share that goes on after the call has returned"},
    wrong={
        "the warm-up is counted": (
            _warm_counted,
            "Your list holds the warm-up as well. The first calls load code and fill caches: call work() "
            "`warmup` times before you read the clock."),
        "no warm-up": (
            _no_warmup,
            "You never warm up: the first calls that you count are the cold ones. Call work() `warmup` times first."),
        "the mean": (
            lambda *a: fmean(_seconds(*a)),
            "That is the mean (or one clock around all rounds, which is the same): a single disturbed round moves it. "
            "Time each round, take the median."),
        "the least": (
            lambda *a: min(_seconds(*a)),
            "The minimum is the machine's best moment. Asked for is what a round usually takes: the median."),
        "the largest": (
            lambda *a: max(_seconds(*a)),
            "The maximum is the worst disturbance. Asked for is what a round usually takes: the median."),
        "not waited for": (
            lambda *a: median(_seconds(*a, waits=False)),
            "You read the clock when the call has *returned*. A GPU takes orders and answers later: wait() belongs "
            "between work() and the second look at the clock."),
        "the warm-up is not waited for": (
            _leftover,
            "What the warm-up queued is still running when your first round begins, and that round pays for it. "
            "wait() after the warm-up."),
        "only the waiting": (
            _after_the_call,
            "Your clock starts after work() has returned: that times the waiting alone. Read it before work()."),
        "always from the first start": (
            _from_the_start,
            "Each of your times begins at the same moment, so they grow from round to round. Read the clock anew "
            "before each work()."),
        "the sum": (
            lambda *a: sum(_seconds(*a)),
            "You return the seconds of all rounds together; asked for is one round."),
        "the lower of two medians": (
            lambda *a: sorted(found := _seconds(*a))[(len(found) - 1) // 2],
            "For an even number of rounds the median is the mean of the two in the middle; torch.median takes the "
            "lower one. statistics.median does it."),
        "the last round": (
            lambda *a: _seconds(*a)[-1],
            "You return the last round only; keep all of them in a list and take the median."),
    },
    right={"everything timed, the warm-up cut off": _all_timed, "the median by hand": _by_hand},
    hints=("What must have happened before the clock is read for the first time? And before it is read again?",
           "Two loops. In the second one: clock, work, wait, clock; collect the difference.",
           "for _ in range(warmup):\n"
           "    work()\n"
           "    wait()\n"
           "seconds = []\n"
           "for _ in range(rounds):\n"
           "    began = clock()\n"
           "    work()\n"
           "    wait()\n"
           "    seconds.append(clock() - began)\n"
           "return median(seconds)"),
)


# ------------------------------------------------------------------------------------------------ A1.conv_cost
def conv_cost(shape, channels, kernel, stride=1, groups=1):
    """(N, C, H, W), channels out -> {"flops", "bytes"} of a convolution in float32, padding kernel // 2, no bias."""
    n, c, h, w = shape
    h_out, w_out = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (h, w))
    weights = channels * (c // groups) * kernel * kernel
    flops = 2 * n * h_out * w_out * weights
    moved = 4 * (n * c * h * w + weights + n * channels * h_out * w_out)
    return {"flops": flops, "bytes": moved}


def _cost_probes(generator, dtype):
    return [((2, 3, 9, 7), 5, 3), ((3, 4, 10, 6), 8, 5, 2), ((5, 6, 8, 12), 9, 1, 1, 3), ((7, 10, 11, 5), 10, 3, 2, 10),
            dict(shape=(4, 8, 14, 9), channels=6, kernel=7, stride=3, groups=2)]


def _cost(shape, channels, kernel, stride=1, groups=1, padding=None, area=None, flops=2, each=4, parts=(1, 1, 1),
          split=True, weights_split=True, batch=True):
    """`conv_cost` with a mistake asked for by name."""
    n, c, h, w = shape
    padding = kernel // 2 if padding is None else padding
    h_out, w_out = ((side + 2 * padding - kernel) // stride + 1 for side in (h, w))
    sizes = {"in": (h, w), "divided": (h // stride, w // stride), "square": (h_out, h_out)}
    h_out, w_out = sizes.get(area, (h_out, w_out))
    square = kernel if area == "line" else kernel**2
    one = channels * square * (c // groups if split else c)
    kept = channels * square * (c // groups if weights_split else c)
    count = n if batch else 1
    moved = parts[0] * n * c * h * w + parts[1] * kept + parts[2] * n * channels * h_out * w_out
    return {"flops": flops * count * h_out * w_out * one, "bytes": each * moved}


def _with(**mistake):
    return lambda shape, channels, kernel, stride=1, groups=1: _cost(shape, channels, kernel, stride, groups, **mistake)


def _convolved(shape, channels, kernel, stride=1, groups=1):
    """A right answer: the sizes from a convolution of tensors that hold nothing."""
    x = torch.empty(shape, device="meta")
    weight = torch.empty(channels, shape[1] // groups, kernel, kernel, device="meta")
    y = torch.nn.functional.conv2d(x, weight, None, stride, kernel // 2, 1, groups)
    return dict(flops=2 * y.numel() * weight[0].numel(), bytes=4 * sum(t.numel() for t in (x, weight, y)))


cost = Exercise(
    key="A1.conv_cost", title="What a convolution costs", minutes=8, difficulty=2,
    reference=conv_cost, probes=_cost_probes,
    call=numbers,
    words={"['flops']": "the operations", "['bytes']": "the bytes"},
    wrong={
        "a multiplication and its addition counted once": (
            _with(flops=1),
            "You count multiply-adds. A FLOP is one operation: a multiplication and an addition are two. (Papers mix "
            "both; a factor of 2 between two tables is often this.)"),
        "the input's size": (
            _with(area="in"),
            "The products are made for each *output* position: with a stride the output is smaller than the input."),
        "the size divided by the stride": (
            _with(area="divided"),
            "H // stride is too small by one where the stride does not divide H. Use the whole formula: "
            "(H + 2 * (kernel // 2) - kernel) // stride + 1."),
        "a square image": (
            _with(area="square"),
            "You use the height for the width as well: an image need not be square. Both sides by the same formula."),
        "no padding": (
            _with(padding=0),
            "With padding kernel // 2 the output has (H + 2 * (kernel // 2) - kernel) // stride + 1 rows."),
        "groups forgotten": (
            _with(split=False, weights_split=False),
            "With groups, an output channel sees C / groups input channels only: in the operations and the weights."),
        "groups forgotten in the weights": (
            _with(weights_split=False),
            "The operations are right. The weights are (channels, C / groups, kernel, kernel), too."),
        "groups forgotten in the operations": (
            _with(split=False),
            "The bytes are right. Each output channel multiplies C / groups input channels only."),
        "a kernel of one row": (
            _with(area="line"),
            "A kernel is a square: kernel * kernel products for each pair of channels."),
        "elements, not bytes": (
            _with(each=1),
            "You count numbers; in float32 each takes four bytes."),
        "bytes of half precision": (
            _with(each=2),
            "Two bytes belong to float16 or bfloat16; float32 takes four."),
        "the input is not read": (
            _with(parts=(0, 1, 1)),
            "The bytes of the input are missing: it is read once at least."),
        "the weights are not read": (
            _with(parts=(1, 0, 1)),
            "The bytes of the weights are missing: small here, but not in a last layer of 2048 channels."),
        "the output is not written": (
            _with(parts=(1, 1, 0)),
            "The bytes of the output are missing: it has to be written once."),
        "one image": (
            _with(batch=False),
            "The operations are those of one image; the batch has N of them."),
    },
    right={"tensors that hold nothing": _convolved},
    hints=("How many numbers does the output have? How many products go into each of them?",
           "One output number: C / groups * kernel * kernel products, each with an addition. Bytes: input, weights, "
           "output, 4 each.",
           "n, c, h, w = shape\n"
           "h_out, w_out = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (h, w))\n"
           "weights = channels * (c // groups) * kernel * kernel\n"
           "flops = 2 * n * h_out * w_out * weights\n"
           'return {"flops": flops, "bytes": 4 * (n * c * h * w + weights + n * channels * h_out * w_out)}'),
)


# ------------------------------------------------------------------------------------------------ A1.floor
def floor(flops, moved, peak, bandwidth):
    """Operations and bytes of each part (P,), two roofs -> {"seconds": the floor of all parts, "arithmetic": the share
    of it that lies in parts bounded by arithmetic}."""
    compute, memory = flops / peak, moved / bandwidth
    seconds = torch.maximum(compute, memory)
    return {"seconds": seconds.sum(), "arithmetic": seconds[compute > memory].sum() / seconds.sum()}


def _floor_probes(generator, dtype):
    def parts(n: int) -> tuple[Tensor, Tensor]:
        return 1 + 9 * rand(generator, dtype, n), 1 + 9 * rand(generator, dtype, n)

    even = torch.arange(1.0, 8.0, dtype=dtype)
    return [(*parts(5), 3.0, 2.0), (*parts(8), 0.5, 0.75), (even, even.flip(0), 1.5, 1.25), (*parts(3), 40.0, 0.5),
            dict(zip(("flops", "moved", "peak", "bandwidth"), (*parts(6), 4.0, 5.0)))]


def _bounded(compute: Tensor, memory: Tensor, seconds: Tensor | None = None, share: Tensor | None = None) -> dict:
    slower = torch.maximum(compute, memory)
    share = slower[compute > memory].sum() / slower.sum() if share is None else share
    return {"seconds": slower.sum() if seconds is None else seconds, "arithmetic": share}


def _share(share):
    def planted(flops, moved, peak, bandwidth):
        compute, memory = flops / peak, moved / bandwidth
        return _bounded(compute, memory, share=share(compute, memory))
    return planted


def _total(seconds):
    def planted(flops, moved, peak, bandwidth):
        compute, memory = flops / peak, moved / bandwidth
        return _bounded(compute, memory, seconds=seconds(compute, memory))
    return planted


def _where(flops, moved, peak, bandwidth):
    """A right answer: a loop over the parts."""
    total = arithmetic = flops.new_zeros(())
    for f, m in zip(flops, moved):
        total = total + max(f / peak, m / bandwidth)
        if f / m > peak / bandwidth:
            arithmetic = arithmetic + f / peak
    return {"seconds": total, "arithmetic": arithmetic / total}


def _one_by_one(flops, moved, peak, bandwidth):
    """A right answer: the same, in Python's numbers."""
    return {key: float(value) for key, value in _where(flops.double(), moved.double(), peak, bandwidth).items()}


bound = Exercise(
    key="A1.floor", title="The floor of a step", minutes=6, difficulty=2,
    reference=floor, probes=_floor_probes,
    call=numbers,
    words={"['seconds']": "the seconds", "['arithmetic']": "the share bounded by arithmetic"},
    wrong={
        "the larger of two sums": (
            _total(lambda c, m: torch.maximum(c.sum(), m.sum())),
            "You add first and take the larger sum. Parts run one after another, and each has a bound of its own: the "
            "larger of the two *for each part*, then the sum."),
        "computing after moving": (
            _total(lambda c, m: (c + m).sum()),
            "You add both times. A part can compute while it moves data, so its floor is the *larger* one."),
        "times the roofs": (
            lambda flops, moved, peak, bandwidth: _bounded(flops * peak, moved * bandwidth),
            "You multiply by the roofs. A roof is work *per second*: work over roof gives seconds."),
        "the smaller of the two": (
            _total(lambda c, m: torch.minimum(c, m).sum()),
            "The smaller of the two is a time that no part can reach: it has to compute *and* to move. Take the "
            "larger."),
        "arithmetic only": (
            _total(lambda c, m: c.sum()),
            "Only the operations are bounded in your seconds: a part that moves much and computes little is slower."),
        "memory only": (
            _total(lambda c, m: m.sum()),
            "Only the bytes are bounded in your seconds: a part that computes much takes longer."),
        "the mean of the parts": (
            _total(lambda c, m: torch.maximum(c, m).mean()),
            "That is the floor of an average part; the step is all of them: the sum."),
        "the slowest part": (
            _total(lambda c, m: torch.maximum(c, m).max()),
            "That is the slowest part alone; the parts run one after another: the sum."),
        "a share of the parts": (
            _share(lambda c, m: (c > m).to(c.dtype).mean()),
            "You count parts. Ten short parts matter less than a long one: the share is one of *seconds*."),
        "the share of memory": (
            _share(lambda c, m: 1 - _bounded(c, m)["arithmetic"]),
            "Yours is the share of the parts that memory bounds; asked for is that of arithmetic."),
        "the arithmetic of all parts": (
            _share(lambda c, m: c.sum() / torch.maximum(c, m).sum()),
            "You divide the arithmetic of *all* parts by the floor. Only parts where it is the longer one count."),
        "seconds of arithmetic, not a share": (
            _share(lambda c, m: torch.maximum(c, m)[c > m].sum()),
            "Those are seconds; divide by the seconds of all parts."),
    },
    right={"a loop": _where, "a loop over Python's numbers": _one_by_one},
    hints=("How long does each part take if it only computes? If it only moves data?",
           "flops / peak and moved / bandwidth; torch.maximum compares them part by part.",
           "compute, memory = flops / peak, moved / bandwidth\n"
           "seconds = torch.maximum(compute, memory)\n"
           'return {"seconds": seconds.sum(), "arithmetic": seconds[compute > memory].sum() / seconds.sum()}'),
)


# ------------------------------------------------------------------------------------------------ A1.compare
def compare(old, new, rounds, clock):
    """How many times as long as `new` does `old` take? -> {"ratio", "low", "high"} from `rounds` rounds by turns.

    Round 0 does not count; in every odd round `new` goes first.
    """
    ratios = []
    for turn in range(rounds + 1):
        spent = [0.0, 0.0]
        for which in ((0, 1), (1, 0))[turn % 2]:
            began = clock()
            (old, new)[which]()
            spent[which] = clock() - began
        ratios.append(spent[0] / spent[1])
    low, high = median_interval(ratios[1:])
    return {"ratio": median(ratios[1:]), "low": low, "high": high}


def _compare_probes(generator, dtype):
    def seconds(n: int) -> Tensor:
        return 1 + rand(generator, dtype, 2 * n + 2)

    return [(seconds(6), 1.0, 0.1, 6), (seconds(9), 2.5, 0.3, 9), (seconds(12), 0.4, 0.0, 12),
            (seconds(17), 1.2, 0.2, 17)]


def _raced(fn, seconds, truth, drift, rounds):
    """The harness: a machine whose calls take seconds * (1 + drift * calls so far), old's `truth` times that."""
    seconds = [s * (1 + drift * i) * (3 if i == 0 else 1) for i, s in enumerate(seconds.tolist())]
    machine = Machine(seconds)

    def old() -> None:
        before = machine.now
        machine.work()
        machine.now = before + truth * (machine.now - before)

    result = fn(old, machine.work, rounds, machine.clock)
    return {key: number(value) for key, value in result.items()} if isinstance(result, dict) else result


def _turns(old, new, rounds, clock, swap=True, first=1):
    """(old's seconds, new's) of each round that counts; planted mistakes ask for another order."""
    found = []
    for turn in range(rounds + 1):
        times = {}
        order = ("old", "new") if turn % 2 == 0 or not swap else ("new", "old")
        for name in order:
            began = clock()
            (old if name == "old" else new)()
            times[name] = clock() - began
        found.append((times["old"], times["new"]))
    return found[first:]


def _told(ratios, ratio=None, low=None, high=None):
    a, b = median_interval(ratios)
    return {"ratio": median(ratios) if ratio is None else ratio, "low": a if low is None else low,
            "high": b if high is None else high}


def _ratios(*a, **k):
    return [o / n for o, n in _turns(*a, **k)]


def _one_after_the_other(old, new, rounds, clock):
    def alone(work):
        found = []
        for _ in range(rounds + 1):
            began = clock()
            work()
            found.append(clock() - began)
        return found[1:]
    return _told([o / n for o, n in zip(alone(old), alone(new))])


def _of_medians(*a):
    times = _turns(*a)
    olds, news = zip(*times)
    return _told([o / n for o, n in times], ratio=median(olds) / median(news))


def _extremes(*a):
    found = _ratios(*a)
    return _told(found, low=min(found), high=max(found))


def _t_interval(*a):
    found = _ratios(*a)
    low, high, _ = interval(found)
    return _told(found, low=low, high=high)


def _mean(*a):
    found = _ratios(*a)
    return _told(found, ratio=fmean(found))


def _plain_order(old, new, rounds, clock):
    """A right answer: spelt out, one order after the other."""
    def spent(work):
        began = clock()
        work()
        return clock() - began

    spent(old), spent(new)
    found = []
    for turn in range(1, rounds + 1):
        if turn % 2:
            b, a = spent(new), spent(old)
        else:
            a, b = spent(old), spent(new)
        found.append(a / b)
    low, high = median_interval(found)
    return {"ratio": statistics.median(found), "low": low, "high": high}


race = Exercise(
    key="A1.compare", title="Two versions by turns", minutes=12, difficulty=3,
    reference=compare, probes=_compare_probes, call=_raced,
    words={"['ratio']": "the ratio", "['low']": "the interval's lower end", "['high']": "its upper end",
           "truth": "how many times as long old takes", "drift": "by how much each call is slower than the one before"},
    wrong={
        "new over old": (
            lambda *a: _told([1 / r for r in _ratios(*a)]),
            "Yours is new over old. Asked is how many times as long the *old* one takes: old / new, above 1 where new "
            "is faster."),
        "one after the other": (
            _one_after_the_other,
            "You run all rounds of one and then all of the other: whatever slows the machine down meanwhile counts "
            "for one of them only. Both in every round."),
        "always the same first": (
            lambda *a: _told(_ratios(*a, swap=False)),
            "`old` goes first in each of your rounds. What the first one pays (a cold cache, a machine that gets "
            "slower) always hits the same: in every odd round `new` goes first."),
        "the first round counts": (
            lambda *a: _told(_ratios(*a, first=0)),
            "You count round 0, in which both are cold. It is run, and left out."),
        "a round too few": (
            lambda old, new, rounds, clock: _told(_ratios(old, new, rounds - 1, clock)),
            "You leave round 0 out, but it is one of your `rounds`: run rounds + 1, so that `rounds` of them count."),
        "the ratio of medians": (
            _of_medians,
            "You divide two medians. A round's two times share the state of the machine, so divide within the round "
            "and take the median of the ratios."),
        "the mean ratio": (
            _mean,
            "That is the mean of the ratios: a single disturbed round moves it. Take the median."),
        "least and greatest": (
            _extremes,
            "Least and greatest ratio: that span gets wider with more rounds, though you know more. median_interval "
            "gets narrower."),
        "an interval of the mean": (
            _t_interval,
            "That is the t-interval of the mean. You report a median: median_interval(ratios)."),
        "differences": (
            lambda *a: _told([o - n for o, n in _turns(*a)]),
            "You subtract. Seconds belong to this machine at this moment; a ratio survives a slower machine."),
    },
    right={"spelt out": _plain_order},
    hints=("One loop over rounds + 1 turns; in it two timings, in an order that depends on the turn.",
           "order = (old, new) if turn is even, else (new, old). Keep both times by name, divide old's by new's; drop "
           "the first ratio at the end.",
           "ratios = []\n"
           "for turn in range(rounds + 1):\n"
           "    spent = [0.0, 0.0]\n"
           "    for which in ((0, 1), (1, 0))[turn % 2]:\n"
           "        began = clock()\n"
           "        (old, new)[which]()\n"
           "        spent[which] = clock() - began\n"
           "    ratios.append(spent[0] / spent[1])\n"
           "low, high = median_interval(ratios[1:])\n"
           'return {"ratio": median(ratios[1:]), "low": low, "high": high}'),
)


EXERCISES = [fairly, cost, bound, race]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("Which of these explains a part of the four times, without FastSSL being a better program?", {
        "bfloat16 and channels_last": "One line each, and the reference could have them: its users can add them "
            "today. But that is not all.",
        "The reference went first": "It paid for what comes first, and in three steps that counts. But that is not "
            "all.",
        "One batch kept on the device": "No reading, no views, no transfer: they were left out of one clock only. "
            "But that is not all.",
        "All of these": "Unequal precision and layout, a cold first, and work left out of one clock. How much each "
            "is worth, nobody can tell from outside.",
    }, "All of these"),
    quiz("A library is 4 times as fast at its defaults and 1.1 times at equal precision and layout. What have "
         "you learned?", {
        "Its data pipeline is 4 times as good": "The pipeline is in both numbers. It can explain the smaller one at "
            "most.",
        "Most of the difference is lines that the other library's users can add":
            "A good default is worth having, and it is no secret of the implementation.",
        "One of the two measurements is wrong": "They answer two questions: what you get, and what is left when "
            "tricks are shared.",
    }, "Most of the difference is lines that the other library's users can add"),
    quiz("Library A was measured on Monday at 4000 views/s, B on Tuesday on the same machine at 3600. Which "
         "sentence holds?", {
        "A is faster by a ninth": "Only if nothing else had changed since Monday, and nobody has shown that.",
        "Nothing yet: they were not measured by turns": "Two rates from two days may differ by the days.",
        "A and B are equally fast": "No evidence of a difference is no evidence of none.",
    }, "Nothing yet: they were not measured by turns"),
    quiz("A paper halves the FLOPs of a network by depthwise convolutions and gives no seconds. What do you "
         "expect?", {
        "Half the time": "Only if both kinds of layer came equally near to their floors. In part 2 they did not.",
        "Less of a gain, perhaps none": "A count is a floor. The depthwise layer of part 2 stood much farther above "
            "its own than the full one. Ask for seconds.",
        "No change, FLOPs mean nothing": "They give a floor, and the full 3x3 convolution came close to its own.",
    }, "Less of a gain, perhaps none"),
    quiz("Transfer: two web services answer in 20 and 21 ms on average. When is that difference worth telling?", {
        "If it was measured over a million requests": "A million requests to one, then a million to the other: a "
            "sure difference of two hours of the day.",
        "If requests alternated, and an interval of the ratio stays off 1": "By turns within a round, and an "
            "interval: nothing here is about networks.",
        "Never, it is below 10 %": "A small difference can be sure; whether it matters is another question.",
    }, "If requests alternated, and an interval of the ratio stays off 1"),
]
