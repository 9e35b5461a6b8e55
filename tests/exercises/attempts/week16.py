"""Attempts at lesson 16."""

from . import Tries

ATTEMPTS = {
    "16.denoising_loss": Tries([
        """
n, c = prediction.shape[-1], clean.shape[1]
p = int(round((n / c) ** 0.5))
x = einops.rearrange(clean, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)
x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()
return F.mse_loss(prediction, x)
"""], [
        ("absolute error", 0, "F.mse_loss", "F.l1_loss"),
        ("the residual noise", 0, "rearrange(clean,", "rearrange(clean - noisy,"),
        ("the mean of the two", 0, "rearrange(clean,", "rearrange((clean + noisy) / 2,"),
        ("hidden count twice", 0, "return F.mse_loss(prediction, x)",
         "w = 1 + (~visible).to(x.dtype)\nreturn ((prediction - x).square().mean(-1) * w).sum() / w.sum()"),
        ("mean taken off only", 0, " / (x.var(-1, keepdim=True) + 1e-6).sqrt()", ""),
        ("prediction normalised", 0, "F.mse_loss(prediction, x)", "F.mse_loss(normalize_patches(prediction)[0], x)"),
        ("root", 0, "return F.mse_loss(prediction, x)", "return F.mse_loss(prediction, x).sqrt()"),
        ("channels first", 0, "(p q c)", "(c p q)"),
        ("whole image normalised", 0, "x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()",
         "x = (x - x.mean((1, 2), keepdim=True)) / (x.var((1, 2), keepdim=True) + 1e-6).sqrt()"),
        ("sum over the patch", 0, "F.mse_loss(prediction, x)", "(prediction - x).square().sum(-1).mean()"),
        ("cosine", 0, "F.mse_loss(prediction, x)", "1 - F.cosine_similarity(prediction, x, dim=-1).mean()"),
        ("hidden patches of the noisy image", 0, "rearrange(clean,", "rearrange(noisy,", "F.mse_loss(prediction, x)",
         "(prediction - x)[~visible].square().mean()"),
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
