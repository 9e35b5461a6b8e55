"""Attempts at lesson 01."""

from . import Tries

ATTEMPTS = {
    "01.knn": Tries([
        """
centre = bank.mean(0, keepdim=True)
b, q = F.normalize(bank - centre, dim=-1), F.normalize(queries - centre, dim=-1)
values, places = torch.topk(torch.einsum("md,nd->mn", q, b), k)
weights = torch.exp(values / temperature)
onehot = F.one_hot(bank_labels[places], int(bank_labels.max()) + 1).to(weights.dtype)
return (weights[..., None] * onehot).sum(1)
""", """
mean = bank.mean(dim=0)
b = (bank - mean) / (bank - mean).norm(dim=1, keepdim=True)
out = []
for x in queries:
    x = (x - mean) / (x - mean).norm()
    s = b @ x
    best = s.argsort(descending=True)[:k]
    votes = torch.zeros(int(bank_labels.max()) + 1)
    for j in best:
        votes[bank_labels[j]] += torch.exp(s[j] / temperature)
    out.append(votes)
return torch.stack(out)
"""], [
        ("k always 20", 0, ", k)", ", min(20, len(bank)))"),
        ("the bank only is centred", 0, "queries - centre", "queries"),
        ("normalised along the batch", 0, "dim=-1", "dim=0"),
        ("temperature 0.07 written in", 0, "values / temperature", "values / 0.07"),
        ("weights not exponentiated", 0, "torch.exp(values / temperature)", "values / temperature"),
        ("standardised, not centred", 0, "(bank - centre, dim=-1)", "((bank - centre) / bank.std(0), dim=-1)",
         "(queries - centre, dim=-1)", "((queries - centre) / bank.std(0), dim=-1)"),
        ("labels of the first rows", 0, "bank_labels[places]", "bank_labels[:k].expand(len(queries), -1)"),
        ("the nearest only has no weight", 1, "[:k]", "[1:k + 1]"),
        ("Euclidean distance as similarity", 0, 'torch.einsum("md,nd->mn", q, b)', "-torch.cdist(q, b)"),
        ("votes averaged over the neighbours of a class", 0, "return (weights[..., None] * onehot).sum(1)",
         "return (weights[..., None] * onehot).sum(1) / onehot.sum(1).clamp(min=1)"),
        ("predicted class only", 0, "return (weights[..., None] * onehot).sum(1)",
         "return (weights[..., None] * onehot).sum(1).argmax(1)"),
    ]),
    "01.alignment": Tries([
        """
u, v = x / x.norm(dim=1, keepdim=True), y / y.norm(dim=1, keepdim=True)
return (((u - v) ** 2).sum(1) ** (alpha / 2)).mean()
""", """
cos = (F.normalize(x) * F.normalize(y)).sum(-1)
return (2 - 2 * cos).clamp(min=0).pow(alpha / 2).sum() / x.shape[0]
"""], [
        ("alpha halved once too often", 0, "alpha / 2", "alpha / 4"),
        ("squared distance to the power alpha", 0, "alpha / 2", "alpha"),
        ("only x normalised", 0, "y / y.norm(dim=1, keepdim=True)", "y"),
        ("the norm of the whole matrix", 0, "x.norm(dim=1, keepdim=True)", "x.norm()",
         "y.norm(dim=1, keepdim=True)", "y.norm()"),
        ("city-block distance", 0, "((u - v) ** 2).sum(1) ** (alpha / 2)", "(u - v).abs().sum(1) ** alpha"),
        ("the root of the mean", 0, ".mean()", ".mean() ** 0.5"),
        ("views in another order", 0, "u - v", "u - v.flip(0)"),
        ("divided by D", 1, "x.shape[0]", "x.shape[1]"),
        ("the cosine itself", 1, "(2 - 2 * cos).clamp(min=0)", "cos.abs()"),
        ("y detached", 1, "F.normalize(y)", "F.normalize(y.detach())"),
        ("the sum of the two lengths", 0, "u - v", "u + v"),
    ]),
    "01.uniformity": Tries([
        """
u = F.normalize(z, dim=-1)
d = torch.cdist(u, u).square()
i, j = torch.triu_indices(len(z), len(z), 1)
d = (u[i] - u[j]).square().sum(-1)
return torch.log(torch.exp(-t * d).mean())
""", """
u = z / z.norm(dim=1, keepdim=True)
gram = u @ u.T
n = len(z)
off = ~torch.eye(n, dtype=torch.bool)
return torch.logsumexp(-t * (2 - 2 * gram[off]), 0) - math.log(n * (n - 1))
"""], [
        ("t fixed at 2", 0, "-t", "-2"),
        ("divided by t", 0, "-t * d", "-d / t"),
        ("1 - cos in place of the distance", 1, "2 - 2 * gram[off]", "1 - gram[off]"),
        ("the largest pair only", 0, ".mean()", ".max()"),
        ("sum of the pairs", 0, ".mean()", ".sum()"),
        ("only neighbouring rows", 0, "d = (u[i] - u[j]).square().sum(-1)", "d = (u[1:] - u[:-1]).square().sum(-1)"),
        ("mean over dimensions in the distance", 0, ".square().sum(-1)", ".square().mean(-1)"),
        ("number of pairs N squared", 1, "n * (n - 1)", "n * n"),
        ("sign of the loss", 0, "return torch", "return -torch"),
        ("log base 2", 0, "torch.log(", "torch.log2("),
        ("centred first", 0, "F.normalize(z, dim=-1)", "F.normalize(z - z.mean(0), dim=-1)"),
    ]),
    "01.training_step": Tries([
        """
optimizer.zero_grad(set_to_none=True)
loss = method.loss(method.views(batch, generator))["loss"]
loss.backward()
optimizer.step()
return float(loss.detach())
"""], [
        ("returns the loss after the step", 0, "return float(loss.detach())",
         'return method.loss(method.views(batch, generator))["loss"].item()'),
        ("the loss halved for the gradient", 0, "loss.backward()", "(loss / 2).backward()"),
        ("steps twice", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("backward twice", 0, "loss.backward()", "loss.backward(retain_graph=True); loss.backward()"),
        ("uphill", 0, "loss.backward()", "(-loss).backward()"),
        ("a generator of its own", 0, "batch, generator)", "batch, torch.Generator().manual_seed(0))"),
        ("views drawn twice", 0, "loss = ", "method.views(batch, generator)\nloss = "),
        ("returns the negative", 0, "return float", "return -float"),
        ("gradient clipped", 0, "optimizer.step()",
         "torch.nn.utils.clip_grad_norm_(method.parameters(), 0.1)\noptimizer.step()"),
    ]),
}
