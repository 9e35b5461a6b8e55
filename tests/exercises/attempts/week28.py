"""Attempts at lesson 28."""

from . import Tries

ATTEMPTS = {
    "28.mobius_add": Tries([
        """
dot = torch.sum(x * y, dim=-1, keepdim=True)
xx = x.norm(dim=-1, keepdim=True) ** 2
yy = y.norm(dim=-1, keepdim=True) ** 2
left = 1 + 2 * c * dot + c * yy
right = 1 - c * xx
return (left * x + right * y) / (1 + 2 * c * dot + c * c * xx * yy)
""", """
xy, xx, yy = (torch.einsum("...d,...d->...", a, b).unsqueeze(-1) for a, b in ((x, y), (x, x), (y, y)))
below = 1 + 2 * c * xy + (c * xx) * (c * yy)
return x * ((1 + 2 * c * xy + c * yy) / below) + y * ((1 - c * xx) / below)
"""], [
        ("one sign", 0, "right = 1 - c * xx", "right = c * xx - 1"),
        ("minus the product", 0, "left = 1 + 2 * c * dot", "left = 1 - 2 * c * dot"),
        ("x2 and y2 exchanged", 0, "left = 1 + 2 * c * dot + c * yy", "left = 1 + 2 * c * dot + c * xx",
         "right = 1 - c * xx", "right = 1 - c * yy"),
        ("difference", 0, "left * x + right * y", "left * x - right * y"),
        ("1 forgotten below", 0, "/ (1 + 2", "/ (2"),
        ("product forgotten below", 0, "(1 + 2 * c * dot + c * c * xx * yy)", "(1 + c * c * xx * yy)"),
        ("no squares below", 0, " + c * c * xx * yy)", ")"),
        ("a sum of squares below", 0, "c * c * xx * yy", "c * c * (xx + yy)"),
        ("half", 0, "return (left", "return 0.5 * (left"),
        ("clamped into the ball", 0, "return (left * x + right * y) / (1 + 2 * c * dot + c * c * xx * yy)",
         "z = x + y\nreturn z / z.norm(dim=-1, keepdim=True).clamp(min=1)"),
        ("first axis", 0, "torch.sum(x * y, dim=-1, keepdim=True)", "torch.sum(x * y, dim=0, keepdim=True)"),
        ("c only above", 0, "c * c * xx * yy", "xx * yy"),
        ("y forgotten", 0, " + right * y", ""),
        ("detached", 0, "return (left", "x = x.detach()\nreturn (left"),
    ]),
    "28.geodesic": Tries([
        """
v = mobius_add(-x, y, c)
length = torch.linalg.vector_norm(v) * c ** 0.5
scale = torch.tanh(t * torch.arctanh(length)) / length
return mobius_add(x[None], scale[:, None] * v[None], c)
""", """
out = []
for share in t:
    v = mobius_add(-x, y, c)
    n = (v * v).sum().sqrt()
    out.append(mobius_add(x, torch.tanh(share * torch.atanh(math.sqrt(c) * n)) * v / (math.sqrt(c) * n), c))
return torch.stack(out)
"""], [
        ("reversed shares", 0, "torch.tanh(t *", "torch.tanh((1 - t) *"),
        ("no minus", 0, "mobius_add(-x, y, c)", "mobius_add(x, y, c)"),
        ("the origin's way", 0, "mobius_add(x[None], scale[:, None] * v[None], c)", "scale[:, None] * v[None]"),
        ("c forgotten in the first sum", 0, "mobius_add(-x, y, c)", "mobius_add(-x, y)"),
        ("c forgotten in the last sum", 0, "v[None], c)", "v[None])"),
        ("no arctanh", 0, "torch.arctanh(length)", "length"),
        ("no tanh", 0, "torch.tanh(t * torch.arctanh(length))", "t * torch.arctanh(length)"),
        ("not divided by the length", 0, " / length\n", "\n"),
        ("half of the way", 0, "torch.tanh(t *", "torch.tanh(0.5 * t *"),
        ("squared shares", 0, "torch.tanh(t *", "torch.tanh(t ** 2 *"),
        ("only the end", 0, "scale = torch.tanh(t *", "scale = torch.tanh(torch.ones_like(t) *"),
        ("normalised chord", 0, "return mobius_add(x[None], scale[:, None] * v[None], c)",
         "return x[None] + t[:, None] * F.normalize(y - x, dim=0)"),
        ("length divided by the root", 0, "* c ** 0.5", "/ c ** 0.5"),
    ]),
    "28.tree_loss": Tries([
        """
d = distance(x.unsqueeze(1), x.unsqueeze(0), c)
n, M = labels.shape
different = labels.unsqueeze(1) != labels.unsqueeze(0)
steps = different.float().sum(-1).to(d.dtype)
goal = weight * steps * math.log(1 / omega)
pos = (~different[..., 0]) & ~torch.eye(n).bool()
neg = different[..., 0]
total, count = 0 * x.sum(), 0
for j in range(n):
    dp, dn, g = d[j][pos[j]], d[j][neg[j]], goal[j][neg[j]]
    total = total + ((dn[None, :] - dp[:, None] - g[None, :]) ** 2).sum()
    count += len(dp) * len(dn)
return total / max(count, 1)
""", """
s = torch.exp(-distance(x[:, None], x[None], c))
M = labels.shape[1]
eye = torch.eye(len(x), dtype=torch.bool)
together = labels[:, None, 0] == labels[None, :, 0]
m = sum((labels[:, None, i] == labels[None, :, i]).long() for i in range(M))
goal = weight * torch.log(torch.tensor(omega, dtype=x.dtype) / omega ** (M - m + 1).to(x.dtype))
ratio = torch.log(s[:, :, None] / s[:, None, :])
mask = (together & ~eye)[:, :, None] & ~together[:, None, :]
if not mask.any():
    return (x * 0).sum()
return (ratio - goal[:, None, :])[mask].square().mean()
"""], [
        ("one more level", 1, "omega ** (M - m + 1)", "omega ** (M - m + 2)"),
        ("one level less", 1, "omega ** (M - m + 1)", "omega ** (M - m)"),
        ("goal halved", 0, "goal = weight", "goal = 0.5 * weight"),
        ("a logarithm of base 2", 0, "math.log(1 / omega)", "math.log2(1 / omega)"),
        ("omega itself", 0, "math.log(1 / omega)", "omega"),
        ("no goal", 0, "goal = weight * steps * math.log(1 / omega)", "goal = 0 * steps"),
        ("goal of the positive", 1, "goal[:, None, :])[mask]", "goal[:, :, None])[mask]"),
        ("coarsest level for positives", 0, "(~different[..., 0])", "(~different[..., -1])"),
        ("coarsest level for negatives", 0, "neg = different[..., 0]", "neg = different[..., -1]"),
        ("hinge", 1, "(ratio - goal[:, None, :])[mask].square()", "F.relu(goal[:, None, :] - ratio)[mask].square()"),
        ("a mean of means", 0, "total = total + ((dn[None, :] - dp[:, None] - g[None, :]) ** 2).sum()",
         "total = total + ((dn[None, :] - dp[:, None] - g[None, :]) ** 2).sum() / max(len(dp) * len(dn), 1)",
         "max(count, 1)", "n"),
        ("divided by the anchors", 0, "max(count, 1)", "n"),
        ("ratio of distances", 0, "dn[None, :] - dp[:, None]", "dn[None, :] / (dp[:, None] + 1e-6)"),
        ("squared distances", 0, "d = distance(x.unsqueeze(1), x.unsqueeze(0), c)",
         "d = distance(x.unsqueeze(1), x.unsqueeze(0), c) ** 2"),
        ("cosine as similarity", 0, "d = distance(x.unsqueeze(1), x.unsqueeze(0), c)",
         "d = 1 - F.normalize(x, dim=1) @ F.normalize(x, dim=1).T"),
        ("anchors and points exchanged", 1, "s[:, :, None] / s[:, None, :]", "s[:, None, :] / s[:, :, None]"),
        ("root of the mean", 1, ".square().mean()", ".square().mean().sqrt()"),
        ("only the coarsest level counts", 0, "different.float().sum(-1)", "different[..., -1].float()"),
        ("a product of levels", 0, "different.float().sum(-1)", "different.float().prod(-1)"),
    ]),
    "28.metric_epoch": Tries([
        """
network.eval()
with torch.no_grad():
    f = network(images)[0]
    names = torch.stack([cut(f, s) for s in sizes], dim=1)
network.train()
out = []
for start in range(0, len(images), batch):
    rows = slice(start, start + batch)
    f, p = network(images[rows])
    loss = tree_loss(p, names[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    out.append(loss.item())
return out
"""], [
        ("batch fixed", 0, "range(0, len(images), batch)", "range(0, len(images), 6)", "start + batch", "start + 6"),
        ("whole set at once", 0, "range(0, len(images), batch)", "range(0, len(images), len(images))",
         "start + batch", "start + len(images)"),
        ("one size for all", 0, "[cut(f, s) for s in sizes]", "[cut(f, sizes[-1]) for s in sizes]"),
        ("the second size for all", 0, "[cut(f, s) for s in sizes]", "[cut(f, sizes[1]) for s in sizes]"),
        ("the coarsest left out", 0, "for s in sizes]", "for s in sizes[:-1]]"),
        ("loss of the features", 0, "tree_loss(p,", "tree_loss(f[:, :2].tanh() * 0.7,"),
        ("labels of the whole set reversed", 0, "names[rows])", "names.flip(0)[rows])"),
        ("step before backward", 0, "loss.backward()\n    optimizer.step()", "optimizer.step()\n    loss.backward()"),
        ("always in evaluation mode", 0, "network.train()\n", "pass\n"),
        ("never in evaluation mode", 0, "network.eval()\n", "network.train()\n"),
        ("one update an epoch", 0, "    optimizer.step()\n", "    pass\n", "return out",
         "optimizer.step()\nreturn out"),
        ("a mean of the losses", 0, "return out", "return [sum(out) / len(out)]"),
        ("loss halved", 0, "loss = tree_loss(p, names[rows])", "loss = 0.5 * tree_loss(p, names[rows])"),
        ("another omega", 0, "tree_loss(p, names[rows])", "tree_loss(p, names[rows], omega=0.5)"),
        ("no last batch", 0, "range(0, len(images), batch)", "range(0, len(images) - batch, batch)"),
    ]),
}
