"""Second spellings of week 16's planted mistakes."""
from __future__ import annotations

import math
from statistics import NormalDist

import torch
from einops import rearrange
from scipy.stats import beta, norm

PHI = NormalDist()


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
def _answers(classifier, image, sigma, many, generator, level=lambda sigma: sigma, draw=torch.randn):
    noise = draw(many, *image.shape, generator=generator)
    return torch.max(classifier(image[None] + noise.mul(level(sigma))), 1).indices.tolist()


def _most(answers):
    return max(range(3), key=answers.count)


def _plan(decide, **change):
    """decide(first answers, second answers, n0, n, alpha) -> class, bound."""
    def certify(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
        first = _answers(classifier, image, sigma, n0, generator, **change)
        chosen, p, floor = decide(first, lambda: _answers(classifier, image, sigma, n, generator, **change), n0, n,
                                  alpha)
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


def _one_copy(many, *shape, generator):
    return torch.randn(*shape, generator=generator).repeat(many, 1, 1, 1)


def _one_number(many, *shape, generator):
    return torch.randn(many, 1, 1, 1, generator=generator) * torch.ones(shape)


def _again(many, *shape, generator):
    return torch.randn(many, *shape, generator=torch.Generator().manual_seed(generator.initial_seed()))


def _fixed(many, *shape, generator):
    torch.rand(1, generator=generator)
    return torch.randn(many, *shape, generator=torch.Generator().manual_seed(7 + many))


def _no_vote(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
    chosen = classifier(image.unsqueeze(0)).max(1).indices.item()
    p = _low(_answers(classifier, image, sigma, n, generator).count(chosen), n, alpha)
    return (chosen, sigma * PHI.inv_cdf(min(p, 1 - 1e-9))) if p >= 0.5 else (-1, 0.0)


def _late(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
    second = _answers(classifier, image, sigma, n, generator)
    chosen = _most(_answers(classifier, image, sigma, n0, generator))
    p = _low(second.count(chosen), n, alpha)
    return (chosen, sigma * PHI.inv_cdf(min(p, 1 - 1e-9))) if p >= 0.5 else (-1, 0.0)


CERTIFY = {
    "noise of size 1": _plan(_honest(_low), level=lambda sigma: 1),
    "noise of size sigma squared": _plan(_honest(_low), level=lambda sigma: sigma * sigma),
    "no noise": _plan(_honest(_low), level=lambda sigma: 0),
    "noise in the network's units": _plan(_honest(_low), level=lambda sigma: 4 * sigma),
    "noise in the network's units, the other way": _plan(_honest(_low), level=lambda sigma: sigma / 4),
    "one noise for all votes": _plan(_honest(_low), draw=_one_copy),
    "one noise for all pixels": _plan(_honest(_low), draw=_one_number),
    "the draws of the first election once more": _plan(_honest(_low), draw=_again),
    "a generator of its own": _plan(_honest(_low), draw=_fixed),
    "noise from nowhere": _plan(_honest(_low), draw=lambda *shape, generator: torch.randn(*shape)),
    "the class picked from the votes that are counted": _plan(_luck),
    "the first votes counted again": _plan(lambda first, more, n0, n, alpha: (
        _most(first), _low(first.count(_most(first)), n0, alpha), -1)),
    "both samples pooled": _plan(_pool),
    "the top count of the second sample": _plan(_top),
    "estimated first, selected afterwards": _late,
    "the class of a single pass": _no_vote,
    "the share, no bound": _plan(_honest(lambda k, n, alpha: k / n)),
    "two-sided": _plan(_honest(lambda k, n, alpha: _low(k, n, alpha / 2))),
    "never abstains": _plan(_honest(_low, floor=None)),
    "the class in place of abstaining": _plan(lambda first, more, n0, n, alpha: (
        _most(first), _low(more().count(_most(first)), n, alpha), _most(first))),
    "n0 in the bound": _plan(lambda first, more, n0, n, alpha: (
        _most(first), _low(min(n0, more().count(_most(first))), n0, alpha), -1)),
}


# ---------------------------------------------------------------- 16.certified_accuracy
def _counted(decide, among=lambda c, y, r, at: True):
    """decide(class, label, radius, at) -> does the image count? among: is it in the denominator?"""
    def share(found, radii, labels, at):
        rows = [row for row in zip(found.tolist(), labels.tolist(), radii.tolist()) if among(*row, at)]
        return sum(bool(decide(*row, at)) for row in rows) / max(1, len(rows))
    return share


def _holds(c, y, r, at):
    return c == y and not r < at


ACCURACY = {
    "the radius is not asked for": _counted(lambda c, y, r, at: c == y),
    "wrong answers count as well": _counted(lambda c, y, r, at: c != -1 and r >= at),
    "abstained images count as certified at 0": _counted(lambda c, y, r, at: not r < at),
    "an abstention counts as right": _counted(lambda c, y, r, at: c == -1 or _holds(c, y, r, at)),
    "abstentions are left out": _counted(_holds, lambda c, y, r, at: c != -1),
    "only among right answers": _counted(_holds, lambda c, y, r, at: c == y),
    "only among certified answers": _counted(_holds, lambda c, y, r, at: c >= 0 and r >= at),
    "only among radii that suffice": _counted(_holds, lambda c, y, r, at: r >= at),
    "an abstention is right at radius 0": _counted(lambda c, y, r, at: c in (y, -1) and r >= at),
    "the wrong side of the radius": _counted(lambda c, y, r, at: c == y and not r > at),
    "right or certified": _counted(lambda c, y, r, at: c == y or r >= at),
    "the mean radius": lambda found, radii, labels, at: float(radii[found == labels].sum()) / len(radii),
    "a share of errors": _counted(lambda c, y, r, at: not _holds(c, y, r, at)),
}


# ---------------------------------------------------------------- 16.dmae_step
def _cut(images, p):
    return rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)


def _standard(x, of=None, correction=1):
    of = x if of is None else of
    return (x - x.mean(2, keepdim=True)) / torch.sqrt(of.var(2, keepdim=True, correction=correction) + 1e-6)


def _by_colour(x):
    x = rearrange(x, "b l (n c) -> b l c n", c=3)
    return rearrange((x - x.mean(3, keepdim=True)) / torch.sqrt(x.var(3, keepdim=True) + 1e-6), "b l c n -> b l (n c)")


def _stepped(network, optimizer, images, visible, sigma, generator, level=lambda sigma: sigma, draw=torch.randn,
             after=lambda x: x, units=lambda x: (x - 0.45) / 0.25, late=False, place=False, mask=lambda v: v,
             aim=lambda clean, seen: _standard(clean), weigh=None, total=False, adds=False, still=False, early=False,
             tensor=False, digits=None):
    noise = level(sigma) * draw(*images.shape, generator=generator)
    if place:
        images += noise
        seen = images
    else:
        seen = after(images + (0.25 * noise if late else noise))
    prediction = network(units(seen), mask(visible))
    error = (prediction - aim(_cut(images, network.patch), _cut(seen, network.patch))).pow(2)
    error = error.sum(2) if total else error.mean(2)
    weight = torch.ones_like(error) if weigh is None else weigh(visible.flatten(1).to(error))
    loss = (error * weight).sum() / weight.sum()
    if early:
        optimizer.step()
    if not adds:
        optimizer.zero_grad(set_to_none=False)
    if not still:
        torch.autograd.backward([loss])
    if not early:
        optimizer.step()
    value = float(loss.detach())
    return loss if tensor else value if digits is None else round(value, digits)


def _step(**change):
    return lambda *given: _stepped(*given, **change)


STEP = {
    "hidden patches only": _step(weigh=lambda v: 1 - v),
    "visible patches only": _step(weigh=lambda v: v),
    "hidden and visible weigh the same": _step(weigh=lambda v: v / v.sum() + (1 - v) / (1 - v).sum()),
    "the noisy image as target": _step(aim=lambda clean, seen: _standard(seen)),
    "noise added in place": _step(place=True),
    "the noise as target": _step(aim=lambda clean, seen: seen - clean),
    "statistics of the noisy patch": _step(aim=lambda clean, seen: _standard(clean, seen)),
    "plain pixels": _step(aim=lambda clean, seen: clean),
    "biased variance": _step(aim=lambda clean, seen: _standard(clean, correction=0)),
    "each channel for itself": _step(aim=lambda clean, seen: _by_colour(clean)),
    "summed over the pixels": _step(total=True),
    "noise after normalisation": _step(late=True),
    "not normalised": _step(units=lambda x: x),
    "noise of size 1": _step(level=lambda sigma: 1),
    "noise of size sigma squared": _step(level=lambda sigma: sigma * sigma),
    "no noise": _step(level=lambda sigma: 0),
    "one noise for the batch": _step(draw=lambda b, *shape, generator: torch.randn(1, *shape, generator=generator)),
    "uniform noise": _step(draw=lambda *shape, generator: torch.rand(shape, generator=generator) - 0.5),
    "clipped to [0, 1]": _step(after=lambda x: x.clip(0, 1)),
    "a generator of its own": _step(draw=lambda *shape, generator: torch.randn(
        shape, generator=torch.Generator().manual_seed(0))),
    "the mask is inverted": _step(mask=torch.logical_not),
    "everything is visible": _step(mask=lambda v: v | True),
    "gradients never cleared": _step(adds=True),
    "the weights never move": _step(still=True),
    "the step comes before backward": _step(early=True),
    "the loss is rounded": _step(digits=3),
    "the loss keeps its graph": _step(tensor=True),
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

SECOND = {"16.certified_radius": RADIUS, "16.certify": CERTIFY, "16.certified_accuracy": ACCURACY, "16.dmae_step": STEP,
          "16.samples_needed": NEEDED}
EQUIVALENT = {
    "16.certified_radius": {"line 4: bound >= 0.5 -> bound > 0.5": "at one half exactly the radius is 0 either way"},
    "16.certify": {"line 3: 500 -> 499": "how many are asked at once changes no answer",
                   "line 3: 500 -> 501": "how many are asked at once changes no answer"},
    "16.certified_accuracy": {
        "line 6: torch.as_tensor(at, dtype=torch.float64) -> torch.as_tensor(at)": "the radii asked for are exact",
        "line 8: (right & (radii.double() >= at[..., None])).double().mean(-1) -> "
        "(right & (radii.double() >= at[..., None])).double().mean(-0)": "of one radius there is one axis",
        "line 8: radii.double() >= at[..., None] -> radii.double() > at[..., None]":
            "no certified radius is just the one asked for, and either reading is right",
    },
}
