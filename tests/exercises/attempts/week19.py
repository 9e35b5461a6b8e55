"""Attempts at lesson 19."""

from . import Tries

ATTEMPTS = {
    "19.gaussian": Tries([
        """
y = torch.linspace(0, 1, height, dtype=theta.dtype).view(1, -1, 1)
x = torch.linspace(0, 1, width, dtype=theta.dtype).view(1, 1, -1)
mu_y, mu_x, delta = [theta[:, k].view(-1, 1, 1) for k in range(3)]
squared = (y - mu_y).pow(2) + (x - mu_x).pow(2)
return (-squared / (2 * sharpness * delta + 1e-5)).exp()
""", """
axes = [torch.linspace(0, 1, n, dtype=theta.dtype) for n in (height, width)]
grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
away = (grid[None] - theta[:, None, None, :2]).norm(dim=-1)
return torch.exp(-0.5 * away**2 / (sharpness * theta[:, 2, None, None] + 5e-6))
""", """
rows = torch.linspace(0, 1, height, dtype=theta.dtype)[None, :, None]
columns = torch.linspace(0, 1, width, dtype=theta.dtype)[None, None, :]
row, column, size = theta.T[..., None, None]
return torch.exp(-((rows - row).square() + (columns - column).square()) / (2 * sharpness * size + 1e-5))
""", """
maps = []
for row, column, size in theta:
    y = torch.linspace(0, 1, height).to(theta) - row
    x = torch.linspace(0, 1, width).to(theta) - column
    maps.append((-(y[:, None] ** 2 + x[None] ** 2) / (2 * sharpness * size + 1e-5)).exp())
return torch.stack(maps)
""", """
y = torch.arange(height, dtype=theta.dtype) / (height - 1)
x = torch.arange(width, dtype=theta.dtype) / (width - 1)
spread = (2 * sharpness * theta[:, 2:3] + 1e-5)
a = torch.exp(-(y - theta[:, 0:1]) ** 2 / spread)
b = torch.exp(-(x - theta[:, 1:2]) ** 2 / spread)
return torch.einsum("bi,bj->bij", a, b)
""", """
y, x = torch.meshgrid(torch.linspace(0, 1, height, dtype=theta.dtype), torch.linspace(0, 1, width, dtype=theta.dtype),
                      indexing="ij")
places = torch.stack([y, x], -1).reshape(-1, 2)
d = ((places[None] - theta[:, None, :2]) ** 2).sum(-1)
return torch.exp(-d / (2 * sharpness * theta[:, 2:] + 1e-5)).unflatten(1, (height, width))
""", """
x, y = torch.meshgrid(torch.linspace(0, 1, width, dtype=theta.dtype), torch.linspace(0, 1, height, dtype=theta.dtype),
                      indexing="xy")
mu_y, mu_x, delta = einops.rearrange(theta, "b n -> n b 1 1")
return torch.exp(-((y - mu_y) ** 2 + (x - mu_x) ** 2) / (2 * sharpness * delta + 1e-5))
"""], [
        ("sharpness fixed", 0, "2 * sharpness", "2 * 0.05"),
        ("one centre for all images", 0, "theta[:, k].view(-1, 1, 1)",
         "theta[:1, k].view(-1, 1, 1).expand(len(theta), 1, 1)"),
        ("a square map", 0, "torch.linspace(0, 1, width, dtype=theta.dtype)",
         "torch.linspace(0, 1, height, dtype=theta.dtype)"),
        ("only rows", 0, " + (x - mu_x).pow(2)", " + 0 * x"),
        ("differences multiplied", 0, "pow(2) + (x", "pow(2) * (x"),
        ("times the size", 0, "-squared / (2 * sharpness * delta + 1e-5)", "-squared * (2 * sharpness * delta + 1e-5)"),
        ("logits", 0, "return (-squared / (2 * sharpness * delta + 1e-5)).exp()",
         "return -squared / (2 * sharpness * delta + 1e-5)"),
        ("size is a radius", 0, "(2 * sharpness * delta + 1e-5)", "(2 * (sharpness * delta) ** 2 + 1e-5)"),
        ("division by one number", 0, "2 * sharpness * delta", "2 * sharpness * delta.mean()"),
        ("one minus", 0, "return (", "return 1 - ("),
        ("rows upside down", 0, "torch.linspace(0, 1, height, dtype=theta.dtype)",
         "torch.linspace(1, 0, height, dtype=theta.dtype)"),
        ("softmax", 0, "return (-squared / (2 * sharpness * delta + 1e-5)).exp()",
         "return (-squared / (2 * sharpness * delta + 1e-5)).flatten(1).softmax(1).view(-1, height, width)"),
        ("a density", 0, ".exp()", ".exp() / (2 * math.pi * sharpness * delta + 1e-5)"),
        ("theta through a sigmoid again", 0, "theta[:, k].view(-1, 1, 1)", "theta[:, k].sigmoid().view(-1, 1, 1)"),
        ("a channel too many", 0, ".exp()", ".exp()[:, None]"),
        ("a last column short of 1", 0, "torch.linspace(0, 1, width, dtype=theta.dtype)",
         "torch.arange(width, dtype=theta.dtype) / width"),
        ("absolute differences", 0, "(y - mu_y).pow(2) + (x - mu_x).pow(2)", "(y - mu_y).abs() + (x - mu_x).abs()"),
        ("the larger of both differences", 0, "(y - mu_y).pow(2) + (x - mu_x).pow(2)",
         "torch.maximum((y - mu_y).pow(2), (x - mu_x).pow(2).expand(-1, height, -1))"),
        ("a small number of 0.1", 0, "1e-5", "0.1"),
        ("the centre without gradient", 0, "(y - mu_y)", "(y - mu_y.detach())", "(x - mu_x)", "(x - mu_x.detach())"),
        ("the size without gradient", 0, "sharpness * delta", "sharpness * delta.detach()"),
        ("the root of the distance", 0, "-squared /", "-squared.sqrt() /"),
        ("powers of two", 0, "return (-squared / (2 * sharpness * delta + 1e-5)).exp()",
         "return 2 ** (-squared / (2 * sharpness * delta + 1e-5))"),
        ("a scale of 4", 0, "2 * sharpness", "4 * sharpness"),
        ("columns mirrored", 0, "(x - mu_x)", "(x - 1 + mu_x)"),
        ("no sigmoid, but a clamp to one half", 0, "theta[:, k].view", "theta[:, k].clamp(max=0.5).view"),
    ]),
    "19.targets": Tries([
        """
shares = p.sum(dim=0, keepdim=True)
first = p / shares
second = p.pow(2) / shares
first = first / first.sum(-1, keepdim=True)
second = second / second.sum(-1, keepdim=True)
return first, second
""", """
size = p.sum(0)
t = torch.stack([row / size / (row / size).sum() for row in p])
q = torch.stack([row ** 2 / size / (row ** 2 / size).sum() for row in p])
return t, q
""", """
weight = 1 / p.mean(0)
t = F.normalize(p * weight, p=1, dim=-1)
q = p.square() * weight
return t, q / q.sum(-1, keepdim=True)
""", """
log_p = p.log()
size = p.sum(0).log()
return torch.softmax(log_p - size, dim=1), torch.softmax(2 * log_p - size, 1)
""", """
t = p / einops.reduce(p, "m k -> 1 k", "sum")
q = t * p
return tuple(x / einops.reduce(x, "m k -> m 1", "sum") for x in (t, q))
""", """
size = p.sum(dim=0, keepdim=True)
out = []
for power in (1, 2):
    x = (p ** power).div(size)
    out.append(x.div(x.sum(dim=1, keepdim=True)))
return (out[0], out[1])
"""], [
        ("largest entry as scale", 0, "first.sum(-1, keepdim=True)", "first.amax(-1, keepdim=True)"),
        ("sums over everything", 0, "p.sum(dim=0, keepdim=True)", "p.sum()"),
        ("root in place of square", 0, "p.pow(2)", "p.pow(0.5)"),
        ("cubed", 0, "p.pow(2)", "p.pow(3)"),
        ("only T", 0, "return first, second", "return first, first * first"),
        ("q of the scaled T", 0, "second = p.pow(2) / shares", "second = (first / first.sum(-1, keepdim=True)).pow(2)"),
        ("lengths of 1", 0, "second.sum(-1, keepdim=True)", "second.norm(dim=-1, keepdim=True)"),
        ("one-hot", 0, "return first, second", "return first, F.one_hot(second.argmax(1), p.shape[1]).to(p)"),
        ("shares to the largest", 0, "p.sum(dim=0, keepdim=True)", "p.amax(dim=0, keepdim=True)"),
        ("roots of the shares", 0, "p.sum(dim=0, keepdim=True)", "p.sum(dim=0, keepdim=True).sqrt()"),
        ("a sum of the two", 0, "return first, second", "return first, first + second"),
        ("logarithms", 0, "return first, second", "return first.log(), second.log()"),
        ("q from T's rows", 0, "second = p.pow(2) / shares", "second = first / first.sum(-1, keepdim=True) * p.sqrt()"),
        ("the clusters' sums squared", 0, "second = p.pow(2) / shares", "second = p.pow(2) / shares.pow(2)"),
        ("one number in each sum", 0, "p.sum(dim=0, keepdim=True)", "(p.sum(dim=0, keepdim=True) + 1)"),
        ("the mean of each image in place of the cluster's", 0, "p.sum(dim=0, keepdim=True)",
         "p.mean(1, keepdim=True)"),
        ("q sharpened, then T of it", 0, "return first, second",
         "t = second / second.sum(0)\nreturn t / t.sum(1, keepdim=True), second"),
        ("the square forgotten in the sum, too much in the end", 0, "return first, second",
         "return first, second.square() / second.square().sum(-1, keepdim=True)"),
        ("the counts of the winners", 0, "p.sum(dim=0, keepdim=True)",
         "(F.one_hot(p.argmax(1), p.shape[1]).sum(0, keepdim=True).to(p) + 1)"),
        ("stacked", 0, "return first, second", "return torch.stack([first, second], -1)"),
        ("the first image's sums", 0, "p.sum(dim=0, keepdim=True)", "p[:1]"),
        ("T twice scaled", 0, "return first, second", "return first / first.sum(0), second"),
    ]),
    "19.separability": Tries([
        """
z = p / p.norm(dim=1, keepdim=True)
table = torch.mm(z, z.t()).clamp(0.0, 1.0)
wanted = torch.eq(clusters.unsqueeze(1), clusters.unsqueeze(0)).to(p.dtype)
mask = torch.ones_like(table).tril().bool()
return F.binary_cross_entropy(table[mask], wanted[mask])
""", """
z = p / p.square().sum(1, keepdim=True).sqrt()
total, pairs = 0.0, 0
for b in range(len(p)):
    cosines = (z[: b + 1] @ z[b]).clamp(0, 1)
    same = (clusters[: b + 1] == clusters[b]).to(p.dtype)
    total = total + F.binary_cross_entropy(cosines, same, reduction="sum")
    pairs += b + 1
return total / pairs
""", """
z = F.normalize(p, dim=-1)
i, j = torch.triu_indices(len(p), len(p))
cosines = (z[i] * z[j]).sum(1).clamp(min=0, max=1)
return nn.BCELoss()(cosines, (clusters[i] == clusters[j]).to(cosines))
""", """
cosines = F.cosine_similarity(p[:, None], p[None], dim=-1).clamp(0, 1)
one_hot = F.one_hot(clusters, int(clusters.max()) + 1).to(p.dtype)
truth = one_hot @ one_hot.T
lower = torch.tril(torch.ones(len(p), len(p), dtype=torch.bool))
return F.binary_cross_entropy(cosines, truth, reduction="none")[lower].mean()
""", """
z = F.normalize(p)
s = (z @ z.mT).clamp(0, 1)
same = clusters.unsqueeze(0) == clusters.unsqueeze(1)
each = -torch.where(same, s.log().clamp(min=-100), (1 - s).log().clamp(min=-100))
n = len(p)
return each.tril().sum() / (n * (n + 1) / 2)
""", """
z = F.normalize(p, dim=1)
s, same = (z @ z.T).clamp(0, 1), (clusters[:, None] == clusters[None]).to(p.dtype)
weight = torch.ones_like(s).tril()
return F.binary_cross_entropy(s, same, weight=weight, reduction="sum") / weight.sum()
"""], [
        ("upper triangle without diagonal", 0, ".tril()", ".triu(1)"),
        ("truth and guess exchanged", 0, "table[mask], wanted[mask]", "wanted[mask], table[mask]"),
        ("the minus forgotten", 0, "return F", "return -F"),
        ("mean absolute error", 0, "F.binary_cross_entropy", "F.l1_loss"),
        ("only positives", 0, "table[mask], wanted[mask]", "table[mask & (wanted > 0)], wanted[mask & (wanted > 0)]"),
        ("only negatives", 0, "table[mask], wanted[mask]", "table[mask & (wanted < 1)], wanted[mask & (wanted < 1)]"),
        ("cosines squared", 0, ".clamp(0.0, 1.0)", ".clamp(0.0, 1.0).square()"),
        ("cosines of columns", 0, "p.norm(dim=1, keepdim=True)", "p.norm(dim=0, keepdim=True)"),
        ("half of the cosine range", 0, ".clamp(0.0, 1.0)", ".add(1).div(2).clamp(0.0, 1.0)"),
        ("divided by N only", 0, "return F.binary_cross_entropy(table[mask], wanted[mask])",
         "return F.binary_cross_entropy(table[mask], wanted[mask], reduction='sum') / len(p)"),
        ("masked entries count as zero", 0, "table[mask], wanted[mask]", "table * mask, wanted * mask"),
        ("largest entries compared", 0, "clusters.unsqueeze(1), clusters.unsqueeze(0)",
         "p.argmax(1).unsqueeze(1), p.argmax(1).unsqueeze(0)"),
        ("the logarithm of base two", 0, "return F", "return 1 / math.log(2) * F"),
        ("neighbours in the batch only", 0, "torch.ones_like(table).tril().bool()",
         "torch.ones_like(table).tril().triu(-1).bool()"),
        ("the truth turned round", 0, "torch.eq(", "torch.ne("),
        ("half of the pairs' loss", 0, "return F", "return 0.5 * F"),
        ("clamped to a tenth", 0, ".clamp(0.0, 1.0)", ".clamp(0.1, 0.9)"),
        ("one image's answers detached", 0, "torch.mm(z, z.t())", "torch.mm(z, z.t().detach())"),
        ("clusters of the next image", 0, "clusters.unsqueeze(1)", "clusters.roll(1).unsqueeze(1)"),
        ("weighed by confidence", 0, "return F.binary_cross_entropy(table[mask], wanted[mask])",
         "sure = p.amax(1)\nweight = (sure[:, None] * sure)[mask]\n"
         "return F.binary_cross_entropy(table[mask], wanted[mask], weight=weight)"),
        ("softmax before the cosine", 0, "z = p / p.norm(dim=1, keepdim=True)",
         "p = p.softmax(1)\nz = p / p.norm(dim=1, keepdim=True)"),
        ("mean of both classes' means", 0, "return F.binary_cross_entropy(table[mask], wanted[mask])",
         "each = F.binary_cross_entropy(table[mask], wanted[mask], reduction='none')\n"
         "return (each[wanted[mask] > 0].mean() + each[wanted[mask] < 1].mean()) / 2"),
    ]),
    "19.gat_step": Tries([
        """
network.eval()
with torch.no_grad():
    p, _ = network(pool)
    T = p / p.sum(0)
    T = T / T.sum(1, keepdim=True)
    q = p.square() / p.sum(0)
    q = q / q.sum(1, keepdim=True)
    names = clusters_of(q)
network.train()
out = []
for start in range(0, len(pool), batch):
    rows = slice(start, start + batch)
    probs, pointed = network(transform(pool[rows]))
    invariance = -torch.einsum("nk,nk->n", probs, T[rows]).mean()
    relation = separability(probs, names[rows])
    spread = sum((m * torch.log(m)).sum() for m in (probs.mean(0), pointed.mean(0)))
    attention = F.binary_cross_entropy(pointed, q[rows])
    loss = weights[0] * invariance + weights[1] * relation + weights[2] * spread + weights[3] * attention
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    out.append(loss.item())
return out
""", """
network.eval()
with torch.inference_mode():
    t, q = targets(network(pool)[0])
t, q = t.clone(), q.clone()
found = clusters_of(q)
network.train()
losses = []
for rows in torch.arange(len(pool)).split(batch):
    optimizer.zero_grad(set_to_none=True)
    p, a = network(transform(pool[rows]))
    even = -sum(torch.special.entr(x.mean(0)).sum() for x in (p, a))
    parts = (-(p * t[rows]).sum(1).mean(), separability(p, found[rows]), even, F.binary_cross_entropy(a, q[rows]))
    loss = sum(w * part for w, part in zip(weights, parts))
    loss.backward()
    optimizer.step()
    losses.append(float(loss.detach()))
return losses
""", """
was = network.training
network.train(False)
t, q = [x.detach() for x in targets(network(pool)[0].detach())]
names = clusters_of(q)
network.train(True)
history = []
chunks = zip(pool.split(batch), t.split(batch), q.split(batch), names.split(batch))
for images, ti, qi, ci in chunks:
    p, a = network(transform(images))
    m, n = p.mean(dim=0), a.mean(dim=0)
    loss = (weights[0] * -torch.mean(torch.sum(p * ti, 1)) + weights[1] * separability(p, ci)
            + weights[2] * (m @ m.log() + n @ n.log()) + weights[3] * nn.BCELoss()(a, qi))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
return history
""", """
network.eval()
with torch.no_grad():
    answers = torch.cat([network(part)[0] for part in pool.split(batch)])
    t, q = targets(answers)
    found = clusters_of(q)
network.train()
losses = []
invariance, relation, entropy, attention = weights
for first in range(0, len(pool), batch):
    last = min(first + batch, len(pool))
    p, a = network(transform(pool[first:last]))
    loss = -invariance * (p * t[first:last]).sum() / (last - first)
    loss += relation * separability(p, found[first:last])
    loss += attention * F.binary_cross_entropy(a, q[first:last])
    for mean in (p.mean(0), a.mean(0)):
        loss += entropy * (mean * mean.log()).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
return losses
""", """
network.eval()
with torch.no_grad():
    t, q = targets(network(pool)[0])
    found = clusters_of(q)
network.train()

def one(rows):
    p, a = network(transform(pool[rows]))
    means = torch.stack([p.mean(0), a.mean(0)])
    loss = (weights[0] * -(p * t[rows]).sum(1).mean() + weights[1] * separability(p, found[rows])
            + weights[2] * (means * means.log()).sum() + weights[3] * F.binary_cross_entropy(a, q[rows]))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()

return [one(slice(i, i + batch)) for i in range(0, len(pool), batch)]
"""], [
        ("weights not used", 0,
         "weights[0] * invariance + weights[1] * relation + weights[2] * spread + weights[3] * attention",
         "invariance + relation + spread + attention"),
        ("batch fixed", 0, "range(0, len(pool), batch)", "range(0, len(pool), 3)", "start + batch", "start + 3"),
        ("batch ignored", 0, "range(0, len(pool), batch)", "range(0, len(pool), len(pool))", "start + batch",
         "start + len(pool)"),
        ("invariance with q", 0, "probs, T[rows])", "probs, q[rows])"),
        ("attention to T", 0, "F.binary_cross_entropy(pointed, q[rows])", "F.binary_cross_entropy(pointed, T[rows])"),
        ("attention to its own p", 0, "F.binary_cross_entropy(pointed, q[rows])",
         "F.binary_cross_entropy(pointed, probs.detach())"),
        ("relation of the attention", 0, "separability(probs, names[rows])", "separability(pointed, names[rows])"),
        ("relation left out", 0, "weights[1] * relation", "0 * relation"),
        ("attention left out", 0, "weights[3] * attention", "0 * attention"),
        ("entropy left out", 0, "weights[2] * spread", "0 * spread"),
        ("invariance left out", 0, "weights[0] * invariance", "0 * invariance"),
        ("a mean over clusters in the entropy", 0, "(m * torch.log(m)).sum()", "(m * torch.log(m)).mean()"),
        ("step before backward", 0, "loss.backward()\n    optimizer.step()", "optimizer.step()\n    loss.backward()"),
        ("stays in evaluation mode", 0, "network.train()\n", "pass\n"),
        ("pool shuffled without its targets", 0, "transform(pool[rows])", "transform(pool.flip(0)[rows])"),
        ("one update for all", 0, "    optimizer.step()\n", "    pass\n", "return out", "optimizer.step()\nreturn out"),
        ("a mean of the losses", 0, "return out", "return [sum(out) / len(out)]"),
        ("pointed has no targets", 0, "attention = F.binary_cross_entropy(pointed, q[rows])",
         "attention = -(pointed * q[rows]).sum(1).mean()"),
        ("the last batch left out", 0, "range(0, len(pool), batch)", "range(0, len(pool) - batch, batch)"),
        ("the pool twice", 0, "for start in range(0, len(pool), batch):",
         "for start in [*range(0, len(pool), batch)] * 2:"),
        ("the mean of both answers in the entropy", 0,
         "spread = sum((m * torch.log(m)).sum() for m in (probs.mean(0), pointed.mean(0)))",
         "m = (probs.mean(0) + pointed.mean(0)) / 2\n    spread = 2 * (m * torch.log(m)).sum()"),
        ("clusters of the plain answers", 0, "names = clusters_of(q)", "names = clusters_of(p)"),
        ("the winners as clusters", 0, "names = clusters_of(q)", "names = p.argmax(1)"),
        ("targets anew for each batch", 0, "    probs, pointed = network(transform(pool[rows]))",
         "    with torch.no_grad():\n        network.eval()\n        p, _ = network(pool)\n        network.train()\n"
         "        T = p / p.sum(0)\n        T = T / T.sum(1, keepdim=True)\n"
         "    probs, pointed = network(transform(pool[rows]))"),
        ("invariance of the attention's answer", 0, "nk,nk->n\", probs", "nk,nk->n\", pointed"),
        ("attention's target without gradient in the features", 0, "F.binary_cross_entropy(pointed, q[rows])",
         "F.binary_cross_entropy(pointed.detach(), q[rows])"),
        ("transformed twice", 0, "transform(pool[rows])", "transform(transform(pool[rows]))"),
        ("T without the rows' scale", 0, "    T = T / T.sum(1, keepdim=True)\n", ""),
        ("the weights cleared only once", 0, "    optimizer.zero_grad()\n",
         "    if not start: optimizer.zero_grad()\n"),
    ]),
}
