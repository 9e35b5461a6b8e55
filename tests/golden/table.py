"""ONE table: golden file -> the callable of the library that must reproduce it (`tests/test_golden.py` runs it).

A row computes, from the arrays of one file, a dict "name of a stored array -> our value". `factor`: official = factor *
ours, where the two count differently (SimCLR's code returns twice the paper's average). A new method
joins by copying its file into tests/golden, a line of provenance in the README there, and a row here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from einops import rearrange
from torch import Tensor, nn

from course_lib.augment.masks import enlarge, mask_from_noise
from course_lib.evaluate.measures import alignment, rankme, uniformity
from course_lib.evaluate.neighbours import knn_predict
from course_lib.methods.contrastive.vicreg import vicreg_loss
from course_lib.methods.masked.spark import LightDecoder, UNetBlock, spark_loss, sparse
from course_lib.models.batch_norm import BatchNorm2d
from course_lib.models.patches import patchify
from course_lib.optim import LARS, cosine, ema_momentum, parameter_groups, warmup_cosine
from golden import beit_dmae as masked_b
from golden import (
    clustering,
    contrastive,
    dense_metric,
    good_views,
    information,
    mixing,
    mutual,
    negatives,
    pretext,
    surveys,
)
from golden import dino_ibot as distilled
from golden import mae_simmim as pixels
from golden import mice_gatcluster as clustered

Arrays = Mapping[str, Tensor]


@dataclass(frozen=True)
class Row:
    file: str
    what: str  # the callable that is held to the file, as a reader would look it up
    compute: Callable[[Arrays], dict[str, Tensor | float]]
    rtol: float = 1e-6
    atol: float = 1e-9
    factor: float = 1.0
    unused: dict[str, str] = field(default_factory=dict)  # arrays that no row is held to, and why


# ---------------------------------------------------------------- losses
VICREG = {"c0": (25.0, 25.0, 1.0), "c1": (25.0, 25.0, 1.0), "c2": (25.0, 25.0, 1.0),
          "c3": (1.0, 0.0, 0.0), "c4": (0.0, 1.0, 0.0)}


def vicreg(z: Arrays) -> dict:
    out = {}
    for case, weights in VICREG.items():
        a, b = (z[f"{case}__{name}"].clone().requires_grad_() for name in "xy")
        parts = vicreg_loss(a, b, *weights)
        parts["loss"].backward()
        out |= {f"{case}__loss": parts["loss"], f"{case}__repr_loss": parts["invariance"],
                f"{case}__std_loss": parts["variance"], f"{case}__cov_loss": parts["covariance"],
                f"{case}__grad_x": a.grad, f"{case}__grad_y": b.grad}
    return out


# ---------------------------------------------------------------- SparK
def _weights(z: Arrays, prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{prefix}."): z[key] for key in z if key.startswith(f"{prefix}.")}


def _loaded(z: Arrays, prefix: str, module: nn.Module) -> nn.Module:
    module = module.double()
    module.load_state_dict(_weights(z, prefix))
    return module


def _sparsely(module: nn.Module, x: Tensor, visible: Tensor) -> Tensor:
    with sparse(module, visible):
        return module(x)


def spark_convolutions(z: Arrays) -> dict:
    def conv(name: str, x: str, *shape: int, **options) -> Tensor:
        return _sparsely(_loaded(z, f"{name}_sd", nn.Conv2d(*shape, **options)), z[x], z["act_b1ff"])

    return {"conv3x3_s1_bias_out": conv("conv3x3_s1_bias", "x_masked", 4, 5, 3, 1, 1),
            "conv3x3_s2_bias_out": conv("conv3x3_s2_bias", "x_masked", 4, 5, 3, 2, 1),
            "conv3x3_s1_bias_dense_input_out": conv("conv3x3_s1_bias_dense_input", "x_dense", 4, 5, 3, 1, 1),
            "dwconv7_bias_out": conv("dwconv7_bias", "x_masked", 4, 4, 7, 1, 3, groups=4)}


def spark_pools(z: Arrays) -> dict:
    pools = {"maxpool3s2p1": nn.MaxPool2d(3, 2, 1), "maxpool2": nn.MaxPool2d(2),
             "avgpool2": nn.AvgPool2d(2), "avgpool3s1p1": nn.AvgPool2d(3, 1, 1)}
    return {f"{name}_out": _sparsely(pool, z["x_masked"], z["act_b1ff"]) for name, pool in pools.items()}


def spark_batch_norm(z: Arrays) -> dict:
    momentum, eps = z["bn_momentum_eps"].tolist()
    norm = _loaded(z, "bn_train_sd", BatchNorm2d(4, eps=eps, momentum=momentum))
    out = {"bn_train_out": _sparsely(norm, z["x_masked"], z["act_b1ff"]), "bn_num_active": z["active_ex_8"].sum(),
           "bn_running_mean_after": norm.running_mean, "bn_running_var_after": norm.running_var}
    return out | {"bn_eval_out": _sparsely(norm.eval(), z["x_masked"], z["act_b1ff"])}


def spark_layer_norms(z: Arrays) -> dict:
    from torchvision.models.convnext import LayerNorm2d

    last = _loaded(z, "ln_cl_sd", nn.LayerNorm(4, eps=1e-6))
    first = _loaded(z, "ln_cf_sd", LayerNorm2d(4, eps=1e-6))
    return {"ln_cl_out": _sparsely(last, z["x_masked"].permute(0, 2, 3, 1), z["act_b1ff"]),
            "ln_cf_out": _sparsely(first, z["x_masked"], z["act_b1ff"])}


def spark_decoder(z: Arrays) -> dict:
    block, decoder = _loaded(z, "unet_sd", UNetBlock(6, 3)), _loaded(z, "dec_sd", LightDecoder(8, 16))
    return {"unet_out_train": block(z["unet_x"]), "dec_out": decoder([z["dec_in0"], z["dec_in1"], None])}


def spark_losses(z: Arrays) -> dict:
    """The error of each patch is the loss when that patch alone is hidden; patch 0 of image 0 is constant."""
    images = rearrange(z["patchify8"], "b (h w) (p q c) -> b c (h p) (w q)", h=4, p=8, q=8)
    seen = torch.ones(3, 16, dtype=torch.bool)
    errors = torch.empty(3, 16, dtype=torch.float64)
    for image in range(3):
        for patch in range(16):
            visible = seen.clone()
            visible[image, patch] = False
            errors[image, patch] = spark_loss(z["lossonly_rec"], images, visible.view(3, 4, 4))
    return {"patchify8": patchify(images, 8), "lossonly_per_patch": errors}


def spark_masks(z: Arrays) -> dict:
    table = z["len_keep_round_table_f_ratio_keep"].clone()
    for row in table:
        noise = torch.rand(1, int(row[0]) ** 2)
        row[2] = mask_from_noise(noise, float(row[1])).sum()
    return {"active_ex_8": enlarge(z["act_b1ff"], 8), "active_ex_4": enlarge(z["act_b1ff"], 4),
            "x_masked": z["x_dense"] * enlarge(z["act_b1ff"], 8), "len_keep_round_table_f_ratio_keep": table}


# ---------------------------------------------------------------- optimizers and schedules
def _lars(z: Arrays, matrices: str, vectors: str, flavour: str, hyper: Mapping[str, dict]) -> dict:
    """Run LARS over the stored gradients; matrices decay and adapt, vectors do neither, by `parameter_groups`."""
    out = {}
    for case, settings in hyper.items():
        module = nn.Module()
        for name in matrices + vectors:
            setattr(module, name, nn.Parameter(z[f"{case}__{name}0"].clone()))
        rates = z[f"{case}__lr"].tolist() if f"{case}__lr" in z else None
        settings = {"eta": 0.001, "momentum": 0.9, "lr": 1.0, **settings}
        groups = parameter_groups(module, settings.pop("weight_decay"))
        optimizer = LARS(groups, flavour=flavour, **settings)
        after = {name: [] for name in matrices + vectors}
        for step in range(len(z[f"{case}__gW"])):
            for name in after:
                getattr(module, name).grad = z[f"{case}__g{name}"][step].clone()
            for group in optimizer.param_groups:
                group["lr"] = rates[step] if rates else settings["lr"]
            optimizer.step()
            for name in after:
                after[name].append(getattr(module, name).detach().clone())
        out |= {f"{case}__{name}": torch.stack(values) for name, values in after.items()}
    return out


TORCH_LARS = {"c0": dict(lr=0.2, weight_decay=1e-6), "c1": dict(lr=1.0, weight_decay=0.1)}
BYOL_LARS = {"c0": dict(lr=0.2, weight_decay=1.5e-6), "c1": dict(lr=1.0, weight_decay=0.1)}
SIMCLR_LARS = {"c0": dict(weight_decay=1e-4), "c1": dict(weight_decay=1e-6)}


def lars_outside(z: Arrays) -> dict:
    """SimCLR's changing rates with torch's flavour: the stored contrast, which must differ from SimCLR's own."""
    ours = _lars(z, "W", "b", "torch", SIMCLR_LARS)
    return {f"{case}__W_lr_outside": ours[f"{case}__W"] for case in SIMCLR_LARS}


def byol_schedules(z: Arrays) -> dict:
    out = {f"ema_{name}__value": [ema_momentum(base, k / 100) for k in z[f"ema_{name}__step"].tolist()]
           for name, base in (("996", 0.996), ("99", 0.99), ("97", 0.97))}
    out["lr_300__value"] = [0.3 * 4096 / 256 * warmup_cosine(k, 100, 10) for k in z["lr_300__step"].tolist()]
    return out


def schedules(z: Arrays) -> dict:
    def over(name: str, function: Callable[[float], float]) -> list[float]:
        return [function(step) for step in z[f"{name}__step"].tolist()]

    def barlow(steps: int, warmup: int, peak: float) -> Callable[[float], float]:
        return lambda step: peak * warmup_cosine(step, steps, warmup, final=0.001)

    return {
        "barlow_lr__value": over("barlow_lr", barlow(300, 100, 0.2 * 2048 / 256)),
        "barlow_lr__value2": over("barlow_lr", barlow(300, 100, 0.0048 * 2048 / 256)),
        "barlow_small_lr__value": over("barlow_small_lr", barlow(80, 40, 0.2)),
        "barlow_small_lr__value2": over("barlow_small_lr", barlow(80, 40, 0.0048)),
        "vicreg_lr__value": over("vicreg_lr", barlow(100, 50, 0.3 * 512 / 256)),
        "dino_ema__value": over("dino_ema", lambda step: ema_momentum(0.996, step / 70)),
        "dino_wd__value": over("dino_wd", lambda step: cosine(0.04, 0.4, step / 70)),
        "mocov3_ema__value": over("mocov3_ema", lambda epoch: ema_momentum(0.99, epoch / 100)),
        "mocov3_lr__value": over("mocov3_lr", lambda epoch: 9.6 * warmup_cosine(epoch, 100, 10)),
        "mocov2_cos_lr__value": over("mocov2_cos_lr", lambda epoch: 0.03 * warmup_cosine(epoch, 200, 0)),
        "simsiam_lr__value": over("simsiam_lr", lambda epoch: 0.1 * warmup_cosine(epoch, 100, 0)),
        # the predictor's group keeps its rate: `fixed_lr` in the loop
        "simsiam_lr__value2": over("simsiam_lr", lambda epoch: 0.1),
    }


# ---------------------------------------------------------------- evaluation (more of it in tests/test_evaluate.py)
def knn(z: Arrays) -> dict:
    hyper = {entry["case"]: entry["hyper"] for entry in json.loads(str(z["meta_json"]))["cases"]}
    return {f"{case}__pred": knn_predict(z[f"{case}__bank"], z[f"{case}__bank_labels"], z[f"{case}__feature"],
                                         k=hyper[case]["k"], temperature=hyper[case]["t"], center=False)
            for case in hyper}


def align_uniform(z: Arrays) -> dict:
    x, y = z["x"], z["y"]
    return ({f"align_alpha{alpha}": alignment(x, y, alpha) for alpha in (1, 2, 4)}
            | {f"uniform_t{t}_{name}": uniformity(z[name], t) for t in (1, 2, 4) for name in "xy"}
            | {"stl10_total": alignment(x, y) + (uniformity(x) + uniformity(y)) / 2})


def ranks(z: Arrays) -> dict:
    names = [key.removeprefix("Z_") for key in z if key.startswith("Z_")]
    return ({f"rankme_eps1e7_{name}": rankme(z[f"Z_{name}"]) for name in names}
            | {f"erank_eps0_{name}": rankme(z[f"Z_{name}"], eps=0) for name in names}
            | {f"rankme_spt_eps1e5_{name}": rankme(z[f"Z_{name}"], eps=1e-5) for name in names})


NOTHING_HIDDEN = "0 officially; a ValueError here"
ELSEWHERE = "held in tests/test_evaluate.py, or an intermediate result that the library does not give"


TABLE = [
    Row("vicreg.npz", "methods.contrastive.vicreg.vicreg_loss", vicreg),
    Row("simclr.npz", "methods.contrastive.simclr.nt_xent", lambda z: contrastive.simclr(z, paper=True),
        unused={"*__logits_ab": "an intermediate result", "*__acc": "of one direction; ours is of both"}),
    Row("simclr.npz", "methods.contrastive.simclr.nt_xent, twice", lambda z: contrastive.simclr(z, paper=False),
        rtol=1e-4, atol=1e-6, factor=2.0),  # its gradients are TensorFlow's, in float32
    Row("moco.npz", "methods.contrastive.moco.moco_loss, layers.Queue", contrastive.moco),
    Row("moco_queue.npz", "methods.contrastive.moco.MoCo, six steps", contrastive.moco_steps),
    Row("moco_cifar_symmetric.npz", "methods.contrastive.moco.MoCo, symmetric", contrastive.moco_symmetric),
    Row("split_batchnorm.npz", "batch_norm.split_batch_norm", contrastive.split_norm),
    Row("swav_sinkhorn.npz", "layers.sinkhorn", contrastive.swav_codes),
    Row("swav.npz", "methods.contrastive.swav.swav_loss, SwAV.codes", contrastive.swav),
    Row("simsiam.npz", "methods.contrastive.simsiam.simsiam_loss", contrastive.simsiam),
    Row("byol.npz", "methods.contrastive.byol.byol_loss", contrastive.byol),
    Row("imco.npz", "methods.contrastive.imco.imco_logits, layers.Queue", mixing.imco),
    Row("unmix.npz", "methods.contrastive.unmix.UnMix, of one direction and symmetric", mixing.unmix),
    Row("unmix_mixing.npz", "augment.mixing.mix_reversed, region", mixing.unmix_mixing),
    Row("barlow.npz", "methods.contrastive.barlow_twins.barlow_twins_loss", contrastive.barlow),
    Row("roco.npz", "methods.contrastive.roco.roco_logits, roco_loss", negatives.roco),
    Row("dcl.npz", "methods.contrastive.negatives.weighted_nt_xent, log_mass", negatives.dcl),
    Row("hcl.npz", "methods.contrastive.negatives.weighted_nt_xent", negatives.hcl),
    Row("eqco_simo.npz", "methods.contrastive.eqco.eqco_loss", negatives.simo),
    Row("eqco.npz", "methods.contrastive.eqco.eqco_loss, float32", negatives.eqco, rtol=1e-5, atol=1e-6),
    Row("paper_mochi.npz", "methods.contrastive.mochi.mochi_logits, mochi_loss", negatives.mochi),
    Row("spark.npz", "methods.masked.spark.sparse over nn.Conv2d", spark_convolutions),
    Row("spark.npz", "methods.masked.spark.sparse over pools", spark_pools),
    Row("spark.npz", "batch_norm.BatchNorm2d with `visible`", spark_batch_norm,
        unused={"contrast_dense_bn_out": "not official; test_golden asserts that masked batch norm differs from it"}),
    Row("spark.npz", "methods.masked.spark.sparse over layer norms", spark_layer_norms),
    Row("spark.npz", "methods.masked.spark.UNetBlock, LightDecoder", spark_decoder),
    Row("spark.npz", "methods.masked.spark.spark_loss, patchify", spark_losses, rtol=1e-7,
        unused={"lossonly_loss": "its mask is not stored", "lossonly_loss_all_active": NOTHING_HIDDEN}),
    Row("spark.npz", "augment.mask_from_noise, methods.masked.spark.enlarge", spark_masks),
    Row("mae.npz", "methods.masked.mae.mae_loss, spark.patchify, unpatchify", pixels.mae_losses),
    Row("mae.npz", "methods.masked.mae.random_masking, kept_count", pixels.mae_masks),
    Row("mae.npz", "vit.sincos_positions", pixels.mae_positions),
    Row("mae.npz", "optim.warmup_cosine, layer_decay_groups", pixels.mae_schedules),
    Row("simmim.npz", "methods.masked.simmim.simmim_loss, pixel_shuffle", pixels.simmim_losses,
        unused={"loss_mask_all_zero": NOTHING_HIDDEN}),
    Row("simmim.npz", "methods.masked.simmim.coarse_mask, hidden_count", pixels.simmim_masks),
    Row("dino.npz", "methods.masked.dino.dino_loss, moved_center, warm_temperature", distilled.dino),
    Row("dino_crops.npz", "methods.masked.dino.dino_loss, moved_center", distilled.dino_steps),
    Row("dino_schedule.npz", "optim.warmup_cosine", distilled.dino_rate),
    Row("ibot.npz", "methods.masked.ibot.patch_loss, dino.dino_loss, moved_center", distilled.ibot_step),
    Row("ibot.npz", "methods.masked.dino.warm_temperature, optim.ema_momentum, cosine, warmup_cosine",
        distilled.ibot_schedules),
    Row("ibot.npz", "methods.masked.ibot.IBOTHead", distilled.ibot_head),
    Row("ibot.npz", "vit.ViT.tokens with hidden patches", distilled.ibot_vit),
    Row("ibot.npz", "methods.masked.ibot.random_ratio, scattered, beit.hide_blocks", distilled.ibot_masks,
        unused={"sampler_*_stats_frac0_mean_max": "of draws without a seed: compared in tests/test_ibot.py"}),
    Row("ibot.npz", "methods.masked.dino.clip_each", distilled.ibot_clip),
    Row("lars_torch.npz", "optim.LARS, flavour torch", lambda z: _lars(z, "WZ", "b", "torch", TORCH_LARS)),
    Row("lars_byol.npz", "optim.LARS, flavour torch", lambda z: _lars(z, "W", "bs", "torch", BYOL_LARS)),
    Row("lars_simclr.npz", "optim.LARS, flavour simclr", lambda z: _lars(z, "W", "b", "simclr", SIMCLR_LARS),
        rtol=1e-5),
    Row("lars_simclr.npz", "optim.LARS, flavour torch", lars_outside, rtol=1e-5),
    Row("byol_schedules.npz", "optim.ema_momentum, warmup_cosine", byol_schedules),
    Row("schedules.npz", "optim.warmup_cosine, cosine, ema_momentum", schedules),
    Row("knn.npz", "evaluate.knn_predict", knn, unused={"*__t*": ELSEWHERE}),
    Row("align_uniform.npz", "measures.alignment, uniformity", align_uniform, rtol=1e-5,
        unused={"uniform_*": ELSEWHERE}),
    Row("rankme.npz", "measures.rankme", ranks, unused={"*": ELSEWHERE}),
    Row("clustering_metrics.npz", "measures.cluster_accuracy, cluster_match, partition_scores", clustering.scores,
        unused={"*_nmi_gat_geometric": "the geometric mean: tests/test_evaluate.py",
                "*_match_*": "of clusters or classes that are missing: any partner is as good"}),
    Row("scan.npz", "methods.clustering.scan.scan_loss", clustering.scan),
    Row("scan.npz", "methods.clustering.scan.scan_loss, clamped", clustering.scan_clamped, rtol=1e-6, atol=1e-6),
    Row("scan.npz", "methods.clustering.scan.scan_loss as validation has it", clustering.scan_validation, rtol=1e-6,
        unused={"eval_total_head2": "of another head, whose probabilities are not stored", "eval_lowest_head": "so",
                "weak_logits": "of a self-label step whose loss is not stored", "strong_logits": "of that step",
                "simclr_*": "their SimCLR, whose anchors are the first views only"}),
    Row("scan.npz", "evaluate.knn_predict", clustering.scan_knn),
    Row("ruc.npz", "methods.clustering.ruc.smoothed_loss, ramp, relabel_threshold", clustering.ruc_losses),
    Row("ruc.npz", "methods.clustering.ruc.confident, agreeing", clustering.ruc_selection,
        unused={"samp_true": "to count how many are right", "step_true": "so"}),
    Row("ruc.npz", "methods.clustering.ruc.RUC, a step", clustering.ruc_steps, rtol=1e-5, atol=1e-6),
    Row("beit.npz", "methods.masked.beit.hide_blocks", masked_b.block_masks),
    Row("beit.npz", "vit.relative_index", masked_b.relative_indices),
    Row("beit.npz", "methods.masked.beit.BEiT, beit_loss", masked_b.beit_forward),
    Row("beit.npz", "vit.init_truncated", masked_b.beit_init, rtol=0.03),
    Row("beit.npz", "optim.cosine", masked_b.beit_schedule, unused={
        "sd.rel_pos_bias.relative_position_index": "vit.relative_index is held to relidx_4x4"}),
    Row("dmae.npz", "methods.masked.dmae.dmae_loss", masked_b.dmae_losses, unused={
        "gauss": "of a whole forward that is not stored", "sigma": "of that forward", "mask_noise": "of that forward",
        "norm_*": "of that forward", "mask": "the official loss does not look at it",
        "cons_mse_*": "another regulariser, which the paper does not use"}),
    Row("dmae.npz", "smoothing.lower_bound, certified_radius", masked_b.lower_bounds),
    Row("dmae.npz", "smoothing.certify", masked_b.certificates),
    Row("dmae.npz", "methods.masked.dmae.consistency_loss", masked_b.consistency),
    Row("pixpro.npz", "methods.dense.pixpro.propagate, relative_distances, pixpro_loss", dense_metric.pixpro,
        rtol=1e-4, atol=1e-6),
    Row("hyperbolic.npz", "models.poincare, by geoopt", partial(dense_metric.hyperbolic, by=("", "_geoopt")),
        rtol=2e-5, atol=1e-7),  # it projects to 1 - 1e-5 of the radius
    Row("hyperbolic.npz", "models.poincare, by hyptorch", partial(dense_metric.hyperbolic, by=("_hyptorch",)),
        atol=1e-3),  # its cut-offs
    Row("hyperbolic.npz", "evaluate.trees.hyperbolicity", dense_metric.tree_likeness, rtol=1e-7),
    Row("unhyperml_logratio.npz", "methods.metric.hyperbolic.level_negatives, log_ratio_loss", dense_metric.log_ratio,
        rtol=1e-5),
    Row("mice.npz", "methods.clustering.mice.mice_loss, gate_, expert_log_probabilities, elbo", clustered.mice),
    Row("mice.npz", "methods.clustering.mice.assigned_sums, new_prototypes, max_mahalanobis_centers",
        clustered.mice_prototypes),
    Row("gatcluster.npz", "methods.clustering.gatcluster.gaussian_map", clustered.gat_maps, rtol=1e-5, unused={
        "theta4": "of att_official_ro", "ro": "of att_official_ro",
        "att_official_ro": "a Gaussian with correlation, which no published configuration uses"}),
    Row("gatcluster.npz", "methods.clustering.gatcluster.balanced_target, sharpened_target, usable_clusters",
        clustered.gat_targets, unused={"l2_norm_q": "an intermediate result of relation_loss"}),
    Row("gatcluster.npz", "methods.clustering.gatcluster.ClusterHeads", clustered.gat_forward, rtol=1e-5, unused={
        "sd.*.running_*": "after the call, whose batch norm was in training mode",
        "sd.*.num_batches_tracked": "likewise"}),
    Row("gatcluster.npz", "methods.clustering.gatcluster.relation_loss and the other three tasks",
        clustered.gat_losses),
    Row("amdim.npz", "methods.information.amdim.feature_map_loss, nce", information.amdim, rtol=1e-5, atol=1e-6),
    Row("amdim.npz", "methods.information.amdim.tanh_clip", information.amdim_clip, rtol=1e-5, atol=1e-6),
    Row("bolts_contrast.npz", "methods.information.amdim.feature_map_loss, pairs_of", information.bolts, rtol=1e-5),
    Row("bolts_contrast.npz", "methods.contrastive.simclr.nt_xent", information.bolts_nt_xent, rtol=1e-5),
    Row("cpc.npz", "methods.information.cpc.cpc_loss, labels_below, ContextNet", information.cpc, rtol=1e-5, atol=1e-7),
    Row("cmc.npz", "methods.information.cmc.cmc_loss, pretext.memory.MemoryBank", information.cmc, rtol=1e-5,
        atol=1e-6),
    Row("mi_estimators.npz", "methods.information.estimators", mutual.estimators, rtol=1e-5, atol=1e-7),
    Row("mi_estimators.npz", "methods.information.estimators.mine", mutual.mine, rtol=1e-5, atol=1e-7),
    Row("mi_estimators.npz", "methods.information.estimators.gaussian_scores, gaussian_correlation", mutual.gaussians,
        rtol=1e-5),
    Row("dim.npz", "methods.information.dim.information_loss, estimators.DIVERGENCES", mutual.dim, rtol=1e-5,
        atol=1e-6),
    Row("dim.npz", "methods.information.dim.information_loss, Donsker-Varadhan", mutual.dim_textbook, rtol=1e-5,
        unused={"dv_official_*": "it raises an error (NaN), or masks places: test_dim.py"}),
    Row("paper_relic.npz", "methods.contrastive.relic.relic_loss, log_likeness, divergence", mutual.relic),
    Row("paper_looc.npz", "methods.contrastive.looc.looc_loss, sign_table", good_views.looc),
    Row("infomin_pycontrast.npz", "methods.contrastive.moco.moco_logits, info_nce", good_views.infomin,
        unused={"labels": "all 0: the positive's column"}),
    Row("npid_nce.npz", "methods.pretext.npid.nce_loss, memory.MemoryBank", pretext.npid_nce),
    Row("npid_softmax.npz", "methods.pretext.npid.instance_softmax, memory.MemoryBank", pretext.npid_softmax),
    Row("pirl.npz", "methods.pretext.pirl.pirl_loss, memory.MemoryBank", pretext.pirl),
    Row("pirl_nce.npz", "methods.pretext.pirl.pirl_loss, memory.MemoryBank, float32", pretext.pirl_terms, rtol=1e-4,
        unused={"T": "of the first case; each has its own in its name", "K": "the number of columns less one"}),
    Row("supcon.npz", "methods.metric.supcon.supcon_loss", pretext.supcon),
    Row("supcon_modes.npz", "methods.metric.supcon.supcon_loss, float32", pretext.supcon_modes, rtol=1e-4),
    Row("deepcluster.npz", "methods.clustering.deepcluster.whitened, float32", surveys.deepcluster, rtol=1e-4,
        atol=1e-5, unused={"pca*_whiten_l2": "components have any sign: see the inner products",
                "unif_*": "drawn by NumPy's global generator: compared in tests/methods/test_deepcluster.py",
                "images_lists_flat": "lists of each cluster's images, where ours are labels", "arranged": "so"}),
    Row("bit.npz", "models.bit.hyperrule, hyperrule_rate, StandardisedConv2d", surveys.bit, rtol=1e-5, atol=1e-6),
    Row("linear_probes.npz", "evaluate.absorbed, float32", surveys.linear_probes, rtol=1e-5, atol=1e-5),
    Row("ssd.npz", "evaluate.standardised, mahalanobis, auroc, fpr95", surveys.ssd,
        unused={"aupr": "the area under another curve, which the library does not give"}),
    Row("ssl_transfer.npz", "evaluate.eleven_point_precision, mean_class_accuracy", surveys.ssl_transfer,
        unused={"sklearn_average_precision_for_contrast": "the area under the curve, which is another number"}),
    Row("sela.npz", "methods.clustering.sela.transport_plan, labels_of, label_times", pretext.sela),
    Row("sela_sinkhorn.npz", "methods.clustering.sela.transport_plan, labels_of", pretext.sela_plans),
    Row("local_aggregation.npz", "methods.clustering.local_aggregation.aggregation_loss, memory.MemoryBank",
        lambda z: pretext.local_aggregation(z, official=True), rtol=1e-5, atol=5e-6),
    Row("local_aggregation.npz", "methods.clustering.local_aggregation.aggregation_loss, row by row",
        lambda z: pretext.local_aggregation(z, official=False),
        unused={"k": "of the first case; each has its own in its name"}),
    Row("paper_drlim.npz", "methods.pretext.drlim.pair_losses, distances", pretext.drlim),
]
