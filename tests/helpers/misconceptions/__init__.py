"""Second spellings of the planted misconceptions, and mutants that are no mistakes.

One file a week, weekNN.py, with

    SECOND = {"03.variance": {"variance instead of its root": callable, ...}}    # not as the planted one does
    EQUIVALENT = {"03.variance": {"line 3: a -> b": "why it computes the same"}}  # as the table names it

A check that only compared with one planted spelling would recognise itself; these show that it recognises the
mistake.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

SECOND: dict[str, dict[str, Callable]] = {}
EQUIVALENT: dict[str, dict[str, str]] = {}

for _module in pkgutil.iter_modules(__path__):
    _week = importlib.import_module(f"{__name__}.{_module.name}")
    SECOND.update(_week.SECOND)
    EQUIVALENT.update(getattr(_week, "EQUIVALENT", {}))
