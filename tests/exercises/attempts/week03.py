"""Attempts at lesson 03."""

from . import Tries

ATTEMPTS = {
    "03.variance": Tries([
        """
centred = z - z.mean(0)
var = (centred ** 2).sum(0) / (z.shape[0] - 1)
return torch.clamp(gamma - (var + eps) ** 0.5, min=0).mean()
""", """
s = (torch.var(z, 0) + eps).sqrt()
return torch.maximum(gamma - s, torch.zeros_like(s)).sum() / z.shape[1]
"""], [
        ("gamma forgotten: 1", 0, "clamp(gamma", "clamp(1"),
        ("not centred", 0, "z - z.mean(0)", "z"),
        ("eps left out", 0, "var + eps", "var"),
        ("hinge turned round", 0, "gamma - (var + eps) ** 0.5", "(var + eps) ** 0.5 - gamma"),
        ("divided by N of samples", 1, "z.shape[1]", "z.shape[0]"),
        ("squared hinge", 1, ".sum() /", ".square().sum() /"),
        ("absolute value instead of hinge", 0, "torch.clamp(gamma - (var + eps) ** 0.5, min=0)",
         "(gamma - (var + eps) ** 0.5).abs()"),
        ("gamma squared", 0, "gamma -", "gamma ** 2 -"),
        ("normalised rows first", 1, "torch.var(z, 0)", "torch.var(F.normalize(z, dim=1), 0)"),
        ("the smallest dimension only", 1, ".sum() / z.shape[1]", ".max()"),
        ("centred over the row", 0, "z.mean(0)", "z.mean(1, keepdim=True)"),
    ]),
    "03.covariance": Tries([
        """
c = torch.cov(z.T)
off = c - torch.diag(torch.diag(c))
return (off ** 2).sum() / z.shape[1]
""", """
x = z - z.mean(0, keepdim=True)
c = torch.einsum("ni,nj->ij", x, x) / (len(z) - 1)
mask = 1 - torch.eye(z.shape[1], dtype=z.dtype)
return (c * mask).square().sum().div(z.shape[1])
"""], [
        ("divided by N", 0, "z.shape[1]", "z.shape[0]"),
        ("absolute values", 0, "off ** 2", "off.abs()"),
        ("upper triangle only", 0, "off ** 2", "off.triu() ** 2"),
        ("divided by D(D-1)", 1, ".div(z.shape[1])", ".div(z.shape[1] * (z.shape[1] - 1))"),
        ("not divided by N - 1", 1, " / (len(z) - 1)", ""),
        ("centred over the row", 1, "z.mean(0, keepdim=True)", "z.mean(1, keepdim=True)"),
        ("diagonal only", 1, "1 - torch.eye(z.shape[1], dtype=z.dtype)", "torch.eye(z.shape[1], dtype=z.dtype)"),
        ("the root of the sum", 0, "(off ** 2).sum()", "(off ** 2).sum().sqrt()"),
        ("correlation matrix", 0, "torch.cov", "torch.corrcoef"),
        ("power four", 0, "off ** 2", "off ** 4"),
        ("identity target", 1, "(c * mask)", "(c - torch.eye(z.shape[1], dtype=z.dtype))"),
    ]),
    "03.vicreg": Tries([
        """
sim = ((a - b) ** 2).mean()
std = 0.5 * variance_loss(a) + 0.5 * variance_loss(b)
cov = covariance_loss(a) + covariance_loss(b)
return dict(loss=invariance * sim + variance * std + covariance * cov, invariance=sim.detach(),
            variance=std.detach(), covariance=cov.detach())
"""], [
        ("weights exchanged", 0, "variance * std + covariance * cov", "covariance * std + variance * cov"),
        ("weights written in", 0, "invariance * sim + variance * std + covariance * cov", "25 * sim + 25 * std + cov"),
        ("sum over everything", 0, "((a - b) ** 2).mean()", "((a - b) ** 2).sum()"),
        ("mean absolute difference", 0, "((a - b) ** 2).mean()", "(a - b).abs().mean()"),
        ("b left out of the covariance", 0, "covariance_loss(a) + covariance_loss(b)", "2 * covariance_loss(a)"),
        ("covariance of the mean of the views", 0, "covariance_loss(a) + covariance_loss(b)",
         "covariance_loss((a + b) / 2)"),
        ("covariance not in the loss", 0, " + covariance * cov, inv", ", inv"),
        ("covariance subtracted", 0, "+ covariance * cov, inv", "- covariance * cov, inv"),
        ("variance of the difference", 0, "0.5 * variance_loss(a) + 0.5 * variance_loss(b)", "variance_loss(a - b)"),
        ("loss divided by the sum of the weights", 0, "loss=invariance * sim + variance * std + covariance * cov",
         "loss=(invariance * sim + variance * std + covariance * cov) / (invariance + variance + covariance)"),
        ("root mean square", 0, "((a - b) ** 2).mean()", "((a - b) ** 2).mean().sqrt()"),
    ]),
    "03.step": Tries([
        """
optimizer.zero_grad()
a = network(first)
b = network(second)
parts = vicreg_loss(a, b, **weights)
loss = parts["loss"]
loss.backward()
optimizer.step()
return loss.item()
""", """
for p in network.parameters():
    p.grad = None
z = [network(view) for view in (first, second)]
out = vicreg_loss(z[0], z[1], weights["invariance"], weights["variance"], weights["covariance"])
out["loss"].backward()
optimizer.step()
return out["loss"]
"""], [
        ("the loss halved", 0, 'parts["loss"]', 'parts["loss"] / 2'),
        ("views exchanged for one", 0, "network(second)", "network(first)"),
        ("no step", 0, "optimizer.step()", "pass"),
        ("gradients kept", 0, "optimizer.zero_grad()", "pass"),
        ("two steps", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("clipped", 0, "optimizer.step()",
         "torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0); optimizer.step()"),
        ("the invariance only", 0, 'parts["loss"]', 'parts["invariance"] * weights["invariance"]'),
        ("the second view detached", 0, "b = network(second)", "b = network(second).detach()"),
        ("coefficients exchanged", 1, 'weights["variance"], weights["covariance"]',
         'weights["covariance"], weights["variance"]'),
        ("default coefficients", 0, ", **weights", ""),
        ("tanh on the embedding", 1, "network(view) for", "torch.tanh(network(view)) for"),
    ]),
    "03.effective_rank": Tries([
        """
x = features - features.mean(0)
lam = torch.linalg.eigvalsh(x.T @ x / (len(x) - 1)).clamp(min=0)
if lam.sum() < 1e-12:
    return 0.0
p = lam / lam.sum()
return float(torch.special.entr(p).sum().exp())
"""], [
        ("centred per row", 0, "features.mean(0)", "features.mean(1, keepdim=True)"),
        ("the largest share only", 0, "torch.special.entr(p).sum().exp()", "1 / p.max()"),
        ("participation ratio", 0, "torch.special.entr(p).sum().exp()", "1 / p.square().sum()"),
        ("two to the entropy in nats", 0, "torch.special.entr(p).sum().exp()", "2 ** torch.special.entr(p).sum()"),
        ("share of the number of dimensions", 0, ".exp())", ".exp()) / features.shape[1]"),
        ("rows normalised first", 0, "x = features - features.mean(0)",
         "x = F.normalize(features, dim=1)\nx = x - x.mean(0)"),
        ("softmax as shares", 0, "lam / lam.sum()", "lam.softmax(0)"),
        ("correlation in place of covariance", 0, "x = features - features.mean(0)",
         "x = (features - features.mean(0)) / (features.std(0) + 1e-9)"),
        ("minus left out", 0, "torch.special.entr(p).sum().exp()", "(-torch.special.entr(p).sum()).exp()"),
        ("samples in place of dimensions, not centred", 0, "x = features - features.mean(0)", "x = features.T"),
        ("squared eigenvalues", 0, "p = lam / lam.sum()", "p = lam ** 2 / (lam ** 2).sum()"),
    ]),
}
