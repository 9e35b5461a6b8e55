"""What the golden table computes for MAE and SimMIM."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.augment.masks import coarse_mask, hidden_count, kept_count, random_masking
from course_lib.methods.masked.mae import mae_loss
from course_lib.methods.masked.simmim import pixel_shuffle, simmim_loss
from course_lib.models.patches import patchify, unpatchify
from course_lib.models.positions import sincos_positions
from course_lib.optim import layer_decay_groups, warmup_cosine

Arrays = Mapping[str, Tensor]


# ---------------------------------------------------------------- MAE
def mae_losses(z: Arrays) -> dict:
    """Stored masks: 1 = removed. A patch's error is the loss when that patch alone is hidden."""
    images, out = z["imgs"], {"patches": patchify(z["imgs"], 4), "unpatchified": unpatchify(z["patches"], 4)}
    for name, normalized in (("plain", False), ("norm", True)):
        prediction = z["pred"].clone().requires_grad_()
        loss = mae_loss(prediction, images, z["mask"] == 0, normalized)
        loss.backward()
        alone = torch.empty(2, 16, dtype=torch.float64)
        for image in range(2):
            for patch in range(16):
                visible = torch.ones(2, 16, dtype=torch.bool)
                visible[image, patch] = False
                alone[image, patch] = mae_loss(z["pred"], images, visible, normalized)
        out |= {f"loss_{name}": loss, f"grad_pred_{name}": prediction.grad, f"loss_per_patch_{name}": alone}
    return out


def mae_masks(z: Arrays) -> dict:
    out = {}
    for case in ("rm_L16_r75", "rm_L49_r60", "rm_L10_r50"):
        x = z[f"{case}_x"]
        kept = kept_count(x.shape[1], float(z[f"{case}_ratio"]))
        keep, restore, visible = random_masking(z[f"{case}_noise"], kept)
        out |= {f"{case}_xmasked": x.gather(1, keep[..., None].expand(-1, -1, x.shape[2])),
                f"{case}_mask": (~visible).double(), f"{case}_ids_restore": restore}
    table = z["len_keep_table"].clone()
    for row in table:
        row[2] = kept_count(int(row[0]), float(row[1]))
    return out | {"len_keep_table": table}


def mae_positions(z: Arrays) -> dict:
    def table(dim: int, grid: int, class_token: bool) -> Tensor:
        return sincos_positions(grid, dim, class_token, torch.float64)

    big = table(768, 14, True)
    return {"pos_d768_g14_cls_at_rows": big[z["pos_d768_g14_cls_rows"]], "pos_d768_g14_cls_colsum": big.sum(0),
            "pos_d16_g3": table(16, 3, False), "pos_d32_g4_cls": table(32, 4, True), "pos_d64_g8": table(64, 8, False),
            # one row of a grid: its first half is the one-dimensional table of the columns
            "pos1d_d8": table(16, 5, False)[:5, :8]}


def mae_schedules(z: Arrays) -> dict:
    """The rate by fractional epochs; and layer-wise decay, over a ViT of three blocks and a head."""
    warm, total, peak, low = z["lrs_args_warm_total_lr_min"].tolist()
    assert low == 0
    rates = [peak * warmup_cosine(epoch, total, warm) for epoch in z["lrs_epochs"].tolist()]
    ours = {"cls_token": "class_token", "pos_embed": "positions", "patch_embed": "patch_embed"}
    vit = nn.Module()  # the stored dummy's parameters under our names
    vit.class_token, vit.positions = nn.Parameter(torch.zeros(1, 1, 2)), nn.Parameter(torch.zeros(1, 5, 2))
    vit.patch_embed, vit.norm, vit.head = nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2)
    vit.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    groups = layer_decay_groups(vit, 0.05, 0.65)
    where = {id(p): group for group in groups for p in group["params"]}
    found = []
    for name in z["lrd_names"]:
        first, _, rest = str(name).partition(".")
        found.append(where[id(vit.get_parameter(".".join(filter(None, (ours.get(first, first), rest)))))])
    return {"lrs_lr": rates, "lrd_scale": [group["lr_scale"] for group in found],
            "lrd_wd": [group["weight_decay"] for group in found]}


# ---------------------------------------------------------------- SimMIM
def simmim_losses(z: Arrays) -> dict:
    """Stored masks: 1 = hidden."""
    stride = int(z["encoder_stride"])
    with torch.no_grad():
        head = nn.Conv2d(*z["dec_weight"].shape[1::-1], 1).double()
        head.load_state_dict({"weight": z["dec_weight"], "bias": z["dec_bias"]})
        drawn = pixel_shuffle(head(z["z"]), stride)
    grid = z["x"].shape[-1] // int(z["model_patch_size"])
    everything = torch.ones(2, grid, grid, dtype=torch.bool)
    single = torch.empty(grid, grid, dtype=torch.float64)
    for row in range(grid):
        for column in range(grid):
            visible = everything.clone()
            visible[0, row, column] = False
            single[row, column] = simmim_loss(drawn, z["x"], visible)
    return {"x_rec": drawn, "loss": simmim_loss(drawn, z["x"], ~z["mask_tokens"].bool()),
            "loss_unequal": simmim_loss(drawn, z["x"], ~z["mask_tokens_unequal"].bool()),
            "loss_single_token_img0": single}


SIZES = {"192_32_4_60": (192, 32, 4, 0.6), "224_32_16_60": (224, 32, 16, 0.6), "32_8_4_50": (32, 8, 4, 0.5),
         "32_4_4_75": (32, 4, 4, 0.75), "96_16_8_60": (96, 16, 8, 0.6)}


def simmim_masks(z: Arrays) -> dict:
    """Official: the first of a permutation of the mask patches are hidden, 1. Their places in it are our noise."""
    out = {}
    for name, (size, mask_patch, patch, mask_ratio) in SIZES.items():
        m, scale = size // mask_patch, mask_patch // patch
        for seed in (0, 7):
            draw = np.random.RandomState(seed)
            noise = np.stack([draw.permutation(m * m).argsort().reshape(m, m) for _ in range(3)])
            out[f"mg_{name}_seed{seed}"] = (~coarse_mask(torch.from_numpy(noise), mask_ratio, scale)).double()
        out[f"mg_{name}_counts"] = torch.tensor([m, scale, m * m, hidden_count(m * m, mask_ratio)])
    table = z["mask_count_table"].clone()
    for row in table:
        size, mask_patch, _, ratio, _ = row.tolist()
        row[4] = hidden_count(int(size // mask_patch) ** 2, ratio)
    return out | {"mask_count_table": table}
