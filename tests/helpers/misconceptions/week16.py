"""Second spellings of week 16's planted mistakes."""
from __future__ import annotations

import math
from statistics import NormalDist

import torch
from einops import rearrange
from scipy.stats import beta, norm

PHI = NormalDist()


# ---------------------------------------------------------------- 16.denoising_loss
def _cut(images, prediction):
    p = math.isqrt(prediction.shape[-1] // 3)
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)


def _standard(x, of=None):
    of = x if of is None else of
    return (x - of.mean(2, keepdim=True)) / torch.sqrt(of.var(2, keepdim=True) + 1e-6)


def _mse(prediction, target, weight=None):
    error = ((prediction - target) ** 2).sum(2) / prediction.shape[2]
    return error.mean() if weight is None else (error * weight).sum() / weight.sum()


def _channels(prediction, clean, noisy, visible):
    x = rearrange(_cut(clean, prediction), "b l (n c) -> b l c n", c=3)
    x = (x - x.mean(3, keepdim=True)) / torch.sqrt(x.var(3, keepdim=True) + 1e-6)
    return _mse(prediction, rearrange(x, "b l c n -> b l (n c)"))


def _biased(prediction, clean, noisy, visible):
    x = _cut(clean, prediction)
    centred = x - x.mean(2, keepdim=True)
    return _mse(prediction, centred / torch.sqrt(centred.pow(2).mean(2, keepdim=True) + 1e-6))


def _variance(prediction, clean, noisy, visible):
    x = _cut(clean, prediction)
    return _mse(prediction, (x - x.mean(2, keepdim=True)) / x.var(2, keepdim=True))


LOSS = {
    "hidden patches only": lambda prediction, clean, noisy, visible: _mse(
        prediction, _standard(_cut(clean, prediction)), 1 - visible.to(prediction)),
    "visible patches only": lambda prediction, clean, noisy, visible: _mse(
        prediction, _standard(_cut(clean, prediction)), visible.to(prediction)),
    "the noisy image as target":
        lambda prediction, clean, noisy, visible: _mse(prediction, _standard(_cut(noisy, prediction))),
    "the noise as target": lambda prediction, clean, noisy, visible: _mse(
        prediction, _cut(noisy, prediction) - _cut(clean, prediction)),
    "statistics of the noisy patch": lambda prediction, clean, noisy, visible: _mse(
        prediction, _standard(_cut(clean, prediction), _cut(noisy, prediction))),
    "plain pixels": lambda prediction, clean, noisy, visible: _mse(prediction, _cut(clean, prediction)),
    "biased variance": _biased,
    "each channel for itself": _channels,
    "the sum over pixels": lambda prediction, clean, noisy, visible: (
        (prediction - _standard(_cut(clean, prediction))) ** 2).sum(2).mean(),
    "divided by the variance": _variance,
}


# ---------------------------------------------------------------- 16.certified_radius
def _low(k, n, alpha):
    return float(beta.ppf(alpha, k, n - k + 1)) if k else 0.0


def _written(p, sigma):
    return sigma * PHI.inv_cdf(min(max(p, 1e-9), 1 - 1e-9)) if p >= 0.5 else 0.0


def _high(k, n, alpha):
    return float(beta.ppf(1 - alpha, k + 1, n - k)) if k < n else 1.0


def _approximate(k, n, alpha):
    return k / n - norm.isf(alpha) * math.sqrt(k * (n - k) / n) / n


RADIUS = {
    "the share itself": lambda votes, n, sigma, alpha=0.001: _written(votes / n, sigma),
    "two-sided": lambda votes, n, sigma, alpha=0.001: _written(_low(votes, n, 0.5 * alpha), sigma),
    "the upper bound": lambda votes, n, sigma, alpha=0.001: _written(_high(votes, n, alpha), sigma),
    "1 - alpha": lambda votes, n, sigma, alpha=0.001: _written(_low(votes, n, 1 - alpha), sigma),
    "the normal approximation": lambda votes, n, sigma, alpha=0.001: _written(_approximate(votes, n, alpha), sigma),
    "sigma forgotten": lambda votes, n, sigma, alpha=0.001: _written(_low(votes, n, alpha), 1.0),
    "divided by sigma": lambda votes, n, sigma, alpha=0.001: _written(_low(votes, n, alpha), 1.0) / sigma,
    "no abstention": lambda votes, n, sigma, alpha=0.001: sigma * norm.ppf(max(_low(votes, n, alpha), 1e-9)),
    "abstains by the share": lambda votes, n, sigma, alpha=0.001: (
        sigma * norm.ppf(max(_low(votes, n, alpha), 1e-9)) if 2 * votes >= n else 0.0),
    "Phi in place of its inverse": lambda votes, n, sigma, alpha=0.001: (
        sigma * norm.cdf(_low(votes, n, alpha)) if _low(votes, n, alpha) >= 0.5 else 0.0),
    "Beta one vote off": lambda votes, n, sigma, alpha=0.001: _written(
        float(beta.ppf(alpha, votes, n - votes + 2)) if votes else 0.0, sigma),
}


# ---------------------------------------------------------------- 16.certify
def _answers(classifier, image, sigma, many, generator):
    return classifier(image + sigma * torch.randn(many, *image.shape, generator=generator)).argmax(1).tolist()


def _most(answers):
    return max(range(3), key=answers.count)


def _plan(decide):
    """decide(first answers, second answers, n0, n, alpha) -> class, bound."""
    def certify(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
        first = _answers(classifier, image, sigma, n0, generator)
        chosen, p, floor = decide(first, lambda: _answers(classifier, image, sigma, n, generator), n0, n, alpha)
        if p < 0.5 and floor is not None:
            return floor, 0.0
        return chosen, sigma * PHI.inv_cdf(min(p, 1 - 1e-9))
    return certify


def _luck(first, more, n0, n, alpha):
    second = more()
    return _most(second), _low(second.count(_most(second)), n, alpha), -1


def _top(first, more, n0, n, alpha):
    second = more()
    return _most(first), _low(second.count(_most(second)), n, alpha), -1


def _pool(first, more, n0, n, alpha):
    both = first + more()
    return _most(first), _low(both.count(_most(first)), n0 + n, alpha), -1


def _honest(bound, floor=-1):
    return lambda first, more, n0, n, alpha: (_most(first), bound(more().count(_most(first)), n, alpha), floor)


CERTIFY = {
    "the class picked from the votes that are counted": _plan(_luck),
    "the first votes counted again": _plan(lambda first, more, n0, n, alpha: (
        _most(first), _low(first.count(_most(first)), n0, alpha), -1)),
    "both samples pooled": _plan(_pool),
    "the top count of the second sample": _plan(_top),
    "the share, no bound": _plan(_honest(lambda k, n, alpha: k / n)),
    "two-sided": _plan(_honest(lambda k, n, alpha: _low(k, n, alpha / 2))),
    "never abstains": _plan(_honest(_low, floor=None)),
    "the class in place of abstaining": _plan(lambda first, more, n0, n, alpha: (
        _most(first), _low(more().count(_most(first)), n, alpha), _most(first))),
    "n0 in the bound": _plan(lambda first, more, n0, n, alpha: (
        _most(first), _low(min(n0, more().count(_most(first))), n0, alpha), -1)),
}


# ---------------------------------------------------------------- 16.samples_needed
def _votes(p, alpha, up=1):
    ratio = math.log10(alpha) / math.log10(p)
    return max(1, -int(-ratio // 1) if up else int(ratio // 1))


NEEDED = {
    "rounded down": lambda radius, sigma, alpha=0.001: _votes(PHI.cdf(radius / sigma), alpha, 0),
    "sigma forgotten": lambda radius, sigma, alpha=0.001: _votes(PHI.cdf(radius), alpha),
    "times sigma": lambda radius, sigma, alpha=0.001: _votes(PHI.cdf(sigma * radius), alpha),
    "two-sided": lambda radius, sigma, alpha=0.001: _votes(PHI.cdf(radius / sigma), alpha / 2),
    "1 - alpha": lambda radius, sigma, alpha=0.001: _votes(PHI.cdf(radius / sigma), 1 - alpha),
    "the square-root rule": lambda radius, sigma, alpha=0.001: math.ceil(
        -math.log(alpha) / 2 / (PHI.cdf(radius / sigma) - 0.5) ** 2),
    "log of 1 - p": lambda radius, sigma, alpha=0.001: _votes(PHI.cdf(-radius / sigma), alpha),
    "the radius in place of Phi": lambda radius, sigma, alpha=0.001: _votes(min(0.99, 0.2 * radius / sigma), alpha),
}

SECOND = {"16.denoising_loss": LOSS, "16.certified_radius": RADIUS, "16.certify": CERTIFY, "16.samples_needed": NEEDED}
EQUIVALENT = {
    "16.certified_radius": {"line 4: bound >= 0.5 -> bound > 0.5": "at one half exactly the radius is 0 either way"},
    "16.certify": {"line 3: 500 -> 499": "how many are asked at once changes no answer",
                   "line 3: 500 -> 501": "how many are asked at once changes no answer"},
}
