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
"""], [
        ("absolute error", 0, "F.mse_loss", "F.l1_loss"),
        ("the mean of the two", 0, "rearrange(images,", "rearrange(images + noise / 2,"),
        ("hidden count twice", 0, "loss = F.mse_loss(pred, x)",
         "w = 1 + (~visible.flatten(1)).to(x.dtype)\nloss = ((pred - x).square().mean(-1) * w).sum() / w.sum()"),
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
    ]),
    "16.certified_accuracy": Tries([
        """
hits = 0
for c, r, y in zip(found, radii, labels):
    if c == ABSTAIN:
        continue
    hits += int(c == y) * int(r >= at)
return hits / len(labels)
"""], [
        ("twice the radius", 0, "r >= at", "r >= 2 * at"),
        ("per cent", 0, "hits / len(labels)", "100 * hits / len(labels)"),
        ("a count", 0, "return hits / len(labels)", "return hits"),
        ("the first class is silence", 0, "c == ABSTAIN", "c == 0"),
        ("one too many", 0, "hits = 0", "hits = 1"),
        ("wrong ones", 0, "c == y", "c != y"),
        ("only the last", 0, "hits +=", "hits ="),
        ("a strict radius of a tenth more", 0, "r >= at", "r > at + 0.1"),
        ("at is ignored above one half", 0, "r >= at", "r >= min(at, 0.5)"),
    ]),
    "16.certified_radius": Tries([
        """
from scipy.stats import beta, norm
if votes == 0:
    return 0.0
p = beta.ppf(alpha, votes, n - votes + 1)
return float(sigma * norm.ppf(p)) if p >= 0.5 else 0.0
"""], [
        ("alpha fixed", 0, "beta.ppf(alpha,", "beta.ppf(0.001,"),
        ("sigma squared", 0, "sigma * norm", "sigma ** 2 * norm"),
        ("half the distance", 0, "sigma * norm", "sigma / 2 * norm"),
        ("the bound itself", 0, "float(sigma * norm.ppf(p))", "float(p)"),
        ("distance from one half", 0, "float(sigma * norm.ppf(p))", "float(sigma * (p - 0.5))"),
        ("NaN where it abstains", 0, "else 0.0", "else float('nan')"),
        ("minus one where it abstains", 0, "else 0.0", "else -1.0"),
        ("n - votes", 0, "n - votes + 1", "n - votes or 1"),
        ("second runner-up formula", 0, "sigma * norm.ppf(p)", "sigma / 2 * (norm.ppf(p) + norm.ppf(p))"
         " - sigma / 2 * norm.ppf(1 - p) * 0 + sigma * 0.1"),
        ("Hoeffding", 0, "beta.ppf(alpha, votes, n - votes + 1)", "votes / n - math.sqrt(math.log(1 / alpha) / 2 / n)"),
        ("normal density", 0, "norm.ppf(p)", "norm.pdf(p)"),
        ("abstains below 0.6", 0, "p >= 0.5", "p >= 0.6"),
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
""", """
noise = torch.randn(n0 + n, *image.shape, generator=generator)
said = classifier(image[None] + noise * sigma).argmax(-1)
best = said[:n0].mode().values.item()
k = (said[n0:] == best).sum().item()
radius = certified_radius(k, n, sigma, alpha)
return (best, float(radius)) if radius > 0 else (ABSTAIN, 0.0)
"""], [
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
        ("the label's name and radius swapped", 0, "return best, float(", "return float(",
         "dtype=torch.float64)))", "dtype=torch.float64))), best"),
        ("abstains with the class None", 0, "return ABSTAIN, 0.0", "return None, 0.0"),
        ("noise clamped to the image range", 1, "image[None] + noise * sigma",
         "(image[None] + noise * sigma).clamp(0, 1)"),
        ("share of the first sample", 0, "lower_bound(second[best], n, alpha)", "lower_bound(first[best], n0, alpha)"),
    ]),
    "16.samples_needed": Tries([
        """
p = float(torch.special.ndtr(torch.tensor(radius / sigma, dtype=torch.float64)))
return int(math.ceil(math.log(alpha, p)))
"""], [
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
    ]),
}
