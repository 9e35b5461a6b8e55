"""What the golden table computes for BEiT and DMAE."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.augment.masks import hide_blocks
from course_lib.evaluate.smoothing import ABSTAIN, certified_radius, certify, lower_bound
from course_lib.methods.masked.beit import BEIT_VIT, BEiT, beit_loss
from course_lib.methods.masked.dmae import consistency_loss, dmae_loss
from course_lib.methods.masked.tokenizers import KMeansTokenizer
from course_lib.models.positions import relative_index
from course_lib.models.vit import ViT, init_truncated
from course_lib.optim import cosine

Arrays = Mapping[str, Tensor]
MASKS = {"mask_14_n75_min16": (14, 75, 16), "mask_8_n24_min4": (8, 24, 4), "mask_8_n32_min4": (8, 32, 4),
         "mask_4_n6_min2": (4, 6, 2)}


# ---------------------------------------------------------------- BEiT
def _hidden(settings: tuple[int, int, int], seed: int, many: int) -> Tensor:
    """The stored masks are 1 where a patch is hidden."""
    draw = random.Random(seed)
    return torch.from_numpy(~np.stack([hide_blocks(*settings, draw) for _ in range(many)])).double()


def block_masks(z: Arrays) -> dict:
    out = {f"{name}_seed{seed}": _hidden(settings, seed, 4) for name, settings in MASKS.items() for seed in range(3)}
    for name, settings in MASKS.items():
        many = _hidden(settings, 123, 3000)
        counts = many.sum((1, 2))
        out[f"{name}_count_min_mean_max_fracexact"] = torch.stack(
            [counts.min(), counts.mean(), counts.max(), (counts == settings[1]).double().mean()])
        out[f"{name}_meanmap"] = many.mean(0)
    return out


def relative_indices(z: Arrays) -> dict:
    out = {f"relidx_{h}x{w}": relative_index(h, w) for h, w in ((2, 2), (2, 3), (3, 3), (4, 4))}
    out |= {f"relnum_{h}x{w}": relative_index(h, w).max() + 1 for h, w in ((2, 2), (2, 3), (3, 3), (4, 4), (14, 14))}
    whole = relative_index(14, 14)
    return out | {"relidx_14x14_head": whole[:20, :20], "relidx_14x14_sum": whole.sum()}


NAMES = {"patch_embed.proj.": "patch_embed.", "cls_token": "class_token", "gamma_1": "scale1", "gamma_2": "scale2",
         "rel_pos_bias.relative_position_bias_table": "relative.table",
             "relative_position_bias_table": "relative.table",
         "mlp.fc1.": "mlp.0.", "mlp.fc2.": "mlp.2."}


def _renamed(z: Arrays, prefix: str) -> dict[str, Tensor]:
    """The official state dict by our names; the stored index is held elsewhere."""
    out = {}
    for key in z:
        if key.startswith(prefix) and not key.endswith("relative_position_index"):
            name = key.removeprefix(prefix)
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
            out[name] = z[key]
    return out


def beit_forward(z: Arrays) -> dict:
    """The module itself, with the stored words in place of a tokenizer's."""
    vit = ViT(16, patch=4, dim=24, depth=2, heads=3, **BEIT_VIT)
    method = BEiT(vit, 16, tokenizer=KMeansTokenizer(codes=11)).double()
    state = _renamed(z, "sd.")
    head = {name: state.pop(f"lm_head.{name}") for name in ("weight", "bias")}
    method.mask_token.data = state.pop("mask_token")
    method.head.load_state_dict(head)
    vit.load_state_dict(state)
    visible = ~z["bool_masked_pos"].view(2, 4, 4)
    logits, words = method.logits(z["x"], visible), z["token_ids"]
    masked = logits[z["bool_masked_pos"]]
    features = vit.tokens(z["x"], visible, mask_token=method.mask_token)
    return {"features": features, "all_logits": logits, "masked_logits": masked,
            "masked_labels": words[~visible.flatten(1)], "loss": beit_loss(logits, words, visible),
            "shared_rel_pos_bias": vit.relative()}


def beit_init(z: Arrays) -> dict:
    """The deviation at init of the last layer of a branch, in two blocks wide enough to measure it."""
    torch.manual_seed(0)
    vit = init_truncated(ViT(16, patch=4, dim=192, depth=2, heads=3))
    return {"init_rescale_note_layer_proj_std": torch.stack([block.attn.proj.weight.std() for block in vit.blocks])}


def beit_schedule(z: Arrays) -> dict:
    """8 steps of warm-up from 1e-6, both ends included, then a cosine from step 8 on."""
    return {"cos_sched_1e-3_1e-5_ep5_it4_warm2": torch.cat([
        torch.linspace(1e-6, 1e-3, 8, dtype=torch.float64),
        torch.tensor([cosine(1e-3, 1e-5, step / 12) for step in range(12)], dtype=torch.float64)])}


# ---------------------------------------------------------------- DMAE
def dmae_losses(z: Arrays) -> dict:
    """Of the stored images as they are: what normalises them is not part of the loss."""
    return {"loss_plain": dmae_loss(z["pred"], z["imgs01"], False),
            "loss_norm": dmae_loss(z["pred"], z["imgs01"], True)}


def lower_bounds(z: Arrays) -> dict:
    table = z["lcb_table_NA_N_alpha_lower_ppf"].clone()
    for row in table:
        votes, n, alpha = row[0], row[1], float(row[2])
        row[3], row[4] = lower_bound(votes, n, alpha), torch.special.ndtri(lower_bound(votes, n, alpha))
    radius = certified_radius(table[:, 0], table[:, 1], 1.0, 0.001)
    known = (table[:, 2] == 0.001) & (table[:, 3] >= 0.5)
    assert torch.allclose(radius[known], table[known, 4]) and not radius[(table[:, 2] == 0.001) & ~known].any()
    return {"lcb_table_NA_N_alpha_lower_ppf": table}


class _Scripted(nn.Module):
    """A classifier that answers with stored labels, one after the other."""

    def __init__(self, labels: Tensor):
        super().__init__()
        self.labels, self.asked = labels, 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        return nn.functional.one_hot(self.labels[self.asked - len(images) : self.asked], 4).double()


def certificates(z: Arrays) -> dict:
    table = z["certify_cases_n0_n_alpha_bs_target_sigma_nA_pred_radius"].clone()
    for number, row in enumerate(table):
        n0, n, alpha, batch, target, sigma = row[:6].tolist()
        labels = z[f"certify_case{number}_labels"]
        row[6] = (labels[int(n0) :] == 3).sum()
        found, radius = certify(_Scripted(labels), torch.rand(3, 2, 2), sigma, 4, torch.Generator().manual_seed(0),
                                n0=int(n0), n=int(n), alpha=alpha, batch_size=int(batch))
        if found != target:  # their shortcut: the wrong class is not certified
            found, radius = ABSTAIN, 0.0
        row[7], row[8] = torch.tensor(found), torch.tensor(radius)
    return {"certify_cases_n0_n_alpha_bs_target_sigma_nA_pred_radius": table}


def consistency(z: Arrays) -> dict:
    """Their "kl" has no entropy term, their "xent" (cross-entropy with the mean) as much of it as of the divergence."""
    logits = list(z["cons_logits"])
    sure = torch.full((1, 4), -200.0, dtype=torch.float64)
    sure[0, 1] = 200.0
    return {"cons_default_lbd2_eta0.5": consistency_loss(logits, 2.0, 0.5),
            "cons_xent_lbd2_eta0.5": consistency_loss(logits, 2.0, 2.0),
            "cons_kl_lbd2_eta0.5": consistency_loss(logits, 2.0, 0.0),
            "cons_default_lbd2_eta0.1_m2": consistency_loss(logits[:2], 2.0, 0.1),
            "cons_saturated": consistency_loss([sure, sure], 2.0, 0.5)}
