"""What the golden table computes for the methods that mix embeddings or images, of week 11."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.mixing import mix_reversed, region
from course_lib.methods.contrastive.imco import imco_logits
from course_lib.methods.contrastive.unmix import UnMix
from course_lib.models.layers import Queue
from course_lib.models.teacher import EMA
from golden.contrastive import Arrays, cases, leaf


def imco(z: Arrays) -> dict:
    """lam_pos is stored before the shift by 1; the queue has its keys in rows."""
    out = {}
    for case, hyper in cases(z).items():
        get = {name: z[f"{case}__{name}"] for name in ("k", "queue", "lam_pos", "lam_neg", "perm")}
        q, queue = leaf(z[f"{case}__q"]), Queue(*get["queue"].shape)
        queue.rows = get["queue"].clone()
        mixed = {}
        if "pos" in hyper["mix_target"]:
            mixed["a"] = get["lam_pos"] + hyper["extrapolate"]
        if "neg" in hyper["mix_target"]:
            mixed |= {"b": get["lam_neg"], "order": get["perm"]}
        logits = imco_logits(q, get["k"], queue.rows, hyper["T"], **mixed, renormalize=bool(hyper["postmix_norm"]))
        queue.enqueue(get["k"])
        loss = F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
        loss.backward()
        out |= {f"{case}__logits": logits, f"{case}__loss": loss, f"{case}__grad_q": q.grad,
                f"{case}__queue_after": queue.rows}
    return out


class _Identity(nn.Flatten):
    """An encoder that hands its vectors on."""

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim


def unmix(z: Arrays) -> dict:
    """The module itself over identity encoders; the gradient of the inputs passes the query side only."""
    out = {}
    for case, hyper in cases(z).items():
        first, second, mixed = (leaf(z[f"{case}__{name}"]) for name in ("x1", "x2", "xm"))
        width, length = z[f"{case}__queue"].shape
        method = UnMix(_Identity(width), out=width, queue=length, splits=1, temperature=hyper["T"],
                       symmetric=bool(hyper["symmetric"])).double()
        method.head, method.keys = nn.Sequential(), EMA(nn.Sequential(method.backbone))
        method.queue.rows = z[f"{case}__queue"].T.clone()
        a, b, m = (x * 0.25 + 0.45 for x in (first, second, mixed))  # which `standardize` turns into the inputs
        loss = method.loss((a, b, torch.arange(len(first)), m, z[f"{case}__lam"]))["loss"]
        loss.backward()
        none = torch.zeros_like(second)
        out |= {f"{case}__loss": loss, f"{case}__grad_x1": first.grad, f"{case}__grad_xm": mixed.grad,
                f"{case}__grad_x2": none if second.grad is None else second.grad,
                f"{case}__queue_after": method.queue.rows.T}
    return out


def unmix_mixing(z: Arrays) -> dict:
    """bbox: rows are dim 2; zeros where all pixels are blended."""
    out: dict[str, Tensor] = {}
    for case in cases(z):
        images, lam = z[f"{case}__im1"], float(z[f"{case}__lam_in"])
        drawn = region(*images.shape[2:], lam, int(z[f"{case}__cx"]), int(z[f"{case}__cy"]))
        box = None if z[f"{case}__r"] < 0.5 else drawn
        mixed, share = mix_reversed(images, lam, box)
        out |= {f"{case}__mixed": mixed, f"{case}__lam_out": torch.tensor(share, dtype=torch.float64),
                f"{case}__bbox": torch.tensor(box or (0, 0, 0, 0))}
    return out
