"""Tasks of lesson 08's knobs, by what their views return, and the columns of its table."""

from __future__ import annotations

import math

CODES = {
    "a good code: more than ten prototypes in use, and an image spreads over fewer than four":
        lambda d: d["used"] > 10 and d["choices"] < 4,
    "too soft: balanced codes that say nothing (an image spreads over more than ten)":
        lambda d: d["rounds"] > 0 and d["choices"] > 10,
    "too sharp: five rounds or more, and still fewer than nine in use": lambda d: d["rounds"] >= 5 and d["used"] < 9}
CIRCLE = {  # of five prototypes and 40 steps
    "find a step before 40 at which one name has taken all": lambda d: 0 < d["step"] < 40 and d["in use"] < 1.05,
    "keep more than four and a half names in use to the end": lambda d: d["step"] == 40 and d["in use"] > 4.5,
    "balanced, and yet a loss above that of a guess at the end":
        lambda d: d["step"] == 40 and d["rounds"] > 0 and d["loss"] > math.log(5)}
CHANGES = {  # of 1024 prototypes
    "a loss that stays at log K": lambda d: d["loss"] > 0.97 * math.log(1024),
    "a loss that falls, with hundreds of names in use":
        lambda d: d["loss"] < 0.8 * math.log(1024) and d["used"] > 200}
COLUMNS = {"loss": ("loss", ".2f"), "used": ("in use", ".2f"), "choices": ("choices", ".2f"), "spread": ("std", ".2f"),
           "embedding_rank": ("rank", ".2f"), "knn": ("kNN", ".0%")}
