"""What the golden table computes for week 25: estimators of mutual information, Deep InfoMax, ReLIC."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.methods.contrastive.relic import divergence, log_likeness, relic_loss
from course_lib.methods.information import estimators as mi
from course_lib.methods.information.dim import information_loss
from golden.contrastive import Arrays, cases, leaf
from golden.information import numbers


def _with_gradient(scores: Tensor, estimator: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    scores = leaf(scores)
    value = estimator(scores)
    value.backward()
    assert scores.grad is not None
    return value, scores.grad


def js_fgan(scores: Tensor) -> Tensor:
    """JSD without its constant."""
    return mi.f_divergence(scores, "gan")


def estimators(z: Arrays) -> dict:
    """js_value: NWJ on scores that lack its 1, as released. Of SMILE the gradient is stored and no value."""
    found = {"infonce": mi.infonce, "nwj": mi.nwj, "dv": mi.donsker_varadhan, "js_fgan": js_fgan,
             "js_value": lambda s: mi.nwj_by_jsd(s, plus=0.0), "tuba": lambda s: mi.tuba(s, z["log_baseline"])}
    out = {}
    for name, estimator in found.items():
        out[name], out[f"grad_{name}"] = _with_gradient(z["scores"], estimator)
    for (clip,) in numbers(z, r"grad_smile_clip(\w+)"):
        _, out[f"grad_smile_clip{clip}"] = _with_gradient(z["scores"], lambda s, c=clip: mi.smile(s, float(c)))
    return out


def mine(z: Arrays) -> dict:
    """The official code hands on the batch's own mean of exp, not the average: ours of a first batch."""
    before, momentum = z["mine_buffer0"].log(), float(z["mine_momentum"])
    value, gradient = _with_gradient(z["scores"], lambda s: mi.mine(s, before, momentum)[0])
    return {"mine_value": value, "grad_mine": gradient, "mine_buffer_update": mi.mine(z["scores"])[1].exp()}


def gaussians(z: Arrays) -> dict:
    """The best critic of Gaussians with 1, 2 and 4 nats; NWJ's has 1 more."""
    out: dict = {}
    for (nats,) in numbers(z, r"gauss_rho_mi(\d)"):
        rho = mi.gaussian_correlation(float(nats), 4)
        scores = mi.gaussian_scores(z[f"gauss_x_mi{nats}"], z[f"gauss_y_mi{nats}"], rho)
        found = {"rho": torch.tensor(rho), "infonce": mi.infonce(scores), "nwj_optcritic": mi.nwj(scores + 1),
                 "nwj_critic_without_plus1": mi.nwj(scores), "dv": mi.donsker_varadhan(scores),
                 "js": mi.nwj_by_jsd(scores, plus=0.0), "jsfgan": js_fgan(scores), "smile5": mi.smile(scores, 5.0)}
        out |= {f"gauss_{name}_mi{nats}": value for name, value in found.items()}
    return out | {"gauss_logB": mi.infonce(1e4 * torch.eye(256))}


# ---------------------------------------------------------------- Deep InfoMax
OFFICIAL = {"GAN": "gan", "JSD": "jsd", "X2": "x2", "KL": "nwj", "RKL": "rkl", "H2": "h2", "W1": "w1"}


def dim(z: Arrays) -> dict:
    """Losses and gradients; the official InfoNCE counts each place of the own image at a score of -10."""
    out = {}

    def gradient(estimator: str, own: float = -10.0) -> Tensor:
        return _with_gradient(z["local"], lambda places: information_loss(places, z["glob"], estimator, own))[1]

    for name, kind in OFFICIAL.items():
        out |= {f"fenchel_{name}": information_loss(z["local"], z["glob"], kind),
                f"fenchel_multi_{name}": information_loss(z["local"], z["glob_multi"], kind)}
        for part, function in zip(("Epos", "Eneg"), mi.DIVERGENCES[kind]):
            out[f"{part}_{name}"] = function(z["scores_grid"])
    out |= {f"grad_local_{name}": gradient(OFFICIAL[name]) for name in ("JSD", "KL")}
    return out | {"grad_local_infonce": gradient("infonce")}


def dim_textbook(z: Arrays) -> dict:
    return {f"dv_textbook_{case}": information_loss(z[f"dv_local_{case}"], z[f"dv_glob_{case}"], "dv")
            for (case,) in numbers(z, r"dv_textbook_(\w+)")}


# ---------------------------------------------------------------- ReLIC
def relic(z: Arrays) -> dict:
    """Both directions of the KL, each on its own, and the mean of both as the loss has it."""
    out = {}
    for case, hyper in cases(z).items():
        o1, o2 = leaf(z[f"{case}__o1"]), leaf(z[f"{case}__o2"])
        t1, t2 = z[f"{case}__t1"], z[f"{case}__t2"]
        log_p12, log_p21 = log_likeness(o1, t2, hyper["T"]), log_likeness(o2, t1, hyper["T"])
        loss = relic_loss(o1, o2, t1, t2, hyper["alpha"], hyper["T"])["loss"]
        loss.backward()
        found = {"ce12": -log_p12.diagonal().mean(), "ce21": -log_p21.diagonal().mean(),
                 "kl12": divergence(log_p12, log_p21), "kl21": divergence(log_p21, log_p12),
                 "loss_sym": loss, "grad_o1": o1.grad, "grad_o2": o2.grad}
        out |= {f"{case}__{name}": value for name, value in found.items()}
    return out
