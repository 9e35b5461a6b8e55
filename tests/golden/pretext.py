"""What the golden table computes for the methods of week 26, and SupCon."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.methods.clustering.local_aggregation import aggregation_loss
from course_lib.methods.clustering.sela import label_times, labels_of, transport_plan
from course_lib.methods.metric.supcon import same_class, supcon_loss
from course_lib.methods.pretext.drlim import distances, pair_losses
from course_lib.methods.pretext.memory import MemoryBank
from course_lib.methods.pretext.npid import instance_softmax, nce_loss
from course_lib.methods.pretext.pirl import pirl_loss
from golden.contrastive import Arrays, cases, leaf


def _bank(rows: Tensor, momentum: float = 0.5) -> MemoryBank:
    bank = MemoryBank(rows.shape[1], momentum)
    bank.fill(rows=rows.clone(), written=torch.zeros(len(rows), dtype=torch.int64))
    return bank.to(rows.dtype)


# ---------------------------------------------------------------- NPID
def npid_nce(z: Arrays) -> dict:
    """Consecutive steps with one bank: Z is of the first."""
    out = {}
    for case, hyper in cases(z).items():
        bank = _bank(z[f"{case}__memory0"], hyper["momentum"])
        found = {name: [] for name in ("Z", "P", "loss", "grad_x", "memory")}
        for x, y, idx in zip(z[f"{case}__x"], z[f"{case}__y"], z[f"{case}__idx"]):
            x = leaf(x)
            scores = torch.einsum("bd,bmd->bm", x, bank.rows[idx]) / hyper["T"]  # x as it is: its gradient is stored
            torch.testing.assert_close(scores, bank.scores(x, idx, hyper["T"]))
            log_z = bank.log_partition(scores)
            loss = nce_loss(scores, log_z, len(bank))["loss"]
            loss.backward()
            bank.update(y, x)
            for name, value in (("Z", log_z.exp()), ("P", (scores - log_z).exp()), ("loss", loss), ("grad_x", x.grad),
                                ("memory", bank.rows)):
                found[name].append(value.detach())
        out |= {f"{case}__{name}": torch.stack(values) for name, values in found.items()}
    return out


def npid_softmax(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        x, bank = leaf(z[f"{case}__x"]), _bank(z[f"{case}__memory0"], hyper["momentum"])
        scores = x @ bank.rows.T / hyper["T"]  # x as it is
        torch.testing.assert_close(scores, bank.scores(x, None, hyper["T"]))
        loss = instance_softmax(scores, z[f"{case}__y"])
        loss.backward()
        bank.update(z[f"{case}__y"], x)
        out |= {f"{case}__logits": scores, f"{case}__loss": loss, f"{case}__grad_x": x.grad,
                f"{case}__memory": bank.rows}
    return out


# ---------------------------------------------------------------- PIRL
def _pirl(bank: MemoryBank, patches: Tensor, image: Tensor, rows: tuple[Tensor, Tensor], temperature: float,
          nce: bool, lam: float) -> dict[str, Tensor]:
    """Raw embeddings -> the terms, the scores of both, and Z, -1 where none is estimated."""
    scores = [bank.scores(x, index, temperature) for x, index in zip((patches, image), rows)]
    log_z = bank.log_partition(scores[0]) if nce else None
    z = torch.tensor(-1.0) if log_z is None else log_z.exp()
    return {**pirl_loss(*scores, log_z, len(bank), lam), "scores": scores, "Z": z}


def pirl(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        patch, image = leaf(z[f"{case}__f_patch"]), leaf(z[f"{case}__f_image"])
        bank, total = _bank(z[f"{case}__memory0"]), sum(hyper["weights"])
        found = _pirl(bank, patch, image, (z[f"{case}__idx_patch"], z[f"{case}__idx_image"]), hyper["T"],
                      hyper["loss_type"] == "nce", hyper["weights"][0] / total)
        (total * found["loss"]).backward()
        bank.update(z[f"{case}__y"], image)
        out |= {f"{case}__loss": (total * found["loss"]).reshape(z[f"{case}__loss"].shape), f"{case}__Z": found["Z"],
                f"{case}__grad_patch": patch.grad, f"{case}__grad_image": image.grad, f"{case}__memory": bank.rows}
    return out


def pirl_terms(z: Arrays) -> dict:
    """Both terms for each kind of loss and temperature, which are in the arrays' names; one draw of rows for both."""
    out = {}
    for name in [key.removeprefix("loss_total_") for key in z if key.startswith("loss_total_")]:
        kind, _, temperature = name.rpartition("_T")
        bank, nce = _bank(z["memory"], float(z["memory_momentum"])), kind == "nce"
        found = _pirl(bank, z["emb_patches"], z["emb_image"], (z["idx"], z["idx"]),
                      float(temperature.replace("p", ".")), nce, 0.5)
        bank.update(z["y"], z["emb_image"])
        shown = [(s - bank.log_z).exp() if nce else s.unsqueeze(2) for s in found["scores"]]
        out |= {f"out_patches_{name}": shown[0], f"out_images_{name}": shown[1], f"Z_{name}": found["Z"],
                f"memory_after_{name}": bank.rows}
        for term, part in (("patches", "pieces"), ("images", "image"), ("total", "loss")):
            out[f"loss_{term}_{name}"] = found[part].reshape(z[f"loss_{term}_{name}"].shape)
    return out


# ---------------------------------------------------------------- SupCon
def supcon(z: Arrays) -> dict:
    """The official loss is tau / base_temperature times ours; embeddings are taken as they are."""
    out = {}
    for case, hyper in cases(z).items():
        features, positives = leaf(z[f"{case}__features"]), None
        if f"{case}__labels" in z:
            positives = same_class(z[f"{case}__labels"])
        elif f"{case}__mask" in z:
            positives = z[f"{case}__mask"]
        tau = hyper["temperature"]
        loss = tau / hyper["base_temperature"] * supcon_loss(
            features, positives, tau, first_only=hyper["contrast_mode"] == "one", unit_length=False)["loss"]
        loss.backward()
        out |= {f"{case}__loss": loss, f"{case}__grad": features.grad}
    return out


def supcon_modes(z: Arrays) -> dict:
    """With labels (supcon) and without (simclr), for each temperature and mode, which are in the names; base 0.07."""
    out = {}
    for name in [key for key in z if key.startswith(("supcon_T", "simclr_T"))]:
        kind, temperature, mode = name.split("_")
        tau = float(temperature.removeprefix("T").replace("p", "."))
        positives = same_class(z["labels"]) if kind == "supcon" else None
        out[name] = tau / 0.07 * supcon_loss(z["features"], positives, tau, first_only=mode == "one",
                                             unit_length=False)["loss"]
    return out


# ---------------------------------------------------------------- SeLa
TOLERANCES = {"imagenet": 0.1, "cifar": 0.01}


def sela(z: Arrays) -> dict:
    """The plan and its labels for each version and lambda, which are in the names; and when there are new labels."""
    log_p = z["softmax"].log()
    torch.testing.assert_close(log_p, z["logits"].log_softmax(1))
    out = {"argmax_counts": labels_of(log_p, balance=False).bincount(minlength=log_p.shape[1])}
    for name in [key.removesuffix("_L") for key in z if key.endswith("_L")]:
        version, lam = name.split("_lamb")
        plan, error, rounds = transport_plan(log_p, float(lam), TOLERANCES[version])
        stored = {"L": labels_of(log_p, float(lam), TOLERANCES[version]), "Q": plan,
                  "err_steps": torch.tensor([error, rounds], dtype=torch.float64)}
        out |= {f"{name}_{kind}": value for kind, value in stored.items() if f"{name}_{kind}" in z}
    end = z["opt_times_imagenet_epochs"][:1]  # an epoch's number that is never reached: the training's epochs and 2
    times = (end - 0.99) * label_times(len(z["opt_times_imagenet_epochs"]) - 1).flip(0)
    return out | {"opt_times_imagenet_epochs": torch.cat([end, times])}


def sela_plans(z: Arrays) -> dict:
    """For each matrix and lambda, which are in the names."""
    out = {}
    for name in [key.removeprefix("labels_") for key in z if key.startswith("labels_")]:
        matrix, lam = name.rsplit("_lam", 1)
        log_p = z[f"probs_{matrix}"].log()
        out |= {f"labels_{name}": labels_of(log_p, float(lam)),
                f"plan_NxK_{name}": transport_plan(log_p, float(lam))[0]}
    return out


# ---------------------------------------------------------------- Local Aggregation
def local_aggregation(z: Arrays, official: bool) -> dict:
    """The loss for each size of the background, which is in the names; the official one has its (B, B) ratio."""
    out = {}
    if official and "ir_loss" in z:
        out |= port_nce(z)
    groups, own = z["cluster_labels"].T, z["cluster_labels"].T[z["indices"]]
    for name in [key.removesuffix("_loss") for key in z if key.startswith("la_k") and key.endswith("_loss")]:
        outputs, bank = leaf(z["outputs"]), _bank(z["bank"], float(z["m"]))
        loss = aggregation_loss(bank.scores(outputs, None, float(z["t"])), own, groups, int(name[4:]))["loss"]
        loss.backward()
        bank.update(z["indices"], outputs)
        out |= ({f"{name}_loss": loss, f"{name}_grad_outputs": outputs.grad,
                 f"{name}_new_memory": bank.rows[z["indices"]]} if official else
                {f"{name}_loss_paper_form_not_official": loss})
    return out


def port_nce(z: Arrays) -> dict:
    """The port's instance discrimination, where the arrays of it are stored: NPID's NCE with a constant Z."""
    outputs, bank = leaf(z["outputs"]), _bank(z["bank"], float(z["m"]))
    index = torch.cat([z["indices"][:, None], z["ir_noise_idx"]], 1)
    log_z = math.log(2876934.2 / 1281167 * len(bank))
    loss = nce_loss(bank.scores(outputs, index, float(z["t"])), log_z, len(bank))["loss"]
    loss.backward()
    bank.update(z["indices"], outputs)
    return {"ir_loss": loss, "ir_grad_outputs": outputs.grad, "ir_new_memory": bank.rows[z["indices"]]}


# ---------------------------------------------------------------- DrLIM
def drlim(z: Arrays) -> dict:
    out = {}
    for case, hyper in cases(z).items():
        x1, x2 = leaf(z[f"{case}__x1"]), z[f"{case}__x2"]
        each = pair_losses(x1, x2, z[f"{case}__Y"], hyper["margin"])
        each.sum().backward()
        out |= {f"{case}__D": distances(x1, x2), f"{case}__per_pair": each, f"{case}__loss_sum": each.sum(),
                f"{case}__loss_mean": each.mean(), f"{case}__grad_x1": x1.grad}
    return out
