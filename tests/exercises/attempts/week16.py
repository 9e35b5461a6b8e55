"""Attempts at lesson 16."""

from . import Tries

ATTEMPTS = {
    "16.dmae_step": Tries([
        """
noise = torch.randn(images.shape, generator=generator) * sigma
pred = network(standardize(images + noise), visible)
x = einops.rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=network.patch, q=network.patch)
x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()
optimizer.zero_grad()
loss = F.mse_loss(pred, x)
loss.backward()
optimizer.step()
return float(loss)
""",
        """
eps = torch.empty_like(images).normal_(generator=generator)
pred = network(standardize(images + sigma * eps), visible)
goal, mean, std = normalize_patches(patchify(images, network.patch))
err = ((pred - goal) ** 2).mean(dim=-1)
loss = err.mean()
loss.backward()
optimizer.step()
optimizer.zero_grad()
return loss.item()
""",
        """
eps = torch.randn(images.shape, generator=generator)
eps = eps * F.interpolate(visible[:, None].to(images.dtype), scale_factor=network.patch)
optimizer.zero_grad()
goal = normalize_patches(patchify(images, network.patch))[0]
loss = F.mse_loss(network(standardize(images + sigma * eps), visible), goal)
loss.backward()
optimizer.step()
return float(loss)
""",
    ], [
        ("absolute error", 0, "F.mse_loss", "F.l1_loss"),
        ("the mean of the two", 0, "rearrange(images,", "rearrange(images + noise / 2,"),
        ("hidden count twice", 0, "loss = F.mse_loss(pred, x)",
         "w = 1 + (~visible.flatten(1)).to(x.dtype)\nloss = ((pred - x).square().mean(-1) * w).sum() / "
         "w.sum()"),
        ("mean taken off only", 0, " / (x.var(-1, keepdim=True) + 1e-6).sqrt()", ""),
        ("prediction normalised", 0, "F.mse_loss(pred, x)", "F.mse_loss(normalize_patches(pred)[0], x)"),
        ("root", 0, "F.mse_loss(pred, x)", "F.mse_loss(pred, x).sqrt()"),
        ("channels first", 0, "(p q c)", "(c p q)"),
        ("whole image normalised", 0, "x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()",
         "x = (x - x.mean((1, 2), keepdim=True)) / (x.var((1, 2), keepdim=True) + 1e-6).sqrt()"),
        ("cosine", 0, "F.mse_loss(pred, x)", "1 - F.cosine_similarity(pred, x, dim=-1).mean()"),
        ("hidden patches of the noisy image", 0, "rearrange(images,", "rearrange(images + noise,",
         "F.mse_loss(pred, x)", "(pred - x)[~visible.flatten(1)].square().mean()"),
        ("standardised twice", 0, "standardize(images + noise)", "standardize(standardize(images + noise))"),
        ("half of the noise", 0, "* sigma", "* sigma / 2"),
        ("no generator", 0, ", generator=generator", ""),
        ("uphill", 0, "loss.backward()", "(-loss).backward()"),
        ("two updates", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("no update", 0, "optimizer.step()", "pass"),
        ("hidden patches only", 1, "err.mean()", "err[~visible.flatten(1)].mean()"),
        ("visible patches only", 1, "err.mean()", "err[visible.flatten(1)].mean()"),
        ("the sum over a patch", 1, ".mean(dim=-1)", ".sum(dim=-1)"),
        ("the sum over patches", 1, "err.mean()", "err.sum(1).mean()"),
        ("the noisy image as target", 1, "patchify(images, network.patch)",
         "patchify(images + sigma * eps, network.patch)"),
        ("the noise as target", 1, "patchify(images, network.patch)", "patchify(eps, network.patch)"),
        ("raw pixels as target", 1, "goal, mean, std = normalize_patches(patchify(images, network.patch))",
         "goal = patchify(images, network.patch)"),
        ("normalised image as target, not its patches", 1,
         "goal, mean, std = normalize_patches(patchify(images, network.patch))",
         "goal = patchify(standardize(images), network.patch)"),
        ("noise after standardize", 1, "standardize(images + sigma * eps)", "standardize(images) + sigma * eps"),
        ("noise clamped", 1, "images + sigma * eps", "(images + sigma * eps).clamp(0, 1)"),
        ("noise only on hidden", 1, "images + sigma * eps",
         "images + sigma * eps * F.interpolate((~visible)[:, None].to(images.dtype), "
         "scale_factor=network.patch)"),
        ("one sigma for each image at random", 1, "sigma * eps",
         "sigma * torch.rand(len(images), 1, 1, 1, generator=generator) * eps"),
        ("not standardised", 1, "standardize(images + sigma * eps)", "images + sigma * eps"),
        ("mean of the two halves", 1, "err.mean()",
         "(err[visible.flatten(1)].mean() + err[~visible.flatten(1)].mean()) / 2"),
        ("patches weighted by their spread", 1, "err.mean()", "(err * std.squeeze(-1)).mean()"),
        ("cleared before the step", 1, "optimizer.step()\noptimizer.zero_grad()",
         "optimizer.zero_grad()\noptimizer.step()"),
        ("prediction not of the network's mask", 1, ", visible)", ", visible.flip(0))"),
        ("a forward too many", 1, "pred = network", "network(standardize(images), visible)\npred = network"),
        ("huber", 1, "((pred - goal) ** 2).mean(dim=-1)", "F.smooth_l1_loss(pred, goal, reduction='none').mean(-1)"),
    ]),
    "16.certified_accuracy": Tries([
        """
hits = 0
for c, r, y in zip(found, radii, labels):
    if c == ABSTAIN:
        continue
    hits += int(c == y) * int(r >= at)
return hits / len(labels)
""",
        """
ok = (found == labels) * (radii >= at)
return ok.sum() / ok.numel()
""",
        """
return ((found == labels) & (radii > at)).float().mean().item()
""",
        """
ok = [f == y and f != ABSTAIN and r >= at for f, y, r in zip(found, labels, radii)]
return sum(ok) / len(ok)
""",
    ], [
        ("twice the radius", 0, "r >= at", "r >= 2 * at"),
        ("per cent", 0, "hits / len(labels)", "100 * hits / len(labels)"),
        ("a count", 0, "return hits / len(labels)", "return hits"),
        ("the first class is silence", 0, "c == ABSTAIN", "c == 0"),
        ("one too many", 0, "hits = 0", "hits = 1"),
        ("wrong ones", 0, "c == y", "c != y"),
        ("only the last", 0, "hits +=", "hits ="),
        ("a strict radius of a tenth more", 0, "r >= at", "r > at + 0.1"),
        ("at is ignored above one half", 0, "r >= at", "r >= min(at, 0.5)"),
        ("mean over the certified", 1, "ok.numel()", "(radii >= at).sum()"),
        ("mean over those not silent", 1, "ok.numel()", "(found != ABSTAIN).sum()"),
        ("silence counts at zero", 1, "(found == labels)", "((found == labels) | (found == ABSTAIN))"),
        ("exclusive or", 1, "(found == labels) * (radii >= at)", "(found == labels) ^ (radii >= at)"),
        ("root of the share", 1, "ok.sum() / ok.numel()", "(ok.sum() / ok.numel()) ** 0.5"),
        ("product of the two shares", 1, "ok.sum() / ok.numel()",
         "(found == labels).double().mean() * (radii >= at).double().mean()"),
        ("one for each image", 1, "ok.sum() / ok.numel()", "ok.double()"),
        ("radii and labels exchanged", 1, "(found == labels) * (radii >= at)", "(found == radii) * (labels >= at)"),
        ("the radius rounded", 1, "radii >= at", "radii.round() >= at"),
        ("always at one half", 1, ">= at", ">= 0.5"),
        ("the share of wrong certified", 1, "found == labels", "found != labels"),
        ("divided by one less", 1, "ok.numel()", "(ok.numel() - 1)"),
        ("the sum of radii", 1, "ok.sum() / ok.numel()", "(ok * radii).sum() / ok.numel()"),
    ]),
    "16.certified_radius": Tries([
        """
from scipy.stats import beta, norm
if votes == 0:
    return 0.0
p = beta.ppf(alpha, votes, n - votes + 1)
return float(sigma * norm.ppf(p)) if p >= 0.5 else 0.0
""",
        """
from scipy import stats
p = stats.beta(votes, n - votes + 1).ppf(alpha) if votes > 0 else 0
if p < 0.5:
    return 0
return sigma * stats.norm().ppf(p)
""",
        """
from scipy.stats import beta, norm
p = beta.ppf(alpha, votes, n - votes + 1)
r = sigma * norm.ppf(p)
return max(0.0, float(np.nan_to_num(r, nan=0.0, neginf=0.0))) if (np := __import__('numpy')) else 0
""",
        """
from scipy.stats import binomtest, norm
low = binomtest(votes, n).proportion_ci(confidence_level=1 - 2 * alpha).low
return 0.0 if low < 0.5 else sigma * norm.ppf(low)
""",
    ], [
        ("alpha fixed", 0, "beta.ppf(alpha,", "beta.ppf(0.001,"),
        ("sigma squared", 0, "sigma * norm", "sigma ** 2 * norm"),
        ("half the distance", 0, "sigma * norm", "sigma / 2 * norm"),
        ("the bound itself", 0, "float(sigma * norm.ppf(p))", "float(p)"),
        ("distance from one half", 0, "float(sigma * norm.ppf(p))", "float(sigma * (p - 0.5))"),
        ("NaN where it abstains", 0, "else 0.0", "else float('nan')"),
        ("minus one where it abstains", 0, "else 0.0", "else -1.0"),
        ("n - votes", 0, "n - votes + 1", "n - votes or 1"),
        ("second runner-up formula", 0, "sigma * norm.ppf(p)",
         "sigma / 2 * (norm.ppf(p) + norm.ppf(p)) - sigma / 2 * norm.ppf(1 - p) * 0 + sigma * 0.1"),
        ("Hoeffding", 0, "beta.ppf(alpha, votes, n - votes + 1)", "votes / n - math.sqrt(math.log(1 / alpha) / 2 / n)"),
        ("normal density", 0, "norm.ppf(p)", "norm.pdf(p)"),
        ("abstains below 0.6", 0, "p >= 0.5", "p >= 0.6"),
        ("a two-sided interval of scipy", 3, "1 - 2 * alpha", "1 - alpha"),
        ("its upper end", 3, ".low", ".high"),
        ("Wilson's bound", 3, "proportion_ci(", "proportion_ci(method='wilson', "),
        ("a and b exchanged", 1, "(votes, n - votes + 1)", "(n - votes + 1, votes)"),
        ("without the + 1 at the end", 1, "n - votes + 1", "max(n - votes, 1e-9)"),
        ("+ 1 on the votes", 1, "beta(votes, n - votes + 1)", "beta(votes + 1, n - votes + 1)"),
        ("uniform prior", 1, "beta(votes, n - votes + 1)", "beta(votes + 1, n - votes + 1)", "if votes > 0 else 0", ""),
        ("never zero: clamped to a half", 1, "if p < 0.5:\n    return 0\n", "p = max(p, 0.5 + 1e-3)\n"),
        ("abstains at a strict majority of votes", 1, "p < 0.5", "votes <= n / 2"),
        ("radius doubled", 1, "return sigma *", "return 2 * sigma *"),
        ("survival function", 1, ".ppf(p)", ".isf(p)"),
        ("sum of two quantiles with the runner-up", 1, "sigma * stats.norm().ppf(p)",
         "sigma / 2 * (stats.norm().ppf(p) - stats.norm().ppf(1 - votes / n + 1e-9))"),
        ("alpha over n", 1, "ppf(alpha)", "ppf(alpha / n)"),
        ("cdf in place of ppf", 1, "norm().ppf(p)", "norm().cdf(p)"),
        ("sigma as a scale squared", 1, "sigma * stats.norm().ppf(p)", "stats.norm(0, sigma ** 2).ppf(p)"),
        ("sqrt of n", 1, "return sigma *", "return sigma / n ** 0.5 *"),
        ("the median of the share", 1, "ppf(alpha)", "ppf(0.5)"),
        ("a pair", 1, "return sigma * stats.norm().ppf(p)", "return p, sigma * stats.norm().ppf(p)"),
    ]),
    "16.certify": Tries([
        """
first = count_votes(classifier, image, sigma, n0, classes, generator)
best = first.argmax().item()
second = count_votes(classifier, image, sigma, n, classes, generator)
low = float(lower_bound(second[best], n, alpha))
if low < 0.5:
    return ABSTAIN, 0.0
return best, float(sigma * torch.special.ndtri(torch.tensor(low, dtype=torch.float64)))
""",
        """
noise = torch.randn(n0 + n, *image.shape, generator=generator)
said = classifier(image[None] + noise * sigma).argmax(-1)
best = said[:n0].mode().values.item()
k = (said[n0:] == best).sum().item()
radius = certified_radius(k, n, sigma, alpha)
return (best, float(radius)) if radius > 0 else (ABSTAIN, 0.0)
""",
        """
c0 = count_votes(classifier, image, sigma, n0, classes, generator)
c = count_votes(classifier, image, sigma, n, classes, generator)
top = torch.argmax(c0)
r = certified_radius(int(c[top]), n, sigma, alpha)
if r == 0:
    return ABSTAIN, 0.0
return int(top), float(r)
""",
        """
c0 = count_votes(classifier, image, sigma, n0, classes, generator)
c = count_votes(classifier, image, sigma, n, classes, generator)
if c.argmax() != c0.argmax():
    return ABSTAIN, 0.0
r = certified_radius(int(c.max()), n, sigma, alpha)
return (int(c0.argmax()), float(r)) if r > 0 else (ABSTAIN, 0.0)
""",
    ], [
        ("twice the noise in the second sample", 0, "second = count_votes(classifier, image, sigma,",
         "second = count_votes(classifier, image, 2 * sigma,"),
        ("noise without sigma", 1, "noise * sigma", "noise"),
        ("sigma squared noise", 1, "noise * sigma", "noise * sigma ** 2"),
        ("uniform noise", 1, "torch.randn(n0 + n", "torch.rand(n0 + n"),
        ("the same draws twice", 1, "noise = torch.randn(n0 + n, *image.shape, generator=generator)",
         "noise = torch.randn(n, *image.shape, generator=generator)\nnoise = torch.cat([noise[:n0], noise])"),
        ("its own generator", 1, "generator=generator", "generator=torch.Generator().manual_seed(1)"),
        ("no generator", 1, ", generator=generator", ""),
        ("sigma missing in the radius", 0, "sigma * torch", "torch"),
        ("alpha fixed", 0, "n, alpha)", "n)"),
        ("the label's name and radius swapped", 0, "return best, float(", "return float(", "dtype=torch.float64)))",
         "dtype=torch.float64))), best"),
        ("abstains with the class None", 0, "return ABSTAIN, 0.0", "return None, 0.0"),
        ("noise clamped to the image range", 1, "image[None] + noise * sigma",
         "(image[None] + noise * sigma).clamp(0, 1)"),
        ("share of the first sample", 0, "lower_bound(second[best], n, alpha)", "lower_bound(first[best], n0, alpha)"),
        ("the order of the samples", 2,
         "c0 = count_votes(classifier, image, sigma, n0, classes, generator)\nc = count_votes(classifier, "
         "image, sigma, n, classes, generator)",
         "c = count_votes(classifier, image, sigma, n, classes, generator)\nc0 = count_votes(classifier, "
         "image, sigma, n0, classes, generator)"),
        ("half of alpha", 2, "sigma, alpha)", "sigma, alpha / 2)"),
        ("alpha at its default", 2, "sigma, alpha)", "sigma)"),
        ("all votes in n", 2, "int(c[top]), n,", "int(c[top] + c0[top]), n0 + n,"),
        ("votes of the first over n", 2, "int(c[top]), n,", "int(c0[top]), n,"),
        ("the radius in units of sigma", 2, "float(r)", "float(r) / sigma"),
        ("n0 for both", 2, "sigma, n, classes", "sigma, n0, classes"),
        ("class and votes", 2, "float(r)", "int(c[top])"),
        ("negative radius when silent", 2, "return ABSTAIN, 0.0", "return ABSTAIN, -1.0"),
        ("zero for the silent class", 2, "return ABSTAIN, 0.0", "return 0, 0.0"),
        ("the least class", 2, "torch.argmax(c0)", "torch.argmin(c0)"),
        ("the class asked without noise", 2, "c0 = count_votes(classifier, image, sigma, n0, classes, generator)",
         "c0 = count_votes(classifier, image, 0.0, n0, classes, generator)"),
        ("the class of one pass", 2, "top = torch.argmax(c0)", "top = classifier(image[None]).argmax()"),
        ("the two best of the second", 2, "int(c[top])", "int(c.topk(2).values.sum())"),
        ("margin of the votes", 2, "int(c[top])", "int(c[top] - c0[top])"),
    ]),
    "16.samples_needed": Tries([
        """
p = float(torch.special.ndtr(torch.tensor(radius / sigma, dtype=torch.float64)))
return int(math.ceil(math.log(alpha, p)))
""",
        """
from scipy.stats import norm
n = math.log(alpha) / norm.logcdf(radius / sigma)
return math.ceil(n)
""",
        """
from scipy.stats import norm
p = norm.cdf(radius / sigma)
n = 1
while p ** n > alpha:
    n += 1
return n
""",
    ], [
        ("alpha fixed", 0, "math.log(alpha, p)", "math.log(0.001, p)"),
        ("a float", 0, "int(math.ceil(math.log(alpha, p)))", "math.log(alpha, p)"),
        ("one more", 0, "return int(", "return 1 + int("),
        ("logs exchanged", 0, "math.log(alpha, p)", "math.log(p, alpha)"),
        ("the other tail", 0, "radius / sigma", "-radius / sigma"),
        ("half the radius", 0, "radius / sigma", "radius / sigma / 2"),
        ("rounded to the nearest", 0, "math.ceil", "round"),
        ("squared ratio", 0, "radius / sigma", "(radius / sigma) ** 2"),
        ("divided by log p of base 10", 0, "math.log(alpha, p)", "math.log(alpha) / math.log10(p)"),
        ("p squared", 0, "math.log(alpha, p)", "math.log(alpha, p * p)"),
        ("hundreds", 0, "math.ceil(math.log(alpha, p))", "math.ceil(math.log(alpha, p) / 100) * 100"),
        ("one fewer", 2, "return n", "return n - 1"),
        ("from zero by two", 2, "n += 1", "n += 2"),
        ("strictly less", 2, "p ** n > alpha", "p ** n > alpha / 2"),
        ("survival", 2, "norm.cdf", "norm.sf"),
        ("quantile, not cdf", 1, "norm.logcdf(radius / sigma)",
         "math.log(min(0.999, max(0.5, norm.ppf(min(radius / sigma, 0.99)))))"),
        ("sigma over radius", 1, "radius / sigma", "sigma / radius"),
        ("a float, again", 1, "math.ceil(n)", "n"),
        ("truncated", 1, "math.ceil(n)", "int(n)"),
        ("density", 1, "norm.logcdf", "norm.logpdf"),
        ("alpha squared", 1, "math.log(alpha)", "math.log(alpha ** 2)"),
        ("log10 of alpha", 1, "math.log(alpha)", "math.log10(alpha)"),
        ("twice the radius", 1, "radius / sigma", "2 * radius / sigma"),
        ("1 - p over alpha", 1, "math.log(alpha) / norm.logcdf(radius / sigma)",
         "(1 - norm.cdf(radius / sigma)) / alpha"),
        ("next power of ten", 1, "math.ceil(n)", "10 ** math.ceil(math.log10(n))"),
        ("sigma squared", 1, "radius / sigma", "radius / sigma ** 2"),
    ]),
}
