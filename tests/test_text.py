"""The one table: aligned text, Markdown, HTML; and sentences with emphasis."""

from __future__ import annotations

import pytest

from course_lib.text import counted, html_table, prose, text_table

ROWS = [["", "kNN", "rank"], ["SimCLR", "80.1 %", "9"], ["a < b", "-", "12.5"]]


def test_text_is_aligned_and_ends_with_no_spaces():
    lines = text_table(ROWS, "<>").splitlines()
    assert lines == ["           kNN  rank", "SimCLR  80.1 %     9", "a < b        -  12.5"]
    assert text_table(ROWS).splitlines() == ["        kNN     rank", "SimCLR  80.1 %  9", "a < b   -       12.5"]


def test_markdown_has_a_rule_with_the_alignment():
    lines = text_table(ROWS, "<>", markdown=True).splitlines()
    assert lines[1] == "| ------ | -----: | ---: |" and lines[2] == "| SimCLR | 80.1 % |    9 |"


def test_html_is_escaped_and_may_have_a_head_and_coloured_edges():
    html = html_table(ROWS, head=True)
    assert html.count("<th ") == 3 and html.count("<td ") == 6 and "a &lt; b" in html and "border" not in html
    html = html_table(ROWS[1:], edges=["1,2,3", "4,5,6"])
    assert "<th" not in html and html.count("border-left") == 2 and "rgb(4,5,6)'>a &lt; b" in html


@pytest.mark.parametrize("text, html", [
    ("backward *adds* to .grad", "backward <em>adds</em> to .grad"),
    ("the *query's* rows, *for each part*.", "the <em>query&#x27;s</em> rows, <em>for each part</em>."),
    ("*its own* < theirs", "<em>its own</em> &lt; theirs"),
])
def test_a_sentence_has_its_emphasis(text, html):
    assert prose(text) == html


@pytest.mark.parametrize("code", ["C * side * side", "x**2 + y**2", "a*b*c", "f(*pair, *more)", "[*a.parameters(), *b]",
                                  "max(*x) * min(*x)", "2*(a + b)*c"])
def test_stars_that_multiply_or_unpack_stay(code):
    assert prose(code) == code


def test_a_noun_is_counted():
    assert [counted(n, "more epoch") for n in (1, 2, 0.5, 0, 1.0)] == [
        "1 more epoch", "2 more epochs", "0.5 more epochs", "0 more epochs", "1 more epoch"]
    assert counted(12_000, "picture") == "12,000 pictures"
