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
""", """
xy = (x[..., None, :] @ y[..., :, None])[..., 0]
xx, yy = x.pow(2).sum(-1, True), y.pow(2).sum(-1, True)
num = x + 2 * c * xy * x + c * yy * x + y - c * xx * y
return num / (1 + 2 * c * xy + (c * c) * xx * yy)
""", """
x, y = torch.broadcast_tensors(x, y)
xy = torch.linalg.vecdot(x, y).unsqueeze(-1)
xx = torch.linalg.vecdot(x, x).unsqueeze(-1)
yy = torch.linalg.vecdot(y, y).unsqueeze(-1)
a = 1 + c * (2 * xy + yy)
return (a * x + (1 - c * xx) * y) / (a - c * yy + c**2 * xx * yy)
""", """
x2 = torch.square(torch.linalg.norm(x, dim=-1, keepdim=True))
y2 = torch.square(torch.linalg.norm(y, dim=-1, keepdim=True))
s2 = torch.square(torch.linalg.norm(x + y, dim=-1, keepdim=True))
xy = (s2 - x2 - y2) / 2
return ((1 + 2 * c * xy + c * y2) * x + (1 - c * x2) * y) / (1 + 2 * c * xy + c * x2 * c * y2)
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
        ("brackets forgotten", 2, "num / (1 + 2 * c * xy + (c * c) * xx * yy)",
         "num / 1 + 2 * c * xy + (c * c) * xx * yy"),
        ("brackets above forgotten", 3, "(a * x + (1 - c * xx) * y) /", "a * x + (1 - c * xx) * y /"),
        ("the second axis", 2, "x.pow(2).sum(-1, True), y.pow(2).sum(-1, True)",
         "x.pow(2).sum(0, True), y.pow(2).sum(0, True)"),
        ("all pairs", """
xy = x @ y.mT
x2, y2 = (x * x).sum(-1, keepdim=True), (y * y).sum(-1, keepdim=True)
return ((1 + 2 * c * xy + c * y2) * x + (1 - c * x2) * y) / (1 + 2 * c * xy + c**2 * x2 * y2)
"""),
        ("squares squared below", 2, "(c * c) * xx * yy", "(c * xx * yy) ** 2"),
        ("minus x", 2, "xy = (x[", "x = -x\nxy = (x["),
        ("c squared beside the product", 2, "2 * c * xy + (c * c)", "2 * c * c * xy + (c * c)"),
        ("both factors alike", 3, "(1 - c * xx) * y", "(1 + c * (2 * xy + xx)) * y"),
        ("one coordinate after the other", """
s = c ** 0.5
return torch.tanh(torch.atanh(s * x) + torch.atanh(s * y)) / s
"""),
        ("the radius for c", 3, "x, y = torch.broadcast_tensors(x, y)",
         "x, y = torch.broadcast_tensors(x, y)\nc = c ** 0.5"),
        ("one over c", 2, "xy = (x[", "c = 1 / c\nxy = (x["),
        ("scaled to length 1", 2, "xy = (x[",
         "x, y = F.normalize(x, dim=-1) * 0.9, F.normalize(y, dim=-1) * 0.9\nxy = (x["),
        ("float32", 2, "return num", "return num.float()"),
        ("half of the product", 4, "/ 2\n", "/ 1\n"),
        ("no x squared", 2, " - c * xx * y", ""),
        ("a minus below", 3, "+ c**2 * xx * yy", "- c**2 * xx * yy"),
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
""", """
v = mobius_add(-x, y, c)
s = math.sqrt(c)
size = s * torch.sqrt((v ** 2).sum())
steps = torch.outer(torch.tanh(t * torch.atanh(size)), v / size)
return torch.stack([mobius_add(x, step, c) for step in steps])
""", """
d = distance(x, y, c)
v = F.normalize(mobius_add(-x, y, c), dim=0)
r = torch.tanh(c ** 0.5 * t * d / 2) / c ** 0.5
return mobius_add(x.unsqueeze(0), r.unsqueeze(1) * v.unsqueeze(0), c)
""", """
v = mobius_add(-x, y, c)
r = (c * (v * v).sum()).sqrt()
grow = ((1 + r) / (1 - r)) ** t
step = ((grow - 1) / (grow + 1))[:, None] * v / r
return mobius_add(x.repeat(len(t), 1), step, c)
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
        ("the radius without the root of c", """
way = mobius_add(-x, y, c)
r = way.norm()
step = torch.tanh(t[:, None] * torch.atanh(r)) * way / r
return mobius_add(x, step, c)
"""),
        ("two multiples added", """
times = lambda t, v: torch.tanh(t[:, None] * torch.atanh(c**0.5 * v.norm())) * v / (c**0.5 * v.norm())
return mobius_add(times(1 - t, x), times(t, y), c)
"""),
        ("twice the way", 3, "t * d / 2", "t * d"),
        ("half the way", 3, "t * d / 2", "t * d / 4"),
        ("tanh of t alone", 4, "grow = ((1 + r) / (1 - r)) ** t\nstep = ((grow - 1) / (grow + 1))[:, None] * v / r",
         "step = (torch.tanh(t) * torch.atanh(r))[:, None] * v / r"),
        ("from the start of the disc", 2, "mobius_add(x, step, c)", "step"),
        ("the sum with y", 2, "mobius_add(x, step, c)", "mobius_add(y, step, c)"),
        ("the direction of the plane", 3, "mobius_add(-x, y, c), dim=0", "y - x, dim=0"),
        ("length not undone", 2, "v / size", "v"),
        ("c under the root twice", 4, "(c * (v * v).sum()).sqrt()", "(c * c * (v * v).sum()).sqrt()"),
        ("evenly spaced shares", 2, "torch.tanh(t * torch.atanh(size))",
         "torch.tanh(torch.linspace(0, 1, len(t)).to(t) * torch.atanh(size))"),
        ("the ends alone", 2, "t * torch.atanh", "t.round() * torch.atanh"),
        ("the last sum without c", 2, "mobius_add(x, step, c)", "mobius_add(x, step)"),
        ("the plane's sum at the end", 2, "mobius_add(x, step, c)", "x + step"),
        ("a row too few", 2, "for step in steps]", "for step in steps[1:]]"),
        ("the midpoint's formula", 4, "** t\n", "* t\n"),
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
""", """
n, M = labels.shape
d = distance(x[:, None], x[None], c)
same = labels[:, None] == labels
m = same.sum(-1)
goal = weight * (M - m) * math.log(1 / omega)
j, k = torch.nonzero(same[..., 0] & ~torch.eye(n, dtype=torch.bool), as_tuple=True)
errors = (d[j] - d[j, k][:, None] - goal[j]) ** 2
use = ~same[j, :, 0]
return errors[use].mean() if use.any() else x.sum() * 0
""", """
d, total, count = distance(x[:, None], x[None], c), torch.zeros((), dtype=x.dtype), 0
N, M = labels.shape
for j in range(N):
    for k in range(N):
        if k == j or labels[k, 0] != labels[j, 0]:
            continue
        for l in range(N):
            shared = int((labels[l] == labels[j]).sum())
            if labels[l, 0] != labels[j, 0]:
                total = total + (d[j, l] - d[j, k] + weight * (M - shared) * math.log(omega)) ** 2
                count += 1
return total / count if count else total
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
        ("no triples: NaN", 2, "errors[use].mean() if use.any() else x.sum() * 0", "errors[use].mean()"),
        ("divided by all triples", 2, "errors[use].mean() if use.any() else x.sum() * 0", "errors[use].sum() / n ** 3"),
        ("divided by the pairs", 2, "errors[use].mean() if use.any() else x.sum() * 0",
         "errors[use].sum() / max(len(j), 1)"),
        ("the coarsest first", 2, "n, M = labels.shape\n", "n, M = labels.shape\nlabels = labels.flip(1)\n"),
        ("shared levels for the goal", 2, "(M - m)", "m"),
        ("one level more", 2, "(M - m)", "(M - m + 1)"),
        ("weight outside the square", 2, "weight * (M - m)", "(M - m)", "goal[j]) ** 2", "goal[j]) ** 2 * weight"),
        ("weight for the distances too", 2, "(d[j] - d[j, k][:, None] - goal[j])",
         "(weight * (d[j] - d[j, k][:, None]) - goal[j])"),
        ("the sign of the logarithm", 2, "math.log(1 / omega)", "math.log(omega)"),
        ("no absolute place: the goal left out", 2, " - goal[j])", ")"),
        ("base ten", 2, "math.log(1 / omega)", "math.log10(1 / omega)"),
        ("omega to the levels", 2, "weight * (M - m) * math.log(1 / omega)", "weight * (1 - omega ** (M - m))"),
        ("positives of the coarsest level", 2, "same[..., 0] &", "same[..., -1] &"),
        ("negatives of the coarsest level", 2, "~same[j, :, 0]", "~same[j, :, -1]"),
        ("all levels shared for a positive", 2, "same[..., 0] &", "same.any(-1) &"),
        ("every other image a negative", 2, "use = ~same[j, :, 0]", "use = torch.arange(n)[None] != j[:, None]"),
        ("the ball's default", 2, "x[None], c)", "x[None])"),
        ("points detached", 2, "distance(x[:, None], x[None], c)", "distance(x[:, None], x[None].detach(), c)"),
        ("a log of the distances", 2, "(d[j] - d[j, k][:, None]",
         "(d[j].clamp(min=1e-6).log() - d[j, k][:, None].log()"),
        ("each anchor once", 2, "errors[use].mean() if use.any() else x.sum() * 0",
         "(errors * use).sum(1).div(use.sum(1).clamp(min=1)).sum() / n"),
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
""", """
was, losses = network.training, []
network.eval()
with torch.no_grad():
    features = network(images)[0]
labels = torch.empty(len(images), len(sizes), dtype=torch.long)
for level, size in enumerate(sizes):
    labels[:, level] = cut(features, size)
network.train()
for part, mine in zip(images.split(batch), labels.split(batch)):
    optimizer.zero_grad()
    loss = tree_loss(network(part)[1], mine)
    loss.backward()
    optimizer.step()
    losses += [float(loss)]
return losses
""", """
network.eval()
features = network(images)[0].detach()
columns = [cut(features, size)[:, None] for size in sizes]
labels = torch.cat(columns, dim=1)
network.train()
losses, start = [], 0
while start < len(images):
    loss = tree_loss(network(images[start:start + batch])[1], labels[start:start + batch])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
    start += batch
return losses
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
        ("a shuffled order", 1, "for part, mine in zip(images.split(batch), labels.split(batch)):",
         "o = torch.randperm(len(images))\nfor part, mine in zip(images[o].split(batch), labels[o].split(batch)):"),
        ("images shuffled, labels not", 1, "zip(images.split(batch),",
         "zip(images[torch.randperm(len(images))].split(batch),"),
        ("the finest last", 1, "labels[:, level]", "labels[:, -1 - level]"),
        ("the same level twice", 1, "cut(features, size)", "cut(features, sizes[0])"),
        ("the points cut", 1, "network(images)[0]", "network(images)[1]"),
        ("the images cut", 1, "cut(features, size)", "cut(images.flatten(1), size)"),
        ("no training mode", 1, "network.train()\n", ""),
        ("the mode as it came", 1, "network.train()\n", "network.train(was)\n"),
        ("no evaluation mode", 1, "network.eval()\n", ""),
        ("half a batch", 1, "images.split(batch), labels.split(batch)",
         "images.split(batch // 2), labels.split(batch // 2)"),
        ("the last batch dropped", 2, "while start < len(images):", "while start + batch < len(images):"),
        ("the loss summed", 1, "return losses", "return sum(losses)"),
        ("loss of features", 1, "network(part)[1]", "network(part)[0].tanh() * 0.4"),
        ("features normalised before the cut", 1, "features = network(images)[0]",
         "features = network(images)[0][:, 1:]"),
        ("two epochs", 1, "for part, mine in zip(images.split(batch), labels.split(batch)):",
         "for part, mine in [*zip(images.split(batch), labels.split(batch))] * 2:"),
        ("gradients cleared too late", 1,
         "    optimizer.zero_grad()\n    loss = tree_loss(network(part)[1], mine)\n    loss.backward()\n",
         "    loss = tree_loss(network(part)[1], mine)\n    loss.backward()\n    optimizer.zero_grad()\n"),
        ("labels of another batch", 1, "labels.split(batch))", "labels.roll(batch, 0).split(batch))"),
    ]),
}
