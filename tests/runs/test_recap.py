"""The recap: what each method needs, photographs beside shapes, rows in any order, sorted by a click."""

from __future__ import annotations

import re

import nbformat
import pytest
from explorer import CHROMIUM

from course_lib.methods import METHODS, build_method, method_class
from course_lib.methods.base import NEEDS, ReconstructionMethod
from course_lib.methods.pretext.memory import MemoryBank
from course_lib.models.layers import Queue
from course_lib.models.teacher import EMA
from course_lib.runs import COLUMNS, recap_rows, recap_table
from course_lib.text import html_table
from helpers.lesson_tools import lessons

FREE = ("trained network",)  # begins with another network, or with its own: no part of it says so


@pytest.mark.parametrize("name", METHODS)
def test_what_a_method_needs_is_what_it_is_made_of(name):
    cls = method_class(name)
    assert set(cls.needs) <= set(NEEDS) and len(set(cls.needs)) == len(cls.needs)
    backbone = "vit-tiny" if name in ("mae", "simmim", "beit", "dmae", "dino", "ibot") else "convnet"
    method = build_method(name, backbone, 32)
    parts = list(method.modules())
    queue = dict(method.named_buffers()).get("queue")
    predictor = getattr(method, "predictor", None)
    for need, there in {
        "queue": any(isinstance(part, Queue) for part in parts) or (queue is not None and queue.numel() > 0),
        "teacher": any(isinstance(part, EMA) for part in parts),
        "memory bank": any(isinstance(part, MemoryBank) for part in parts),
        "predictor": predictor is not None and any(True for _ in predictor.parameters()),
        "masks": isinstance(method, ReconstructionMethod) or name == "ibot",
        "tokenizer": hasattr(method, "tokenizer"),
        "labels": cls.needs_labels,
    }.items():
        assert (need in cls.needs) == there, f"{name} and {need}"


def test_photographs_stand_beside_shapes():
    rows = {row["name"]: row for row in recap_rows()}
    assert all(len(row["knn"]) == 3 for row in rows.values())
    assert len(rows["VICReg"]["photographs"]) == 1 and rows["VICReg"]["photographs"][0] > 0.5
    assert len(rows["raw pixels"]["photographs"]) == len(rows["random encoder"]["photographs"]) == 1
    assert rows["MoCo"]["needs"] == ("negatives", "queue", "teacher") and rows["raw pixels"]["needs"] == ()
    head, *_ = repr(recap_table()).splitlines()
    assert [word in head for word in ("photographs: kNN (%)", "needs", "causes kept", "views/s")] == [True] * 4


@pytest.mark.parametrize("lesson", [path for path in lessons() if path.stem[:2].isdigit()], ids=lambda path: path.stem)
def test_every_week_shows_the_rows_so_far_as_they_are_now(lesson):
    week = int(lesson.stem[:2])
    cells = nbformat.read(lesson, as_version=4).cells
    shown = [output.data["text/plain"] for cell in cells if f"recap_table(upto={week})" in cell.source
             for output in cell.outputs if "causes kept" in output.get("data", {}).get("text/plain", "")]
    assert shown == [repr(recap_table(upto=week))], "run the lesson again: rows were added or made again"


def test_rows_are_sorted_by_what_is_asked_for():
    means = [sum(row["linear"]) for row in recap_table(by="linear").rows]
    assert means == sorted(means, reverse=True)
    assert recap_table(by="photographs").rows[-1]["photographs"] == []
    with pytest.raises(ValueError, match=f"by is 'speed'; expected one of {', '.join(COLUMNS)}"):
        recap_table(by="speed")


def test_only_a_heading_that_sorts_carries_the_sorting():
    rows = [["", "kNN"], ["a", "1"]]
    assert "onclick" not in html_table(rows, head=True) and html_table(rows, head=True, sort=True).count("onclick") == 1


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: apt-get install chromium)")
def test_a_click_on_a_heading_sorts_and_a_second_turns_it_round():
    sync_api = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    rows = [["", "kNN"], ["b", "9.5 ± 1"], ["a", "-"], ["c", "80.1"], ["d", "-0.2"]]
    with sync_api.sync_playwright() as p:
        page = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]).new_page()
        page.set_content(html_table(rows, head=True, sort=True))

        def order() -> str:
            return re.sub(r"\W", "", "".join(page.locator("tr td:first-child").all_inner_texts()))

        for heading, expected in (("kNN", "cbda"), ("kNN", "dbca"), ("", "abcd"), ("", "dcba")):
            page.locator("th", has_text=re.compile(f"^{heading}$")).click()
            assert order() == expected
