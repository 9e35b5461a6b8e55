"""Exercises of week 16, DMAE: what is to be drawn, a certified radius, how many votes, select and then estimate."""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.evaluate.smoothing import ABSTAIN, certified_radius, count_votes, lower_bound
from course_lib.exercises.spec import Exercise
from course_lib.models.patches import normalize_patches, patchify
from lessons.exercises.shared import randn


# ------------------------------------------------------------------------------------------------ 16.denoising_loss
def denoising_loss(prediction: Tensor, clean: Tensor, noisy: Tensor, visible: Tensor) -> Tensor:
    """What `dmae_loss` of the library computes: every patch of the clean image counts, whatever was seen of it."""
    target = normalize_patches(patchify(clean, math.isqrt(prediction.shape[-1] // clean.shape[1])))[0]
    return (prediction - target).square().mean()


def _loss_probes(generator, dtype):
    def case(b: int, size: int, patch: int) -> tuple:
        scale, shift = torch.tensor([[1.0, 0.5, 2.0], [0.0, 0.4, -0.3]], dtype=dtype)[..., None, None]
        clean = randn(generator, dtype, b, 3, size, size) * scale + shift
        length = (size // patch) ** 2
        visible = torch.rand(b, length, generator=generator) < 0.4
        visible[:, 0], visible[:, 1] = True, False
        return (randn(generator, dtype, b, length, 3 * patch * patch), clean,
                clean + randn(generator, dtype, clean.shape), visible)

    first = case(2, 8, 4)
    return [first, case(7, 8, 2), dict(zip(("prediction", "clean", "noisy", "visible"), case(5, 12, 4)))]


def _patches(images: Tensor, prediction: Tensor) -> Tensor:
    return patchify(images, math.isqrt(prediction.shape[-1] // 3))


def _normal(x: Tensor, correction: int = 1, inside: bool = True) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, correction=correction)
    return (x - mean) / ((variance + 1e-6).sqrt() if inside else variance)


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    return (prediction - target).square().mean(-1)  # (B, L)


def _target(clean: Tensor, prediction: Tensor) -> Tensor:
    return _normal(_patches(clean, prediction))


def _hidden_only(prediction, clean, noisy, visible):
    error, hidden = _error(prediction, _target(clean, prediction)), (~visible).to(prediction)
    return (error * hidden).sum() / hidden.sum()


def _per_channel(prediction, clean, noisy, visible):
    x = _patches(clean, prediction).unflatten(-1, (-1, 3))
    x = (x - x.mean(-2, keepdim=True)) / (x.var(-2, keepdim=True) + 1e-6).sqrt()
    return _error(prediction, x.flatten(-2)).mean()


def _unfolded(prediction, clean, noisy, visible):
    patch = math.isqrt(prediction.shape[-1] // 3)
    x = F.unfold(clean, patch, stride=patch).mT  # (B, L, C p p): channels first
    x = x.unflatten(-1, (3, -1)).mT.flatten(-2)
    return F.mse_loss(prediction, (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6) ** 0.5)


loss = Exercise(
    key="16.denoising_loss", title="What is to be drawn?", minutes=7, difficulty=2,
    reference=denoising_loss, probes=_loss_probes, gradients=True,
    unit="patches",
    wrong={
        "hidden patches only": (
            _hidden_only,
            "That is MAE. In DMAE the visible patches are noisy, so there is something to learn at each of "
            "them, too: the mean "
            "is over *all* patches, and `visible` is not needed."),
        "visible patches only": (
            lambda prediction, clean, noisy, visible: _error(prediction, _target(clean, prediction))[visible].mean(),
            "Denoising alone: the hidden patches count as well. The mean is over all patches."),
        "the noisy image as target": (
            lambda prediction, clean, noisy, visible: _error(prediction, _target(noisy, prediction)).mean(),
            "The network is to say what the image looks like *without* the noise: the target is the clean "
            "image. Noise cannot "
            "be predicted anyway."),
        "the noise as target": (
            lambda prediction, clean, noisy, visible: _error(prediction, _patches(noisy - clean, prediction)).mean(),
            "Diffusion models predict the noise. DMAE draws the clean image."),
        "statistics of the noisy patch": (
            lambda prediction, clean, noisy, visible: _error(prediction, (
                _patches(clean, prediction) - _patches(noisy, prediction).mean(-1, keepdim=True)) / (
                    _patches(noisy, prediction).var(-1, keepdim=True) + 1e-6).sqrt()).mean(),
            "Mean and deviation are those of the *clean* patch, too: the noise must not enter the target at all."),
        "plain pixels": (
            lambda prediction, clean, noisy, visible: _error(prediction, _patches(clean, prediction)).mean(),
            "The target is each patch normalised by its own mean and deviation, as in MAE: normalize_patches."),
        "biased variance": (
            lambda prediction, clean, noisy,
            visible: _error(prediction, _normal(_patches(clean, prediction), 0)).mean(),
            "The official variance divides by n - 1 (torch's default); yours divides by n."),
        "each channel for itself": (
            _per_channel,
            "Mean and deviation are of *all* numbers of a patch, the three channels together: its colour "
            "cast stays in."),
        "the sum over pixels": (
            lambda prediction, clean, noisy, visible: _error(prediction, _target(clean, prediction)).mean()
            * prediction.shape[-1],
            "The squared error is averaged over a patch's pixels as well, not summed."),
        "divided by the variance": (
            lambda prediction, clean, noisy,
            visible: _error(prediction, _normal(_patches(clean, prediction), 1, False)).mean(),
            "Divide by the *root* of the variance (plus 1e-6), so that the patch gets deviation 1."),
    },
    right={"torch's mse_loss": lambda prediction, clean, noisy,
           visible: F.mse_loss(prediction, _target(clean, prediction)),
           "patches by unfold": _unfolded},
    hints=("Which image should come out, and are there patches from which nothing can be learned?",
           "patchify(clean, 4) cuts into (B, L, n), normalize_patches(...)[0] normalises; the patch's side "
           "is the root of n / 3.",
           "patch = math.isqrt(prediction.shape[-1] // 3)\n"
           "target = normalize_patches(patchify(clean, patch))[0]\n"
           "return (prediction - target).square().mean()"),
)


# ------------------------------------------------------------------------------------------------ 16.certified_radius
def _radius_probes(generator, dtype):
    return [(990, 1000, 0.25), (1000, 1000, 1.0, 0.001), (70, 100, 0.5, 0.05), (540, 1000, 0.25), (51, 100, 0.5, 0.05),
            (30, 100, 0.25, 0.01), dict(votes=185, n=200, sigma=0.25, alpha=0.001), (0, 10, 0.5, 0.05),
            (58, 100, 1.0, 0.1)]


def _number(fn, *arguments, **named):
    """The harness: a tensor or a plain number will do."""
    found = fn(*arguments, **named)
    return None if found is None else float(found)


def _quantile(p) -> float:
    return float(torch.special.ndtri(torch.as_tensor(p, dtype=torch.float64)))


def _bound(votes, n, alpha) -> float:
    return float(lower_bound(votes, n, alpha))


def _radius(bound, scale=lambda sigma, q: sigma * q, abstain=lambda bound, share: bound < 0.5):
    """A spelling with one decision exchanged; bound(votes, n, alpha)."""
    def radius(votes, n, sigma, alpha=0.001):
        p = bound(votes, n, alpha)
        if abstain(p, votes / n):
            return 0.0
        return scale(sigma, _quantile(min(max(p, 1e-9), 1 - 1e-9)))
    return radius


def _wald(votes, n, alpha) -> float:
    share = votes / n
    return share + _quantile(alpha) * math.sqrt(share * (1 - share) / n)


def _upper(votes, n, alpha) -> float:
    return 1 - _bound(n - votes, n, alpha)


def _bisected(votes, n, sigma, alpha=0.001):
    """Search for the share at which `votes` or more have probability alpha."""
    def tail(p: float) -> float:
        k = torch.arange(votes, n + 1, dtype=torch.float64)
        terms = (torch.lgamma(torch.tensor(n + 1.0,
                                           dtype=torch.float64)) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
                 + torch.xlogy(k, torch.tensor(p, dtype=torch.float64))
                 + torch.xlogy(n - k, torch.tensor(1 - p, dtype=torch.float64)))
        return float(terms.logsumexp(0).exp())

    low, high = 0.0, 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) < alpha else (low, middle)
    return 0.0 if low < 0.5 else sigma * math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * low - 1,
                                                                                        dtype=torch.float64)))


radius = Exercise(
    key="16.certified_radius", title="From votes to a radius", minutes=8, difficulty=3,
    reference="course_lib.evaluate.smoothing:certified_radius", probes=_radius_probes, call=_number,
    wrong={
        "the share itself": (
            _radius(lambda votes, n, alpha: votes / n),
            "votes / n is an estimate: the true share may be lower. A *certificate* needs a lower "
            "confidence bound; unanimous "
            "votes would even certify an infinite radius."),
        "two-sided": (
            _radius(lambda votes, n, alpha: _bound(votes, n, alpha / 2)),
            "You use alpha / 2. Only one side can go wrong here, so the bound is one-sided: all of alpha on it."),
        "the upper bound": (
            _radius(_upper),
            "That is the bound from above: the true share could be smaller. Take the lower one, "
            "Beta^-1(alpha; k, n - k + 1)."),
        "1 - alpha": (
            _radius(lambda votes, n, alpha: _bound(votes, n, 1 - alpha)),
            "beta.ppf takes the probability that lies *below*: alpha, not 1 - alpha. Yours is almost always "
            "too high."),
        "the normal approximation": (
            _radius(_wald),
            "share - z sqrt(share (1 - share) / n) is an approximation: for unanimous votes its width is 0. The "
            "Clopper-Pearson bound is exact."),
        "sigma forgotten": (
            _radius(_bound, scale=lambda sigma, q: q),
            "Phi^-1(p) is a radius in units of sigma: multiply by sigma."),
        "divided by sigma": (
            _radius(_bound, scale=lambda sigma, q: q / sigma),
            "More noise, larger radius for the same votes: multiply by sigma, do not divide."),
        "no abstention": (
            _radius(_bound, abstain=lambda bound, share: False),
            "Where the bound is below 1/2 the quantile is negative: there is nothing to certify. Return 0."),
        "abstains by the share": (
            _radius(_bound, abstain=lambda bound, share: share < 0.5),
            "It is the *bound* that has to reach 1/2; the share may be above by luck, and the radius then "
            "comes out negative."),
        "Phi in place of its inverse": (
            _radius(_bound, scale=lambda sigma,
                    q: sigma * 0.5 * (1 + math.erf(0.5 * (1 + math.erf(q / 2**0.5)) / 2**0.5))),
            "You put the bound into Phi. It *is* a probability: the radius needs the quantile, Phi^-1 "
            "(norm.ppf, ndtri)."),
        "Beta one vote off": (
            _radius(lambda votes, n, alpha: _bound(votes, n + 1, alpha) if votes else 0.0),
            "The bound is Beta^-1(alpha; k, n - k + 1): check the second parameter, and the case of "
            "unanimous votes, which must "
            "give alpha^(1/n)."),
    },
    right={"bisection of the binomial tail": _bisected,
           "erfinv": lambda votes, n, sigma, alpha=0.001: max(0.0, sigma * math.sqrt(2) * float(torch.erfinv(
               torch.tensor(2 * max(_bound(votes, n, alpha), 0.5) - 1, dtype=torch.float64)))),
           "scipy": lambda votes, n, sigma, alpha=0.001: _scipy(votes, n, sigma, alpha)},
    hints=("Which share can you swear to, if you want to be wrong in at most alpha of all cases?",
           "lower_bound(votes, n, alpha) is that share (scipy: beta.ppf(alpha, votes, n - votes + 1)). "
           "Below 1/2: no radius.",
           "p = lower_bound(votes, n, alpha)\n"
           "return 0.0 if p < 0.5 else sigma * torch.special.ndtri(p)"),
)


def _scipy(votes, n, sigma, alpha):
    from scipy.stats import beta, norm

    p = beta.ppf(alpha, votes, n - votes + 1) if votes else 0.0
    return sigma * norm.ppf(p) if p >= 0.5 else 0.0


# ------------------------------------------------------------------------------------------------ 16.certify
class _Script(nn.Module):
    """Answers with given labels, one after the other, whatever it is shown; keeps what that was."""

    def __init__(self, labels: Tensor, classes: int):
        super().__init__()
        self.labels, self.classes, self.asked, self.seen = labels, classes, 0, []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().flatten(1))
        places = torch.arange(self.asked, self.asked + len(images)) % len(self.labels)
        self.asked += len(images)
        return F.one_hot(self.labels[places], self.classes).float()


def _certify_probes(generator, dtype):
    def votes(*pairs: tuple[int, int]) -> Tensor:
        return torch.cat([torch.full((many,), label) for label, many in pairs])

    def case(first: Tensor, then: Tensor, sigma: float, alpha: float) -> dict:
        return dict(script=torch.cat([first, then]), sigma=sigma, n0=len(first), n=len(then), alpha=alpha)

    shuffled = votes((1, 270), (0, 30))[torch.randperm(300, generator=generator)]
    return [case(votes((1, 15), (2, 5)), shuffled, 0.25, 0.001),
            case(votes((2, 12), (0, 8)), votes((0, 290), (2, 10)), 0.5, 0.001),
            case(votes((0, 9), (1, 11)), votes((1, 155), (0, 145)), 0.5, 0.05),
            case(votes((2, 20)), votes((2, 200)), 1.0, 0.01),
            case(votes((1, 20)), votes((1, 120), (0, 80)), 0.25, 0.001),
            case(votes((0, 30)), votes((0, 178), (2, 42)), 0.5, 0.01),
            dict(script=votes((2, 20), (1, 60), (2, 20), (1, 5000), (0, 1000), (1, 4000)), sigma=0.5)]  # defaults


def _certify_call(fn, script: Tensor, sigma: float, **sizes):
    """The harness: a classifier that answers from a script; three classes. And what noise it was shown."""
    generator = torch.Generator().manual_seed(0)
    before, asked = generator.get_state(), _Script(script, 3)
    found = fn(asked, torch.full((3, 2, 2), 0.5), sigma, 3, generator, **sizes)
    if found is None:
        return None
    chosen, radius = found
    noise = torch.cat(asked.seen).double() - 0.5 if asked.seen else torch.zeros(1, 12)
    return {"class": int(chosen), "radius": float(radius),
            "noise level over sigma": round(float(noise.square().mean().sqrt()) / sigma, 1),
            "noisy images shown twice": len(noise) - len(noise.unique(dim=0)),
            "drawn from the generator": not torch.equal(before, generator.get_state())}


def _certifier(select=None, count=None, bound=None, abstain=lambda p: p < 0.5, size=lambda n0, n: n, give=None):
    """A spelling with one decision exchanged."""
    def certify(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
        def ask(many: int) -> Tensor:
            return count_votes(classifier, image, sigma, many, classes, generator)

        first = ask(n0)
        second = first if count == "the same" else ask(n)
        chosen = int((second if select == "second" else first).argmax())
        votes = second + first if count == "pooled" else second
        many = int(votes.sum()) if size(n0, n) == n else size(n0, n)
        k = min(int(votes.max() if select == "top" else votes[chosen]), many)
        p = float(lower_bound(k, many, alpha) if bound is None else bound(k, many, alpha))
        if abstain(p):
            return (ABSTAIN, 0.0) if give is None else give(chosen)
        return chosen, sigma * _quantile(min(p, 1 - 1e-9))
    return certify


def _in_one_go(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
    noise = torch.randn(n0 + n, *image.shape, generator=generator)
    answers = classifier(image + sigma * noise).argmax(1)
    chosen = torch.bincount(answers[:n0], minlength=classes).argmax()
    k = int((answers[n0:] == chosen).sum())
    r = float(certified_radius(k, n, sigma, alpha))
    return (int(chosen), r) if lower_bound(k, n, alpha) >= 0.5 else (-1, 0.0)


certificate = Exercise(
    key="16.certify", title="Select, then estimate", minutes=10, difficulty=3,
    reference="course_lib.evaluate.smoothing:certify", probes=_certify_probes, call=_certify_call,
    wrong={
        "the class picked from the votes that are counted": (
            _certifier(select="second"),
            "You pick the winner of the *second* sample, the one you count. A winner has had luck: its "
            "count is too high, and the "
            "bound no longer holds. The class comes from the first n0 votes."),
        "the first votes counted again": (
            _certifier(count="the same"),
            "Only one sample is drawn: the n0 votes that selected the class also estimate its share. Draw n "
            "fresh ones."),
        "both samples pooled": (
            _certifier(count="pooled"),
            "The n0 votes of the selection are in the count, too. They are not independent of the choice: "
            "leave them out."),
        "the top count of the second sample": (
            _certifier(select="top"),
            "You return the selected class with the votes of *another* one, whichever leads in the second "
            "sample. Count the "
            "selected class."),
        "the share, no bound": (
            _certifier(bound=lambda k, n, alpha: k / n),
            "votes / n is no bound. lower_bound(votes, n, alpha), or certified_radius, which contains it."),
        "two-sided": (
            _certifier(bound=lambda k, n, alpha: lower_bound(k, n, alpha / 2)),
            "alpha / 2 is for two-sided intervals; here all of alpha lies on one side."),
        "never abstains": (
            _certifier(abstain=lambda p: False),
            "Where the bound is below 1/2 there is no certificate (the radius would be negative): return "
            "(ABSTAIN, 0.0)."),
        "the class in place of abstaining": (
            _certifier(give=lambda chosen: (chosen, 0.0)),
            "Where the bound is below 1/2 nothing is known about the majority, not even the class: return "
            "ABSTAIN (-1), not the "
            "selected class."),
        "n0 in the bound": (
            _certifier(size=lambda n0, n: n0),
            "The bound is for `votes` out of *n*, the number of fresh votes."),
    },
    right={"all noise in one go": _in_one_go},
    hints=("Two samples with two purposes: which needs to be large, and which must not know the other?",
           "chosen = count_votes(..., n0, ...).argmax(); then count_votes(..., n, ...)[chosen]. Bound below "
           "1/2: (ABSTAIN, 0.0).",
           "chosen = int(count_votes(classifier, image, sigma, n0, classes, generator).argmax())\n"
           "votes = count_votes(classifier, image, sigma, n, classes, generator)[chosen]\n"
           "if lower_bound(votes, n, alpha) < 0.5:\n"
           "    return ABSTAIN, 0.0\n"
           "return chosen, float(certified_radius(votes, n, sigma, alpha))"),
)


# ------------------------------------------------------------------------------------------------ 16.samples_needed
def samples_needed(radius: float, sigma: float, alpha: float = 0.001) -> int:
    """The least n with which *unanimous* votes certify this radius: alpha^(1/n) >= Phi(radius / sigma)."""
    share = 0.5 * (1 + math.erf(radius / sigma / math.sqrt(2)))
    if share == 1:
        raise ValueError(f"no number of votes certifies a radius of {radius / sigma:.1f} sigma: use a larger sigma")
    return math.ceil(math.log(alpha) / math.log(share))


def _needed_probes(generator, dtype):
    return [(0.5, 0.25), (1.0, 0.25, 0.001), (0.25, 0.5, 0.05), dict(radius=1.0, sigma=0.5, alpha=0.001),
            (0.4, 1.0, 0.01),
            (0.75, 0.25)]


def _phi(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def _needed(share=lambda radius, sigma: _phi(radius / sigma), level=lambda alpha: alpha, whole=math.ceil):
    def samples_needed(radius, sigma, alpha=0.001):
        p = share(radius, sigma)
        return max(1, int(whole(math.log(level(alpha)) / math.log(p))))
    return samples_needed


def _counted(radius, sigma, alpha=0.001):
    n = 1
    while float(certified_radius(n, n, sigma, alpha)) < radius:
        n *= 2
    low = n // 2
    while n - low > 1:
        middle = (n + low) // 2
        n, low = (middle, low) if float(certified_radius(middle, middle, sigma, alpha)) >= radius else (n, middle)
    return n


needed = Exercise(
    key="16.samples_needed", title="How many votes for this radius?", minutes=6, difficulty=3,
    reference=samples_needed, probes=_needed_probes,
    wrong={
        "rounded down": (
            _needed(whole=math.floor),
            "With the number rounded down the radius is just missed: round up, math.ceil."),
        "sigma forgotten": (
            _needed(share=lambda radius, sigma: _phi(radius)),
            "Phi takes the radius in units of sigma: radius / sigma."),
        "times sigma": (
            _needed(share=lambda radius, sigma: _phi(radius * sigma)),
            "sigma * Phi^-1(p) >= radius means p >= Phi(radius / sigma): divide by sigma."),
        "two-sided": (
            _needed(level=lambda alpha: alpha / 2),
            "The bound is one-sided: alpha, not alpha / 2."),
        "1 - alpha": (
            _needed(level=lambda alpha: 1 - alpha),
            "alpha^(1/n) is the bound of n unanimous votes: the probability that all agree although the "
            "share is lower is "
            "alpha. With 1 - alpha one vote would do."),
        "the square-root rule": (
            lambda radius, sigma, alpha=0.001: math.ceil(math.log(1 / alpha) / (2 * (_phi(radius / sigma) - 0.5) ** 2)),
            "That is Hoeffding's inequality for a share of 1/2. For unanimous votes the exact bound is alpha^(1/n)."),
        "log of 1 - p": (
            _needed(share=lambda radius, sigma: 1 - _phi(radius / sigma)),
            "alpha^(1/n) >= p gives n >= log(alpha) / log(p), with p = Phi(radius / sigma) itself, not 1 - p."),
        "the radius in place of Phi": (
            _needed(share=lambda radius, sigma: min(0.99, radius / sigma / 5)),
            "The share is Phi(radius / sigma), the standard normal's distribution function: 0.5 * (1 + "
            "math.erf(x / 2 ** 0.5))."),
    },
    right={"search": _counted},
    hints=("n of n votes have the bound alpha^(1/n). Which bound does the radius need?",
           "sigma * Phi^-1(alpha^(1/n)) >= radius means alpha^(1/n) >= Phi(radius / sigma). Take "
           "logarithms; both are negative.",
           "share = 0.5 * (1 + math.erf(radius / sigma / math.sqrt(2)))\n"
           "return math.ceil(math.log(alpha) / math.log(share))"),
)

EXERCISES = [loss, radius, certificate, needed]
