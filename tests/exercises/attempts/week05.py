"""Attempts at lesson 05."""

from . import Tries

ATTEMPTS = {
    "05.enqueue": Tries([
        """
p, n, K = int(pointer), len(new), len(rows)
out = rows.clone()
first = min(n, K - p)
out[p:p + first] = new[:first].detach()
out[:n - first] = new[first:].detach()
return out, (p + n) % K
""", """
out = rows.detach().clone()
for i, key in enumerate(new.detach()):
    out[(pointer + i) % len(rows)] = key
return out, (pointer + len(new)) % len(rows)
"""], [
        ("keys in reverse order", 1, "enumerate(new.detach())", "enumerate(new.detach().flip(0))"),
        ("one row too far", 1, "(pointer + i) %", "(pointer + i + 1) %"),
        ("the last key is left out", 1, "new.detach()):", "new.detach()[:-1]):"),
        ("the pointer moves by one too many", 1, "(pointer + len(new)) %", "(pointer + len(new) + 1) %"),
        ("pointer modulo the batch", 1, "(pointer + len(new)) % len(rows)",
         "(pointer + len(new)) % len(new)"),
        ("counted backwards", 1, "(pointer + i) %", "(pointer - i) %"),
        ("mixed with the old", 1, "= key", "= 0.5 * out[(pointer + i) % len(rows)] + 0.5 * key"),
        ("old rows set to 0", 0, "out = rows.clone()", "out = torch.zeros_like(rows)"),
        ("the pointer as the number of written rows", 0, "return out, (p + n) % K", "return out, n"),
        ("keys normalised again along the batch", 1, "enumerate(new.detach())",
         "enumerate(F.normalize(new.detach(), dim=0))"),
        ("only the pointer and no queue", 0, "return out, (p + n) % K", "return out"),
    ]),
    "05.info_nce": Tries([
        """
with torch.no_grad():
    keys = torch.cat([k.unsqueeze(1), negatives.expand(len(q), *negatives.shape)], dim=1)
scores = (keys @ q.unsqueeze(-1)).squeeze(-1) / temperature
return -scores.log_softmax(dim=1)[:, 0].mean()
""", """
pos = torch.exp((q * k.detach()).sum(dim=1) / temperature)
neg = torch.exp(q @ negatives.detach().T / temperature).sum(dim=1)
return -(pos / (pos + neg)).log().mean()
"""], [
        ("temperature 0.07 always", 0, "/ temperature", "/ 0.07"),
        ("softmax, then log-softmax", 0, "scores.log_softmax(dim=1)", "scores.softmax(dim=1).log_softmax(dim=1)"),
        ("softmax over the batch", 0, "log_softmax(dim=1)", "log_softmax(dim=0)"),
        ("no minus", 1, "-(pos", "(pos"),
        ("one number for each query", 1, ".log().mean()", ".log()"),
        ("probability instead of its log", 1, "-(pos / (pos + neg)).log()", "1 - (pos / (pos + neg))"),
        ("own key twice in the denominator", 1, "(pos + neg)", "(2 * pos + neg)"),
        ("negatives divided by their number", 1, ".sum(dim=1)\nreturn", ".mean(dim=1)\nreturn"),
        ("negatives with a minus", 1, "torch.exp(q @", "torch.exp(-q @"),
        ("root of the temperature", 1, "/ temperature)\nneg", "/ temperature ** 0.5)\nneg",
         "T / temperature)", "T / temperature ** 0.5)"),
        ("times the temperature afterwards", 1, ".log().mean()", ".log().mean() * temperature"),
        ("the query with itself", 1, "q * k.detach()", "q * q.detach()"),
        ("everything without gradient", 1, "return -(pos", "return -(pos.detach()"),
    ]),
    "05.moco_step": Tries([
        """
with torch.no_grad():
    k = F.normalize(key(view2))
q = F.normalize(query(view1))
loss = info_nce(q, k, rows, temperature)
optimizer.zero_grad()
loss.backward()
optimizer.step()
for old, new in zip(key.parameters(), query.parameters()):
    old.data = momentum * old.data + (1 - momentum) * new.data
rows, pointer = enqueue(rows, pointer, k)
return loss.item(), rows, pointer
""", """
q, k = F.normalize(query(view1), dim=-1), F.normalize(key(view2), dim=-1).detach()
loss = info_nce(q, k, rows, temperature)
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
with torch.no_grad():
    for slow, fast in zip(key.parameters(), query.parameters()):
        slow += (1 - momentum) * (fast - slow)
return (float(loss), *enqueue(rows, pointer, k))
"""], [
        ("the default temperature", 0, "rows, temperature)", "rows)"),
        ("query and key exchanged in the loss", 0, "info_nce(q, k, rows", "info_nce(k, q, rows"),
        ("normalised along the batch", 0, "F.normalize(query(view1))", "F.normalize(query(view1), dim=0)"),
        ("keys enqueued twice", 0, "return loss.item()",
         "rows, pointer = enqueue(rows, pointer, k)\nreturn loss.item()"),
        ("keys in reverse order", 0, "enqueue(rows, pointer, k)", "enqueue(rows, pointer, k.flip(0))"),
        ("rebound names", 0, "    old.data = momentum * old.data", "    old = momentum * old.data"),
        ("the loss is summed over the batch", 0, "loss = info_nce(q, k, rows", "loss = len(q) * info_nce(q, k, rows"),
        ("step before backward", 0, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()"),
        ("half a step of the average", 0, "(1 - momentum) * new.data", "0.5 * (1 - momentum) * new.data"),
        ("the key encoder follows twice", 1, "(1 - momentum) * (fast - slow)", "(1 - momentum ** 2) * (fast - slow)"),
        ("only the last layer follows", 1, "zip(key.parameters(), query.parameters())",
         "list(zip(key.parameters(), query.parameters()))[-2:]"),
        ("away from the query encoder", 1, "slow += (", "slow -= ("),
    ]),
    "05.own_share": Tries([
        """
A, N, D = fresh.shape
stored = torch.cat([rows[pointer:], rows[:pointer]]).reshape(A, N, D).flip(0)
cos = torch.einsum("and,amd->anm", stored, fresh)
eye = torch.eye(N, dtype=torch.bool)
own = cos[:, eye].mean(dim=1)
other = cos[:, ~eye].mean(dim=1)
return (own - other) / (1 - other)
""", """
A, N, _ = fresh.shape
order = (pointer - 1 - torch.arange(A * N)) % (A * N)
stored = rows[order].view(A, N, -1).flip(1)
own = (stored * fresh).sum(-1).mean(1)
every = (stored.sum(1) * fresh.sum(1)).sum(-1)
other = (every - N * own) / (N * N - N)
return 1 - (1 - own) / (1 - other)
"""], [
        ("one number for all ages", 0, "return (own - other) / (1 - other)",
         "return ((own - other) / (1 - other)).mean()"),
        ("the median of the own cosines", 0, "cos[:, eye].mean(dim=1)", "cos[:, eye].median(dim=1).values"),
        ("scaled by own", 0, "/ (1 - other)", "/ own"),
        ("clamped at 0.5", 0, "return (own - other)", "return (own - other).clamp(max=0.1)"),
        ("the most similar other image", 0, "cos[:, ~eye].mean(dim=1)", "cos[:, ~eye].amax(dim=1)"),
        ("compared with the stored keys themselves", 0, '"and,amd->anm", stored, fresh',
         '"and,amd->anm", stored, stored'),
        ("compared with fresh keys only", 0, '"and,amd->anm", stored, fresh', '"and,amd->anm", fresh, fresh'),
        ("sum instead of mean", 0, "cos[:, eye].mean(dim=1)", "cos[:, eye].sum(dim=1)"),
        ("divided by N squared", 1, "(N * N - N)", "(N * N)"),
        ("one row too far", 1, "(pointer - 1 - torch", "(pointer - torch"),
        ("how much is lost", 1, "return 1 - (1 - own)", "return (1 - own)"),
    ]),
}
