"""Attempts at lesson 26."""

from . import Tries

ATTEMPTS = {
    "26.move_rows": Tries([
        """
new = rows.clone()
new[indices] = F.normalize(momentum * rows[indices] + (1 - momentum) * F.normalize(z), dim=-1)
return new
""", """
z = z / z.norm(dim=1, keepdim=True)
mixed = torch.lerp(z, rows[indices], momentum)
return rows.index_copy(0, indices, mixed / mixed.norm(dim=1, keepdim=True))
""", """
target = torch.zeros_like(rows)
target[indices] = F.normalize(z)
seen = torch.zeros(len(rows), 1, dtype=rows.dtype)
seen[indices] = 1
return F.normalize(rows * (1 - seen * (1 - momentum)) + (1 - momentum) * target)
""", """
new = rows.clone()
for b, i in enumerate(indices.tolist()):
    mixed = momentum * rows[i] + (1 - momentum) * z[b] / z[b].norm()
    new[i] = mixed / mixed.norm()
return new
""", """
new = rows.detach().clone()
new[indices] *= momentum
new[indices] += (1 - momentum) * F.normalize(z, dim=1)
return F.normalize(new, dim=1)
""", """
v = F.normalize(z, dim=1)
moved = F.normalize(rows[indices] * momentum + v * (1 - momentum), dim=1)
return rows.scatter(0, indices[:, None].expand_as(moved), moved)
"""], [
        ("momentum fixed", 0, "momentum * rows[indices] + (1 - momentum)", "0.5 * rows[indices] + 0.5"),
        ("scaled over the batch", 0, "dim=-1", "dim=0"),
        ("z scaled over the batch", 0, "F.normalize(z)", "F.normalize(z, dim=0)"),
        ("the old rows come back", 0, "return new", "return rows"),
        ("a difference", 0, "+ (1 - momentum)", "- (1 - momentum)"),
        ("the mixed rows of another order", 0, "new[indices]", "new[indices.flip(0)]"),
        ("the sorted indices", 0, "new[indices]", "new[indices.sort().values]"),
        ("momentum squared", 0, "momentum * rows", "momentum ** 2 * rows"),
        ("the other rows lost", 0, "rows.clone()", "torch.zeros_like(rows)"),
        ("length 1 by the sum", 0, "F.normalize(momentum * rows[indices] + (1 - momentum) * F.normalize(z), dim=-1)",
         "(lambda m: m / m.abs().sum(1, keepdim=True))(momentum * rows[indices] + (1 - momentum) * F.normalize(z))"),
        ("the first rows mixed in", 0, "momentum * rows[indices]", "momentum * rows[:len(z)]"),
        ("the mean of the batch", 0, "F.normalize(z)", "F.normalize(z).mean(0, keepdim=True)"),
        ("the old bank written into", 4, "new = rows.detach().clone()", "new = rows"),
        ("the squared length", 3, "z[b] / z[b].norm()", "z[b] / (z[b] * z[b]).sum()"),
        ("one length for the batch", 3, "z[b] / z[b].norm()", "z[b] / z.norm()"),
        ("the largest entry 1", 3, "z[b] / z[b].norm()", "z[b] / z[b].abs().max()"),
        ("the row of the batch's place read", 3, "momentum * rows[i]", "momentum * rows[b]"),
        ("float32", 5, "F.normalize(z, dim=1)", "F.normalize(z.float(), dim=1)", "rows[indices] * momentum",
         "rows[indices].float() * momentum", "rows.scatter(0,", "rows.float().scatter(0,"),
        ("the images' rows from the mean row", 5, "rows[indices] * momentum", "rows.mean(0) * momentum"),
        ("all rows shrink", 5, "return rows.scatter", "return (momentum * rows).scatter"),
        ("the last image alone", 3, "return new", "out = rows.clone()\nout[i] = new[i]\nreturn out"),
        ("a root of the momentum", 5, "rows[indices] * momentum", "rows[indices] * momentum ** 0.5"),
    ]),
    "26.nce": Tries([
        """
K = scores.size(1) - 1
p = (scores - log_z).exp()
noise = K / n
h = p / (p + noise)
d = -h[:, 0].log().mean()
e = -(noise / (p[:, 1:] + noise)).log().sum(-1).mean()
return dict(loss=d + e, data=d, noise=e)
""", """
K = scores.shape[1] - 1
h = torch.sigmoid(scores - log_z - math.log(K / n))
data = -torch.log(h[:, 0]).sum() / len(h)
noise = -torch.log1p(-h[:, 1:]).sum() / len(h)
return {"loss": data + noise, "data": data, "noise": noise}
""", """
K = scores.shape[1] - 1
odds = scores - log_z - math.log(K / n)
truth = torch.zeros_like(odds)
truth[:, 0] = 1
each = F.binary_cross_entropy_with_logits(odds, truth, reduction="none")
data, noise = each[:, 0].mean(), each[:, 1:].sum(1).mean()
return {"loss": data + noise, "data": data, "noise": noise}
""", """
k = scores.shape[1] - 1
log_p = scores - log_z
log_q = torch.full_like(log_p, math.log(k / n))
both = torch.logaddexp(log_p, log_q)
data = (both - log_p)[:, 0].mean()
noise = (both - log_q)[:, 1:].sum(1).mean()
return {"loss": data + noise, "data": data, "noise": noise}
""", """
b, k = scores.shape[0], scores.shape[1] - 1
data = noise = 0
for i in range(b):
    p = torch.exp(scores[i]) / torch.exp(torch.as_tensor(log_z))
    h = n * p / (n * p + k)
    data = data - torch.log(h[0]) / b
    for j in range(1, k + 1):
        noise = noise - torch.log(1 - h[j]) / b
return {"loss": data + noise, "data": data, "noise": noise}
""", """
k = scores.size(1) - 1
p = (scores - log_z).exp()
h = p / (p + k / n)
terms = torch.cat([h[:, :1], 1 - h[:, 1:]], dim=1).log().neg()
data, noise = terms[:, 0].mean(), terms[:, 1:].sum(1).mean()
return {"data": data, "noise": noise, "loss": terms.sum(1).mean()}
""", """
k = scores.shape[1] - 1
p = torch.exp(scores) / math.exp(log_z)
h = p / (p + k / n)
data, noise = -h[:, 0].log().mean(), -(1 - h[:, 1:]).log().sum(dim=1).mean()
return {"loss": data + noise, "data": data, "noise": noise}
"""], [
        ("K is the batch", 0, "K = scores.size(1) - 1", "K = scores.size(0)"),
        ("times Z", 0, "scores - log_z", "scores + log_z"),
        ("the logarithm as Z", 0, "(scores - log_z).exp()", "scores.exp() / log_z"),
        ("n over K", 0, "noise = K / n", "noise = n / K"),
        ("no exponential", 0, "(scores - log_z).exp()", "scores - log_z"),
        ("the noise's sign", 0, "e = -(", "e = ("),
        ("the data's sign", 0, "d = -h", "d = h"),
        ("only the noise", 0, "loss=d + e", "loss=e"),
        ("a mean of both", 0, "loss=d + e", "loss=(d + e) / 2"),
        ("names exchanged", 0, "data=d, noise=e", "data=e, noise=d"),
        ("logarithm of the mean", 0, "d = -h[:, 0].log().mean()", "d = -h[:, 0].mean().log()"),
        ("the last column is own", 0, "h[:, 0]", "h[:, -1]"),
        ("all columns are data", 0, "d = -h[:, 0].log().mean()", "d = -h.log().sum(1).mean()"),
        ("noise without its K", 0, "noise = K / n", "noise = 1 / (n * K)"),
        ("P detached", 0, "(scores - log_z).exp()", "(scores - log_z).exp().detach()"),
        ("the noise detached", 0, "e = -(noise", "e = -(noise", "loss=d + e", "loss=d + e.detach()"),
        ("h of P alone", 0, "h = p / (p + noise)", "h = p / (1 + noise)"),
        ("logarithms to the base 2", 0, "h[:, 0].log()", "h[:, 0].log2()"),
        ("the noise's mean over the batch is a sum", 0, "sum(-1).mean()", "sum(-1).sum()"),
        ("the softmax", """
d = F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long))
return {"loss": d, "data": d, "noise": d * 0}
"""),
        ("n is the batch", 5, "k / n", "k / len(scores)"),
        ("k times n", 5, "k / n", "k * n"),
        ("noise summed over images, averaged over K", 5, "terms[:, 1:].sum(1).mean()", "terms[:, 1:].sum(0).mean()"),
        ("a difference of the terms", 3, "data + noise, ", "data - noise, "),
        ("a softmax for P", 5, "(scores - log_z).exp()", "scores.softmax(1)"),
        ("scores over log Z", 5, "scores - log_z", "scores / log_z"),
        ("no logarithm of the data", 5, "terms[:, 0].mean()", "-h[:, 0].mean()"),
        ("logarithm of a sum", 5, "terms[:, 1:].sum(1).mean()", "-torch.log(1 - h[:, 1:].mean(1)).mean()"),
        ("numbers", 3, '"loss": data + noise', '"loss": (data + noise).item()'),
        ("the loss detached", 3, '"loss": data + noise', '"loss": (data + noise).detach()'),
        ("the mean of all entries", 5, "terms.sum(1).mean()", "terms.mean()"),
        ("all columns but the last", 5, "terms[:, 1:]", "terms[:, :-1]"),
        ("1 - h for the own row", 5, "torch.cat([h[:, :1], 1 - h[:, 1:]], dim=1)", "(1 - h)"),
        ("Z as a power of two", 5, "(scores - log_z).exp()", "2 ** (scores - log_z)"),
        ("noise weighed by K", 3, "(both - log_q)[:, 1:].sum(1).mean()", "k * (both - log_q)[:, 1:].sum(1).mean()"),
        ("K / n to the scores", 5, "h = p / (p + k / n)", "h = p / (1 + k / n)"),
    ]),
    "26.npid_step": Tries([
        """
v = F.normalize(network(view))
mine = bank["rows"][indices]
other = bank["rows"][drawn]
s = torch.cat([(v * mine).sum(1, keepdim=True), (other @ v[:, :, None]).squeeze(2)], 1) / temperature
if bank["log_z"] is None:
    bank["log_z"] = (s.exp().mean() * len(bank["rows"])).log().item()
parts = nce(s, bank["log_z"], len(bank["rows"]))
optimizer.zero_grad()
parts["loss"].backward()
optimizer.step()
with torch.no_grad():
    bank["rows"] = move_rows(bank["rows"], indices, v, momentum)
return float(parts["loss"])
""", """
z = network(view)
v = z / z.norm(dim=1, keepdim=True)
every = v @ bank["rows"].T / temperature
s = every.gather(1, torch.cat([indices[:, None], drawn], 1))
if bank["log_z"] is None:
    bank["log_z"] = s.detach().flatten().logsumexp(0) - math.log(s.numel()) + math.log(len(bank["rows"]))
loss = nce(s, bank["log_z"], len(bank["rows"]))["loss"]
network.zero_grad()
loss.backward()
optimizer.step()
bank["rows"] = move_rows(bank["rows"], indices, z.detach(), momentum)
return loss.item()
""", """
v = F.normalize(network(view), dim=1)
cols = torch.hstack([indices.unsqueeze(1), drawn])
scores = torch.matmul(bank["rows"][cols], v.unsqueeze(2)).squeeze(2) / temperature
n = bank["rows"].shape[0]
if bank["log_z"] is None:
    with torch.no_grad():
        bank["log_z"] = math.log(n) + torch.log(torch.exp(scores).mean())
bank["rows"] = move_rows(bank["rows"], indices, v.detach(), momentum)
loss = nce(scores, bank["log_z"], n)["loss"]
loss.backward()
optimizer.step()
optimizer.zero_grad()
return loss.item()
""", """
optimizer.zero_grad()
z = network(view)
v = z / z.norm(dim=1, keepdim=True)
scores = torch.einsum("bd,bkd->bk", v, bank["rows"][torch.cat((indices[:, None], drawn), 1)]).div(temperature)
if bank.get("log_z") is None:
    bank["log_z"] = float(torch.log(len(bank["rows"]) * scores.exp().mean()))
loss = nce(scores, bank["log_z"], len(bank["rows"]))["loss"]
loss.backward()
optimizer.step()
with torch.no_grad():
    bank["rows"][indices] = F.normalize(momentum * bank["rows"][indices] + (1 - momentum) * v, dim=1)
return loss.detach().item()
"""], [
        ("temperature fixed", 0, "/ temperature", "/ 0.1"),
        ("momentum fixed", 0, "indices, v, momentum", "indices, v, 0.5"),
        ("momentum forgotten", 0, "indices, v, momentum)", "indices, v)"),
        ("momentum turned", 0, "indices, v, momentum", "indices, v, 1 - momentum"),
        ("Z of exact rows", 0, "s.exp().mean()", "(v @ bank['rows'].T / temperature).exp().mean()"),
        ("Z of the mean score", 0, "s.exp().mean()", "s.mean().exp()"),
        ("Z not logged", 0, "len(bank[\"rows\"])).log().item()", "len(bank[\"rows\"])).item()"),
        ("Z is n", 0, "(s.exp().mean() * len(bank[\"rows\"])).log().item()", "math.log(len(bank['rows']))"),
        ("n is the batch", 0, "parts = nce(s, bank[\"log_z\"], len(bank[\"rows\"]))",
         "parts = nce(s, bank[\"log_z\"], len(v))"),
        ("n is K", 0, "parts = nce(s, bank[\"log_z\"], len(bank[\"rows\"]))",
         "parts = nce(s, bank[\"log_z\"], drawn.shape[1])"),
        ("only the data", 0, "parts[\"loss\"].backward()", "parts[\"data\"].backward()"),
        ("the noise returned", 0, "return float(parts[\"loss\"])", "return float(parts[\"noise\"])"),
        ("the drawn rows move", 0, "bank[\"rows\"], indices, v, momentum", "bank[\"rows\"], drawn[:, 0], v, momentum"),
        ("own row from the batch", 0, "mine = bank[\"rows\"][indices]", "mine = v.detach()"),
        ("rows in the order of the batch", 0, "mine = bank[\"rows\"][indices]", "mine = bank[\"rows\"][:len(v)]"),
        ("same negatives for all", 0, "other = bank[\"rows\"][drawn]",
         "other = bank[\"rows\"][drawn[:1].expand_as(drawn)]"),
        ("two steps", 0, "optimizer.step()\n", "optimizer.step()\noptimizer.step()\n"),
        ("the bank keeps the graph", 2, "v.detach(), momentum", "v, momentum"),
        ("Z not detached", 2, "    with torch.no_grad():\n        bank", "    if True:\n        bank"),
        ("Z of the drawn rows", 2, "torch.exp(scores).mean()", "torch.exp(scores[:, 1:]).mean()"),
        ("a sum for the mean", 2, "torch.exp(scores).mean()", "torch.exp(scores).sum()"),
        ("times the temperature", 2, "/ temperature", "* temperature"),
        ("own row last", 2, "[indices.unsqueeze(1), drawn]", "[drawn, indices.unsqueeze(1)]"),
        ("zero_grad before step", 3, "loss.backward()\n", "loss.backward()\noptimizer.zero_grad()\n"),
        ("evaluation mode", 3, "z = network(view)", "z = network.eval()(view)"),
        ("the bank stands still", 2, 'bank["rows"] = move_rows(bank["rows"], indices, v.detach(), momentum)\n', ""),
        ("log Z not kept", 3, 'bank["log_z"] = float', "log_z = float", 'nce(scores, bank["log_z"],',
         "nce(scores, log_z,"),
        ("moved rows not scaled", 3, 'F.normalize(momentum * bank["rows"][indices] + (1 - momentum) * v, dim=1)',
         'momentum * bank["rows"][indices] + (1 - momentum) * v'),
        ("rows replaced", 3, 'F.normalize(momentum * bank["rows"][indices] + (1 - momentum) * v, dim=1)', "v"),
        ("embeddings without gradient", 3, "z = network(view)", "z = network(view).detach().requires_grad_()"),
        ("the mean as log Z", 2, "math.log(n) + torch.log", "torch.log"),
        ("the loss over K", 3, "return loss.detach().item()", "return loss.detach().item() / drawn.shape[1]"),
        ("length over the batch", 3, "z.norm(dim=1, keepdim=True)", "z.norm(dim=0, keepdim=True)"),
    ]),
    "26.pirl_terms": Tries([
        """
def term(z, others):
    near = (z * rows[indices]).sum(-1) / temperature
    far = torch.einsum("bd,bkd->bk", z, rows[others]) / temperature
    return (torch.logsumexp(torch.cat([near[:, None], far], 1), 1) - near).mean()
a, b = term(g, drawn[0]), term(v, drawn[1])
return dict(loss=lam * a + (1 - lam) * b, pieces=a, image=b)
""", """
out = {}
for name, z, others in (("pieces", g, drawn[0]), ("image", v, drawn[1])):
    s = z @ rows.T / temperature
    s = s.gather(1, torch.cat([indices[:, None], others], 1))
    out[name] = -s.log_softmax(1)[:, 0].mean()
out["loss"] = torch.lerp(out["image"], out["pieces"], lam)
return out
""", """
def compare(z, others):
    columns = torch.cat([indices.unsqueeze(1), others], dim=1)
    logits = torch.bmm(rows.detach()[columns], z.unsqueeze(2)).squeeze(2) / temperature
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
pieces, image = compare(g, drawn[0]), compare(v, drawn[1])
return {"loss": pieces * lam + image * (1 - lam), "pieces": pieces, "image": image}
""", """
B = len(g)
a = b = 0
for i in range(B):
    m = rows[indices[i]]
    sg, sv = torch.exp(g[i] @ m / temperature), torch.exp(v[i] @ m / temperature)
    ng = torch.exp(rows[drawn[0][i]] @ g[i] / temperature).sum()
    nv = torch.exp(rows[drawn[1][i]] @ v[i] / temperature).sum()
    a = a - torch.log(sg / (sg + ng)) / B
    b = b - torch.log(sv / (sv + nv)) / B
return {"pieces": a, "image": b, "loss": lam * a + (1 - lam) * b}
""", """
z, others = torch.cat([g, v]), torch.cat(drawn)
columns = torch.cat([indices.repeat(2)[:, None], others], 1)
s = (z[:, None] * rows[columns]).sum(-1) / temperature
a, b = (s.logsumexp(1) - s[:, 0]).chunk(2)
a, b = a.mean(), b.mean()
return {"loss": b + lam * (a - b), "pieces": a, "image": b}
"""], [
        ("temperature fixed", 0, "/ temperature", "/ 0.1"),
        ("lam fixed", 0, "lam * a + (1 - lam) * b", "0.5 * a + 0.5 * b"),
        ("only the pieces", 0, "lam * a + (1 - lam) * b", "a"),
        ("only the image", 0, "lam * a + (1 - lam) * b", "b"),
        ("a product", 0, "lam * a + (1 - lam) * b", "a ** lam * b ** (1 - lam)"),
        ("own row of another image", 0, "rows[indices]", "rows[indices.roll(1)]"),
        ("sum over the batch", 0, ".mean()", ".sum()"),
        ("g twice", 0, "term(v, drawn[1])", "term(g, drawn[1])"),
        ("v twice", 0, "term(g, drawn[0])", "term(v, drawn[0])"),
        ("all rows", 0, "far = torch.einsum(\"bd,bkd->bk\", z, rows[others])", "far = (z @ rows.T)"),
        ("the batch's rows", 0, "rows[indices]", "rows[:len(z)]"),
        ("near outside the temperature", 0, "(z * rows[indices]).sum(-1) / temperature", "(z * rows[indices]).sum(-1)"),
        ("a sign", 0, "1) - near)", "1) + near)"),
        ("the gradient of the pieces cut", 0, "a, b = term(g, drawn[0])", "a, b = term(g.detach(), drawn[0])"),
        ("the gradient of the picture cut", 0, "term(v, drawn[1])", "term(v.detach(), drawn[1])"),
        ("mean of the two embeddings", 0, "term(g, drawn[0])", "term(F.normalize(g + v), drawn[0])"),
        ("distances", 0, "(z * rows[indices]).sum(-1)", "-(z - rows[indices]).norm(dim=-1)"),
        ("all rows of the bank", """
a = F.cross_entropy(g @ rows.T / temperature, indices)
b = F.cross_entropy(v @ rows.T / temperature, indices)
return {"loss": lam * a + (1 - lam) * b, "pieces": a, "image": b}
"""),
        ("own row last, target 0", 2, "[indices.unsqueeze(1), others]", "[others, indices.unsqueeze(1)]"),
        ("length 1 once more", 2, "z.unsqueeze(2)", "F.normalize(z, dim=1).unsqueeze(2)"),
        ("lam minus 1", 3, "(1 - lam)", "(lam - 1)"),
        ("binary cross-entropy", 2, "F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))",
         "F.binary_cross_entropy_with_logits(logits, (torch.arange(len(logits[0])) < 1).to(logits).expand_as(logits))"),
        ("no logarithm", 3, "torch.log(sg / (sg + ng))", "(sg / (sg + ng))", "torch.log(sv / (sv + nv))",
         "(sv / (sv + nv))"),
        ("draws of the other half", 4, "torch.cat(drawn)", "torch.cat([drawn[1], drawn[0]])"),
        ("times the temperature", 4, "/ temperature", "* temperature"),
        ("the mean of the negatives", 3, ".sum()", ".mean()"),
        ("no division for the pieces", 3, "torch.exp(g[i] @ m / temperature)", "torch.exp(g[i] @ m)"),
        ("the loss is the sum", 4, "b + lam * (a - b)", "a + b"),
        ("names exchanged", 4, '"pieces": a, "image": b', '"pieces": b, "image": a'),
        ("numbers", 4, '"pieces": a, "image": b', '"pieces": a.item(), "image": b.item()'),
        ("the loss detached", 4, "b + lam * (a - b)", "(b + lam * (a - b)).detach()"),
        ("one draw for all images", 4, "torch.cat(drawn)", "torch.cat(drawn)[:1].expand(2 * len(g), -1)"),
        ("rows that begin at 1", 4, "indices.repeat(2)[:, None]", "(indices.repeat(2)[:, None] - 1)"),
    ]),
}
