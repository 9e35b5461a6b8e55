"""The map of the networks in a real browser: dots, colours, and a card that leads to the lesson."""

from __future__ import annotations

import pytest
from explorer import CHROMIUM

from course_lib.notebook.atlas import explore_networks
from course_lib.notebook.pages import Part, offline_page
from course_lib.runs.atlas import read_atlas


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: apt-get install chromium)")
def test_a_dot_leads_to_its_lesson_and_its_neighbours(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    atlas = read_atlas().select(kinds=("learned", "untrained"))
    made = explore_networks(atlas)
    page = offline_page("networks", Part("atlas", made.data, "window.atlas = draw(element, data);"))
    (tmp_path / "networks.html").write_text(page, encoding="utf-8")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        tab, wrong = browser.new_page(viewport={"width": 1080, "height": 700}), []
        tab.on("pageerror", lambda error: wrong.append(error))
        tab.goto((tmp_path / "networks.html").as_uri())
        tab.wait_for_function("window.atlas")
        assert tab.locator(".dot:visible").count() == len(atlas.entries)
        tab.locator("input[type=checkbox]").uncheck()
        assert tab.locator(".dot:visible").count() == len(atlas.select(kinds=("learned",)).entries)
        places = tab.locator(".dot:visible i").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect()).map(box => [box.x, box.y])")
        near = min(abs(a[0] - b[0]) + abs(a[1] - b[1]) for i, a in enumerate(places) for b in places[:i])
        assert near > 10, "dots do not cover one another"
        tab.locator(".dot[data-name=byol] i").click()
        card = tab.locator(".card")
        assert card.locator("h4").inner_text() == "BYOL" and "kNN" in card.inner_text()
        assert card.locator("a").get_attribute("href") == "06_byol.ipynb"
        assert tab.locator("line").count() > 0
        first = made.data["networks"][[n["name"] for n in made.data["networks"]].index("byol")]["near"][0][0]
        card.locator(".link").first.click()
        assert tab.evaluate("atlas.state.picked") == first
        before = tab.locator(".dot[data-name=mae]").evaluate("one => one.style.getPropertyValue('--c')")
        tab.locator("select").select_option("hue")
        assert tab.locator(".dot[data-name=mae]").evaluate("one => one.style.getPropertyValue('--c')") != before
        tab.locator(".dot[data-name=mae]").press("Escape")
        assert card.locator("h4").inner_text() == "Click a network"
        browser.close()
    assert not wrong, wrong[0]
