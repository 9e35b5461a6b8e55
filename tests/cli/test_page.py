"""A lesson as one HTML page: formulas, controls and folded code are there, and nothing comes from the network."""
from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree

import nbformat.v4 as v4
import pytest

from course_lib.cli.formulas import FormulaError, mathml
from course_lib.cli.lessons import list_lessons
from course_lib.cli.page import page
from course_lib.notebook.cards import WIDGET, without_widget

STYLED = "<style>.a:has(.course-12ab-still) {display: none}</style><div class='course-12ab-still'><b>Spectrum</b></div>"


def output(**data):
    return v4.new_output("display_data", {kind.replace("_", "/", 1): value for kind, value in data.items()})


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    widget = v4.new_output("display_data", {WIDGET: {"model_id": "12ab"}, "text/plain": ""})
    cells = [
        v4.new_markdown_cell("$x < \\frac12$ and\n\n$$\\mathcal L = \\sum_i x_i^2$$\n\nbut `a $b$ c`, $\\unknowable$"),
        v4.new_code_cell("hidden = 1", metadata={"jupyter": {"source_hidden": True}}),
        v4.new_code_cell("shown = 2", outputs=[
            v4.new_output("stream", text="before\n"), widget, output(text_html=STYLED, text_plain="Knob"),
            output(image_png="iVBORw0=")])]
    notebook = v4.new_notebook(cells=cells, metadata={"widgets": {"state": {}}})
    return page(notebook, "mini", tmp_path_factory.mktemp("p"))


def test_formulas_are_drawn_by_the_browser(html):
    """Bug: offline, the page showed the source of its formulas."""
    assert html.count("<math") == 2 and "ℒ" in html and "<munder>" in html
    seen = re.sub(r'alttext="[^"]*"', "", html)
    assert "mathcal" not in seen and "a $b$ c" in seen and "<code>\\unknowable</code>" in seen


def test_nothing_is_loaded(html):
    assert "<script" not in html
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//|@import|url\(["']?(?:https?:)?//""", html)


def test_controls_leave_title_and_picture_and_folded_code_stays_folded(html):
    assert "Spectrum" in html and "data:image/png;base64,iVBORw0=" in html and "before" in html
    assert WIDGET not in html and "course-12ab" not in html
    folded, = re.findall(r"<details class=\"course-folded\">.*?</details>", html, re.DOTALL)
    assert "hidden" in folded and "shown" not in folded and "<details open" not in html
    assert "pre-wrap" in html  # long lines are not cut, on paper neither


def test_every_formula_of_the_lessons_is_known():
    dollars = re.compile(r"\$\$(.+?)\$\$|(?<![\\$])\$([^$\n]+?)\$", re.DOTALL)
    for path in list_lessons():
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for block, inline in dollars.findall("".join(cell["source"])):
                    ElementTree.fromstring(mathml(block or inline, bool(block)))


@pytest.mark.parametrize("formula, inside", [
    (r"\frac12 x", "<mfrac><mn>1</mn><mn>2</mn></mfrac>"), (r"x_i^{2}", "<msubsup><mi>x</mi>"),
    (r"\mathbb R", "ℝ"), (r"\text{a b}", "<mtext>a\u00a0b</mtext>"), (r"z'", "′"), (r"\sqrt D", "<msqrt><mi>D</mi>"),
    (r"\underbrace{a}_{\text{agree}}", "agree"),
    (r"\underset{\text{clean}}{m}", "<munder>"), (r"a < b", "&lt;"), (r"\{0\}", "{"), (r"\Phi", "Φ"), (r"x - 1", "−"),
])
def test_formulas(formula, inside):
    found = mathml(formula)
    ElementTree.fromstring(found)
    assert inside in re.sub(r'alttext="[^"]*"', "", found)


@pytest.mark.parametrize("formula", [r"\nosuchthing", "{a", r"\frac1"])
def test_what_is_no_formula_is_said(formula):
    with pytest.raises(FormulaError):
        mathml(formula)


def test_a_bundle_without_its_widget():
    assert without_widget({WIDGET: {}, "text/plain": ""}) == {}
    assert without_widget({WIDGET: {}, "text/html": "<b>old</b>", "text/plain": "x"}) == {
        "text/html": "<b>old</b>", "text/plain": "x"}
    assert without_widget({"text/html": STYLED})["text/html"] == "<b>Spectrum</b>"
