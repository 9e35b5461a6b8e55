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
    ]),
}
