"""What the golden table computes for the works of week 10: which negatives, and how much each counts."""

from __future__ import annotations

import torch

from course_lib.methods.contrastive.eqco import eqco_loss
from course_lib.methods.contrastive.mochi import mochi_logits, mochi_loss
from course_lib.methods.contrastive.moco import info_nce
from course_lib.methods.contrastive.negatives import log_mass, ranked, rivals, weighted_nt_xent
from course_lib.methods.contrastive.roco import roco_logits, roco_loss
from course_lib.models.layers import Queue, normalize
from golden.contrastive import Arrays, cases, leaf


def _loss(z: Arrays, case: str, *switches: float) -> dict:
    """Stored gradients are those of rows that have length 1 already."""
    a, b = leaf(z[f"{case}__z1"]), leaf(z[f"{case}__z2"])
    loss = weighted_nt_xent(a, b, *switches, unit_length=False)["loss"]
    loss.backward()
    return {f"{case}__loss": loss, f"{case}__grad_z1": a.grad, f"{case}__grad_z2": b.grad}


def dcl(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        tau, tau_plus = hyper["temperature"], hyper["tau_plus"] if hyper["debiased"] else 0.0
        positive, negatives = rivals(torch.cat([z[f"{case}__z1"], z[f"{case}__z2"]]), tau)
        out |= {**_loss(z, case, tau, tau_plus), f"{case}__Ng": log_mass(positive, negatives, tau, tau_plus).exp()}
    return out


def hcl(z: Arrays) -> dict:
    """The estimator "easy" is the plain loss, whatever tau+ and beta say."""
    out = {}
    for case, hyper in cases(z).items():
        hard = hyper["estimator"] == "hard"
        out |= _loss(z, case, hyper["temperature"], hyper["tau_plus"] * hard, hyper["beta"] * hard)
    return out


def roco(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        q, k, t, columns = (z[f"{case}__{name}"] for name in ("q_raw", "k_raw", "t_raw", "queue_before"))
        q, queue = leaf(q), Queue(*columns.T.shape)
        queue.rows = columns.T.clone()
        settings = (hyper["T"], hyper["alpha"])
        loss = roco_loss(q, k, queue.rows, t, *settings)["loss"]
        loss.backward()
        queue.enqueue(normalize(k))
        out |= {f"{case}__loss": loss, f"{case}__grad_q_raw": q.grad, f"{case}__queue_after": queue.rows.T,
                f"{case}__logits": roco_logits(normalize(q), normalize(k), columns.T, normalize(t), *settings)}
    return out


def simo(z: Arrays) -> dict:
    """Without alpha it is the release; with it, the paper's formula."""
    out = {}
    for case, hyper in cases(z).items():
        columns = z[f"{case}__neg_perm"].expand(hyper["N"], -1)
        for name, alpha in (("official", None), ("eqco", hyper["alpha"])):
            q = leaf(z[f"{case}__z_i"])
            loss = eqco_loss(q, z[f"{case}__z_j"], columns, hyper["T"], alpha)["loss"]
            loss.backward()
            out |= {f"{case}__loss_{name}": loss, f"{case}__grad_{name}": q.grad}
    return out


def eqco(z: Arrays) -> dict:
    q, k, t = leaf(z["z_query"]), z["z_key"], float(z["T"])
    everyone = torch.arange(7)
    loss = eqco_loss(q, k, everyone.expand(8, -1), t, None)["loss"]
    loss.backward()
    few = z["neg_perm_K3"]
    found = {f"eqco_loss_K{len(chosen)}_alpha{alpha}": eqco_loss(q, k, chosen.expand(8, -1), t, alpha)["loss"]
             for chosen in (everyone, few) for alpha in (7, 256, 65536)}
    return {"simo_loss_official_allneg": loss, "simo_grad_query": q.grad, **found,
            "simo_loss_official_K3_no_alpha": eqco_loss(q, k, few.expand(8, -1), t, None)["loss"]}


def mochi(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        k, queue = z[f"{case}__k"], z[f"{case}__queue"]
        draws = tuple(z[f"{case}__{name}"] for name in ("i1", "j1", "a", "j2", "b"))
        hard = int(z[f"{case}__N_hard"])
        for name, through in (("detached", False), ("full", True)):
            q = leaf(z[f"{case}__q"])
            logits = mochi_logits(q, k, queue, hard, draws, hyper["T"], through)
            info_nce(logits)["loss"].backward()  # of queries that have length 1 already
            out |= {f"{case}__logits": logits, f"{case}__grad_q_{name}": q.grad}
        out |= {f"{case}__loss": mochi_loss(q, k, queue, hard, draws, hyper["T"])["loss"],
                f"{case}__hard_idx": ranked(q @ queue.T, 0, hard)}
    return out
