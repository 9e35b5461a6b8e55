"""What the golden table computes for the surveys (weeks 21 to 23)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.evaluate.layers import absorbed
from course_lib.evaluate.outliers import auroc, fpr95, mahalanobis, standardised
from course_lib.evaluate.transfer import PENALTIES, eleven_point_precision, mean_class_accuracy
from course_lib.methods.clustering.deepcluster import whitened
from course_lib.models.bit import StandardisedConv2d, hyperrule, hyperrule_rate, standardised_weight

Arrays = Mapping[str, Tensor]


def deepcluster(z: Arrays) -> dict:
    """Inner products, which do not depend on the signs of the components."""
    found = {k: whitened(z["features"], k) for k in (4, 12)}
    return {"pca4_gram": (found[4] @ found[4].T)[:60, :60], "pca12_gram": (found[12] @ found[12].T)[:40, :40]}


def linear_probes(z: Arrays) -> dict:
    norm = nn.BatchNorm2d(4, eps=float(z["eps"])).eval()
    norm.load_state_dict({"weight": z["gamma"], "bias": z["beta"], "running_mean": z["mean"], "running_var": z["var"],
                          "num_batches_tracked": torch.tensor(0)})
    weight, bias = absorbed(z["w0"], z["b0"], norm)
    out = F.conv2d(z["x"], weight, bias, padding=1)
    return {"w_absorbed": weight, "b_absorbed": bias, "absorbed_out": out, "conv_bn_out": out}


def ssd(z: Arrays) -> dict:
    train, test, ood = standardised(z["f_train"], z["f_test"], z["f_ood"])
    groups = {"": {}, "_ledoit": {"covariance": "ledoit-wolf"}, "_2clusters": {"clusters": z["cluster_labels"]}}
    scores = {f"score_{name}{kind}": mahalanobis(train, x, **options)
              for kind, options in groups.items() for name, x in (("test", test), ("ood", ood))}
    pair = scores["score_test"], scores["score_ood"]
    return {"train_norm": train, "test_norm": test, "ood_norm": ood, **scores, "auroc": auroc(*pair),
            "fpr95": fpr95(*pair)}


def ssl_transfer(z: Arrays) -> dict:
    return {"voc_ap": eleven_point_precision(z["voc_score"], z["voc_true"] > 0, tolerance=0), "wd_range": PENALTIES,
            "mean_per_class_acc": 100 * mean_class_accuracy(z["mpc_pred"], z["mpc_true"]),
            "plain_acc": 100 * float((z["mpc_pred"] == z["mpc_true"]).double().mean())}


def bit(z: Arrays) -> dict:
    small, medium = hyperrule(1000, 32, 32), hyperrule(100_000, 224, 224)
    out = {f"{name}_lr": torch.tensor([hyperrule_rate(step, rule.supports, float(z["base_lr"])) or 0.0
                                       for step in z[f"{name}_steps"].tolist()], dtype=torch.float64)
           for name, rule in (("small", small), ("medium", medium))}
    for rates in out.values():
        assert not rates[-1], "the last step stored is beyond the end"
        rates[-1] = torch.nan
    conv = StandardisedConv2d(3, 4, 3, 1, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(z["stdconv_w"])
    return out | {"mixup_small": small.mixup, "mixup_medium": medium.mixup, "stdconv_y": conv(z["stdconv_x"]),
                  "stdconv_w_std": standardised_weight(z["stdconv_w"]),
                  "res_cifar": torch.tensor([small.resize, small.crop]),
                  "res_224": torch.tensor([medium.resize, medium.crop])}
