"""Attempts at lesson 09."""

from . import Tries

ATTEMPTS = {
    "09.cross_correlation": Tries([
        """
def standard(x):
    x = x - x.mean(dim=0, keepdim=True)
    return x / (x.pow(2).mean(dim=0, keepdim=True) + eps).sqrt()
return torch.einsum("ni,nj->ij", standard(a), standard(b)) / a.shape[0]
"""], [
        ("eps fixed", 0, "+ eps)", "+ 1e-5)"),
        ("divided by D", 0, "a.shape[0]", "a.shape[1]"),
        ("not divided by the deviation, unit columns", 0, "(x.pow(2).mean(dim=0, keepdim=True) + eps).sqrt()",
         "(x.pow(2).sum(dim=0, keepdim=True) + eps).sqrt()"),
        ("b with itself", 0, "standard(a), standard(b)", "standard(b), standard(b)"),
        ("absolute values", 0, 'torch.einsum("ni,nj->ij", standard(a), standard(b)) / a.shape[0]',
         '(torch.einsum("ni,nj->ij", standard(a), standard(b)) / a.shape[0]).abs()'),
        ("squared", 0, 'torch.einsum("ni,nj->ij", standard(a), standard(b)) / a.shape[0]',
         '(torch.einsum("ni,nj->ij", standard(a), standard(b)) / a.shape[0]) ** 2'),
        ("variance in place of deviation", 0, ".sqrt()", ""),
        ("only the diagonal", 0, 'torch.einsum("ni,nj->ij", standard(a), standard(b)) / a.shape[0]',
         "torch.diag((standard(a) * standard(b)).mean(0))"),
        ("b flipped", 0, "standard(b))", "standard(b).flip(0))"),
        ("rows scaled to length 1 first", 0, "standard(a), standard(b)",
         "standard(F.normalize(a, dim=1)), standard(F.normalize(b, dim=1))"),
        ("one deviation for all dimensions", 0, "x.pow(2).mean(dim=0, keepdim=True)", "x.pow(2).mean()"),
    ]),
    "09.barlow_loss": Tries([
        """
c = cross_correlation(a, b)
d = torch.diagonal(c)
on = (1 - d).pow(2).sum()
off = c.pow(2).sum() - d.pow(2).sum()
return {"loss": on + lambd * off, "on_diagonal": on.detach(), "off_diagonal": off.detach()}
"""], [
        ("lambda fixed", 0, "lambd * off", "0.0051 * off"),
        ("divided by D", 0, "on + lambd * off", "(on + lambd * off) / c.shape[0]"),
        ("one minus lambda on the diagonal", 0, "on + lambd * off", "(1 - lambd) * on + lambd * off"),
        ("keys' values exchanged", 0, '"on_diagonal": on.detach(), "off_diagonal": off.detach()',
         '"on_diagonal": off.detach(), "off_diagonal": on.detach()'),
        ("root of the off-diagonal", 0, "off = c.pow(2).sum() - d.pow(2).sum()",
         "off = (c.pow(2).sum() - d.pow(2).sum()).sqrt()"),
        ("difference", 0, "on + lambd * off", "on - lambd * off"),
        ("off-diagonal averaged", 0, "c.pow(2).sum() - d.pow(2).sum()",
         "(c.pow(2).sum() - d.pow(2).sum()) / (len(c) * (len(c) - 1))"),
        ("fourth power", 0, "(1 - d).pow(2)", "(1 - d).pow(4)"),
        ("plus in the diagonal", 0, "1 - d", "1 + d"),
        ("a with itself", 0, "cross_correlation(a, b)", "cross_correlation(a, a)"),
        ("lambda divided", 0, "lambd * off", "off / lambd"),
    ]),
    "09.step": Tries([
        """
optimizer.zero_grad()
a = network(first)
b = network(second)
loss = barlow_twins_loss(a, b, lambd)["loss"]
loss.backward()
optimizer.step()
return loss.item()
""", """
for p in network.parameters():
    p.grad = None
z = [network(view) for view in (second, first)]
out = barlow_twins_loss(z[1], z[0], lambd=lambd)
out["loss"].backward()
optimizer.step()
return out["loss"].detach()
"""], [
        ("the loss halved", 0, '["loss"]', '["loss"] / 2'),
        ("divided by D", 0, '["loss"]', '["loss"] / a.shape[1]'),
        ("no step", 0, "optimizer.step()", "pass"),
        ("gradients kept", 0, "optimizer.zero_grad()", "pass"),
        ("two steps", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("clipped", 0, "optimizer.step()",
         "torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0); optimizer.step()"),
        ("the first view detached", 0, "a = network(first)", "a = network(first).detach()"),
        ("the redundancy only", 0, '["loss"]', '["off_diagonal"] * lambd'),
        ("a paper's constant", 0, "b, lambd)", "b, 0.0051)"),
        ("lambda squared", 1, "lambd=lambd", "lambd=lambd ** 2"),
        ("tanh on the embedding", 1, "network(view) for", "torch.tanh(network(view)) for"),
    ]),
    "09.meters": Tries([
        """
C = cross_correlation(a, b)
A, B = cross_correlation(a, a), cross_correlation(b, b)
d = C.shape[0]
off = lambda M: M.pow(2).sum() - M.diagonal().pow(2).sum()
return {"agreement": C.trace() / d, "across": (off(C) / (d * (d - 1))) ** 0.5,
        "within": ((off(A) + off(B)) / (2 * d * (d - 1))) ** 0.5}
"""], [
        ("trace not divided", 0, "C.trace() / d", "C.trace()"),
        ("only the second view", 0, "(off(A) + off(B)) / (2 * d", "off(B) / (d"),
        ("not halved", 0, "(2 * d * (d - 1))", "(d * (d - 1))"),
        ("divided by D squared", 0, "(off(C) / (d * (d - 1)))", "(off(C) / d ** 2)"),
        ("transposed within", 0, "cross_correlation(b, b)", "cross_correlation(b, a)"),
        ("exchanged", 0, '"across": (off(C) / (d * (d - 1))) ** 0.5',
         '"across": ((off(A) + off(B)) / (2 * d * (d - 1))) ** 0.5'),
        ("no diagonal removed", 0, " - M.diagonal().pow(2).sum()", ""),
        ("fourth root", 0, '(2 * d * (d - 1))) ** 0.5', '(2 * d * (d - 1))) ** 0.25'),
        ("absolute agreement", 0, "C.trace() / d", "C.diagonal().abs().sum() / d"),
        ("one minus the agreement", 0, "C.trace() / d", "1 - C.trace() / d"),
        ("largest in place of typical", 0, "(off(C) / (d * (d - 1))) ** 0.5",
         "(C - torch.diag(C.diagonal())).abs().max()"),
    ]),
    "09.symmetries": Tries([
        """
new_a = torch.stack([a[:, o] * s for o, s in zip(order, sign)], dim=1)
new_b = torch.stack([b[:, o] * s for o, s in zip(order, sign)], dim=1)
return torch.mul(new_a, scale).add(shift), new_b
"""], [
        ("divided by the scale", 0, "torch.mul(new_a, scale)", "torch.div(new_a, scale)"),
        ("shift subtracted", 0, ".add(shift)", ".sub(shift)"),
        ("sign in the second only", 0, "a[:, o] * s", "a[:, o]"),
        ("no shift", 0, ".add(shift)", ""),
        ("views exchanged", 0, "return torch.mul(new_a, scale).add(shift), new_b",
         "return new_b, torch.mul(new_a, scale).add(shift)"),
        ("b unchanged", 0, "add(shift), new_b", "add(shift), b"),
        ("scale in both", 0, "add(shift), new_b", "add(shift), new_b * scale"),
        ("no sign", 0, "] * s for", "] for"),
        ("stacked along the batch", 0, "dim=1)\nreturn", "dim=0)\nreturn"),
        ("scale reordered, too", 0, "torch.mul(new_a, scale)", "torch.mul(new_a, scale[order])"),
        ("a in place of b", 0, "b[:, o]", "a[:, o]"),
    ]),
}
