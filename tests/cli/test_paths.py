"""The ways through the course: from the lessons' own words, and the same in both READMEs."""

from __future__ import annotations

import json
import re

import pytest

from course_lib.cli.main import main
from course_lib.cli.paths import PATHS, SAYS, before, graph, mermaid, needs, paths_table, ways
from course_lib.files import CHECKOUT


def lesson(tmp_path, text: str):
    path = tmp_path / "07_x.ipynb"
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": text.splitlines(True)}]}))
    return path


@pytest.mark.parametrize("text, numbers", [
    ("# 7\nYou need lesson 04 (SimCLR) and\nlesson 06 (BYOL). Lesson 09 follows.", ["04", "06"]),
    ("You need lesson 03 (two views); lesson 06 helps.", ["03"]),
    ("You should know lesson 01 (kNN) and what 10 classes are.", ["01"]),
    ("You need Python, and what a convolution is.", []),
    ("Nothing is asked.", []),
])
def test_what_a_lesson_needs_is_what_its_first_cell_says(tmp_path, text, numbers):
    assert needs(lesson(tmp_path, text)) == numbers


def test_no_lesson_needs_a_later_one_or_one_that_is_missing():
    of = graph()
    assert set(PATHS) == set(SAYS) and len(of) >= 21
    for number, needed in of.items():
        assert set(needed) <= set(of), f"lesson {number} needs a lesson that is missing: {needed}"
        assert all(one < number or not number.isdigit() for one in needed), f"lesson {number} needs a later one"
    assert [n for n in of if n.isdigit() and n != "01" and not of[n]] == [], "a week says nothing of what it needs"


def test_before_follows_the_arrows():
    of = {"01": [], "02": ["01"], "03": ["02"], "04": ["03", "01"]}
    assert before("04", of) == ["01", "02", "03"] and before("01", of) == []
    assert "  03 --> 04" in mermaid(of) and "  01 --> 04" not in mermaid(of), "01 follows from 03"
    with pytest.raises(ValueError, match="needs itself"):
        before("01", {"01": ["02"], "02": ["01"]})


def test_the_readmes_have_the_same_paths():
    of = graph()
    for readme in ("README.md", "lessons/README.md"):
        assert paths_table(of) in (CHECKOUT / readme).read_text(encoding="utf-8"), (
            f"{readme} differs from `python course.py paths --markdown`")
    assert mermaid(of) in (CHECKOUT / "lessons/README.md").read_text(encoding="utf-8")


def test_the_first_lessons_card_has_the_same_paths():
    card = next(cell for cell in json.loads((CHECKOUT / "lessons/01_orientation.ipynb").read_text())["cells"]
                if cell["cell_type"] == "markdown")
    text = " ".join("".join(card["source"]).partition("**Paths through the course.**")[2].split())
    for name, said in (("weekend", "A weekend:"), ("practitioner", "A practitioner with images of their own:")):
        listed = text.partition(said)[2].partition(". ")[0]
        assert re.findall(r"(?<![(/])\b([A-Z]?\d+)\b(?!_)", listed) == ways(graph())[name], name


def test_the_command_prints_them(capsys):
    assert main(["paths"]) == 0 and "weekend" in capsys.readouterr().out
    assert main(["paths", "15"]) == 0
    assert capsys.readouterr().out.startswith("15 needs 06, 12, 14; in all: 01, 02, 03, 06, 12, 14")
    assert ways(graph())["weekend"] == ["01", "04", "06", "12", "15"]
