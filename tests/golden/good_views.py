"""What the golden table computes for week 20: LooC's loss, and InfoMin's bound with the queue of its code."""

from __future__ import annotations

import math

import torch

from course_lib.methods.contrastive.looc import looc_loss
from course_lib.methods.contrastive.moco import info_nce, moco_logits
from course_lib.models.layers import Queue
from golden.contrastive import Arrays, cases, leaf


def looc(z: Arrays) -> dict:
    """Stored gradients are those of unit rows, as they are: looc_loss differs in what points along the row."""
    out = {}
    for case, hyper in cases(z).items():
        q = leaf(z[f"{case}__z_q"])
        parts = looc_loss(q, z[f"{case}__z_k"], z[f"{case}__queue"], hyper["T"])
        stored = z[f"{case}__grad_z_q"]
        along = (stored * q.detach()).sum(-1, keepdim=True) * q.detach()
        gradient, = torch.autograd.grad(parts["loss"], q)
        out |= {f"{case}__loss": parts["loss"], f"{case}__grad_z_q": gradient + along,
                f"{case}__per_space": torch.stack([parts[f"head_{i}"] for i in range(len(q))])}
    return out


def infomin(z: Arrays) -> dict:
    """PyContrast's queue, and how its loss bounds mutual information."""
    queue = Queue(*z["memory0"].shape)
    queue.rows, queue.pointer = z["memory0"].clone(), torch.as_tensor(z["index0"])
    logits = moco_logits(z["q"], z["k"], queue.rows, float(z["T"]))
    loss = info_nce(logits)["loss"]
    queue.enqueue(z["k"])
    return {"logits": logits, "infonce_loss": loss, "memory_after": queue.rows, "index_after": queue.pointer,
            "mi_bound_log_K_plus_1_minus_loss": math.log(logits.shape[1]) - loss}
