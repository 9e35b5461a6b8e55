"""`course look`: one page of a person's own pictures, what it says when it cannot, and what a click changes."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from explorer import CHROMIUM
from PIL import Image

from course_lib.data.shapes import make_shapes
from course_lib.methods import build_method
from course_lib.runs.networks import keep
from course_lib.train.checkpoint import save_small
from course_lib.train.loop import fit
from helpers.commands import course
from helpers.tiny import SMALL, images


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, drawn = tmp_path_factory.mktemp("mine"), make_shapes(14, seed=3)
    for i, image in enumerate(drawn.images):
        where = folder / ("dark", "light")[i % 2]
        where.mkdir(exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(where / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A vision transformer of 4 x 4 places, 2 layers and 3 heads, as a checkpoint."""
    method = build_method("dino", "vit-tiny", 16, backbone_options={"patch": 4, "depth": 2, "dim": 24})
    return save_small(tmp_path_factory.mktemp("run") / "last.pt", method)


@pytest.fixture(scope="module")
def made(pictures, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "look.html"
    assert course("look", pictures, "--with", small, "--out", out, "--device", "cpu") == 0
    return out


def part(html: str, name: str) -> dict:
    found = re.search(rf"<script type='application/json' id='{name}-data'>(.*?)</script>", html)
    assert found, name
    return json.loads(found[1])


# ------------------------------------------------------------------------------------------------ the file
def test_the_page_holds_the_map_and_a_dozen_of_the_pictures_and_loads_nothing(made):
    html = made.read_text(encoding="utf-8")
    assert not re.search(r"https?:|\bimport\b|@import", re.sub(r"data'>.*?</script>", "", html))
    held = part(html, "embedding_map")
    assert held["count"] == 14 and held["numbers"][0] == "dark/00.png"
    assert held["causes"][0]["names"] == ["dark", "light"]
    held = part(html, "places")
    assert len(held["names"]) == 12 and held["names"][-1] == "light/13.png" and held["attention"]["layers"] == [1, 2]


def test_it_says_what_is_written_and_of_how_many(pictures, small, tmp_path, capsys):
    assert course("look", pictures, "--with", small, "--out", tmp_path / "a.html", "--image-size", 32) == 0
    said = capsys.readouterr().out
    assert "of 12 pictures" in said and "14 pictures of 32 x 32 pixels" in said and "a.html" in said


def test_a_single_picture_has_no_map(pictures, small, tmp_path, capsys):
    assert course("look", pictures / "dark" / "00.png", "--with", small, "--out", tmp_path / "a.html") == 0
    html = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "embedding_map" not in html and part(html, "places")["names"] == ["00.png"]
    assert "1 picture of" in capsys.readouterr().out


def test_a_network_may_be_a_run_its_backbone_an_export_or_a_learned_one(pictures, tmp_path, monkeypatch):
    run = tmp_path / "run"
    fit(build_method("vicreg", "convnet", 16, width=16), images(32), steps=1, out=run, **SMALL)
    assert course("export", run, "--out", tmp_path / "exported.pt") == 0
    monkeypatch.setenv("COURSE_NETWORKS", str(tmp_path / "networks"))
    keep(build_method("vicreg", "convnet", 16, width=16), "vicreg", "photographs")
    pages = []
    for network in (run, run / "last.pt", run / "backbone.pt", tmp_path / "exported.pt", "photographs:vicreg"):
        assert course("look", pictures, "--with", network, "--out", tmp_path / "a.html", "--device", "cpu") == 0
        pages.append(part((tmp_path / "a.html").read_text(encoding="utf-8"), "places"))
    assert pages[0] == pages[1] == pages[2] == pages[3] != pages[4]
    assert pages[0]["attention"] is None and pages[0]["size"] == 16


@pytest.mark.parametrize("words, said", [
    (("nowhere", "--with", "RUN"), "There is no file or folder nowhere"),
    (("words.png", "--with", "RUN"), "words.png: the content is not JPEG, PNG or WebP"),
    (("PICTURES", "--with", "nothing"), "no learned network of that name; there are: photographs:vicreg"),
    (("PICTURES", "--with", "no/run"), "there is no run and no file no/run"),
    (("PICTURES", "--with", "words.png"), "not a readable checkpoint"),
    (("PICTURES", "--with", "RUN", "--image-size", "0"), "expected 1 to 512 pixels"),
    (("PICTURES", "--with", "RUN", "--image-size", "18"), "cannot be cut into patches of 4"),
])
def test_mistakes_are_sentences(words, said, pictures, small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_NETWORKS", str(tmp_path / "networks"))
    keep(build_method("vicreg", "convnet", 16, width=16), "vicreg", "photographs")
    (tmp_path / "words.png").write_text("no picture")
    swapped = {"RUN": small, "PICTURES": pictures}
    assert course("look", *(swapped.get(word, word) for word in words)) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not list(tmp_path.glob("*.html"))


# ------------------------------------------------------------------------------------------------ in a browser
@pytest.fixture(scope="module")
def tab(made):
    playwright = pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page, errors = browser.new_page(viewport={"width": 1180, "height": 900}), []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(made.as_uri())
        page.wait_for_function("window.places && window.explorer")
        yield page
        browser.close()
        assert not errors, errors[0]


PIXEL = """([name, row, column]) => {  // RGB at the middle of a place of a panel
  const { canvas } = places.panels[name], at = part => Math.round((part + 0.5) * canvas.width / 4);
  return [...canvas.getContext("2d").getImageData(at(column), at(row), 1, 1).data].slice(0, 3);
}"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: apt-get install chromium)")
class TestInABrowser:
    @pytest.fixture
    def page(self, tab):
        tab.evaluate("places.set({ picture: 0, place: [2, 2], token: true, layer: 1, head: 3, stage: 0 })")
        return tab

    @pytest.fixture
    def held(self, made):
        return part(made.read_text(encoding="utf-8"), "places")

    @staticmethod
    def expected(held: dict, picture: int, place: tuple[int, int], weight: int) -> np.ndarray:
        """A place's middle pixel in grey under the colour of a weight."""
        size = held["size"]
        pixels = np.frombuffer(base64.b64decode(held["pixels"]), np.uint8).reshape(-1, size, size, 3)
        scale = np.frombuffer(base64.b64decode(held["scale"]), np.uint8).reshape(256, 3)
        row, column = ((2 * at + 1) * size // 8 for at in place)
        return 0.35 * pixels[picture, row, column].mean() + 0.65 * scale[weight]

    @staticmethod
    def values(text: str, *shape: int) -> np.ndarray:
        return np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)

    def test_a_click_asks_for_its_place(self, page, held):
        alike = self.values(held["stages"][0]["alike"], 12, 16, 16)
        weights = self.values(held["attention"]["weights"], 12, 2, 5, 17, 17)
        shown = page.locator(".places .picture canvas")
        assert "from the class token" in page.locator(".attention figcaption").inner_text()
        before = page.evaluate(PIXEL, ["attention", 0, 0])
        assert np.abs(before - self.expected(held, 0, (0, 0), weights[0, 1, 3, 0, 1])).max() <= 3
        shown.click(position={"x": 0.8 * 260, "y": 0.3 * 260})
        assert page.evaluate("places.state.place") == [1, 3]
        for at in ((0, 0), (3, 1), (2, 2)):
            cell = at[0] * 4 + at[1]
            wanted = self.expected(held, 0, at, alike[0, 7, cell])
            assert np.abs(page.evaluate(PIXEL, ["alike", *at]) - wanted).max() <= 3
            wanted = self.expected(held, 0, at, weights[0, 1, 3, 8, 1 + cell])
            assert np.abs(page.evaluate(PIXEL, ["attention", *at]) - wanted).max() <= 3
        said = page.locator(".attention figcaption").inner_text()
        assert f"from the framed place: layer 2, mean of the heads; {weights[0, 1, 3, 8, 0]} %" in said

    def test_layer_head_and_the_class_token_are_chosen(self, page, held):
        weights = self.values(held["attention"]["weights"], 12, 2, 5, 17, 17)
        page.locator(".places select").nth(0).select_option("1")
        page.locator(".places select").nth(1).select_option("head 2")
        page.locator(".places .figures canvas").first.focus()
        page.keyboard.press("ArrowUp")
        assert page.evaluate("[places.state.place, places.state.token]") == [[1, 2], False]
        wanted = self.expected(held, 0, (3, 3), weights[0, 0, 1, 7, 16])
        assert np.abs(page.evaluate(PIXEL, ["attention", 3, 3]) - wanted).max() <= 3
        page.locator(".places .token").click()
        wanted = self.expected(held, 0, (3, 3), weights[0, 0, 1, 0, 16])
        assert np.abs(page.evaluate(PIXEL, ["attention", 3, 3]) - wanted).max() <= 3

    def test_another_picture_is_shown_from_the_strip_and_from_the_map(self, page, held):
        page.locator(".places .strip button").nth(5).click()
        pixels = self.values(held["pixels"], 12, 16, 16, 3)
        assert np.abs(page.evaluate(PIXEL, ["picture", 0, 1]) - pixels[5, 2, 6].astype(int)).max() <= 1
        assert page.locator(".places .strip [aria-pressed=true]").count() == 1
        colours = self.values(held["stages"][0]["colours"], 12, 4, 4, 3)
        assert np.abs(page.evaluate(PIXEL, ["colours", 3, 0]) - colours[5, 3, 0].astype(int)).max() <= 1
        page.evaluate("explorer.set({ picked: 13, group: [] })")
        assert page.evaluate("places.state.picture") == 11
        assert "light/13.png" in page.locator(".picture figcaption").inner_text()

    def test_it_is_readable_in_light_and_dark(self, page):
        grounds = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            ground, ink = page.evaluate("""() => { const of = (element, what) => {
              const seen = document.createElement("canvas").getContext("2d");
              seen.fillStyle = getComputedStyle(element)[what]; seen.fillRect(0, 0, 1, 1);
              return seen.getImageData(0, 0, 1, 1).data[0]; };
              document.body.style.background = "Canvas";
              return [of(document.body, "backgroundColor"), of(document.querySelector("figcaption"), "color")]; }""")
            grounds.append(ground)
            assert abs(ground - ink) > 150
        assert grounds[0] > 200 > 60 > grounds[1]
