"""Losses compute in float32 under autocast."""

from __future__ import annotations

import pytest
import torch

from course_lib.methods.contrastive.vicreg import covariance_loss, invariance_loss, variance_loss, vicreg_loss
from course_lib.methods.masked.dmae import consistency_loss, dmae_loss
from course_lib.methods.masked.ibot import patch_loss
from course_lib.methods.masked.spark import spark_loss
from course_lib.models.patches import patchify
from helpers.draws import randn, visible_grid

HALVES = {
    "invariance": (lambda a, b, v: invariance_loss(a.flatten(1), b.flatten(1))),
    "variance": (lambda a, b, v: variance_loss(a.flatten(1))),
    "covariance": (lambda a, b, v: covariance_loss(a.flatten(1))),
    "vicreg": (lambda a, b, v: vicreg_loss(a.flatten(1), b.flatten(1))["loss"]),
    "vicreg, by keyword": (lambda a, b, v: invariance_loss(a=a.flatten(1), b=b.flatten(1))),
    "spark": (lambda a, b, v: spark_loss(a, b, v)),
    "dmae": (lambda a, b, v: dmae_loss(patchify(a, 4), b)),
    "dmae, consistency": (lambda a, b, v: consistency_loss([a.flatten(1), b.flatten(1)])),
    "ibot, patches": (lambda a, b, v: patch_loss(a.flatten(2), b.flatten(2), v.flatten(1)[:, :3], torch.zeros(64))),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", HALVES)
def test_losses_compute_in_float32_under_autocast(name, dtype):
    """Bug: a matrix product inside the loss that autocast casts back to half precision."""
    a, b = randn(6, 3, 8, 8, dtype=torch.float32).to(dtype), randn(6, 3, 8, 8, seed=1, dtype=torch.float32).to(dtype)
    visible = visible_grid(6)[:, 0]
    wanted = HALVES[name](a.float(), b.float(), visible)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = HALVES[name](a, b, visible)
        full = HALVES[name](a.float(), b.float(), visible)  # float32 inputs must not be cast down either
        assert torch.is_autocast_enabled("cpu") and (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert got.dtype == torch.float32 and torch.equal(got, wanted) and torch.equal(full, wanted)
    double = HALVES[name](a.double(), b.double(), visible)
    assert double.dtype == torch.float64 and float(double) == pytest.approx(float(wanted), rel=1e-4)
