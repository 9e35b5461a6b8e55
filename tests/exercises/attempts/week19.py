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
    ]),
    "19.targets": Tries([
        """
shares = p.sum(dim=0, keepdim=True)
first = p / shares
second = p.pow(2) / shares
first = first / first.sum(-1, keepdim=True)
second = second / second.sum(-1, keepdim=True)
return first, second
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
    ]),
    "19.separability": Tries([
        """
z = p / p.norm(dim=1, keepdim=True)
table = torch.mm(z, z.t()).clamp(0.0, 1.0)
wanted = torch.eq(clusters.unsqueeze(1), clusters.unsqueeze(0)).to(p.dtype)
mask = torch.ones_like(table).tril().bool()
return F.binary_cross_entropy(table[mask], wanted[mask])
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
    ]),
}
