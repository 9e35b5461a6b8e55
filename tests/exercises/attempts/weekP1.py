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
    "P1.nearest_mean": Tries([
        """
mu = features.mean(dim=0, keepdim=True)
def prepare(x):
    x = x - mu
    return x / x.norm(dim=1, keepdim=True)
f, q = prepare(features), prepare(queries)
cls = torch.unique(labels)
protos = torch.stack([f[labels == c].mean(dim=0) for c in cls])
protos = protos / protos.norm(dim=1, keepdim=True)
sims = q @ protos.t()
return cls[sims.argmax(dim=1)]
""", """
center = features.mean(0)
z = F.normalize(features - center, dim=-1)
w = F.normalize(queries - center, dim=-1)
classes, which = labels.unique(return_inverse=True)
one_hot = F.one_hot(which, len(classes)).to(z.dtype)
means = F.normalize(one_hot.T @ z, dim=-1)
return classes[torch.einsum("md,cd->mc", w, means).argmax(-1)]
"""], [
        ("the median", 0, "mean(dim=0) for c", "median(dim=0).values for c"),
        ("the middle of the queries", 0, "mu = features.mean", "mu = queries.mean"),
        ("unit length over the pictures", 0, "x.norm(dim=1, keepdim=True)\n", "x.norm(dim=0, keepdim=True)\n"),
        ("only the bank is centred", 0, "prepare(queries)", "queries / queries.norm(dim=1, keepdim=True)"),
        ("largest class", 0, "cls[sims.argmax(dim=1)]", "cls.max().expand(len(queries))"),
        ("the best query of each class", 0, "sims.argmax(dim=1)", "sims.argmax(dim=0)"),
        ("the first picture of each class", 0, "f[labels == c].mean(dim=0)", "f[labels == c][0]"),
        ("a standard deviation as well", 0, "x = x - mu", "x = (x - mu) / features.std(dim=0)"),
        ("the middle is subtracted twice", 1, "features - center, ", "features - 2 * center, "),
        ("the middle is the middle class mean", 1, "center = features.mean(0)",
         "center = torch.stack([features[labels == c].mean(0) for c in labels.unique()]).mean(0)"),
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
