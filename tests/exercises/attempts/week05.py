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
    "05.ages": Tries([
        """
i = torch.arange(length)
return torch.where(i < pointer, pointer - 1 - i, pointer - 1 - i + length)
""", """
return torch.remainder(int(pointer) - torch.arange(1, length + 1), length)
"""], [
        ("one more: the newest has age 1", 0, "pointer - 1 - i, pointer - 1 - i + length",
         "pointer - i, pointer - i + length"),
        ("floats", 1, "torch.arange(1, length + 1)", "torch.arange(1.0, length + 1)"),
        ("as a share of the length", 1, "length + 1), length)", "length + 1), length) / length"),
        ("length behind the pointer left out by one", 0, "i + length)", "i + length - 1)"),
        ("comparison off by one", 0, "i < pointer", "i <= pointer"),
        ("a list", 1, "length + 1), length)", "length + 1), length).tolist()"),
        ("0 behind the pointer", 0, "pointer - 1 - i + length", "torch.zeros_like(i)"),
        ("in steps of batches", 1, "length + 1), length)", "length + 1), length) // 2"),
        ("order of arrival", 1, "return torch", "return length - torch"),
        ("the pointer's row youngest, going up", 1, "int(pointer) - torch.arange(1, length + 1)",
         "torch.arange(length) + int(pointer)"),
    ]),
    "05.logits": Tries([
        """
with torch.no_grad():
    keys = torch.cat([k.unsqueeze(1), negatives.expand(len(q), *negatives.shape)], dim=1)
return (keys @ q.unsqueeze(-1)).squeeze(-1) / temperature
""", """
pos = torch.einsum("nc,nc->n", q, k.detach()).unsqueeze(-1)
neg = torch.einsum("nc,kc->nk", q, negatives.detach())
out = torch.zeros(len(q), 1 + len(negatives))
out[:, :1], out[:, 1:] = pos, neg
return out / temperature
"""], [
        ("temperature 0.07 always", 1, "out / temperature", "out / 0.07"),
        ("negatives minus", 1, "= pos, neg", "= pos, -neg"),
        ("the mean over dimensions", 1, '"nc,nc->n", q, k.detach())', '"nc,nc->n", q, k.detach() / q.shape[1])',
         'q, negatives.detach())', 'q, negatives.detach() / q.shape[1])'),
        ("exponentials", 1, "out / temperature", "(out / temperature).exp()"),
        ("softmax taken", 1, "out / temperature", "(out / temperature).softmax(1)"),
        ("negatives without temperature", 1, "return out / temperature",
         "out[:, :1] = out[:, :1] / temperature\nreturn out"),
        ("negatives in reverse order", 1, "negatives.detach())\n", "negatives.detach().flip(0))\n"),
        ("own key with itself", 1, "q, k.detach())", "q, q.detach())"),
        ("keys of the batch as negatives, too", 1, "negatives.detach())\nout = torch.zeros(len(q), 1 + len(negatives))",
         "torch.cat([negatives, k]).detach())\nout = torch.zeros(len(q), 1 + len(negatives) + len(k))"),
        ("root of the temperature", 1, "out / temperature", "out / temperature ** 0.5"),
    ]),
    "05.shuffle": Tries([
        """
k = F.normalize(encoder(images.index_select(0, order)), dim=1)
out = torch.zeros_like(k)
out.index_copy_(0, order, k)
return out
""", """
k = encoder(images[order])
back = torch.empty_like(order)
back[order] = torch.arange(len(order))
k = k[back]
return k / k.norm(dim=1, keepdim=True)
"""], [
        ("put back in reverse", 1, "k = k[back]", "k = k.flip(0)"),
        ("encoded twice", 1, "encoder(images[order])", "encoder(images[order])[torch.randperm(len(order))]"),
        ("moved by one", 1, "k = k[back]", "k = k[back].roll(1, 0)"),
        ("squared norm", 1, "k / k.norm(dim=1, keepdim=True)", "k / k.square().sum(1, keepdim=True)"),
        ("normalised by the largest entry", 1, "k.norm(dim=1, keepdim=True)", "k.abs().amax(1, keepdim=True)"),
        ("images normalised instead of the keys", 1, "images[order]", "F.normalize(images, dim=1)[order]"),
        ("softmax", 1, "k / k.norm(dim=1, keepdim=True)", "k.softmax(1)"),
        ("the order sorted", 1, "images[order]", "images[order.sort().values]"),
        ("one norm for all", 1, "k.norm(dim=1, keepdim=True)", "k.norm()"),
        ("first half and second half exchanged", 1, "k = k[back]", "k = k.roll(len(k) // 2, 0)"),
    ]),
}
