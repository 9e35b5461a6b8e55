"""The attention explorer: its maps are the network's own, and its shares those of loops."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.masks import patch_mask
from course_lib.augment.pixels import standardize
from course_lib.data.shapes import make_shapes, object_masks
from course_lib.evaluate.attention import object_share, rollout, to_grid
from course_lib.notebook.attention import attention_view, explore_attention
from course_lib.notebook.knobs import close_figure
from helpers.driving import drive, reach
from helpers.tiny import ibot, images, vit

STATE = {"image": 1, "layer": 2, "head": 1, "query": "patch", "patch": (1, 2)}


def test_attention_view_shows_the_networks_own_maps():
    net, pictures = vit(), images(3).images
    data, figure = attention_view(net, pictures)(STATE)
    m = net.attention(standardize(pictures[1:2]))
    row = 1 + 1 * 4 + 2
    torch.testing.assert_close(data["heads"], to_grid(m[1, 0, :, row]))
    torch.testing.assert_close(data["rollout"], to_grid(rollout(m)[0, row]))
    torch.testing.assert_close(data["heads"].sum((1, 2)) + data["to class"], torch.ones(3))
    assert len(figure.axes) == 3
    data, _ = attention_view(net, pictures)({**STATE, "query": "class token", "layer": 1})
    torch.testing.assert_close(data["heads"], to_grid(m[0, 0, :, 0]))
    torch.testing.assert_close(data["rollout"], to_grid(rollout(m[:1])[0, 0]))


def test_attention_knob_is_driven():
    made = explore_attention(vit(), images(3).images)
    assert drive(made) > 8
    assert made.ends("patch") == ((0, 0), (3, 3)) and made.ends("layer") == (1, 2)


def test_one_image_needs_no_slider_and_may_be_larger():
    made = explore_attention(vit(), images(1, size=32).images)
    assert "image" not in made.controls and made.ends("patch") == ((0, 0), (7, 7))
    assert made.data["heads"].shape == (3, 8, 8)
    drive(made)


def test_a_view_leaves_the_network_as_it_was():
    method = ibot().train()
    before = {n: t.clone() for n, t in method.state_dict().items()}
    explore_attention(method, images(2).images)
    assert method.training and all(p.grad is None for p in method.parameters())
    assert all(torch.equal(t, before[n]) for n, t in method.state_dict().items())


def test_the_overview_holds_all_heads_their_mean_and_the_rollout():
    net, pictures = vit(), images(3).images
    m = net.attention(standardize(pictures[1:2]))[:, 0, :, 7]
    for head, column in ((2, 1), ("mean", 3), ("rollout", 4)):
        data, figure = attention_view(net, pictures)({**STATE, "head": head})
        close_figure(figure)
        assert data["overview"].shape == (2, 5, 4, 4) and torch.equal(data["map"], data["overview"][1, column])
    torch.testing.assert_close(data["overview"][:, :3], to_grid(m))
    torch.testing.assert_close(data["overview"][:, 3], to_grid(m.mean(1)))
    torch.testing.assert_close(data["overview"][1, 4], data["rollout"])


def test_where_a_mask_token_looks():
    """The clicked patch is hidden as well, and the shares on hidden patches are sums over them."""
    method, pictures = ibot().eval(), images(3).images
    view = attention_view(method, pictures)
    state = {**STATE, "head": 2, "query": "mask token", "hidden": 0.5}
    data, figure = view(state)
    assert "mask tokens" in figure.texts[0].get_text()
    visible = patch_mask(1, 4, 0.5, torch.Generator().manual_seed(1))
    visible[0, 1, 2] = False
    m = method.evaluated.attention(standardize(pictures[1:2]), visible=visible, mask_token=method.mask_token)
    torch.testing.assert_close(data["map"], to_grid(m[1, 0, 1, 7]))
    hidden = sum(float(data["map"][y, x]) for y in range(4) for x in range(4) if not visible[0, y, x])
    assert data["to hidden"] == pytest.approx(hidden) and hidden > 0
    visible[0, 1, 2] = True
    m = method.evaluated.attention(standardize(pictures[1:2]), visible=visible, mask_token=method.mask_token)
    torch.testing.assert_close(view({**state, "query": "patch"})[0]["map"], to_grid(m[1, 0, 1, 7]))
    assert view({**STATE, "hidden": 0.0})[0]["to hidden"] == 0.0


def test_a_mask_token_is_offered_where_one_was_learned():
    made = explore_attention(ibot(), images(2).images)
    assert made.ends("query") == ("class token", "mask token") and made.ends("hidden") == (0.0, 0.9)
    drive(made)
    made = explore_attention(vit(), images(2).images)
    assert made.ends("query") == ("class token", "patch") and "hidden" not in made.controls


def test_the_share_on_the_object_of_generated_images():
    made, net = make_shapes(3, size=16), vit()
    masks = object_masks(made.factors, 16)
    data, figure = attention_view(net, made)(STATE)
    torch.testing.assert_close(data["on object"], object_share(data["overview"], masks[1]))
    assert data["object area"] == pytest.approx(float(masks[1].float().mean())) and len(figure.axes) == 4
    given, _ = attention_view(net, made.images, objects=masks)(STATE)
    torch.testing.assert_close(given["on object"], data["on object"])
    assert "on object" not in attention_view(net, made.images)(STATE)[0]
    assert "on object" in explore_attention(net, made).data
    with pytest.raises(ValueError, match="expected a mask for each image, \\(3, 16, 16\\)"):
        attention_view(net, made.images, objects=masks[:2])


def test_an_explorer_may_have_tasks():
    made = explore_attention(vit(), images(2).images, tasks={"look at the first layer": lambda data: bool(
        torch.equal(data["overview"][0, 0], data["map"]))})
    assert reach(made)["look at the first layer"]["layer"] == 1


def test_it_begins_where_it_is_told_to():
    state = explore_attention(ibot(), images(2).images, query="mask token", hidden=0.6, layer=1).state
    assert (state["query"], state["hidden"], state["layer"]) == ("mask token", 0.6, 1)
