"""Exercises of week 16, DMAE: a certified radius, select then estimate, certified accuracy, a step of DMAE."""
from __future__ import annotations

import math
from functools import partial

import einops
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.augment.pixels import MEAN, STD, standardize
from course_lib.evaluate.smoothing import ABSTAIN, certified_accuracy, certified_radius, count_votes, lower_bound
from course_lib.exercises.questions import quiz
from course_lib.exercises.spec import Exercise
from course_lib.methods.masked.dmae import dmae_loss as library_loss
from course_lib.methods.masked.dmae import enter, noisy
from course_lib.models.patches import normalize_patches, patchify
from lessons.exercises.shared import STEP_WORDS, blank, descend, noted_steps, numbers, rand, randn, update_mistakes


# ------------------------------------------------------------------------------------------------ 16.certified_radius
def _radius_probes(generator, dtype):
    return [(990, 1000, 0.25), (1000, 1000, 1.0, 0.001), (70, 100, 0.5, 0.05), (540, 1000, 0.25), (51, 100, 0.5, 0.05),
            (30, 100, 0.25, 0.01), dict(votes=185, n=200, sigma=0.25, alpha=0.001), (0, 10, 0.5, 0.05),
            (58, 100, 1.0, 0.1)]


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
    reference="course_lib.evaluate.smoothing:certified_radius", probes=_radius_probes, call=numbers,
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
           "beta.ppf(probability below, k, n - k + 1) is that share; without a vote it is 0. Below 1/2: no radius. "
           "norm.ppf is Phi^-1.",
           "p = beta.ppf(alpha, votes, n - votes + 1) if votes else 0.0\n"
           "return sigma * norm.ppf(p) if p >= 0.5 else 0.0"),
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
    """The harness: a classifier that answers from a script; three classes. And what noise it was shown.

    Three runs: with one seed, with the same again, with another.
    """
    shown, found = [], None
    for seed in (0, 0, 1):
        asked = _Script(script, 3)
        found = fn(asked, torch.full((3, 4, 4), 0.5), sigma, 3, torch.Generator().manual_seed(seed), **sizes)
        if found is None or found is Ellipsis:
            return found
        shown.append(torch.cat(asked.seen).double() - 0.5 if asked.seen else torch.zeros(1, 48, dtype=torch.float64))
    noise, again, other = shown
    first, second, both = (_different(images) for images in (noise, other, torch.cat([noise, other])))
    chosen, radius = found
    per_copy = (noise - noise.mean(1, keepdim=True)).square().mean(1)  # 0 where all pixels move together
    return {"class": int(chosen), "radius": float(radius),
            "noise level over sigma": round(float(noise.square().mean().sqrt()) / sigma, 1),
            "noise of its own for each pixel": bool(per_copy.max() > 0),
            "noisy images shown twice": len(noise) - first,
            "the generator decides about the noise": noise.shape == again.shape and torch.equal(noise, again),
            "another generator brings other noise": both == first + second}


def _different(images: Tensor) -> int:
    """How many rows are different: by their sum with weights, which is a hundred times as fast to sort as rows."""
    weights = torch.linspace(1, 2, images.shape[1], dtype=images.dtype).sqrt()
    return len((images * weights).sum(1).unique())


def _certifier(select=None, count=None, bound=None, abstain=lambda p: p < 0.5, size=lambda n0, n: n, give=None,
               ask=count_votes):
    """A spelling with one decision exchanged; ask: as count_votes."""
    def certify(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
        def ask_for(many: int) -> Tensor:
            return ask(classifier, image, sigma, many, classes, generator)

        first = ask_for(n0)
        second = first if count == "the same" else ask_for(n)
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


def _ask(noise=lambda sigma: sigma, rows=None, flat=False, own=None):
    """As count_votes, with one decision exchanged; own: whose draws they are."""
    def ask(classifier, image, sigma, many, classes, generator):
        if own == "restarted":
            generator.manual_seed(generator.initial_seed())
        source = {"fixed": torch.Generator().manual_seed(many), "global": None}.get(own, generator)
        shape = (rows or many, *(1 for _ in image.shape)) if flat else (rows or many, *image.shape)
        draws = torch.randn(shape, generator=source).expand(many, *image.shape)
        return torch.bincount(classifier(image + noise(sigma) * draws).argmax(1), minlength=classes)
    return ask


def _single_pass(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
    chosen = int(classifier(image[None]).argmax())
    radius = float(certified_radius(int(count_votes(classifier, image, sigma, n, classes, generator)[chosen]), n, sigma,
                                    alpha))
    return (chosen, radius) if radius > 0 else (ABSTAIN, 0.0)


def _estimate_first(classifier, image, sigma, classes, generator, n0=100, n=10_000, alpha=0.001):
    many, few = (count_votes(classifier, image, sigma, size, classes, generator) for size in (n, n0))
    radius = float(certified_radius(int(many[few.argmax()]), n, sigma, alpha))
    return (int(few.argmax()), radius) if radius > 0 else (ABSTAIN, 0.0)


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
        "the class of a single pass": (
            _single_pass,
            "You take the class that the network gives to the image itself. The certificate is about the majority over "
            "noisy copies, which may be another one: the first n0 votes select."),
        "estimated first, selected afterwards": (
            _estimate_first,
            "You draw the n votes first and the n0 that select after them. That is as sound, but the generator gives "
            "both samples other noise than expected: select first, then estimate."),
        "the share, no bound": (
            _certifier(bound=lambda k, n, alpha: k / n),
            "votes / n is no bound: use certified_radius, which contains one."),
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
        "noise of size 1": (
            _certifier(ask=_ask(noise=lambda sigma: 1.0)),
            "The classifier is asked about noise of standard deviation 1. It must be sigma: the radius holds for the "
            "noise of the votes, and for no other."),
        "noise of size sigma squared": (
            _certifier(ask=_ask(noise=lambda sigma: sigma**2)),
            "sigma is the noise's standard deviation, not its variance: image + sigma * noise."),
        "no noise": (
            _certifier(ask=_ask(noise=lambda sigma: 0.0)),
            "Every vote is about the same image: without noise there is no share, and the bound says nothing about "
            "any change."),
        "noise in the network's units": (
            _certifier(ask=_ask(noise=lambda sigma: sigma / STD)),
            "Your noise is too large by 1 / STD. It belongs to the pixels, where the change is measured; the network "
            "normalises afterwards."),
        "noise in the network's units, the other way": (
            _certifier(ask=_ask(noise=lambda sigma: sigma * STD)),
            "Your noise is smaller than sigma by the factor STD, so every radius would be too large by 1 / STD. Noise "
            "belongs to the pixels, before normalisation."),
        "one noise for all votes": (
            _certifier(ask=_ask(rows=1)),
            "All votes of an election are about the same noisy copy. Each needs noise of its own: that is what makes "
            "them independent."),
        "one noise for all pixels": (
            _certifier(ask=_ask(flat=True)),
            "All numbers of a copy are moved by the same noise. Every pixel and channel needs its own: "
            "torch.randn(n, *image.shape)."),
        "the draws of the first election once more": (
            _certifier(ask=_ask(own="restarted")),
            "The second election shows the noise of the first one again: its votes are not fresh, and what was lucky "
            "once is lucky twice. Draw on from the generator that you were given; don't seed it again."),
        "a generator of its own": (
            _certifier(ask=_ask(own="fixed")),
            "The noise does not come from the generator that was handed over: every image, and every repetition, "
            "would get the same draws. Pass `generator` on."),
        "noise from nowhere": (
            _certifier(ask=_ask(own="global")),
            "The noise is drawn without `generator`, so nobody can repeat this certificate. "
            "torch.randn(..., generator=generator)."),
    },
    right={"all noise in one go": _in_one_go},
    hints=("Two samples with two purposes: which needs to be large, and which must not know the other?",
           "count_votes(..., n0, ...).argmax() is the class; count_votes(..., n, ...)[chosen] its votes. A radius of 0 "
           "means: (ABSTAIN, 0.0).",
           "chosen = int(count_votes(classifier, image, sigma, n0, classes, generator).argmax())\n"
           "votes = int(count_votes(classifier, image, sigma, n, classes, generator)[chosen])\n"
           "radius = float(certified_radius(votes, n, sigma, alpha))\n"
           "return (chosen, radius) if radius > 0 else (ABSTAIN, 0.0)"),
)


# ------------------------------------------------------------------------------------------------ 16.certified_accuracy
def _accuracy_probes(generator, dtype):
    """A third wrong, some abstained (radius 0), radii on both sides of each that is asked for."""
    def case(n: int, at: float) -> tuple:
        labels = torch.randint(4, (n,), generator=generator)
        found = labels.clone()
        found[::3] = (labels[::3] + 1) % 4
        radii = rand(generator, dtype, n) + 0.01
        found[1::5], radii[1::5] = ABSTAIN, 0
        return found, radii, labels, at

    return [case(13, 0.5), case(29, 0.25), dict(zip(("found", "radii", "labels", "at"), case(17, 0.75))),
            case(25, 0.0), case(31, 0.8)]


def _accuracy(count=lambda right, far, abstained: right & far, among=lambda right, far, abstained: right | True,
              far=lambda radii, at: radii >= at, last=lambda share: share):
    """The share of `count` among `among`, each of (right, far enough, abstained)."""
    def share(found, radii, labels, at):
        facts = found == labels, far(radii, at), found == ABSTAIN
        whole = among(*facts)
        return last(float((count(*facts) & whole).sum()) / max(1, int(whole.sum())))
    return share


accuracy = Exercise(
    key="16.certified_accuracy", title="Certified accuracy", minutes=5, difficulty=2,
    reference=certified_accuracy, probes=_accuracy_probes, call=numbers,
    wrong={
        "the radius is not asked for": (
            _accuracy(count=lambda right, far, abstained: right),
            "This is the share of right answers, whatever their radius. Count those whose radius reaches `at`."),
        "wrong answers count as well": (
            _accuracy(count=lambda right, far, abstained: far & ~abstained),
            "A wrong answer can be certified, too: it is a stable mistake. Count where found == labels *and* the "
            "radius reaches `at`."),
        "abstained images count as certified at 0": (
            _accuracy(count=lambda right, far, abstained: far),
            "You count every radius of at least `at`: wrong answers, and at 0 also the images on which it abstained."),
        "an abstention counts as right": (
            _accuracy(count=lambda right, far, abstained: (right & far) | abstained),
            "Silence is safe, but it is not an answer: an abstention is never right."),
        "abstentions are left out": (
            _accuracy(among=lambda right, far, abstained: ~abstained),
            "You divide by the images with an answer. Then abstaining pays: who answers only the easy ones scores "
            "100 %. Divide by *all* images."),
        "only among right answers": (
            _accuracy(among=lambda right, far, abstained: right),
            "You divide by the right answers: this is how many of *them* are certified. Divide by all images."),
        "only among certified answers": (
            _accuracy(among=lambda right, far, abstained: far & ~abstained),
            "You divide by the answers that are certified at `at`: this is how many of *them* are right. Divide by "
            "all images."),
        "only among radii that suffice": (
            _accuracy(among=lambda right, far, abstained: far),
            "You divide by the images whose radius is at least `at`: this is how many of *them* are right. Divide by "
            "all images."),
        "an abstention is right at radius 0": (
            _accuracy(count=lambda right, far, abstained: (right | abstained) & far),
            "At `at` = 0 you count the abstentions, whose radius is 0. Silence is never a right answer: leave out "
            "found == ABSTAIN."),
        "the wrong side of the radius": (
            _accuracy(far=lambda radii, at: radii <= at),
            "You count radii *up to* `at`. Certified at `at` means that the radius is at least that large."),
        "right or certified": (
            _accuracy(count=lambda right, far, abstained: right | far),
            "Both must hold, `&`: right, and a radius of at least `at`."),
        "the mean radius": (
            lambda found, radii, labels, at: float((radii * (found == labels)).mean()),
            "That is the average certified radius, another measure: it does not ask for `at`."),
        "a share of errors": (
            _accuracy(last=lambda share: 1 - share),
            "That is the share that fails. Certified accuracy counts the others."),
    },
    right={"a radius of -1 for wrong answers": lambda found, radii, labels, at: (
               torch.where(found == labels, radii, -1) >= at).float().mean(),
           "one by one": lambda found, radii, labels, at: sum(
               1 for f, r, y in zip(found.tolist(), radii.tolist(), labels.tolist())
               if f == y and r >= at) / len(found)},
    hints=("When does an image count? Two conditions; and who is in the denominator?",
           "found == labels and radii >= at are both (N,) bool: join them by &. An abstention, -1, equals no label.",
           "right = found == labels\n"
           "return (right & (radii >= at)).double().mean()"),
)


# ------------------------------------------------------------------------------------------------ 16.dmae_step
def dmae_step(network, optimizer, images, visible, sigma, generator):
    """One update of DMAE -> the loss, a number.

    images (B, 3, H, W) in [0, 1]; network(inputs, visible) -> (B, L, n), a prediction for every patch, where inputs
    are normalised and visible is (B, g, g) bool; network.patch: pixels to a side of a patch.
    """
    seen = images + sigma * torch.randn(images.shape, generator=generator)
    prediction = network(standardize(seen), visible)
    target = normalize_patches(patchify(images, network.patch))[0]
    loss = (prediction - target).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


class _Draws(nn.Module):
    """A very small masked autoencoder: visible patches are mixed over the places, so that each feels the others."""

    def __init__(self, draw, length: int, n: int, width: int = 6):
        super().__init__()
        self.patch, self.seen = math.isqrt(n // 3), []
        self.into, self.out, self.places = (nn.Parameter(0.5 * draw(*shape)) for shape in (
            (n, width), (width, n), (1, length, width)))
        self.register_buffer("between", draw(length, length) / math.sqrt(length))

    def forward(self, inputs: Tensor, visible: Tensor) -> Tensor:
        if visible.shape[0] != inputs.shape[0] or visible.ndim != 3:
            raise ValueError(f"visible has shape {tuple(visible.shape)}; expected (B, g, g), as it was handed over")
        self.seen.append(inputs.detach().clone())
        x = patchify(inputs, self.patch) @ self.into * visible.flatten(1)[..., None] + self.places
        return torch.tanh(x + self.between @ torch.tanh(x)) @ self.out


def _three_steps(step, images: Tensor, visible: Tensor, patch: int, sigma: float):
    """Three updates by `step`: losses, weights at the end; and what noise the network was shown, in pixels."""
    draw = partial(randn, torch.Generator().manual_seed(3), images.dtype)
    network = _Draws(draw, visible[0, 0].numel(), 3 * patch**2)
    optimizer, generator = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5), torch.Generator().manual_seed(7)
    before, handed = generator.get_state(), images.clone()
    found = noted_steps(step, [(network, optimizer, pictures, shown, sigma, generator)
                               for pictures, shown in zip(handed, visible)], network.parameters())
    if blank(found):
        return found
    changed = {} if torch.equal(handed, images) else {"the images themselves changed": True}
    inputs = torch.cat(network.seen) * STD + MEAN
    noise, there = inputs, torch.ones_like(inputs)
    if inputs.shape == images.flatten(0, 1).shape:  # what lies behind the mask, noise or none, reaches nobody
        there = einops.repeat(visible.flatten(0, 1).to(inputs), "n g k -> n c (g p) (k q)", c=3, p=patch, q=patch)
        noise = (inputs - images.flatten(0, 1)) * there
    return {**found, "noise level over sigma": round(float((noise.square().sum() / there.sum()).sqrt()) / sigma, 1),
            "noise of its own for each image": len(noise.flatten(1).unique(dim=0)) == len(noise),
            "drawn from the generator": not torch.equal(before, generator.get_state()),
            **changed}


def _step_probes(generator, dtype):
    def case(steps: int, b: int, grid: int, patch: int, sigma: float) -> dict:
        size = grid * patch
        contrast = 0.3 + 0.7 * rand(generator, dtype, steps, b, 1, grid, 1, grid, 1)
        pixels = (0.5 + contrast * (rand(generator, dtype, steps, b, 3, grid, patch, grid, patch) - 0.5))
        visible = torch.rand(steps, b, grid * grid, generator=generator).argsort(-1) < grid * grid // 3
        return dict(images=pixels.reshape(steps, b, 3, size, size), visible=visible.view(steps, b, grid, grid),
                    patch=patch, sigma=sigma)

    return [case(3, 5, 3, 4, 0.25), case(2, 7, 4, 2, 0.5)]


def _spread(x: Tensor) -> Tensor:
    return (x.var(-1, keepdim=True) + 1e-6).sqrt()


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _colours_apart(x: Tensor) -> Tensor:
    x = x.unflatten(-1, (-1, 3))
    return ((x - x.mean(-2, keepdim=True)) / (x.var(-2, keepdim=True) + 1e-6).sqrt()).flatten(-2)


def _step(noise=lambda images, sigma, g: images + sigma * torch.randn(images.shape, generator=g),
          enter=standardize, target=lambda clean, seen: _centred(clean) / _spread(clean),
          error=lambda p, t, v: (p - t).square().mean(), visible=lambda v: v, order="clear backward step",
          back=lambda loss: loss.item()):
    """A spelling with one decision exchanged: target(clean, noisy patches), error(prediction, target, (B, L))."""
    def step(network, optimizer, images, visible_, sigma, generator):
        seen = noise(images, sigma, generator)
        prediction = network(enter(seen), visible(visible_))
        loss = error(prediction, target(*(patchify(x, network.patch) for x in (images, seen))), visible_.flatten(1))
        return descend(loss, optimizer, order, back)
    return step


def _only(chosen):
    return lambda p, t, v: (p - t).square().mean(-1)[chosen(v)].mean()


def _noise(size=lambda sigma: sigma, shape=lambda images: images.shape, own=False, last=lambda x: x):
    def noise(images, sigma, generator):
        generator = torch.Generator().manual_seed(0) if own else generator
        return last(images + size(sigma) * torch.randn(shape(images), generator=generator))
    return noise


def _after_normalising(network, optimizer, images, visible, sigma, generator):
    return _step(noise=lambda x, s, g: standardize(x) + s * torch.randn(x.shape, generator=g), enter=lambda x: x)(
        network, optimizer, images, visible, sigma, generator)


def _library(network, optimizer, images, visible, sigma, generator):
    """With the library's functions, cleared at the end, and the target in the network's units."""
    loss = library_loss(network(enter(noisy(images, sigma, generator), images.shape[-1]), visible), standardize(images))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=False)
    return float(loss.detach())


def _image_by_image(network, optimizer, images, visible, sigma, generator):
    seen = torch.stack([image + torch.empty_like(image).normal_(0, sigma, generator=generator) for image in images])
    x = einops.rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=network.patch, q=network.patch)
    x = (x - x.mean(2, keepdim=True)) / torch.sqrt(x.var(2, keepdim=True) + 1e-6)
    optimizer.zero_grad()
    loss = F.mse_loss(network((seen - MEAN) / STD, visible), x)
    loss.backward()
    optimizer.step()
    return loss.item()


step_exercise = Exercise(
    key="16.dmae_step", title="One step of DMAE", minutes=10, difficulty=3,
    reference=dmae_step, probes=_step_probes, call=_three_steps, tolerance=1e-4, plain=True, unit="patches",
    words=STEP_WORDS | {
        "['noise level over sigma']": "the noise that the network was shown, over sigma"},
    wrong={
        "hidden patches only": (
            _step(error=_only(lambda v: ~v)),
            "That is MAE. Here the visible patches are noisy, so each of them, too, has something to be found out: "
            "the mean is over *all* patches."),
        "visible patches only": (
            _step(error=_only(lambda v: v)),
            "Denoising alone: the hidden patches count as well. The mean is over all patches."),
        "hidden and visible weigh the same": (
            _step(error=lambda p, t, v: (_only(lambda v: v)(p, t, v) + _only(lambda v: ~v)(p, t, v)) / 2),
            "The mean of two means: each of the few visible patches weighs more than a hidden one. One mean over all."),
        "the noisy image as target": (
            _step(target=lambda clean, seen: _centred(seen) / _spread(seen)),
            "The target is the *clean* image. Noise cannot be predicted; a network that repeats what it sees would "
            "win."),
        "noise added in place": (
            _step(noise=lambda images, sigma, g: images.add_(sigma * torch.randn(images.shape, generator=g))),
            "You add the noise to `images` itself, so that the target is noisy, too: make a new tensor."),
        "the noise as target": (
            _step(target=lambda clean, seen: seen - clean),
            "Diffusion models predict the noise. DMAE draws the clean image."),
        "statistics of the noisy patch": (
            _step(target=lambda clean, seen: _centred(clean) / _spread(seen)),
            "Mean and standard deviation are those of the *clean* patch: no noise in the target at all."),
        "plain pixels": (
            _step(target=lambda clean, seen: clean),
            "Each target patch is normalised by its own mean and standard deviation: "
            "normalize_patches(patchify(images, network.patch))[0]."),
        "biased variance": (
            _step(target=lambda clean, seen: _centred(clean)
                  / (clean.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()),
            "The variance of a patch divides by n - 1, torch's default, as in lesson 12; yours divides by n."),
        "each channel for itself": (
            _step(target=lambda clean, seen: _colours_apart(clean)),
            "Mean and standard deviation are of *all* numbers of a patch, the three channels together."),
        "summed over the pixels": (
            _step(error=lambda p, t, v: (p - t).square().sum(-1).mean()),
            "The squared error is averaged over the numbers of a patch as well, not summed."),
        "noise after normalisation": (
            _after_normalising,
            "You add sigma after normalisation, where it is a noise of only STD times sigma in pixels. Noise first, "
            "then standardize: sigma belongs to the pixels."),
        "not normalised": (
            _step(enter=lambda x: x),
            "The network wants normalised inputs: standardize(seen), after the noise."),
        "noise of size 1": (
            _step(noise=_noise(lambda sigma: 1.0)), "The noise has standard deviation 1: multiply it by sigma."),
        "noise of size sigma squared": (
            _step(noise=_noise(lambda sigma: sigma**2)),
            "sigma is the standard deviation of the noise, not its variance."),
        "no noise": (
            _step(noise=_noise(lambda sigma: 0.0)),
            "The network sees the clean image: add sigma times standard normal noise first."),
        "one noise for the batch": (
            _step(noise=_noise(shape=lambda images: images.shape[1:])),
            "All images of the batch get the same noise: the network could learn it by heart. torch.randn of the shape "
            "of images."),
        "uniform noise": (
            _step(noise=lambda images, sigma, g: images + sigma * (torch.rand(images.shape, generator=g) - 0.5)),
            "torch.rand is uniform. The certificate is about normal noise: torch.randn."),
        "clipped to [0, 1]": (
            _step(noise=_noise(last=lambda x: x.clamp(0, 1))),
            "You clip the noisy pixels to [0, 1]. The votes of a certificate are about noise that is not clipped, so "
            "train on that."),
        "a generator of its own": (
            _step(noise=_noise(own=True)),
            "Every step draws the same noise: take the generator that is handed over, it goes on from step to step."),
        "the mask is inverted": (
            _step(visible=lambda v: ~v), "True = visible: hand the mask on as it is."),
        "everything is visible": (
            _step(visible=torch.ones_like),
            "Nothing is hidden: hand `visible` on to the network. Denoising alone leaves out half of the task."),
        **update_mistakes(_step),
    },
    right={"the library's functions": _library, "image by image": _image_by_image},
    hints=("Noise, normalise, predict, compare with the clean image, update. What does each patch teach here, also a "
           "visible one?",
           "images + sigma * torch.randn(images.shape, generator=generator) goes through standardize into the network. "
           "normalize_patches(patchify(images, network.patch))[0] is the target.",
           "seen = images + sigma * torch.randn(images.shape, generator=generator)\n"
           "prediction = network(standardize(seen), visible)\n"
           "target = normalize_patches(patchify(images, network.patch))[0]\n"
           "loss = (prediction - target).square().mean()\n"
           "optimizer.zero_grad()\n"
           "loss.backward()\n"
           "optimizer.step()\n"
           "return loss.item()"),
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

EXERCISES = [radius, certificate, accuracy, step_exercise, needed]


# ------------------------------------------------------------------------------------------------ questions
QUIZZES = [
    quiz("A network has a certified radius of 0.5 for an image. An attacker changes one pixel value by 0.6. Is the "
         "answer safe?", {
        "Yes, only one pixel was changed": "The certificate counts the length of the change, not the number of "
            "pixels.",
        "Not by this certificate": "The 2-norm of the change is 0.6, beyond 0.5. The answer may hold; it is not "
            "proved.",
        "Yes, 0.6 / 3072 is tiny": "The 2-norm is the root of the sum of squares, not a mean: here it is 0.6.",
    }, "Not by this certificate"),
    quiz("What does a certificate say about an image that is predicted *wrongly*?", {
        "Nothing, it holds for right answers only": "The proof knows nothing of right and wrong.",
        "That the wrong answer stays within the radius": "The majority is stable, right or wrong. That is why "
            "certified *accuracy* asks for both.",
        "That the image is an attack": "No: it is about the neighbourhood of the image, not about where it comes "
            "from.",
    }, "That the wrong answer stays within the radius"),
    quiz("Your colleague certifies at sigma 0.25 with noise added to the normalised 224-pixel input of a network for "
         "32-pixel images. What is wrong?", {
        "Nothing, the network sees noise of 0.25": "The attacker changes the 32-pixel image. In those units the noise "
            "is smaller.",
        "The radius is in other units than the attacker's change": "Normalisation divides by a standard deviation, "
            "enlarging copies pixels: the noise comes first, at the size and in the units of the attack.",
        "224 pixels need more votes": "The number of votes does not depend on the size.",
    }, "The radius is in other units than the attacker's change"),
    quiz("100 votes, all for one class, sigma 0.25, alpha 0.001. The radius is about 0.37. How do you get to 1.0?", {
        "A better network": "The votes are unanimous already.",
        "Many more votes, or more noise": "Unanimous votes are capped by alpha^(1/n): at sigma 0.25 a radius of 1 "
            "takes some 200 000 votes; at sigma 1 a few dozen.",
        "A larger alpha, such as 0.01": "That helps a little; far from enough.",
    }, "Many more votes, or more noise"),
    quiz("Transfer: a medical classifier reads 12 numbers of a blood test, with very different units. You want "
         "certificates. What do you decide first?", {
        "The number of votes": "It comes later, from the radius you need.",
        "In which scale a change is small: the noise of each number": "One sigma for all numbers says that a change "
            "by 1 is equally small in each. Scale them first by what a change means; the certificate is in those "
            "units.",
        "The network": "The certificate holds for any.",
    }, "In which scale a change is small: the noise of each number"),
]
