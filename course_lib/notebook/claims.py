"""A lesson's results as computed statements: value, interval over seeds, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import fmean, stdev
from typing import Any

from course_lib.notebook.cards import LOOK, card, fold, mark
from course_lib.text import prose


def interval(values: Sequence[float], each: str = "run") -> tuple[float, float, str]:
    """(low, high, how): the 95 % t-interval of the mean from three values on, the extremes of two, one value itself.

    each: what a value belongs to.
    """
    n = len(values)
    if n < 3:
        return min(values), max(values), f"one {each}, no interval" if n == 1 else f"least and greatest of two {each}s"
    half = _half_width(n - 1, stdev(values) / math.sqrt(n))
    return fmean(values) - half, fmean(values) + half, f"95 % t-interval over {n} {each}s"


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median: a value is below the true median as often as a coin shows heads.

    k values are cut off at each end, as many as n coins show fewer heads than with a chance of at most 2.5 %; no shape
    of the values is assumed. Fewer than six values: the extremes, which cover the median less often.
    """
    n, chance, cut = len(values), 0.0, 0
    while (chance := chance + math.comb(n, cut) / 2**n) <= 0.025:
        cut += 1
    cut = max(0, cut - 1)
    return sorted(values)[cut], sorted(values)[n - 1 - cut]


def difference_interval(a: Sequence[float], b: Sequence[float], each: str = "run") -> tuple[float, float, str]:
    """Interval of mean(a) - mean(b): Welch's from three values each on, else the extremes over all pairings."""
    if len(a) < 3 or len(b) < 3:
        if len(a) == len(b) == 1:
            return a[0] - b[0], a[0] - b[0], f"one {each} each, no interval"
        return min(a) - max(b), max(a) - min(b), "least and greatest difference"
    va, vb = stdev(a) ** 2 / len(a), stdev(b) ** 2 / len(b)
    middle = fmean(a) - fmean(b)
    if va + vb == 0:
        return middle, middle, f"all {each}s alike"
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = _half_width(freedom, math.sqrt(va + vb))
    return middle - half, middle + half, f"95 % Welch interval, {len(a)} and {len(b)} {each}s"


def _half_width(freedom: float, error: float) -> float:
    """Half of a two-sided 95 % interval, from a standard error and its degrees of freedom (any positive number)."""
    from scipy.stats import t  # takes a second to import

    return float(t.ppf(0.975, freedom)) * error


@dataclass
class Claim:
    """A computed statement with `.value` (mean), `.low`, `.high`, `.verdict`; draws itself as a card or as text."""

    text: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    above: tuple[float, ...] | None = None
    unit: str = ""
    sources: tuple[str, ...] = field(default_factory=tuple)
    each: str = "run"

    def __post_init__(self) -> None:
        self.low, self.high, self.how = interval(self.values, self.each)

    @property
    def value(self) -> float:
        """The mean over the runs (or over `each`)."""
        return fmean(self.values)

    @property
    def verdict(self) -> str:
        """ "supported", "not separable" or "refuted"; see `claim` for the rule."""
        verdicts = []
        if self.at_least is not None:
            verdicts.append(_side(self.low - self.at_least, self.high - self.at_least))
        if self.at_most is not None:
            verdicts.append(_side(self.at_most - self.high, self.at_most - self.low))
        if self.above is not None:
            low, high, _ = difference_interval(self.values, self.above)
            verdicts.append(_side(low, high, strict=True))
        for worst in ("refuted", "not separable"):
            if worst in verdicts:
                return worst
        return "supported"

    def _number(self, value: float) -> str:
        if not math.isfinite(value):
            return str(value)
        if self.unit == "%":
            return f"{100 * value:.1f} %"
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return f"{text} {self.unit}".strip()

    def _range(self, low: float, high: float) -> str:
        return f"{self._number(low)} to {self._number(high)}" if high > low else self._number(low)

    def _facts(self) -> list[str]:
        facts = [f"value {self._number(self.value)}"]
        facts.append(f"{self._range(self.low, self.high)} ({self.how})" if len(self.values) > 1 else self.how)
        if self.at_least is not None:
            facts.append(f"asked for: at least {self._number(self.at_least)}")
        if self.at_most is not None:
            facts.append(f"asked for: at most {self._number(self.at_most)}")
        if self.above is not None:
            low, high, how = difference_interval(self.values, self.above, self.each)
            other = self._number(fmean(self.above))
            facts.append(f"compared with {other}; difference {self._range(low, high)} ({how})")
        return facts

    def __repr__(self) -> str:
        source = f"\n  runs: {', '.join(self.sources)}" if self.sources else ""
        return f"{LOOK[self.verdict][0]} {self.verdict}: {self.text}\n  {'; '.join(self._facts())}{source}"

    def _repr_html_(self) -> str:
        symbol, word, colour = LOOK[self.verdict]
        source = fold(f"{len(self.sources)} stored runs", escape(", ".join(self.sources))) if self.sources else ""
        facts = f"<small>{escape('; '.join(self._facts()))}</small>"
        return card(colour, f"{mark(symbol)} {word}: {prose(self.text)}", facts, source)


def _side(low: float, high: float, strict: bool = False) -> str:
    """The verdict on "the margin is not negative", from the margin's interval."""
    if math.isnan(low) or math.isnan(high):
        return "not separable"
    if low > 0 or (low == 0 and not strict):
        return "supported"
    return "refuted" if high < 0 or (high == 0 and strict and low == 0) else "not separable"


def _numbers(value: Any, runs: Any) -> tuple[float, ...]:
    if isinstance(value, str):
        if not runs:
            raise ValueError(f"claim({value!r}, ...): a name needs runs= to be looked up in")
        return tuple(float(run[value] if isinstance(run, Mapping) else getattr(run, value)) for run in runs)
    try:
        return (float(value),)
    except (TypeError, ValueError):
        numbers = tuple(float(v) for v in value)
    if not numbers:
        raise ValueError("a claim needs at least one value")
    return numbers


def claim(text: str, value: Any, at_least: float | None = None, at_most: float | None = None, above: Any = None,
          unit: str = "", runs: Sequence | None = None, each: str = "run") -> Claim:
    """State a result with its evidence: make it the last line of its cell.

    value: a number, one per seed, or the name of an entry of each of `runs` (stored runs: mappings or objects, whose
    ids are listed). above: a number or a sample that the value must exceed. unit: printed; with "%" all values are
    fractions, and 0.83 is shown as 83.0 %. each: what one value belongs to if not a run, in the singular: "test image".

    The rule. The interval is the 95 % t-interval of the mean from three values on, the extremes of two, the value
    itself for one run, which the card then says. **supported**: the whole interval keeps the bound. **refuted**: the
    whole interval breaks it. **not separable**: the interval straddles it (or something is NaN). With `above` the
    interval is that of the difference (Welch) and the bound is zero; equality is not "above". The worst verdict over
    all bounds counts: refuted, then not separable. ValueError without a bound or a value.
    """
    if at_least is None and at_most is None and above is None:
        raise ValueError("a claim needs at_least=, at_most= or above=, otherwise nothing could refute it")
    numbers = _numbers(value, runs)
    other = None if above is None else _numbers(above, runs)
    bounds = [b for b in (at_least, at_most) if b is not None]
    if unit == "%" and any(abs(v) > 2 for v in (*numbers, *(other or ()), *bounds) if math.isfinite(v)):
        raise ValueError('with unit="%" give fractions: 0.83, which is shown as 83.0 %')
    ids = (run.get("id", "?") if isinstance(run, Mapping) else getattr(run, "id", "?") for run in runs or ())
    return Claim(text, numbers, at_least, at_most, other, unit, tuple(map(str, ids)), each)
