"""Attempts at project P1."""

from . import Tries

ATTEMPTS = {
    "P1.split_scenes": Tries([
        """
S = len(order)
cuts = [round(train * S), round(train * S) + round(validation * S)]
chunks = torch.tensor_split(order, cuts)
out = {}
for key, chunk in zip(["train", "validation", "test"], chunks):
    mask = (scenes.unsqueeze(1) == chunk.unsqueeze(0)).any(dim=1)
    out[key] = torch.where(mask)[0]
return out
""", """
n_train = round(train * len(order))
n_val = round(validation * len(order))
where = {int(s): i for i, s in enumerate(order)}
rank = torch.tensor([where[int(s)] for s in scenes])
idx = torch.arange(len(scenes))
return {"train": idx[rank < n_train],
        "validation": idx[(rank >= n_train) & (rank < n_train + n_val)],
        "test": idx[rank >= n_train + n_val]}
"""], [
        ("the last scenes train", 0, "tensor_split(order,", "tensor_split(order.flip(0),"),
        ("validation and test exchanged", 0, '"validation", "test"', '"test", "validation"'),
        ("cuts of the number of pictures", 0, "S = len(order)", "S = len(scenes)"),
        ("the second cut is not moved on", 0, "round(train * S) + round(validation * S)",
         "max(round(validation * S), round(train * S))"),
        ("off by one", 1, "rank < n_train]", "rank <= n_train]"),
        ("validation overlaps training", 1, "(rank >= n_train) &", "(rank >= n_train - 1) &"),
        ("the boundary scene is lost", 1, "rank >= n_train + n_val]", "rank > n_train + n_val]"),
        ("order read as a rank", 1, "where = {int(s): i for i, s in enumerate(order)}",
         "where = {i: int(s) for i, s in enumerate(order)}"),
        ("all in one", 0, ".any(dim=1)", ".any(dim=1) | True"),
        ("scenes instead of positions", 0, "torch.where(mask)[0]", "scenes[mask]"),
    ]),
    "P1.few_labels": Tries([
        """
chosen = []
shuffled = labels[order]
for c in torch.unique(labels):
    pos = torch.where(shuffled == c)[0]
    chosen.append(order[pos[:k]])
return torch.cat(chosen)
""", """
counts = {}
out = []
for i in order:
    c = labels[i].item()
    counts.setdefault(c, 0)
    if counts[c] < k:
        counts[c] += 1
        out.append(int(i))
return torch.tensor(out)
"""], [
        ("at most one class", 0, "return torch.cat(chosen)", "return chosen[0]"),
        ("every class but the last", 0, "torch.unique(labels):", "torch.unique(labels)[:-1]:"),
        ("from the second on", 0, "pos[:k]", "pos[1:k + 1]"),
        ("k of all together", 0, "return torch.cat(chosen)", "return torch.cat(chosen)[:k]"),
        ("the last k", 0, "pos[:k]", "pos[-k:]"),
        ("one fewer", 1, "counts[c] < k", "counts[c] < k - 1"),
        ("one more", 1, "counts[c] < k", "counts[c] <= k"),
        ("classes returned", 1, "out.append(int(i))", "out.append(c)"),
        ("order of the labels, not of the pictures", 1, "for i in order:", "for i in range(len(labels)):"),
        ("masks", 0, "return torch.cat(chosen)",
         "m = torch.zeros(len(labels), dtype=torch.bool)\nm[torch.cat(chosen)] = True\nreturn m"),
    ]),
    "P1.ridge_scores": Tries([
        """
mu = features.mean(dim=0, keepdim=True)
sd = features.std(dim=0, keepdim=True, correction=0)
z = (features - mu) / (sd + 1e-6)
zq = (queries - mu) / (sd + 1e-6)
n, d = z.shape
cls = torch.unique(labels)
onehot = torch.stack([(labels == c).to(z.dtype) for c in cls], dim=1)
bias = onehot.mean(dim=0)
gram = z.mm(z.t()) / d
alpha = torch.linalg.inv(gram + penalty * torch.eye(n, dtype=z.dtype)) @ (onehot - bias)
return bias + (zq.mm(z.t()) / d).mm(alpha)
""", """
x = torch.cat([features, queries])
x = (x - features.mean(0)) / (features.var(0, correction=0).sqrt() + 1e-6)
a, b = x[:len(features)], x[len(features):]
_, which = labels.unique(return_inverse=True)
y = F.one_hot(which).to(x.dtype)
m = y.mean(0)
D = x.shape[-1]
w = torch.linalg.solve(torch.einsum("nd,md->nm", a, a) + D * penalty * torch.eye(len(a), dtype=x.dtype), y - m)
return torch.einsum("md,nd->mn", b, a) @ w + m
"""], [
        ("standard deviation with n - 1", 0, "correction=0", "correction=1"),
        ("divided by N instead of D", 0, "z.t()) / d\nalpha", "z.t()) / n\nalpha"),
        ("half the penalty", 0, "penalty * torch", "0.5 * penalty * torch"),
        ("penalty on every entry", 0, "penalty * torch.eye(n, dtype=z.dtype)", "penalty"),
        ("one bias for all", 0, "onehot.mean(dim=0)", "onehot.mean()"),
        ("classes in the other order", 0, "for c in cls]", "for c in cls.flip(0)]"),
        ("signs for targets", 0, "(labels == c).to(z.dtype)", "(2 * (labels == c) - 1).to(z.dtype)"),
        ("the fixed penalty", 1, "D * penalty", "D * 0.1"),
        ("penalty without D", 1, "D * penalty", "penalty"),
        ("queries not standardised", 1, "x[len(features):]", "queries"),
        ("argmax", 1, "@ w + m", "@ w + m).argmax(1)", "return torch", "return (torch"),
        ("softmax", 1, "@ w + m", "@ w + m).softmax(1)", "return torch", "return (torch"),
    ]),
    "P1.paired_interval": Tries([
        """
d = a - b
n = d.numel()
m = d.mean().item()
se = d.std(unbiased=True).item() / n ** 0.5
return {"mean": m, "low": m - t * se, "high": m + t * se}
""", """
diff = (a.double() - b.double())
m = diff.sum() / len(diff)
s = (((diff - m) ** 2).sum() / (len(diff) - 1)).sqrt()
h = t * s / math.sqrt(len(diff))
return dict(low=m - h, mean=m, high=m + h)
"""], [
        ("half the width", 0, "t * se, ", "t * se / 2, ", "t * se}", "t * se / 2}"),
        ("one-sided", 0, '"low": m - t * se', '"low": m'),
        ("absolute differences", 0, "d = a - b", "d = (a - b).abs()"),
        ("a ratio", 0, "d = a - b", "d = a / b - 1"),
        ("ends exchanged", 0, '"low": m - t * se, "high": m + t * se', '"low": m + t * se, "high": m - t * se'),
        ("n - 1 below the root as well", 0, "n ** 0.5", "(n - 1) ** 0.5"),
        ("n + 1", 0, "n = d.numel()", "n = d.numel() + 1"),
        ("the spread of a alone", 1, "s = (((diff - m) ** 2)", "s = (((a - a.mean()) ** 2)"),
        ("not squared", 1, "((diff - m) ** 2).sum()", "(diff - m).abs().sum()"),
        ("no root", 1, ".sqrt()", ""),
    ]),
}
