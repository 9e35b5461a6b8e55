"""Attempts at appendix A2."""

from . import Tries

ATTEMPTS = {
    "A2.linear_cka": Tries([
        """
x = x - x.mean(dim=0, keepdim=True)
y = y - y.mean(dim=0, keepdim=True)
cross = torch.linalg.matrix_norm(x.T @ y) ** 2
return cross / torch.sqrt(torch.linalg.matrix_norm(x.T @ x) ** 2 * torch.linalg.matrix_norm(y.T @ y) ** 2)
""", """
n = x.shape[0]
h = torch.eye(n, dtype=x.dtype) - torch.ones(n, n, dtype=x.dtype) / n
k = h @ (x @ x.T) @ h
l = h @ (y @ y.T) @ h
return torch.trace(k @ l) / torch.sqrt(torch.trace(k @ k) * torch.trace(l @ l))
""", """
xc, yc = x - torch.mean(x, 0), y - torch.mean(y, 0)
hsic = lambda a, b: (a.T @ b).pow(2).sum()
return hsic(xc, yc) / (hsic(xc, xc) * hsic(yc, yc)).sqrt()
""", """
k, l = x @ x.T, y @ y.T
k = k - k.mean(0, keepdim=True) - k.mean(1, keepdim=True) + k.mean()
l = l - l.mean(0, keepdim=True) - l.mean(1, keepdim=True) + l.mean()
return F.cosine_similarity(k.flatten(), l.flatten(), dim=0)
""", """
n = len(x)
both = torch.cov(torch.cat([x, y], 1).T)
d = x.shape[1]
return torch.sum(both[:d, d:] ** 2) / (torch.linalg.norm(both[:d, :d]) * torch.linalg.norm(both[d:, d:]))
""", """
h = torch.eye(len(x), dtype=x.dtype) - 1 / len(x)
k, l = h @ x @ x.T, h @ y @ y.T
return torch.trace(k @ l) / (torch.trace(k @ k) * torch.trace(l @ l)) ** 0.5
"""], [
        ("the spectral norm", 0, "torch.linalg.matrix_norm(x.T @ y)", "torch.linalg.matrix_norm(x.T @ y, 2)"),
        ("the nuclear norm above", 0, "torch.linalg.matrix_norm(x.T @ y)", "torch.linalg.matrix_norm(x.T @ y, 'nuc')"),
        ("the whole mean", 0, "x.mean(dim=0, keepdim=True)", "x.mean()", "y.mean(dim=0, keepdim=True)", "y.mean()"),
        ("x against itself", 0, "x.T @ y", "x.T @ x"),
        ("only x below", 0, "torch.linalg.matrix_norm(y.T @ y) ** 2", "torch.linalg.matrix_norm(x.T @ x) ** 2"),
        ("the square below missing", 0, "torch.linalg.matrix_norm(x.T @ x) ** 2", "torch.linalg.matrix_norm(x.T @ x)"),
        ("cubed", 0, "(x.T @ y) ** 2", "(x.T @ y) ** 3"),
        ("the median", 0, "x.mean(dim=0, keepdim=True)", "x.median(dim=0, keepdim=True).values"),
        ("centred by n - 1", 1, "dtype=x.dtype) / n", "dtype=x.dtype) / (n - 1)"),
        ("added below", 1, "torch.trace(k @ k) * torch.trace(l @ l)", "torch.trace(k @ k) + torch.trace(l @ l)"),
        ("no root below", 1, "torch.sqrt(torch.trace(k @ k) * torch.trace(l @ l))",
         "(torch.trace(k @ k) * torch.trace(l @ l))"),
        ("traces of the Grams", 1, "torch.trace(k @ k) * torch.trace(l @ l)", "torch.trace(k) * torch.trace(l)"),
        ("Gram matrices not centred", 1, "k = h @ (x @ x.T) @ h", "k = x @ x.T", "l = h @ (y @ y.T) @ h",
         "l = y @ y.T"),
        ("images of length 1", 0, "x = x -", "x = F.normalize(x, dim=1)\nx = x -", "y = y -",
         "y = F.normalize(y, dim=1)\ny = y -"),
        ("without the diagonal", 1, "return torch",
         "k = k - torch.diag(k.diag())\nl = l - torch.diag(l.diag())\nreturn torch"),
        ("the trace of the cross matrix", 1, "torch.trace(k @ l)", "torch.trace(k) * torch.trace(l)"),
        ("sum of entries", 0, "torch.linalg.matrix_norm(x.T @ y) ** 2", "(x.T @ y).sum() ** 2"),
        ("absolute sums", 0, "torch.linalg.matrix_norm(x.T @ y) ** 2", "(x.T @ y).abs().sum()"),
        ("the mean of the two", 0, "y.mean(dim=0, keepdim=True)", "x.mean()"),
        ("an angle", 1, "return torch.trace(k @ l) / torch.sqrt(torch.trace(k @ k) * torch.trace(l @ l))",
         "return torch.acos(torch.trace(k @ l) / torch.sqrt(torch.trace(k @ k) * torch.trace(l @ l)))"),
        ("an MDS distance", 1, "return torch.trace(k @ l) / torch.sqrt(torch.trace(k @ k) * torch.trace(l @ l))",
         "return (2 - 2 * torch.trace(k @ l) / torch.sqrt(torch.trace(k @ k) * torch.trace(l @ l))).sqrt()"),
    ]),
    "A2.classical_mds": Tries([
        """
n = distances.shape[0]
d2 = distances ** 2
j = torch.eye(n, dtype=distances.dtype) - torch.full((n, n), 1 / n, dtype=distances.dtype)
b = -(j @ d2 @ j) / 2
w, v = torch.linalg.eigh(b)
top = w.argsort(descending=True)[:dims]
return v[:, top] @ torch.diag(torch.sqrt(torch.relu(w[top])))
""", """
d2 = distances.square()
b = -0.5 * (d2 - d2.mean(1, keepdim=True) - d2.mean(0, keepdim=True) + d2.mean())
values, vectors = torch.linalg.eigh(b)
values, vectors = values[-dims:].flip(0), vectors[:, -dims:].flip(-1)
return vectors * values.clamp_min(0).sqrt()[None, :]
""", """
n = len(distances)
h = torch.eye(n).to(distances) - torch.ones(n, n).to(distances) / n
b = -(h @ (distances * distances) @ h) / 2
w, v = torch.linalg.eigh((b + b.T) / 2)
columns = [v[:, -1 - i] * max(float(w[-1 - i]), 0.0) ** 0.5 for i in range(dims)]
return torch.stack(columns, dim=1)
""", """
n = distances.size(0)
j = torch.eye(n, dtype=distances.dtype) - 1.0 / n
w, v = torch.linalg.eigh(j @ (distances ** 2) @ j * -0.5)
w, order = w.sort(descending=True)
return torch.einsum('nd,d->nd', v[:, order][:, :dims], torch.where(w > 0, w, torch.zeros_like(w))[:dims].sqrt())
"""], [
        ("the cube", 0, "distances ** 2", "distances ** 3"),
        ("a quarter", 0, "/ 2\n", "/ 4\n"),
        ("one axis too many", 0, "[:dims]", "[:dims + 1]"),
        ("always two axes", 0, "[:dims]", "[:2]"),
        ("without the first axis", 0, "[:dims]", "[1:dims + 1]"),
        ("rows of eigenvectors", 0, "v[:, top]", "v[top].T"),
        ("the fourth root", 0, "torch.sqrt(torch.relu(w[top]))", "torch.relu(w[top]) ** 0.25"),
        ("centred by n + 1", 0, "1 / n, dtype", "1 / (n + 1), dtype"),
        ("absolute eigenvalues", 0, "torch.relu(w[top])", "w[top].abs()"),
        ("axes in the reverse order", 0, "[:dims]\n", "[:dims].flip(0)\n"),
        ("twice as large", 0, "return v", "return 2 * v"),
        ("divided by the root of n", 0, "return v[:, top]", "return v[:, top] / n ** 0.5"),
        ("distances from the first point", 0, "b = -(j @ d2 @ j) / 2", "b = (d2[0][:, None] + d2[0][None] - d2) / 2"),
        ("J once, on the right", 0, "j @ d2 @ j", "d2 @ j"),
        ("centred by rows only", 0, "j @ d2 @ j", "d2 - d2.mean(1, keepdim=True)"),
        ("the grand mean not put back", 0, "j @ d2 @ j", "d2 - d2.mean(0) - d2.mean(1, keepdim=True)"),
        ("the first two of eigh", 0, "w.argsort(descending=True)[:dims]", "torch.arange(dims)"),
        ("axes sorted by size", 0, "w.argsort(descending=True)", "w.abs().argsort(descending=True)"),
        ("eigenvectors times B", 0, "return v[:, top] @ torch.diag(torch.sqrt(torch.relu(w[top])))",
         "return b @ v[:, top]"),
        ("divided by the root", 0, "torch.diag(torch.sqrt(torch.relu(w[top])))",
         "torch.diag(1 / torch.sqrt(torch.relu(w[top]) + 1e-6))"),
        ("transposed", 0, "return v[:, top] @ torch.diag(torch.sqrt(torch.relu(w[top])))",
         "return (v[:, top] @ torch.diag(torch.sqrt(torch.relu(w[top])))).T"),
        ("similarity of distances", 0, "d2 = distances ** 2", "d2 = (-distances).exp()"),
        ("axes of unit spread", 0, "torch.diag(torch.sqrt(torch.relu(w[top])))",
         "torch.eye(len(top), dtype=w.dtype) * n ** 0.5"),
    ]),
    "A2.group_test": Tries([
        """
n = len(groups)
upper = torch.ones(n, n).triu(1).bool()

def gap(g):
    same = g.unsqueeze(0) == g.unsqueeze(1)
    return similarity[same & upper].mean() - similarity[~same & upper].mean()

observed = gap(groups)
count = 1
for order in orders:
    count += int(gap(groups[order]) >= observed)
return {"gap": observed, "p": count / (len(orders) + 1)}
""", """
i, j = torch.triu_indices(len(groups), len(groups), 1)
s = similarity[i, j]
def gap(g):
    own = (g[i] == g[j]).to(s)
    return (s * own).sum() / own.sum() - (s * (1 - own)).sum() / (1 - own).sum()
gaps = torch.stack([gap(groups[o]) for o in orders])
observed = gap(groups)
return dict(gap=observed.item(), p=((gaps >= observed).sum().item() + 1) / (len(gaps) + 1))
""", """
n = len(groups)
pairs = [(a, b) for a in range(n) for b in range(a)]
def gap(names):
    own = [float(similarity[a, b]) for a, b in pairs if names[a] == names[b]]
    rest = [float(similarity[a, b]) for a, b in pairs if names[a] != names[b]]
    return sum(own) / len(own) - sum(rest) / len(rest)
seen = gap(groups.tolist())
hits = [gap(groups[order].tolist()) >= seen for order in orders]
return {'gap': seen, 'p': (1 + sum(hits)) / (1 + len(hits))}
""", """
n = len(groups)
off = ~torch.eye(n, dtype=torch.bool)
def gap(table):
    same = groups[:, None] == groups[None, :]
    return table[same & off].mean() - table[~same].mean()
seen = gap(similarity)
back = [torch.argsort(order) for order in orders]
hits = sum(int(gap(similarity[b][:, b]) >= seen - 1e-7) for b in back)
return {'gap': seen, 'p': (hits + 1) / (len(orders) + 1)}
"""], [
        ("the sum of pairs", 0, "similarity[same & upper].mean()", "similarity[same & upper].sum()"),
        ("the median", 0, "similarity[same & upper].mean()", "similarity[same & upper].median()"),
        ("a ratio", 0, ".mean() - ", ".mean() / "),
        ("every shuffle counted", 0, "int(gap(groups[order]) >= observed)", "1"),
        ("the shuffles' mean", 0, '"gap": observed', '"gap": sum(gap(groups[o]) for o in orders) / len(orders)'),
        ("the first order only", 0, "for order in orders:", "for order in orders[:1]:"),
        ("count, not a share", 0, "count / (len(orders) + 1)", "count"),
        ("divided by the networks", 0, "count / (len(orders) + 1)", "count / (n + 1)"),
        ("one minus p", 0, "count / (len(orders) + 1)", "1 - count / (len(orders) + 1)"),
        ("the pairs of one group only", 0, " - similarity[~same & upper].mean()", ""),
        ("numbers of groups compared", 0, "g.unsqueeze(0) == g.unsqueeze(1)", "g.unsqueeze(0) <= g.unsqueeze(1)"),
        ("twice p", 0, "count / (len(orders) + 1)", "2 * count / (len(orders) + 1)"),
        ("the diagonal among the pairs", 0, ".triu(1)", ".triu(0)"),
        ("the largest pair", 0, "similarity[same & upper].mean()", "similarity[same & upper].max()"),
        ("divided by the deviation", 0, "    return similarity[same & upper].mean() - similarity[~same & upper].mean()",
         "    return (similarity[same & upper].mean() - similarity[~same & upper].mean()) / similarity[upper].std()"),
        ("strictly more", 0, ">= observed", "> observed"),
        ("gap of the last shuffle", 0, '"gap": observed', '"gap": gap(groups[orders[-1]])'),
        ("shuffled again", 0, "groups[order]", "groups[torch.randperm(n)]"),
        ("names sorted", 0, "groups[order]", "groups.sort().values[order]"),
        ("compared with 0", 0, ">= observed", ">= 0"),
        ("no one added", 0, "count = 1", "count = 0", "(len(orders) + 1)", "len(orders)"),
        ("other pairs counted twice", 0, "similarity[~same & upper].mean()",
         "similarity[~same].sum() / (~same & upper).sum()"),
        ("pairs of the first group only", 0, "same = g.unsqueeze(0) == g.unsqueeze(1)",
         "same = (g.unsqueeze(0) == 0) & (g.unsqueeze(1) == 0)"),
        ("p of the pairs", 0, "count / (len(orders) + 1)", "float((similarity[upper] >= observed).float().mean())"),
    ]),
}
