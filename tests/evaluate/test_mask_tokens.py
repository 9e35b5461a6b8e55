"""What SimMIM's mask tokens look at and are made of: against the method itself, and a loop."""

from __future__ import annotations

import pytest
import torch

from course_lib.augment.masks import coarse_mask
from course_lib.augment.pixels import standardize
from course_lib.evaluate import mask_tokens as M
from course_lib.methods.masked.simmim import SIMMIM_VIT, SimMIM
from course_lib.models.vit import ViT


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return SimMIM(ViT(16, patch=4, dim=12, depth=2, heads=2), image_size=16, mask_patch=8, std=0.1).eval()


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, 16, 16, generator=generator), coarse_mask(torch.rand(3, 2, 2, generator=generator), 0.5, 2)


def test_as_trained_is_what_the_method_draws(method):
    images, visible = pictures()
    swaps = M.token_swaps(method, 2.0, torch.Generator().manual_seed(0))
    assert list(swaps) == ["as trained", *M.CHANGES]
    drawn = M.drawn_with(method, images, visible, swaps["as trained"])
    torch.testing.assert_close(drawn, method.reconstruct(images, visible), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(drawn, M.drawn_with(method, images, visible, swaps["no position"]), atol=1e-3)


def test_the_swaps_hold_what_they_say(method):
    swaps = M.token_swaps(method, 2.0, torch.Generator().manual_seed(0))
    place, token = method.backbone.positions[None, 1:], method.mask_token.detach()
    torch.testing.assert_close(swaps["zeros for its vector"], place)
    assert (swaps["a random vector"] - place).norm(dim=-1).tolist() == [pytest.approx([2.0] * 16, rel=1e-4)]
    torch.testing.assert_close(swaps["no position"], token.expand(1, 16, 12))
    beside = (swaps["its neighbour's position"] - token)[0]
    torch.testing.assert_close(beside[[0, 1, 7]], place[0][[1, 0, 6]])  # rows of four patches


def test_without_a_table_of_positions_none_is_swapped():
    method = SimMIM(ViT(16, patch=4, dim=12, depth=1, heads=2, **SIMMIM_VIT), image_size=16, mask_patch=8)
    with pytest.raises(ValueError, match="no table of positions"):
        M.token_swaps(method, 2.0, torch.Generator())


def test_the_length_of_a_patch(method):
    images, _ = pictures()
    vectors = method.backbone.patch_embed(standardize(images.clone())).flatten(2).mT
    assert M.patch_length(method, images) == pytest.approx(float(vectors.detach().norm(dim=-1).mean()), rel=1e-4)


def test_looks_have_a_value_for_each_head_and_even_attention_has_the_mean_distance(method):
    images, visible = pictures()
    looks = M.token_looks(method.backbone, images, visible, method.mask_token)
    assert looks["distance"].shape == looks["share"].shape == (2, 2)
    assert 0 <= looks["share"].min() and looks["share"].max() <= 1
    apart = []
    for seen in visible.flatten(1):
        for q in (~seen).nonzero().flatten().tolist():
            apart.append(sum(((q // 4 - k // 4) ** 2 + (q % 4 - k % 4) ** 2) ** 0.5
                             for k in seen.nonzero().flatten().tolist()) / int(seen.sum()))
    assert M.even_distance(visible, 16) == pytest.approx(4 * sum(apart) / len(apart), rel=1e-5)
