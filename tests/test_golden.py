"""The golden table (tests/golden_table.py): official numbers, reproduced, and no array left aside."""

from __future__ import annotations

from fnmatch import fnmatch
from functools import cache

import pytest
import torch

from golden.arrays import GOLDEN, arrays
from golden.table import TABLE, Row


class Watched(dict):
    """Arrays that remember which of them were read."""

    def __init__(self, content: dict):
        super().__init__(content)
        self.read: set[str] = set()

    def __getitem__(self, key):
        self.read.add(key)
        return super().__getitem__(key)


@cache
def run(row_number: int) -> tuple[dict, frozenset[str]]:
    watched = Watched(arrays(TABLE[row_number].file))
    torch.manual_seed(0)
    return TABLE[row_number].compute(watched), frozenset(watched.read)


def name(row: Row) -> str:
    return f"{row.file}: {row.what}"


@pytest.mark.parametrize("number", range(len(TABLE)), ids=[name(row) for row in TABLE])
def test_reproduces(number):
    row = TABLE[number]
    stored, (ours, _) = arrays(row.file), run(number)
    assert ours, "a row must compute something"
    for key, value in ours.items():
        got = torch.as_tensor(value).detach().double() * row.factor
        wanted = stored[key].double()
        assert got.shape == wanted.shape, key
        torch.testing.assert_close(got, wanted, rtol=row.rtol, atol=row.atol, equal_nan=True,
                                   msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("file", sorted(path.name for path in GOLDEN.glob("*.npz")))
def test_every_array_is_used(file):
    """An array that is neither an input nor reproduced would look tested and not be."""
    rows = [number for number, row in enumerate(TABLE) if row.file == file]
    assert rows, f"tests/golden/{file} is in no row of tests/golden_table.py"
    known = set().union(*(set(run(n)[0]) | run(n)[1] for n in rows))
    excused = [pattern for n in rows for pattern in TABLE[n].unused] + ["meta_json"]
    left = [key for key in arrays(file) if key not in known and not any(fnmatch(key, p) for p in excused)]
    assert not left, f"{file}: no row uses {left}"
    for pattern in excused[:-1]:
        assert any(fnmatch(key, pattern) for key in arrays(file)), f"{file}: nothing is called {pattern}"


def test_every_file_has_its_source_written_down():
    text = (GOLDEN / "README.md").read_text(encoding="utf-8")
    for path in GOLDEN.glob("*.npz"):
        assert f"| {path.name} |" in text, f"tests/golden/README.md says nothing about {path.name}"


def test_the_contrasts_are_contrasts():
    """Stored next to the official numbers: what a plain batch norm and torch's LARS would give. They differ."""
    spark, lars = arrays("spark.npz"), arrays("lars_simclr.npz")
    seen = spark["active_ex_8"].expand_as(spark["bn_train_out"])
    assert (spark["contrast_dense_bn_out"] - spark["bn_train_out"])[seen].abs().max() > 0.05
    assert (lars["c0__W"] - lars["c0__W_lr_outside"]).abs().max() > 1e-6
