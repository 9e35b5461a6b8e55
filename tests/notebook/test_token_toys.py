"""Positions of tokens: who has a twin."""

from __future__ import annotations

import pytest
import torch

from course_lib.models.positions import sincos_positions
from course_lib.notebook.token_toys import TABLES, alike_positions


def test_added_up_row_and_column_can_be_exchanged():
    for place, twins in (((2, 5), 1), ((3, 3), 0)):
        found = alike_positions("added up", place)
        assert found.twins == twins and float(found.cosine[place[::-1]]) == pytest.approx(1)
        assert alike_positions("columns, then rows", place).twins == 0
    assert TABLES == ("added up", "columns, then rows")


def test_cosines_are_those_of_the_table():
    table = sincos_positions(4, 8, class_token=False).double()
    found = alike_positions("columns, then rows", (1, 2), grid=4, dim=8)
    torch.testing.assert_close(found.table, table)
    expected = [float(torch.cosine_similarity(table[6], row, dim=0)) for row in table]
    assert found.cosine.flatten().tolist() == pytest.approx(expected)
