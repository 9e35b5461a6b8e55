"""What the golden table computes for clustering: scores, SCAN, RUC."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from course_lib.evaluate.measures import cluster_accuracy, cluster_match, partition_scores
from course_lib.evaluate.neighbours import knn_predict
from course_lib.methods.clustering.ruc import (
    RUC,
    agreeing,
    confident,
    mix,
    ramp,
    relabel_threshold,
    smoothed_loss,
)
from course_lib.methods.clustering.scan import scan_loss

Arrays = Mapping[str, Tensor]


# ---------------------------------------------------------------- scores
def scores(z: Arrays) -> dict:
    out = {}
    for name in [key.removesuffix("_true") for key in z if key.endswith("_true")]:
        predicted, true = z[f"{name}_pred"], z[f"{name}_true"]
        ours, acc = partition_scores(predicted, true), cluster_accuracy(predicted, true)
        values = {"acc_mice": acc, "acc_gat": acc, "acc_scan": acc, "nmi_sklearn_arithmetic": ours["nmi"],
                  "nmi_scan": ours["nmi"], "ari": ours["ari"], "ari_gat": ours["ari"], "ari_scan": ours["ari"],
                  "ami_sklearn": ours["ami"]}
        out |= {f"{name}_{key}": value for key, value in values.items()
                if f"{name}_{key}" in z and not z[f"{name}_{key}"].isnan()}
        for code in ("ruc", "scan"):
            if (key := f"{name}_match_{code}") in z and name not in ("missing_cluster", "single_cluster"):
                out[key] = torch.tensor(cluster_match(predicted, true))
    return out


# ---------------------------------------------------------------- SCAN
def scan(z: Arrays) -> dict:
    out = {}
    for weight in (2, 5):
        anchors, neighbours = (z[name].clone().requires_grad_() for name in ("anchors", "neighbors"))
        parts = scan_loss(anchors, neighbours, float(weight))
        parts["loss"].backward()
        out |= {f"scan_w{weight}_total": parts["loss"], f"scan_w{weight}_consistency": parts["consistency"],
                f"scan_w{weight}_entropy": parts["entropy"]}
        if weight == 5:
            out |= {"scan_w5_grad_anchors": anchors.grad, "scan_w5_grad_neighbors": neighbours.grad}
    each = [scan_loss(row[None], row[None])["entropy"] for row in z["anchors"]]
    mean = torch.stack(each).mean()  # of the rows' entropies: what the loss does not take
    return out | {"entropy_batch_of_probs": mean, "entropy_batch_of_logits": mean,
                  "entropy_mean_prob": parts["entropy"]}


def scan_clamped(z: Arrays) -> dict:
    """Where a probability is 0 the official entropy has 1e-8, and a similarity of 0 a logarithm of -100."""
    logits = torch.tensor([[0.0, 0.0, -2000.0]], dtype=torch.float64)
    anchors, neighbours = torch.tensor([[[2000.0, 0, 0], [0, 1, 0]], [[0, 2000.0, 0], [0, 1, 0]]]).double()
    each = [scan_loss(a[None], b[None])["consistency"].clamp(max=100) for a, b in zip(anchors, neighbours)]
    consistency, entropy = torch.stack(each).mean(), scan_loss(anchors, neighbours)["entropy"]
    return {"entropy_with_zero": scan_loss(logits, logits)["entropy"], "scan_saturated_consistency": consistency,
            "scan_saturated_entropy": entropy, "scan_saturated_total": consistency - 5 * entropy}


def scan_validation(z: Arrays) -> dict:
    """Over the pairs (image, neighbour), the entropy of the images' mean once; its weight is 1."""
    probabilities, near = z["eval_probs"].double(), z["eval_neighbors"]
    rows, log_p = near.shape[1], probabilities.log()
    parts = scan_loss(log_p.repeat_interleave(rows, 0), log_p[near.flatten()], 1.0)
    return {"eval_entropy": parts["entropy"], "eval_consistency": parts["consistency"], "eval_total": parts["loss"]}


def scan_knn(z: Arrays) -> dict:
    k, temperature = z["knn_K_T"].tolist()
    bank, labels, query = (z[f"knn_{name}"] for name in ("bank_features", "bank_targets", "query"))
    return {"knn_pred": knn_predict(bank, labels, query, int(k), temperature, center=False),
            "knn_pred_1nn": knn_predict(bank, labels, query, 1, center=False)}


# ---------------------------------------------------------------- RUC
def ruc_losses(z: Arrays) -> dict:
    everything = torch.ones(6, dtype=torch.bool)
    out = {f"ls_loss_eps{e}": smoothed_loss(z["ls_logits"], z["ls_targets"], everything, e) for e in (0.0, 0.1, 0.5)}
    epochs = z["threshold_epochs"].tolist()
    return out | {"rampup_values": [ramp(epoch / 200) for epoch in z["rampup_epochs"].tolist()],
                  "threshold_values_stl_cifar20": [relabel_threshold(epoch / 200, 0.9, 0.02) for epoch in epochs]}


def ruc_selection(z: Arrays) -> dict:
    sure = confident(z["samp_logits"], float(z["samp_conf_thr"]))
    agree = agreeing(z["samp_embeddings"], z["samp_pseudo"], int(z["samp_k"]), 10)
    return {"samp_clean_confidence": sure.float(), "samp_clean_metric": agree, "samp_clean_hybrid": sure & agree}


class _Linear(nn.Module):
    dim = 7

    def forward(self, x: Tensor) -> Tensor:
        return x


def ruc_step(z: Arrays, case: str, mixed: bool, epoch: int, weight: float, **options: float) -> dict:
    """One step of the module's first network with linear 'networks' of vectors, given what is drawn."""
    method = RUC(_Linear(), clusters=10, unclean=weight, **options)  # pyright: ignore[reportArgumentType]
    method.head, head = nn.Linear(7, 10, bias=False), nn.Linear(7, 10, bias=False)
    method.peer = nn.Sequential(_Linear(), head)
    method.head.weight, head.weight = (nn.Parameter(z[name].clone()) for name in ("step_W1", "step_W2"))
    clean, labels = z["step_clean0"], z["step_p_label0"].long()
    confidence = torch.stack([torch.zeros(20), z["step_conf_other"]], 1)
    method.memory.fill(labels=labels.clone(), clean=clean.clone(), confidence=torch.zeros(20, 2), weight=confidence)
    # the official rows: clean ones of both weak views, then the others'; ours: all of the one view, all of the other
    rows = torch.cat([part + 20 * view for part in (clean.nonzero()[:, 0], (~clean).nonzero()[:, 0])
                      for view in range(2)])
    order = torch.arange(40)
    if mixed:
        order[rows] = rows[z["step_perm"]]
    views = {name: z[f"step_x{number}"] * 0.25 + 0.45 for name, number in
             (("plain", 1), ("weak", 2), ("weak2", 3), ("strong", 4))}  # which `standardize` turns back
    views |= {"indices": torch.arange(20), "share": torch.tensor([0.7 if mixed else 1.0] * 2),
              "order": torch.stack([order, order])}
    both = method.targets(method.predicted(views), views["indices"])
    parts = method.network_losses(views, both)[0]
    total = parts[0] + ramp(epoch / 200) * weight * parts[1] + parts[2]
    gradient = torch.autograd.grad(total, method.head.weight)[0] + 5e-4 * method.head.weight
    rate = 0.01 * 0.5 * (1 + math.cos(math.pi * epoch / 200))
    method.loss(views, epoch / 200)
    mixtures = mix(both[0].repeat(2, 1), views["share"][0], order)
    found = {"Lx": parts[0], "Lu": ramp(epoch / 200) * weight * parts[1], "total": total,
             "targets_x_mixed": mixtures[rows[: 2 * int(clean.sum())]],
             "targets_u_mixed": mixtures[rows[2 * int(clean.sum()):]],
             "W1_after": method.head.weight - rate * 1.9 * gradient,  # the first step of Nesterov's momentum 0.9
             "clean_after": method.memory.clean, "p_label_after": method.memory.labels,
             "conf_self": method.memory.confidence[:, 0]}
    own = found["conf_self"]
    found["conf_self"] = (own - own.min()) / (own.max() - own.min())
    return {key: value for name, value in found.items() if (key := f"step_{case}_{name}") in z}


def ruc_steps(z: Arrays) -> dict:
    return (ruc_step(z, "nomix_cifar10_ep3", False, 3, 25.0) | ruc_step(z, "mix0.3_cifar10_ep3", True, 3, 25.0)
            | ruc_step(z, "mix0.3_stl10_ep100", True, 100, 50.0, relabel=0.9, relabel_step=0.02))
