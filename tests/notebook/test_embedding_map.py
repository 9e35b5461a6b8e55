"""The embedding explorer: what its data hold, sentences for what does not fit, and its page in a real browser."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from explorer import CHROMIUM, PLACE, example, opened
from PIL import Image

from course_lib.data.images import ImageSet
from course_lib.data.shapes import make_shapes
from course_lib.files import CHECKOUT
from course_lib.notebook import cards, embedding_map
from course_lib.notebook.cards import WIDGET
from course_lib.notebook.embedding_map import explore_embedding
from course_lib.notebook.flattening import flat_maps
from course_lib.plots import CYCLE
from course_lib.runs.networks import Journey, Learned
from helpers.draws import randn

ROOM = CHECKOUT / "course_lib" / "notebook"


def values(data: dict, key: str, dtype=np.uint16) -> np.ndarray:
    return np.frombuffer(data[key], dtype)


def journey(images: int = 40, seed: int = 0) -> Journey:
    points = randn(3, images, 16, seed=seed, dtype=torch.float32).numpy().astype(np.float16)
    return Journey(np.array([0, 5, 20]), points, np.arange(images) % 8, np.arange(images) * 3)


# ------------------------------------------------------------------------------------------------ data
def test_neighbours_are_those_of_a_naive_loop_at_every_checkpoint():
    features = randn(2, 25, 6, dtype=torch.float32)
    network = explore_embedding(features, k=4).data["networks"][0]
    found = values(network, "neighbours").reshape(2, 25, 4)
    for t in range(2):
        centred = features[t] - features[t].mean(0)
        for i in range(25):
            cosines = {j: float(torch.cosine_similarity(centred[i], centred[j], dim=0)) for j in range(25) if j != i}
            assert found[t, i].tolist() == sorted(cosines, key=cosines.get, reverse=True)[:4]


def test_flat_directions_are_mapped_as_they_are():
    angles = torch.arange(12) / 12 * 2 * torch.pi
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    made = explore_embedding(ring, k=2)
    assert made.data["networks"][0]["kept"] == [pytest.approx(1)]
    distances = np.linalg.norm(made.points()[0, :, None] - made.points()[0, None], axis=-1)
    wanted = torch.cdist(ring, ring).numpy()
    assert np.allclose(distances / distances.max(), wanted / wanted.max(), atol=1e-3)


def test_all_checkpoints_lie_in_one_frame_and_a_turned_network_on_the_other():
    features = randn(30, 8, dtype=torch.float32)
    moving = torch.stack([features, features, features + 0.02 * randn(30, 8, seed=1, dtype=torch.float32)])
    turn = torch.linalg.qr(randn(8, 8, seed=2, dtype=torch.float32))[0]
    made = explore_embedding({"one": moving, "turned": moving @ turn})
    assert np.array_equal(made.points()[0], made.points()[1])
    assert np.abs(made.points()[2] - made.points()[0]).max() < 0.05
    assert np.allclose(made.points(0), made.points(1), atol=1e-3)
    assert made.data["networks"][0]["steps"] == [0, 1, 2]


def test_tsne_sets_out_from_the_later_checkpoint():
    groups = 6 * torch.eye(3).repeat_interleave(12, 0)
    features = torch.stack([groups, groups]) + 0.3 * randn(2, 36, 3, dtype=torch.float32)
    made = explore_embedding(features, method="tsne")
    early, late = (points.reshape(3, 12, 2).mean(1) for points in made.points())
    apart = np.linalg.norm(early[:, None] - late[None], axis=-1)
    assert (apart.argmin(1) == np.arange(3)).all()  # each group is where it will be
    assert made.data["networks"][0]["kept"] is None


def test_causes_have_the_colours_of_their_kind_and_none_where_they_are_not_known():
    images = make_shapes(50, seed=1)
    causes = {cause["name"]: cause for cause in explore_embedding(randn(50, 4), images).data["causes"]}
    assert list(causes)[:2] == ["class", "hue"] and "pos x" in causes
    assert causes["class"]["names"] == list(images.classes)
    assert values(causes["class"], "codes", np.int16).tolist() == images.labels.tolist()
    assert values(causes["hue"], "codes", np.int16).tolist() == (64 * images.factors["hue"]).long().tolist()
    size = images.factors["size"]
    assert causes["size"]["low"] == float(size.min())
    assert values(causes["size"], "codes", np.int16)[[size.argmin(), size.argmax()]].tolist() == [0, 63]
    none = images.factors["rotation_sin"].isnan().numpy()
    assert none.any() and np.array_equal(values(causes["rotation sin"], "codes", np.int16) == -1, none)
    assert np.allclose(values(causes["rotation sin"], "values", np.float32), images.factors["rotation_sin"],
                       equal_nan=True)


@pytest.mark.parametrize("count, size, cell", [(10, 32, 32), (7, 96, 64)])
def test_the_sheet_has_every_image_at_its_place(count, size, cell):
    shade = torch.arange(count, dtype=torch.uint8) * 20
    images = ImageSet(shade.view(-1, 1, 1, 1).expand(count, 3, size, size).clone())
    sheet = explore_embedding(randn(count, 4), images, k=3).data["sheet"]
    picture = np.asarray(Image.open(io.BytesIO(sheet["bytes"])))
    assert picture.shape == (sheet["rows"] * cell, sheet["columns"] * cell, 3)
    for i in range(count):
        row, column = divmod(i, sheet["columns"])
        tile = picture[row * cell:(row + 1) * cell, column * cell:(column + 1) * cell]
        assert np.abs(tile.astype(int) - int(shade[i])).max() <= 4


def test_a_learned_network_takes_its_images_out_of_the_test_set():
    path, test = journey(), make_shapes(200, seed=2)
    with pytest.raises(ValueError, match="images has other labels than the learned network's path"):
        explore_embedding(path, test)
    path.labels = test.labels[path.numbers].numpy().astype(np.int16)
    made = explore_embedding(Learned(None, None, [], path), test)
    assert made.data["numbers"] == path.numbers.tolist() and made.data["networks"][0]["steps"] == [0, 5, 20]
    assert values(made.data["causes"][0], "values", np.float32).tolist() == test.labels[path.numbers].tolist()
    assert explore_embedding(path, classes="abcdefgh").data["causes"][0]["names"] == list("abcdefgh")
    alone = explore_embedding(path)
    assert alone.data["sheet"] is None and [cause["name"] for cause in alone.data["causes"]] == ["class"]
    assert values(alone.data["causes"][0], "values", np.float32).tolist() == path.labels.tolist()
    assert explore_embedding(randn(20, 4)).data["causes"] == []


@pytest.mark.parametrize("arguments, sentence", [
    (({"a": randn(9, 4), "b": randn(9, 4), "c": randn(9, 4)},), "3 networks were given; the map shows one, or two"),
    (({"a": randn(20, 4), "b": randn(19, 4)},), "'b' has 19 images, and they are not the 20 images of 'a'"),
    (({"a": journey(), "b": randn(40, 4)},), "'b' has 40 images, and they are not the 40 images"),
    ((randn(8, 4),), "there are 8 images; the map takes 9 to 10,000"),
    ((torch.zeros(10_001, 2),), "there are 10001 images"),
    ((randn(20),), r"expected \(N, D\), or \(T, N, D\)"),
    ((journey(), make_shapes(60)), "images has 60 of them, but the features are of 40, the last of them number 117"),
    ((randn(20, 4), make_shapes(20), "weather"), "colour is 'weather'; the known causes are: class, hue"),
    ((torch.full((20, 4), torch.nan),), "contain NaN"),
    ((Learned(None, None, [], None),), "has no path"),
    ((journey(), None, "class", "pca", "", 8, ("cat", "dog")), "there are 2 classes, but the labels reach 7"),
    ((randn(20, 4), None, "class", "umap"), "method is 'umap'; expected 'pca' or 'tsne'"),
])
def test_what_does_not_fit_is_a_sentence(arguments, sentence):
    if isinstance(arguments[0], Learned):
        arguments[0].record = type("Record", (), {"id": "shapes-byol-s0"})
    with pytest.raises(ValueError, match=sentence):
        explore_embedding(*arguments)


# ------------------------------------------------------------------------------------------------ display
def test_below_the_widget_stands_a_small_picture_of_at_most_500_images(monkeypatch):
    shown = []
    monkeypatch.setattr(embedding_map, "shell", lambda: True)
    monkeypatch.setattr(cards, "display", shown.append)
    made = example(600)
    made._ipython_display_()
    widget, note, still = shown
    assert widget[WIDGET]["model_id"] == made._widget.model_id
    assert "run this cell" in note["text/plain"] and "<script" not in note["text/html"]
    assert len(still["image/png"]) < 250_000 and "600 images by network 1 and network 2" in still["text/plain"]
    dots = sum(len(dots.get_offsets()) for dots in made.figure().axes[0].collections)
    assert dots == 500 and made.figure().axes[0].artists
    made._widget.state = {"picked": 3, "group": []}
    assert made.picked == 3 and made.group == []
    made._widget.close()


def test_the_picture_has_the_colours_of_the_first_cause():
    made = make_shapes(30, size=16)
    drawn = {colour: explore_embedding(randn(30, 4), made, colour=colour).figure()
             for colour in ("class", "background", "hue", "size")}
    named = {colour: figure.legends[0] for colour, figure in drawn.items() if figure.legends}
    assert {colour: legend.get_title().get_text() for colour, legend in named.items()} == {
        "class": "class", "background": "background"}
    size = made.factors["size"]
    for colour, ends in (("hue", (0, 1)), ("size", (float(size.min()), float(size.max())))):
        bar = drawn[colour].axes[-1]
        assert bar.get_ylabel() == colour and bar.get_ylim() == pytest.approx(ends)
    found = sorted({str(int(b)) for b in made.factors["background"]})
    assert sorted(text.get_text() for text in named["background"].get_texts()) == found


def test_a_photograph_is_not_drawn_into_the_picture_that_is_saved():
    photographs = ImageSet(torch.zeros(20, 3, 16, 16, dtype=torch.uint8), torch.arange(20) % 2, ("cat", "dog"))
    assert not explore_embedding(randn(20, 4), photographs).figure().axes[0].artists


def test_the_page_needs_nothing_from_elsewhere_and_its_script_is_short():
    script = (ROOM / "embedding_map.js").read_text(encoding="utf-8")
    assert len(script.splitlines()) <= 300 and max(map(len, script.splitlines())) <= 120
    images = ImageSet(torch.zeros(20, 3, 16, 16, dtype=torch.uint8), torch.arange(20) % 2, ("</script>", "b"))
    page = explore_embedding(randn(20, 4), images).html()
    assert not re.search(r"https?:|\bimport\b|@import", page) and page.count("</script>") == 2


# ------------------------------------------------------------------------------------------------ in a browser
browser = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian and Ubuntu: "
                                                                             "apt-get install chromium)")]


@pytest.fixture(scope="module")
def made():
    return example(150)


@pytest.fixture(scope="module")
def tab(made):
    pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    with opened(made, color_scheme="light") as page:
        yield page


@pytest.fixture
def page(tab):
    tab.mouse.move(5, 5)
    tab.evaluate("explorer.set({ step: 2, picked: null, group: [], colour: 0 })")
    return tab


def state(page) -> dict:
    return page.evaluate("explorer.state")


def place(page, number: int, image: int) -> list[float]:
    return page.evaluate(PLACE, [number, image])


def pixel(page, layer: str, number: int, image: int, dx: float = 0, dy: float = 0) -> list[int]:
    """RGBA of a map's canvas at an image's point, or beside it."""
    return page.evaluate("""([layer, number, image, dx, dy]) => { const map = explorer.maps[number], { dpr } = map;
      const x = Math.round((map.x[image] + dx) * dpr), y = Math.round((map.y[image] + dy) * dpr);
      return [...map[layer].getContext("2d").getImageData(x, y, 1, 1).data] }""", [layer, number, image, dx, dy])


def alone(made, number: int = 0) -> int:
    """The image whose point is farthest from its next one."""
    points = torch.from_numpy(made.points(number)[-1].copy())
    return int(torch.cdist(points, points).fill_diagonal_(9).amin(1).argmax())


def neighbours(made, number: int, image: int, checkpoint: int = -1) -> list[int]:
    network = made.data["networks"][number]
    return values(network, "neighbours").reshape(-1, made.data["count"], 8)[checkpoint, image].tolist()


class TestInABrowser:
    pytestmark = browser

    def test_every_point_is_drawn_in_the_colour_of_its_class(self, page, made):
        for number in (0, 1):
            assert all(pixel(page, "under", number, i)[3] == 255 for i in range(0, 150, 10))
            one = alone(made, number)
            label = values(made.data["causes"][0], "codes", np.int16)[one]
            colour = [int(CYCLE[label][i:i + 2], 16) for i in (1, 3, 5)]
            assert np.abs(np.subtract(pixel(page, "under", number, one)[:3], colour)).max() <= 2
            assert pixel(page, "under", number, one, 12 if one else 13)[3] == 0
        assert "step 2" in page.locator("figcaption").first.inner_text()

    def test_a_point_under_the_mouse_shows_its_image_and_words(self, page, made):
        one = alone(made)
        page.mouse.move(*place(page, 0, one))
        tip = page.locator(".tip")
        assert tip.is_visible() and f"image {one}\nclass: " in tip.inner_text()
        seen = np.asarray(Image.open(io.BytesIO(tip.locator(".thumb").screenshot())).convert("RGB").resize((32, 32)))
        drawn = make_shapes(150, seed=1, split="test").images[one].permute(1, 2, 0).numpy()
        assert np.abs(seen.astype(float) - drawn).mean() < 12
        assert pixel(page, "over", 0, one, 7)[3] and pixel(page, "over", 1, one, 7)[3]  # ringed in both maps
        page.mouse.move(5, 5)
        assert not tip.is_visible()

    def test_a_click_picks_an_image_and_outlines_its_neighbours_in_both_maps(self, page, made):
        one = alone(made)
        page.mouse.click(*place(page, 0, one))
        page.mouse.move(5, 5)
        assert state(page)["picked"] == one
        rows = page.locator(".thumbs")
        for number in (0, 1):
            near = neighbours(made, number, one)
            assert pixel(page, "over", number, one, 0, -9)[3]
            for j in near:
                assert pixel(page, "over", number, j, 0, -6)[3], f"{j} is not outlined in map {number}"
            titles = [thumb.get_attribute("title") for thumb in rows.nth(number).locator(".thumb").all()]
            assert [int(re.search(r"\d+", title)[0]) for title in titles] == [one, *near]
            others = set(range(150)) - {one, *near}
            assert all(pixel(page, "under", number, i)[3] == 255 for i in near)
            assert sum(pixel(page, "under", number, i)[3] < 255 for i in list(others)[:20]) >= 15
        page.mouse.click(*np.add(page.evaluate(PLACE, [1, alone(made, 1)]), (0, 1)).tolist())
        assert state(page)["picked"] == alone(made, 1)

    def test_a_lasso_groups_what_is_inside_and_tells_its_causes(self, page, made):
        box = page.locator("canvas").nth(1).bounding_box()
        left, right = box["x"] + 2, box["x"] + box["width"] / 2
        top, bottom = box["y"] + 2, box["y"] + box["height"] - 2
        page.mouse.move(left, top)
        page.mouse.down()
        for x, y in ((right, top), (right, bottom), (left, bottom)):
            page.mouse.move(x, y, steps=3)
        page.mouse.up()
        page.mouse.move(5, 5)
        inside = [i for i in range(150) if place(page, 0, i)[0] < right]
        assert 20 < len(inside) < 130 and state(page)["group"] == inside and state(page)["picked"] is None
        for number in (0, 1):
            assert all(pixel(page, "under", number, i)[3] == 255 for i in inside[:15])
        report = page.locator(".report")
        assert f"{len(inside)} of 150 images" in report.inner_text()
        images = make_shapes(150, seed=1, split="test")
        counts, everyone = images.labels[inside].bincount(minlength=8), images.labels.bincount(minlength=8)
        most = int(counts.argmax())
        row = report.locator("tr", has_text=re.compile("^class"))
        assert (f"{100 * counts[most] / len(inside):.0f} % {images.classes[most]} (of all images "
                f"{100 * everyone[most] / 150:.0f} %)") in row.inner_text()
        agreed = 1 - (1 - counts.max() / len(inside)) / (1 - everyone.max() / 150)
        assert abs(int(row.locator(".bar").get_attribute("title").split()[0]) - 100 * agreed) <= 1
        size = images.factors["size"]
        spread = 100 * size[inside].std(correction=0) / size.std(correction=0)
        text = report.locator("tr", has_text=re.compile("^size")).inner_text()
        assert f"around {size[inside].mean():.2f}" in text
        assert abs(int(re.search(r"spread (\d+)", text)[1]) - spread) <= 1

    def test_the_slider_moves_the_points_and_takes_their_neighbours_of_then(self, page, made):
        one = alone(made)
        page.mouse.click(*place(page, 0, one))
        late = place(page, 0, one)
        page.locator("input[type=range]").focus()
        page.keyboard.press("Home")
        assert state(page)["step"] == 0 and "step 0" in page.locator("figcaption").first.inner_text()
        early = place(page, 0, one)
        side = 65535 * page.evaluate("explorer.maps[0].unit")
        moved = np.subtract(early, late) / side
        assert np.allclose(moved, made.points()[0, one] - made.points()[-1, one], atol=1e-3)
        assert np.abs(moved).max() > 0.01
        title = page.locator(".thumbs").first.locator(".thumb").nth(1).get_attribute("title")
        assert int(re.search(r"\d+", title)[0]) == neighbours(made, 0, one, 0)[0]
        page.keyboard.press("ArrowRight")  # a quarter of the way to the next
        between = 0.75 * made.points()[0, one] + 0.25 * made.points()[1, one]
        assert np.allclose(np.subtract(place(page, 0, one), early) / side, between - made.points()[0, one], atol=1e-3)

    def test_another_cause_colours_the_points_and_changes_the_legend(self, page, made):
        page.select_option("select", label="size")
        cause = next(cause for cause in made.data["causes"] if cause["name"] == "size")
        one = alone(made)
        colour = made.data["scales"]["number"][values(cause, "codes", np.int16)[one]]
        wanted = [int(colour[i:i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(np.subtract(pixel(page, "under", 0, one)[:3], wanted)).max() <= 2
        assert page.locator(".legend").inner_text().split() == [f"{cause['low']:.2f}", f"{cause['high']:.2f}"]
        page.select_option("select", label="class")
        page.locator(".legend button", has_text="ring").click()
        labels = values(made.data["causes"][0], "codes", np.int16)
        assert state(page)["group"] == np.flatnonzero(labels == 5).tolist()

    def test_keys_go_through_the_images_and_clear(self, page):
        page.locator("canvas").nth(1).focus()
        for key, picked in (("ArrowRight", 0), ("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowUp", 149), ("Escape", None)):
            page.keyboard.press(key)
            assert state(page)["picked"] == picked
        assert page.locator(".report").inner_text() == ""

    def test_the_page_works_without_images_and_causes_and_with_one_checkpoint(self, tab):
        page = tab.context.browser.new_page()
        page.set_content(explore_embedding(randn(30, 4)).html())
        page.wait_for_function("window.explorer")
        page.mouse.click(*place(page, 0, 3))
        assert state(page)["picked"] == 3 and page.locator(".thumb").count() == 0
        assert page.locator("select").count() == page.locator("input").count() == 0
        page.close()


def test_stored_flat_maps_are_taken_but_for_their_place_and_size():
    walk = journey()
    stored = replace(walk, maps=np.random.default_rng(0).normal(size=(*walk.points.shape[:2], 2)).astype(np.float16))
    centred = stored.maps.astype(np.float64) - stored.maps.astype(np.float64).mean(1, keepdims=True)
    sizes = np.linalg.norm(centred, axis=2).mean(1)[:, None, None]
    assert np.allclose(flat_maps(stored, "tsne"), centred / sizes, atol=1e-4)
    assert not np.allclose(flat_maps(stored, "pca"), stored.maps)
    assert explore_embedding(stored).data["networks"][0]["kept"] is None, "the default is t-SNE where it is stored"
    assert explore_embedding(walk).data["networks"][0]["kept"] is not None


def test_a_flat_map_weighs_all_components_alike():
    """One component a hundred times as large as the others, which alone tell three groups apart."""
    group = torch.arange(60) % 3
    features = torch.cat([100 * randn(60, 1), 5 * torch.eye(3)[group] + 0.3 * randn(60, 3)], dim=1)
    points = torch.from_numpy(explore_embedding(features, method="tsne").points()[0])
    away = torch.cdist(points, points).fill_diagonal_(math.inf)
    assert (group[away.argmin(1)] == group).float().mean() > 0.95


def test_a_map_fills_its_box():
    made = explore_embedding(torch.cat([randn(30, 1), 0.2 * randn(30, 1)], dim=1), method="pca")
    points, (wide, tall) = made.points()[0], made.data["networks"][0]["extent"]
    assert np.allclose(points.min(0), 0, atol=1e-4) and np.allclose(points.max(0) * 65535, (wide, tall), atol=2)
    assert max(wide, tall) == 65535 and min(wide, tall) < 40_000
