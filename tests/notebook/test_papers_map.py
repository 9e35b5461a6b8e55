"""The map of the reading list: what its data hold, what a notebook keeps of it, and its page in a real browser."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from explorer import CHROMIUM

from course_lib.files import CHECKOUT
from course_lib.notebook import cards, papers_map
from course_lib.notebook.cards import WIDGET
from course_lib.notebook.papers_map import FAMILIES, explore_papers
from course_lib.papers import load_papers, search

ROOM = CHECKOUT / "course_lib" / "notebook"
PAPERS = {paper.key: paper for paper in load_papers()}


# ------------------------------------------------------------------------------------------------ data
def test_it_has_every_paper_with_all_that_its_card_shows():
    made = explore_papers(highlight=["falcon"])
    held = {paper["key"]: paper for paper in made.data["papers"]}
    assert held.keys() == PAPERS.keys() and made.data["highlight"] == ["falcon"]
    assert {paper.family for paper in PAPERS.values()} == set(FAMILIES)
    assert [row["name"] for row in made.data["families"]] == list(FAMILIES)
    for key, paper in PAPERS.items():
        for name in ("title", "short", "idea", "detail", "equation", "url", "code_url", "method", "lesson", "year"):
            assert held[key][name] == getattr(paper, name)
        assert held[key]["builds_on"] == list(paper.builds_on) and held[key]["schedule"] == paper.in_schedule
        assert not paper.method or (CHECKOUT / held[key]["file"]).is_file()
    assert held["simclr"]["reported"] == "ImageNet top-1 (%): 69.3 %" and not held["drlim"]["reported"]


def test_rows_go_by_year_and_within_it_by_the_month_of_the_preprint():
    order = [paper["key"] for paper in explore_papers().data["papers"]]
    contrastive = [key for key in order if PAPERS[key].family == "contrastive"]
    assert contrastive[:3] == ["drlim", "npid", "cpc"] and [PAPERS[key].year for key in contrastive] == sorted(
        PAPERS[key].year for key in contrastive)
    assert order.index("moco") < order.index("simclr") < order.index("mocov2") < order.index("mochi")


def test_filters_at_the_start_are_those_of_the_search():
    assert explore_papers(word="mask", family="masked", year="2010-2018").data["start"] == {
        "word": "mask", "family": "masked", "first": 2018, "last": 2018}
    assert explore_papers(year=2020).data["start"]["first"] == 2020


@pytest.mark.parametrize("wrong, message", [
    ({"family": "mask"}, "no paper has the family 'mask'; expected one of"),
    ({"year": "2010"}, "no paper is of 2010; their years are 2006, 2018"),
    ({"year": "soon"}, "expected a year, 2020, or a range"),
    ({"highlight": ["falkon"]}, "no paper has the key 'falkon'"),
])
def test_what_no_paper_has_is_a_sentence(wrong, message):
    with pytest.raises(ValueError, match=message):
        explore_papers(**wrong)


# ------------------------------------------------------------------------------------------------ the page
def test_the_page_holds_everything_and_loads_nothing():
    html = explore_papers().html()
    data = re.search(r"<script type='application/json' id='papers_map-data'>(.*?)</script>", html)
    assert data and len(json.loads(data[1])["papers"]) == len(PAPERS)
    rest = html.replace(data[1], "").replace(papers_map.HERE.with_suffix(".js").read_text(encoding="utf-8"), "")
    assert not re.search(r"https?:|@import|\burl\(|<link|<img|\bsrc=", rest)
    script = (ROOM / "papers_map.js").read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"]+", script) == ["http://www.w3.org/2000/svg"], "a name, not an address"
    assert not re.search(r"\bimport\b|\bfetch\b|XMLHttpRequest|innerHTML", script)
    assert len(script.splitlines()) <= 270 and max(map(len, script.splitlines())) <= 120
    taught = sum(bool(paper.lesson) for paper in PAPERS.values())
    assert f"{taught} are taught in lessons" in unescape(html)


# ------------------------------------------------------------------------------------------------ display
def test_below_the_widget_stand_a_sentence_and_a_picture(monkeypatch):
    shown = []
    monkeypatch.setattr(papers_map, "shell", lambda: True)
    monkeypatch.setattr(cards, "display", shown.append)
    made = explore_papers(highlight=["falcon"])
    made._ipython_display_()
    widget, note, still = shown
    assert widget[WIDGET]["model_id"] == made._widget.model_id and made._widget.data == made.data
    assert "course papers --map" in note["text/plain"] and "<script" not in note["text/html"]
    assert len(still["image/png"]) < 250_000 and "115 papers" in still["text/plain"]
    made._widget.close()


def test_without_a_notebook_it_is_a_line(monkeypatch, capsys):
    monkeypatch.setattr(papers_map, "shell", lambda: None)
    explore_papers()._ipython_display_()
    assert capsys.readouterr().out == "<PapersMap of 115 papers>\n"


# ------------------------------------------------------------------------------------------------ in a browser
@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "papers.html"
    path.write_text(explore_papers(highlight=["falcon"]).html(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab(made):
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page, wrong = browser.new_page(viewport={"width": 1280, "height": 900}), []
        page.on("pageerror", lambda error: wrong.append(error))
        page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith("file:") else None)
        page.goto(made.as_uri())
        page.wait_for_function("window.papersMap")
        yield page
        browser.close()
        assert not wrong, wrong[0]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: apt-get install chromium)")
class TestInABrowser:
    @pytest.fixture
    def page(self, tab):
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.emulate_media(color_scheme="light")
        tab.locator(".reset").click()
        tab.mouse.move(0, 0)
        return tab

    @staticmethod
    def shown(page) -> set[str]:
        return set(page.locator(".grid .paper:not(.out)").evaluate_all("all => all.map(one => one.dataset.key)"))

    @staticmethod
    def chip(page, key: str):
        return page.locator(f".grid .paper[data-key='{key}']")

    def test_every_paper_is_a_button_without_overlap(self, page):
        assert self.shown(page) == PAPERS.keys() and page.locator(".count").inner_text() == "115 of 115 papers"
        for width in (1920, 1280, 1000, 800, 420):
            page.set_viewport_size({"width": width, "height": 900})
            # a busy machine lays the page out later
            page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
            chips = page.locator(".grid .paper")
            boxes = chips.evaluate_all("all => all.map(one => one.getBoundingClientRect().toJSON())")
            for i, one in enumerate(boxes):
                assert one["width"] > 30 and one["right"] <= width and not any(
                    one["left"] < other["right"] - 1 and other["left"] < one["right"] - 1
                    and one["top"] < other["bottom"] - 1 and other["top"] < one["bottom"] - 1 for other in boxes[:i])
            names = chips.locator("span")
            assert not names.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth).length"), "cut"

    def test_words_family_and_years_find_what_the_search_finds(self, page):
        for text, family, first, last in (("negative", "", 2006, 2023), ("QUEUE  keys", "contrastive", 2019, 2021),
                                          ("", "masked", 2020, 2022), ("zebra", "", 2006, 2023),
                                          ("NLG", "", 2020, 2020)):
            page.locator(".bar input").fill(text)
            page.locator("select[name=family]").select_option(family)
            page.locator("select[name=last]").select_option(str(last))
            page.locator("select[name=first]").select_option(str(first))
            wanted = {paper.key for paper in search(text, family or None, f"{first}-{last}")}
            assert self.shown(page) == wanted
            assert page.locator(".count").inner_text() == f"{len(wanted)} of 115 papers"
            assert sum(int(one) for one in page.locator(".head.year small").all_inner_texts()) == len(wanted)
        page.locator(".reset").click()
        assert self.shown(page) == PAPERS.keys()

    def test_what_the_course_has_of_a_paper_is_a_filter(self, page):
        for value, wanted in (("lesson", lambda paper: paper.lesson), ("method", lambda paper: paper.method),
                              ("schedule", lambda paper: paper.in_schedule),
                              ("rest", lambda paper: not paper.lesson and not paper.method)):
            page.locator("select[name=show]").select_option(value)
            assert self.shown(page) == {key for key, paper in PAPERS.items() if wanted(paper)}

    def test_rows_and_columns_are_filters_too(self, page):
        page.locator(".head.family", has_text="clustering").click()
        page.locator(".head.year", has_text="2021").click()
        assert self.shown(page) == {"ruc", "mice"}
        page.locator(".head.family", has_text="clustering").click()
        page.locator(".head.year", has_text="2021").click()
        assert self.shown(page) == PAPERS.keys()

    def test_a_click_opens_the_card_and_its_links_lead_on(self, page):
        self.chip(page, "vicreg").click()
        card = page.locator(".card")
        text, paper = card.inner_text(), PAPERS["vicreg"]
        for part in (paper.title, paper.idea, paper.detail, paper.equation, "course lab 03", "course train vicreg",
                     "course_lib/methods/contrastive/vicreg.py"):
            assert part in text
        assert [one.get_attribute("href") for one in card.locator("a").all()] == [paper.url, paper.code_url]
        assert page.url.endswith("#vicreg")
        assert page.locator("svg path.up:not(.far)").count() == 1 and page.locator("svg path.far").count() >= 3
        card.locator(".paper", has_text="Barlow Twins").click()
        assert page.locator(".card h2").inner_text() == "Barlow Twins" and page.url.endswith("#barlow")
        assert page.evaluate("document.activeElement.tagName") == "H2", "the keyboard follows"
        assert "down" in self.chip(page, "vicreg").get_attribute("class").split()
        assert "up" in self.chip(page, "byol").get_attribute("class").split()
        page.go_back()
        page.wait_for_function("papersMap.state.picked === 'vicreg'")
        page.locator(".close").click()
        assert page.locator(".card h2").inner_text() == "Where to begin?" and not page.locator("svg path").count()

    def test_pointing_shows_title_and_lines(self, page):
        self.chip(page, "mochi").hover()
        assert PAPERS["mochi"].title in page.locator(".tip.shown").inner_text()
        assert page.locator("svg path.up:not(.far)").count() == 1
        assert "up" in self.chip(page, "mocov2").get_attribute("class").split()
        page.mouse.move(0, 0)
        assert not page.locator(".tip.shown").count() and not page.locator("svg path").count()

    def test_the_keyboard_alone_is_enough(self, page):
        page.locator(".bar input").fill("negative")
        page.locator(".reset").focus()
        for _ in range(12):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.matches('.grid .paper')"):
                break
        here = page.evaluate("document.activeElement.dataset.key")
        assert here in self.shown(page)
        page.keyboard.press("ArrowDown")
        after = page.evaluate("document.activeElement.dataset.key")
        assert after != here and after in self.shown(page)
        page.keyboard.press("Enter")
        assert page.locator(".card h2").inner_text() == PAPERS[after].short
        page.keyboard.press("Escape")
        assert page.evaluate("[papersMap.state.picked, document.activeElement.dataset.key]") == [None, after]
        reached, last = set(), None
        page.evaluate("papersMap.set({ word: '', family: 'other' })")
        self.chip(page, "mine").focus()
        while (key := page.evaluate("document.activeElement.dataset.key")) != last:
            reached, last = reached | {key}, key
            page.keyboard.press("ArrowRight")
        assert {PAPERS[key].year for key in reached} == {PAPERS[key].year for key in self.shown(page)}

    def test_an_address_opens_a_card_and_chance_another(self, page, made):
        fresh = page.context.browser.new_page()
        fresh.goto(f"{made.as_uri()}#spark")
        fresh.wait_for_function("window.papersMap")
        assert fresh.locator(".card h2").inner_text() == "SparK"
        fresh.locator("select[name=family]").select_option("dense")
        fresh.locator(".chance").click()
        assert PAPERS[fresh.evaluate("papersMap.state.picked")].family == "dense"
        fresh.goto(f"{made.as_uri()}#nothing")
        assert fresh.locator(".card h2").inner_text() == "Where to begin?"
        fresh.close()

    def test_a_narrow_page_leaves_out_what_does_not_fit_and_shows_the_card_as_a_sheet(self, page):
        page.set_viewport_size({"width": 420, "height": 800})
        page.locator("select[name=family]").select_option("masked")
        assert not self.chip(page, "moco").is_visible() and self.chip(page, "mae").is_visible()
        self.chip(page, "mae").click()
        box = page.locator(".card").bounding_box()
        assert box["y"] + box["height"] <= 801 and self.chip(page, "mae").bounding_box()["y"] < box["y"]

    def test_it_is_readable_in_light_and_dark(self, page):
        self.chip(page, "simclr").click()
        grounds = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            seen = page.evaluate("""() => { const of = (selector, what) => {
              const seen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
              seen.fillStyle = getComputedStyle(document.querySelector(selector))[what]; seen.fillRect(0, 0, 1, 1);
              const [r, g, b] = seen.getImageData(0, 0, 1, 1).data; return (r + g + b) / 3; };
              return [of(".card", "backgroundColor"), of(".card p", "color"),
                      of(".grid .paper.rest", "backgroundColor"), of(".grid .paper.rest", "color")]; }""")
            grounds.append(seen[0])
            assert abs(seen[0] - seen[1]) > 150 and abs(seen[2] - seen[3]) > 150
        assert grounds[0] > 200 > 60 > grounds[1]
