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
    ]),
}
