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
""", """
n = len(order)
a = round(n * train)
b = a + round(n * validation)
sets = {"train": set(order[:a].tolist()), "validation": set(order[a:b].tolist()), "test": set(order[b:].tolist())}
return {name: torch.tensor([i for i, s in enumerate(scenes.tolist()) if s in some], dtype=torch.long)
        for name, some in sets.items()}
""", """
a = round(train * len(order))
b = a + round(validation * len(order))
group = torch.full((len(order),), 2)
group[order[:a]] = 0
group[order[a:b]] = 1
mine = group[scenes]
return {name: torch.nonzero(mine == i)[:, 0] for i, name in enumerate(("train", "validation", "test"))}
""", """
a = round(train * len(order))
b = a + round(validation * len(order))
take = lambda some: torch.cat([(scenes == s).nonzero(as_tuple=True)[0] for s in some])
return {"train": take(order[:a]), "validation": take(order[a:b]), "test": take(order[b:])}
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
        ("rounded down", 3, "round(train * len(order))", "int(train * len(order))", "round(validation * len(order))",
         "int(validation * len(order))"),
        ("rounded up", 3, "round(train * len(order))", "math.ceil(train * len(order))"),
        ("rounded together", 3, "a + round(validation * len(order))", "round((train + validation) * len(order))"),
        ("no test", 3, '("train", "validation", "test")', '("train", "validation")'),
        ("positions of scenes", 3, "mine = group[scenes]", "mine = group"),
        ("the order's place as the scene", 3, "group[order[:a]] = 0\ngroup[order[a:b]] = 1",
         "group[:a] = 0\ngroup[a:b] = 1"),
        ("the order of the pictures", 3, "mine = group[scenes]", "mine = group[order[scenes]]"),
        ("lists of scenes", 4, "(scenes == s).nonzero(as_tuple=True)[0]", "s[None]"),
        ("a picture of each", 4, "(scenes == s).nonzero(as_tuple=True)[0] for",
         "(scenes == s).nonzero(as_tuple=True)[0][:1] for"),
        ("validation from the end", 4, 'take(order[a:b]), "test": take(order[b:])',
         'take(order[len(order) - b + a:]), "test": take(order[a:len(order) - b + a])'),
        ("validation counted from the start", 4, "order[a:b]", "order[:b - a]"),
        ("test is everything", 4, "take(order[b:])", "torch.arange(len(scenes))"),
        ("one scene too many", 4, "order[:a]", "order[:a + 1]"),
        ("names in German", 4, '"validation"', '"val"'),
        ("a tuple", 4, 'return {"train": take(order[:a]), "validation": take(order[a:b]), "test": take(order[b:])}',
         "return take(order[:a]), take(order[a:b]), take(order[b:])"),
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
""", """
mine = labels[order]
rank = torch.zeros(len(order), dtype=torch.long)
for c in mine.unique():
    of = mine == c
    rank[of] = torch.arange(int(of.sum()))
return order[rank < k]
""", """
found = []
for c in sorted(set(labels.tolist())):
    found += [i for i in order.tolist() if labels[i] == c][:k]
return torch.tensor(found)
""", """
onehot = (labels[order][:, None] == labels.unique()).long()
seen = (onehot.cumsum(0) * onehot).sum(1)
return order[seen <= k]
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
        ("the first k of the order", 2, "return order[rank < k]", "return order[:k]"),
        ("places", 2, "return order[rank < k]", "return (rank < k).nonzero()[:, 0]"),
        ("as many as the rarest", 3, "[:k]", "[:min(k, int(torch.bincount(labels)[labels.unique()].min()))]"),
        ("every k-th", 3, "[:k]", "[::k]"),
        ("the k-th alone", 3, "[:k]", "[k - 1:k]"),
        ("labels themselves", 2, "return order[rank < k]", "return labels[order][rank < k]"),
        ("rare ones repeated", 3, "found += [i for i in order.tolist() if labels[i] == c][:k]",
         "mine = [i for i in order.tolist() if labels[i] == c]\n    found += (mine * k)[:k]"),
        ("classes by their number", 3, "sorted(set(labels.tolist()))", "range(int(labels.max()))"),
        ("no shuffle", 3, "order.tolist()", "range(len(order))"),
        ("the folder's order against the shuffled", 2, "mine = labels[order]", "mine = labels"),
        ("positions sorted first", 2, "return order[rank < k]", "return order.sort().values[rank < k]"),
        ("the rank backwards", 2, "torch.arange(int(of.sum()))", "torch.arange(int(of.sum())).flip(0)"),
        ("off by one", 4, "seen <= k", "seen < k"),
        ("the inverse order", 3, "order.tolist()", "order.argsort().tolist()"),
        ("a list for each class", 3, "found += [i for i in order.tolist() if labels[i] == c][:k]",
         "found.append([i for i in order.tolist() if labels[i] == c][:k])", "torch.tensor(found)", "found"),
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
""", """
mu, sd = features.mean(0), features.std(0, unbiased=False) + 1e-6
X, Q = (features - mu) / sd, (queries - mu) / sd
N, D = X.shape
classes = labels.unique()
Y = torch.zeros(N, len(classes), dtype=X.dtype)
Y[torch.arange(N), torch.searchsorted(classes, labels)] = 1
A = X @ X.T / D
A.diagonal().add_(penalty)
L = torch.linalg.cholesky(A)
return Y.mean(0) + (Q @ X.T / D) @ torch.cholesky_solve(Y, L)
""", """
mu = torch.mean(features, dim=0)
sd = torch.sqrt(((features - mu) ** 2).mean(dim=0)) + 1e-6
X, Q = (features - mu) / sd, (queries - mu) / sd
D = X.shape[1]
K, kq = X @ X.T / D, Q @ X.T / D
scores = []
for c in labels.unique():
    y = (labels == c).to(X)
    scores.append(kq @ torch.linalg.solve(K + penalty * torch.eye(len(X)).to(X), y - y.mean()) + y.mean())
return torch.stack(scores, 1)
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
        ("one scale for all dimensions", 3, "((features - mu) ** 2).mean(dim=0)", "((features - mu) ** 2).mean()"),
        ("one mean for all dimensions", 3, "torch.mean(features, dim=0)", "torch.mean(features)"),
        ("over the rows", 3, "torch.mean(features, dim=0)", "torch.mean(features, dim=1, keepdim=True).mean()"),
        ("the variance", 3, "torch.sqrt(((features - mu) ** 2).mean(dim=0))", "((features - mu) ** 2).mean(dim=0)"),
        ("the penalty times N", 3, "penalty * torch", "penalty * len(X) * torch"),
        ("the penalty times D", 3, "penalty * torch", "penalty * D * torch"),
        ("no penalty", 3, "K + penalty * torch.eye(len(X)).to(X)", "K + 1e-6 * torch.eye(len(X)).to(X)"),
        ("no division of the queries", 3, "Q @ X.T / D", "Q @ X.T"),
        ("the penalty fixed", 3, "penalty * torch", "0.1 * torch"),
        ("a root of D", 3, "K, kq = X @ X.T / D, Q @ X.T / D", "K, kq = X @ X.T / D ** 0.5, Q @ X.T / D ** 0.5"),
        ("classes down", 3, "torch.stack(scores, 1)", "torch.stack(scores)"),
        ("the mean of the others", 3, "+ y.mean())", "+ 1 - y.mean())"),
        ("the mean twice", 3, "+ y.mean())", "+ 2 * y.mean())"),
        ("queries not centred", 3, "(queries - mu) / sd", "queries / sd"),
        ("an inverse kernel", 3, "torch.linalg.solve(K + penalty * torch.eye(len(X)).to(X), y - y.mean())",
         "(K + penalty * torch.eye(len(X)).to(X)) @ (y - y.mean())"),
        ("length 1", 3, "K, kq =", "X, Q = F.normalize(X, dim=1), F.normalize(Q, dim=1)\nK, kq ="),
        ("standardised with the queries", 3, "mu = torch.mean(features, dim=0)",
         "both = torch.cat([features, queries])\nmu = both.mean(0)", "torch.sqrt(((features - mu) ** 2).mean(dim=0))",
         "both.std(0, unbiased=False)"),
        ("labels as numbers", 3, "return torch.stack(scores, 1)",
         "return kq @ torch.linalg.solve(K + penalty * torch.eye(len(X)).to(X), labels.to(X)[:, None])"),
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
""", """
gains = [x - y for x, y in zip(a.tolist(), b.tolist())]
import statistics
m, half = statistics.mean(gains), t * statistics.stdev(gains) / len(gains) ** 0.5
return {"low": m - half, "mean": m, "high": m + half}
""", """
d = torch.sub(a, b)
half = t * torch.sqrt(d.var() / d.shape[0])
low, high = d.mean() - half, d.mean() + half
return {"low": low, "mean": (low + high) / 2, "high": high}
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
        ("the median", 2, "m, half = statistics.mean(gains),", "m, half = statistics.median(gains),"),
        ("the deviation over all", 2, "statistics.stdev", "statistics.pstdev"),
        ("deviations subtracted", 3, "torch.sqrt(d.var() / d.shape[0])",
         "(a.std() - b.std()).abs() / d.shape[0] ** 0.5"),
        ("half-widths alone", 3, "low, high = d.mean() - half, d.mean() + half", "low, high = -half, half"),
        ("in per cent", 3, "d = torch.sub(a, b)", "d = 100 * torch.sub(a, b)"),
        ("t under the root", 3, "t * torch.sqrt(d.var() / d.shape[0])", "torch.sqrt(t * d.var() / d.shape[0])"),
        ("t halved", 3, "t * torch", "t / 2 * torch"),
        ("the normal 1.96", 3, "t * torch", "1.96 * torch"),
        ("mean of the absolute", 3, "d = torch.sub(a, b)", "d = torch.sub(a, b).abs()"),
        ("sorted", 3, "torch.sub(a, b)", "torch.sub(a.sort().values, b.sort().values)"),
        ("a square root too many", 3, "torch.sqrt(d.var() / d.shape[0])", "torch.sqrt(d.std() / d.shape[0])"),
        ("quantiles", 3, "low, high = d.mean() - half, d.mean() + half",
         "low, high = d.quantile(0.025), d.quantile(0.975)"),
        ("of the means", 3, "torch.sqrt(d.var() / d.shape[0])",
         "torch.sqrt(torch.stack([a.mean(), b.mean()]).var() / d.shape[0])"),
        ("a tuple", 3, 'return {"low": low, "mean": (low + high) / 2, "high": high}', "return low, d.mean(), high"),
        ("two standard errors more", 3, "t * torch.sqrt(d.var() / d.shape[0])",
         "t * torch.sqrt(d.var() / (d.shape[0] - 1))"),
    ]),
}
