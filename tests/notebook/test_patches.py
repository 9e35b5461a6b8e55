"""Explorers of places: colours, similarity and correspondence, over conv nets and ViTs."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.pixels import standardize
from course_lib.data.loading import sample_photographs
from course_lib.data.shapes import make_shapes
from course_lib.evaluate.attention import similarity
from course_lib.evaluate.patches import component_colours
from course_lib.models.backbones import ConvNet
from course_lib.notebook.patches import correspondence_view, explore_correspondence, explore_patches, patches_view
from helpers.driving import drive
from helpers.tiny import images, spark, vicreg, vit


def naive_cosines(vectors, index, chosen):
    """(N, L, D): cosines of position `chosen` of image `index` with all of that image, about the mean of all."""
    rows = vectors.flatten(0, 1).tolist()
    mean = [sum(column) / len(rows) for column in zip(*rows)]
    own = [[v - m for v, m in zip(row, mean)] for row in vectors[index].tolist()]
    length = [sum(v * v for v in row) ** 0.5 for row in own]
    return [sum(a * b for a, b in zip(own[chosen], row)) / length[chosen] / size for row, size in zip(own, length)]


def test_patches_view_of_a_vit():
    net, pictures = vit(), images(3).images
    data, figure = patches_view(net, pictures)({"image": 1, "patch": (1, 2)})
    with torch.no_grad():
        vectors = net.tokens(standardize(pictures))[:, 1:]
    assert data["place"] == (1, 2) and data["cosines"][1, 2] == pytest.approx(1)
    assert data["cosines"].flatten().tolist() == pytest.approx(naive_cosines(vectors, 1, 6), abs=1e-5)
    colours, shares = component_colours(vectors)
    torch.testing.assert_close(data["colours"].flatten(0, 1), colours[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(data["variance"], shares)
    assert len(figure.axes) == 4


def test_patches_view_of_a_conv_net_has_stages():
    """What is clicked is a place of the image, whatever the map's size."""
    torch.manual_seed(0)
    net, pictures = ConvNet(3, (4, 8, 16)).eval(), images(2, size=32).images
    view = patches_view(net, pictures)
    for stage, side, place in ((1, 16, (5, 15)), (2, 8, (2, 7)), (3, 4, (1, 3))):
        data, _ = view({"image": 0, "patch": (2, 7), "stage": stage})
        with torch.no_grad():
            vectors = net.stages(standardize(pictures))[stage - 1].flatten(2).mT
        assert data["place"] == place and data["colours"].shape == (side, side, 3)
        expected = naive_cosines(vectors, 0, place[0] * side + place[1])
        assert data["cosines"].flatten().tolist() == pytest.approx(expected, abs=1e-5)
    last = view({"image": 0, "patch": (2, 7)})[0]
    assert torch.equal(last["cosines"], data["cosines"]), "the last stage if none is chosen"


def test_without_what_is_the_same_at_a_place():
    net, pictures = vit(), images(9).images
    data, _ = patches_view(net, pictures)({"image": 2, "patch": (0, 0), "without_place": True})
    with torch.no_grad():
        vectors = net.tokens(standardize(pictures))[:, 1:]
    vectors = vectors - vectors.mean(0)
    torch.testing.assert_close(data["colours"].flatten(0, 1), component_colours(vectors)[0][2], atol=1e-4, rtol=0)
    assert "without_place" in explore_patches(net, pictures).controls
    assert "without_place" not in explore_patches(net, pictures[:7]).controls


def test_pictures_do_not_flip_between_calls():
    net, pictures = vit(), images(3).images
    state = {"image": 0, "patch": (0, 0)}
    first, _ = patches_view(net, pictures)(state)
    again, _ = patches_view(net, pictures)(state)
    assert torch.equal(first["colours"], again["colours"])


@pytest.mark.parametrize("model, pictures", [(vit, lambda: make_shapes(8, size=16)), (vicreg, sample_photographs),
                                             (spark, lambda: images(1))],
                         ids=["ViT, generated images", "VICReg, photographs", "SparK, one image"])
def test_patches_knob_is_driven(model, pictures):
    made = explore_patches(model(), pictures())
    drive(made)
    assert ("stage" in made.controls) == (model is not vit)


def test_places_to_click():
    assert explore_patches(vicreg(), images(1, size=64).images).ends("patch") == ((0, 0), (15, 15))
    assert explore_patches(vicreg(), images(1, size=16).images).ends("patch") == ((0, 0), (7, 7))
    assert explore_patches(vit(), images(1, size=16).images).ends("patch") == ((0, 0), (3, 3))


def test_correspondence_view():
    net, pictures = vit(), images(4).images
    state = {"pair": 1, "patch": (0, 3), "lines": 5}
    data, _ = correspondence_view(net, pictures[:2], pictures[2:])(state)
    with torch.no_grad():
        a, b = (net.tokens(standardize(p))[0, 1:] for p in (pictures[1:2], pictures[3:4]))
    torch.testing.assert_close(data["map"].flatten(), similarity(a, b)[3])
    assert data["map"][data["best"]] == data["map"].max() and 1 <= len(data["matches"]) <= 5
    same, _ = correspondence_view(net, pictures[:2], pictures[:2])({**state, "lines": 20})
    assert same["best"] == (0, 3) and torch.equal(same["matches"][:, :2], same["matches"][:, 2:])


def test_correspondence_knob_is_driven():
    pictures = images(4).images
    drive(explore_correspondence(vit(), pictures[:2], pictures[2:]))
    drive(explore_correspondence(vit(), pictures[:1], pictures[2:3]))
    with pytest.raises(ValueError, match="not pairs"):
        explore_correspondence(vit(), pictures[:2], pictures[2:3])


def test_correspondence_of_a_conv_net():
    method, pictures = vicreg().eval(), images(2).images
    data, _ = correspondence_view(method, pictures[:1], pictures[1:])({"pair": 0, "patch": (0, 3), "lines": 5})
    with torch.no_grad():
        a, b = (method.backbone.stages(standardize(p))[-1][0].flatten(1).T for p in (pictures[:1], pictures[1:]))
    torch.testing.assert_close(data["map"].flatten(), similarity(a, b)[3])
    assert explore_correspondence(method, pictures[:1], pictures[1:]).ends("patch") == ((0, 0), (3, 3))
