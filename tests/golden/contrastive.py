"""What the golden table computes for the joint-embedding methods of weeks 4-9."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from course_lib.methods.contrastive.barlow_twins import barlow_twins_loss, cross_correlation
from course_lib.methods.contrastive.byol import byol_loss
from course_lib.methods.contrastive.moco import MoCo, moco_logits, moco_loss
from course_lib.methods.contrastive.simclr import nt_xent
from course_lib.methods.contrastive.simsiam import simsiam_loss
from course_lib.methods.contrastive.swav import SwAV, swav_loss
from course_lib.models.batch_norm import BatchNorm2d, split_batch_norm
from course_lib.models.layers import Queue, normalize, sinkhorn
from course_lib.models.teacher import EMA

Arrays = Mapping[str, Tensor]


def cases(z: Arrays) -> dict[str, dict]:
    """Name of each stored case -> its hyper-parameters."""
    known = {entry["case"]: entry["hyper"] for entry in json.loads(str(z["meta_json"]))["cases"]}
    stored = {key.split("__")[0] for key in z if "__" in key}
    return {case: hyper for case, hyper in known.items() if case in stored}


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


# ---------------------------------------------------------------- SimCLR
def simclr(z: Arrays, paper: bool) -> dict:
    """The paper's average; the official numbers are twice as large (the row's factor)."""
    out = {}
    for case, hyper in cases(z).items():
        hidden = leaf(z[f"{case}__hidden"])
        loss = nt_xent(*hidden.chunk(2), hyper["temperature"], bool(hyper["hidden_norm"]))["loss"]
        loss.backward()
        names = ("loss_paper", "grad_paper_f64") if paper else ("loss_official", "grad_official")
        out |= {f"{case}__{names[0]}": loss, f"{case}__{names[1]}": hidden.grad}
    return out


# ---------------------------------------------------------------- MoCo
def _queue(columns: Tensor, pointer: Tensor | int = 0) -> Queue:
    queue = Queue(*columns.T.shape)
    queue.rows, queue.pointer = columns.T.clone(), torch.as_tensor(pointer)
    return queue


def moco(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        q, k = leaf(z[f"{case}__q_raw"]), z[f"{case}__k_raw"]
        queue = _queue(z[f"{case}__queue_before"], z[f"{case}__ptr_before"])
        loss = moco_loss(q, k, queue.rows, hyper["T"])["loss"]
        queue.enqueue(normalize(k))
        loss.backward()
        out |= {f"{case}__logits": moco_logits(normalize(q), normalize(k), z[f"{case}__queue_before"].T, hyper["T"]),
                f"{case}__loss": loss, f"{case}__grad_q_raw": q.grad, f"{case}__queue_after": queue.rows.T,
                f"{case}__ptr_after": queue.pointer, f"{case}__labels": torch.zeros(len(q))}
    return out


class _Linear(nn.Linear):
    """A linear encoder of vectors, in place of a network of images."""

    def __init__(self, weight: Tensor):
        super().__init__(*weight.T.shape, bias=False)
        self.dim = len(weight)
        self.weight = nn.Parameter(weight.clone())


def _linear_moco(weight: Tensor, queue: Tensor, **options) -> MoCo:
    """The module itself over a linear encoder without a head."""
    backbone = _Linear(weight)
    method = MoCo(backbone, out=len(weight), queue=queue.shape[1], splits=1, **options).double()
    method.head = nn.Sequential()
    method.keys, method.queue = EMA(nn.Sequential(backbone, method.head)), _queue(queue)
    return method


def _as_views(*inputs: Tensor) -> tuple:
    """Vectors that `normalize` turns into the inputs, and the order of the keys' batch."""
    return *(x * 0.25 + 0.45 for x in inputs), torch.arange(len(inputs[0]))


def moco_steps(z: Arrays) -> dict:
    """Six steps of the module: keys' encoder, logits against the old queue, enqueue, SGD."""
    out = {}
    for case, hyper in cases(z).items():
        method = _linear_moco(z[f"{case}__Wq0"], z[f"{case}__queue0"], momentum=hyper["m"], temperature=hyper["T"])
        optimizer = torch.optim.SGD(method.backbone.parameters(), lr=hyper["lr"])
        found = {name: [] for name in ("loss", "ptr", "queue", "Wk", "Wq", "k")}
        for xq, xk in zip(z[f"{case}__xq"], z[f"{case}__xk"]):
            found["Wk"].append(method.keys.module[0].weight.detach().clone())  # moved after the step before
            found["k"].append(normalize(method.keys(xk)))
            loss = method.loss(_as_views(xq, xk))["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            method.after_update(0.0)
            for name, value in (("loss", loss), ("ptr", method.queue.pointer), ("queue", method.queue.rows.T),
                                ("Wq", method.backbone.weight)):
                found[name].append(value.detach().clone())
        out |= {f"{case}__{name}": torch.stack(values) for name, values in found.items()}
    return out


def moco_symmetric(z: Arrays) -> dict:
    """The module with identity encoders; the gradient of the inputs passes the query side only."""
    out = {}
    for case, hyper in cases(z).items():
        a, b = leaf(z[f"{case}__x1"]), leaf(z[f"{case}__x2"])
        eye = torch.eye(a.shape[1], dtype=torch.float64)
        method = _linear_moco(eye, z[f"{case}__queue"], temperature=hyper["T"], symmetric=True)
        loss = method.loss(_as_views(a, b))["loss"]
        loss.backward()
        out |= {f"{case}__loss": loss, f"{case}__grad_x1": a.grad, f"{case}__grad_x2": b.grad,
                f"{case}__queue_after": method.queue.rows.T}
    return out


def split_norm(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        x = z[f"{case}__x"]
        norm = BatchNorm2d(x.shape[1], eps=hyper["eps"], momentum=hyper["momentum"]).double()
        norm.load_state_dict({"weight": z[f"{case}__weight"], "bias": z[f"{case}__bias"]}, strict=False)
        split_batch_norm(norm, hyper["splits"])
        out |= {f"{case}__y": norm(x), f"{case}__running_mean": norm.running_mean,
                f"{case}__running_var": norm.running_var}
    return out


# ---------------------------------------------------------------- SwAV
def swav_codes(z: Arrays) -> dict:
    return {f"{case}__Q": sinkhorn(z[f"{case}__scores"], hyper["epsilon"], hyper["iters"])
            for case, hyper in cases(z).items()}


def swav(z: Arrays) -> dict:
    """The loss with the module's own codes and queue, from stored embeddings and prototypes."""
    out = {}
    for case, hyper in cases(z).items():
        weight, crops = z[f"{case}__W"], hyper["crops"]
        k, d = weight.shape
        method = SwAV(_Linear(torch.eye(d)), out=d, prototypes=k, epsilon=hyper["epsilon"],
                      iterations=hyper["iters"], queue=hyper["queue_len_per_view"]).double()
        found = {name: [] for name in ("loss", "grad_embedding", "grad_W", "queue_used", "queue_after")}
        for embedding in z[f"{case}__embedding"]:
            embedding = leaf(embedding)
            method.prototypes.weight = nn.Parameter(weight.clone())
            scores = method.prototypes(embedding).chunk(crops)
            found["queue_used"].append(torch.tensor(int(method.queue.shape[1] and (method.queue[0, -1] != 0).any())))
            codes = method.codes(embedding.detach().chunk(crops)[:2])
            loss = swav_loss(list(scores), codes, hyper["temperature"])
            loss.backward()
            for name, value in (("loss", loss), ("grad_embedding", embedding.grad),
                                ("grad_W", method.prototypes.weight.grad), ("queue_after", method.queue)):
                found[name].append(value.detach().clone())
        if not hyper["queue_len_per_view"]:
            del found["queue_after"]
        out |= {f"{case}__{name}": torch.stack(values) for name, values in found.items()}
    return out


# ---------------------------------------------------------------- BYOL, SimSiam, Barlow Twins
def simsiam(z: Arrays) -> dict:
    out = {}
    for case in cases(z):
        p1, p2, z1, z2 = (leaf(z[f"{case}__{name}"]) for name in ("p1", "p2", "z1", "z2"))
        loss = simsiam_loss(p1, p2, z1, z2)
        loss.backward()
        assert z1.grad is None and z2.grad is None
        out |= {f"{case}__loss": loss, f"{case}__grad_p1": p1.grad, f"{case}__grad_p2": p2.grad}
    return out


def byol(z: Arrays) -> dict:
    out = {}
    for case in cases(z):
        p1, p2, z1, z2 = (leaf(z[f"{case}__{name}"]) for name in ("p1", "p2", "z1", "z2"))
        loss = byol_loss(p1, p2, z1, z2)
        loss.backward()
        assert z1.grad is None and z2.grad is None
        rows = [byol_loss(*(x[i : i + 1] for x in (p1, p2, z1, z2))) for i in range(len(p1))]
        out |= {f"{case}__loss": loss, f"{case}__grad_p1": p1.grad, f"{case}__grad_p2": p2.grad,
                f"{case}__per_sample": torch.stack(rows)}
    return out


def barlow(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        a, b = leaf(z[f"{case}__z1"]), leaf(z[f"{case}__z2"])
        parts = barlow_twins_loss(a, b, hyper["lambd"])
        parts["loss"].backward()
        out |= {f"{case}__loss": parts["loss"], f"{case}__on_diag": parts["on_diagonal"],
                f"{case}__off_diag": parts["off_diagonal"], f"{case}__c": cross_correlation(a, b, hyper["bn_eps"]),
                f"{case}__grad_z1": a.grad, f"{case}__grad_z2": b.grad}
    return out
