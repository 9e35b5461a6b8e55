"""Wrong by a factor or an offset: which number it is, in words of the arguments ("1 / the number of rows")."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.pairs import CLOSE, Pair, near


def _quantities(arguments: Mapping[str, Any], unit: str) -> dict[str, float]:
    """What a factor may be: sizes, counts of a mask and numbers among the arguments, by the words for them."""
    found: dict[str, float] = {}
    for name, value in arguments.items():
        if isinstance(value, Tensor) and value.ndim:
            if value.dtype == torch.bool:
                words = ("visible", "hidden") if name == "visible" else ("True", "False")
                many = int(value.sum())
                unit_of = unit if name == "visible" else f"entries of {name}"
                found |= {f"the number of {words[0]} {unit_of}": many,
                          f"the number of {words[1]} {unit_of}": value.numel() - many}
            found |= {f"the size of axis {axis} of {name}": size for axis, size in enumerate(value.shape)}
            found[f"the number of entries of {name}"] = value.numel()
        elif isinstance(value, (list, tuple)):
            found[f"the number of {name}"] = len(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = float(value)
    return found


FORMS: dict[str, Callable[[float], float]] = {
    "{}": lambda q: q, "1 / {}": lambda q: 1 / q, "the square of {}": lambda q: q * q, "1 / {}²": lambda q: 1 / q**2,
    "the root of {}": math.sqrt, "1 / the root of {}": lambda q: q**-0.5, "({} - 1)": lambda q: q - 1,
    "n / (n - 1), n being {}": lambda q: q / (q - 1), "(n - 1) / n, n being {}": lambda q: (q - 1) / q,
    "1 / (n - 1), n being {}": lambda q: 1 / (q - 1), "1 - {}": lambda q: 1 - q, "1 / (1 - {})": lambda q: 1 / (1 - q),
    "twice {}": lambda q: 2 * q, "half of {}": lambda q: q / 2, "1 / (2 n), n being {}": lambda q: 0.5 / q,
    "the logarithm of {}": math.log, "1 + {}": lambda q: 1 + q, "2 / n, n being {}": lambda q: 2 / q,
    "q / (1 - q), q being {}": lambda q: q / (1 - q), "(1 - q) / q, q being {}": lambda q: (1 - q) / q,
}


def _explained(values: list[float], pairs: list[Pair], unit: str) -> str:
    """The words for numbers, one a probe, that are all the same form of the same quantities; "" if none are."""
    if all(math.isclose(v, values[0], rel_tol=1e-5) for v in values):
        return ""
    tables = [_quantities(p.arguments, unit) for p in pairs]
    names, seen = [], []
    for name in tables[0]:
        column = [t.get(name) for t in tables]
        if None not in column and len(set(column)) > 1 and column not in seen:  # one that varies, each once
            names.append(name)
            seen.append(column)

    def fits(compute: Callable[[Mapping[str, float]], float]) -> bool:
        try:
            return all(math.isclose(compute(t), v, rel_tol=1e-5) for t, v in zip(tables, values))
        except (ValueError, ZeroDivisionError, OverflowError, TypeError):
            return False

    for text, form in FORMS.items():
        for name in names:
            if fits(lambda t, name=name, form=form: form(t[name])):
                return text.format(name)
    for a, b in itertools.permutations(names, 2):
        if fits(lambda t, a=a, b=b: t[a] / t[b]):
            return f"{a} / {b}"
        if a < b and fits(lambda t, a=a, b=b: t[a] * t[b]):
            return f"{a} times {b}"
        if a < b and fits(lambda t, a=a, b=b: 1 / (t[a] * t[b])):
            return f"1 / ({a} times {b})"
    return ""


def _ratio(pair: Pair) -> float | None:
    """got = ratio * expected, entry by entry."""
    scale = pair.expected.abs().max().item() if pair.expected.numel() else 0.0
    if scale < 1e-9:
        return None if near(pair.got, pair.expected) else math.nan
    keep = pair.expected.abs() > 1e-6 * scale
    ratio = (pair.got[keep] / pair.expected[keep]).mean().item()
    return ratio if near(pair.got, ratio * pair.expected) and ratio else math.nan


WORDS = {2.0: "twice", 0.5: "half of", 4.0: "four times", 0.25: "a quarter of", 3.0: "three times", 1 / 3: "a third of",
         1 / math.log(2): "1 / log 2 (1.443) times", math.log(2): "log 2 (0.6931) times",
         1 / math.log(10): "1 / log 10 (0.4343) times", math.log(10): "log 10 (2.303) times"}


def factor(pairs: list[Pair], unit: str) -> str:
    found = [(r, p) for p in pairs if (r := _ratio(p)) is not None]
    if not found or any(math.isnan(r) for r, _ in found):
        return ""
    ratios = [r for r, _ in found]
    if text := _explained(ratios, [p for _, p in found], unit):
        first = next(r for r in ratios if not math.isclose(r, 1))
        return (f"Yours is {first:.4g} times the expected value, and {first:.4g} is {text}; so on the other probes "
                f"({', '.join(f'{r:.4g}' for r in [r for r in ratios if r != first][:3])}).")
    if all(math.isclose(r, ratios[0], rel_tol=1e-5) for r in ratios) and len(ratios) > 1:
        text = next((w for f, w in WORDS.items() if math.isclose(f, ratios[0], rel_tol=1e-5)), f"{ratios[0]:.4g} times")
        return f"Yours is {text} the expected value on every probe."
    if all(p.got.numel() > 1 for _, p in found):
        shown = ", ".join(f"{r:.4g}" for r in ratios[:3])
        return f"Yours is the expected one times a number that differs from probe to probe ({shown})."
    return ""


def offset(pairs: list[Pair], unit: str) -> str:
    offsets = []
    for p in pairs:
        d = (p.got - p.expected).flatten()
        if not d.numel() or not near(d, d.mean().expand_as(d)) or p.expected.numel() != d.numel():
            return ""
        if (d - d.mean()).abs().max() > CLOSE * max(p.expected.abs().max().item(), 1e-3):
            return ""
        offsets.append(d.mean().item())
    if all(math.isclose(o, offsets[0], rel_tol=1e-5) for o in offsets) and len(offsets) > 1:
        return f"Yours is off by the same amount everywhere, {offsets[0]:+.4g}."
    for sign, word in ((1, "too large by"), (-1, "too small by")):
        if text := _explained([sign * o for o in offsets], pairs, unit):
            return f"Yours is {word} {text}."
    if all(p.got.numel() > 2 for p in pairs):
        shown = ", ".join(f"{o:+.4g}" for o in offsets[:3])
        return f"Yours is off by one number in all entries; it differs from probe to probe ({shown})."
    return ""


def affine(pairs: list[Pair], unit: str) -> str:
    """got = a + b * expected, with the same a and b on all probes."""
    e = torch.cat([p.expected.flatten() for p in pairs])
    g = torch.cat([p.got.flatten() for p in pairs])
    if len(e.unique()) < 3 or len(pairs) < 3 or (e - e.mean()).abs().max() < 1e-6:
        return ""
    b = ((g - g.mean()) * (e - e.mean())).sum() / (e - e.mean()).square().sum()
    a = g.mean() - b * e.mean()
    if abs(b) < 1e-3 or not torch.isclose(g, a + b * e, rtol=CLOSE, atol=1e-8).all():
        return ""
    sign = "+" if a > 0 else "-"
    return f"Yours is {b.item():.4g} times the expected value {sign} {abs(a.item()):.4g}, on every probe."
