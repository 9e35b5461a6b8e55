"""Attempts at lesson 07."""

from . import Tries

ATTEMPTS = {
    "07.negative_cosine": Tries([
        """
if stop:
    z = z.detach()
p = p / p.norm(dim=-1, keepdim=True)
z = z / z.norm(dim=-1, keepdim=True)
return -torch.einsum("nd,nd->", p, z) / p.shape[0]
"""], [
        ("divided by D", 0, "p.shape[0]", "p.shape[1]"),
        ("one plus", 0, "return -", "return 1 - "),
        ("squared cosine", 0, 'return -torch.einsum("nd,nd->", p, z) / p.shape[0]',
         "return -((p * z).sum(1) ** 2).mean()"),
        ("stop the wrong way round", 0, "if stop:", "if not stop:"),
        ("angle", 0, '-torch.einsum("nd,nd->", p, z) / p.shape[0]', "torch.arccos((p * z).sum(1) * 0.999999).mean()"),
        ("z in another order", 0, "z = z / z.norm", "z = z.flip(0) / z.flip(0).norm"),
        ("halved", 0, "/ p.shape[0]", "/ p.shape[0] / 2"),
        ("city-block length", 0, "p.norm(dim=-1", "p.norm(p=1, dim=-1"),
        ("log of the cosine", 0, 'return -torch.einsum("nd,nd->", p, z) / p.shape[0]',
         "return -torch.log(((p * z).sum(1) + 1) / 2).mean()"),
        ("squared length", 0, "p.norm(dim=-1, keepdim=True)", "p.norm(dim=-1, keepdim=True) ** 2"),
        ("centred", 0, "p = p / p", "p = p - p.mean(0)\nz = z - z.mean(0)\np = p / p"),
    ]),
    "07.loss": Tries([
        """
total = 0
for p, z in ((p1, z2), (p2, z1)):
    total = total + 0.5 * negative_cosine(p, z, stop=stop)
return total
"""], [
        ("the difference", "return (negative_cosine(p1, z2, stop) - negative_cosine(p2, z1, stop)) / 2"),
        ("the product", "return negative_cosine(p1, z2, stop) * negative_cosine(p2, z1, stop)"),
        ("all four pairs", "return (negative_cosine(p1, z2, stop) + negative_cosine(p2, z1, stop) + "
                           "negative_cosine(p1, z1, stop) + negative_cosine(p2, z2, stop)) / 4"),
        ("p1 twice", 0, "(p2, z1)", "(p1, z1)"),
        ("the larger", "return torch.maximum(negative_cosine(p1, z2, stop), negative_cosine(p2, z1, stop))"),
        ("means first", "return negative_cosine((p1 + p2) / 2, (z1 + z2) / 2, stop)"),
        ("concatenated along the dimensions",
         "return negative_cosine(torch.cat([p1, p2], 1), torch.cat([z2, z1], 1), stop)"),
        ("plus one", 0, "return total", "return 1 + total"),
        ("positive", 0, "return total", "return -total"),
        ("squared distance", "return ((F.normalize(p1) - F.normalize(z2)).square().sum(1).mean() + "
                             "(F.normalize(p2) - F.normalize(z1)).square().sum(1).mean()) / 2"),
        ("normalised by D", 0, "return total", "return total / p1.shape[1]"),
    ]),
    "07.step": Tries([
        """
z1 = encoder(view1)
z2 = encoder(view2)
loss = simsiam_loss(predictor(z1), predictor(z2), z1, z2)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return float(loss.detach())
"""], [
        ("the negated loss is minimised", 0, "loss = simsiam", "loss = -simsiam"),
        ("views swapped for the second only", 0, "z2 = encoder(view2)", "z2 = encoder(view1)"),
        ("predictor twice", 0, "predictor(z1)", "predictor(predictor(z1))"),
        ("returns minus", 0, "return float(", "return -float("),
        ("targets are predictions of the other", 0, "predictor(z2), z1, z2", "predictor(z2), z2, predictor(z1)"),
        ("the loss after the step", 0, "return float(loss.detach())",
         "z1, z2 = encoder(view1), encoder(view2)\nreturn simsiam_loss(predictor(z1), predictor(z2), z1, z2).item()"),
        ("normalised before the predictor", 0, "predictor(z1)", "predictor(F.normalize(z1, dim=1))"),
        ("the order of the images turned", 0, "z2 = encoder(view2)", "z2 = encoder(view2.flip(0))"),
        ("no backward", 0, "loss.backward()\n", ""),
        ("gradients clipped", 0, "loss.backward()\n",
         "loss.backward()\ntorch.nn.utils.clip_grad_norm_(encoder.parameters(), 0.05)\n"),
        ("a plain dot product", 0, "loss = simsiam_loss(predictor(z1), predictor(z2), z1, z2)",
         "loss = -((predictor(z1) * z2.detach()).sum(1).mean() + (predictor(z2) * z1.detach()).sum(1).mean()) / 2"),
    ]),
    "07.target": Tries([
        """
u = z / z.norm(dim=-1, keepdim=True)
s = u.sum(0)
return s / s.norm(dim=-1, keepdim=True)
"""], [
        ("mean over views and images", 0, "u.sum(0)", "u.sum((0, 1))"),
        ("the last view", 0, "u.sum(0)", "u[-1]"),
        ("sum, not of length 1", 0, "return s / s.norm(dim=-1, keepdim=True)", "return s"),
        ("unit columns at the end", 0, "s.norm(dim=-1, keepdim=True)", "s.norm(dim=0, keepdim=True)"),
        ("one norm at the end", 0, "s.norm(dim=-1, keepdim=True)", "s.norm()"),
        ("weights by length", 0, "u = z / z.norm(dim=-1, keepdim=True)", "u = z * z.norm(dim=-1, keepdim=True)"),
        ("mean without the first view", 0, "u.sum(0)", "u[1:].sum(0)"),
        ("sign", 0, "return s", "return -s"),
        ("kept axis", 0, "u.sum(0)", "u.sum(0, keepdim=True)"),
        ("principal direction", 0, "s = u.sum(0)\n",
         "s = torch.linalg.eigh(torch.einsum('and,ane->nde', u, u))[1][..., -1]\n"),
        ("maximum over the views", 0, "u.sum(0)", "u.amax(0)"),
    ]),
    "07.collapse_meter": Tries([
        """
u = features / features.norm(dim=1, keepdim=True)
var = (u - u.mean(0)).pow(2).mean(0)
return (var.sqrt().sum() / math.sqrt(features.shape[1])).item()
"""], [
        ("times the root of N", 0, "var.sqrt().sum() / math.sqrt(features.shape[1])",
         "var.sqrt().mean() * math.sqrt(features.shape[0])"),
        ("times D", 0, "/ math.sqrt(features.shape[1])", ""),
        ("mean of the variances, then the root", 0, "var.sqrt().sum() / math.sqrt(features.shape[1])",
         "(var.mean() * features.shape[1]).sqrt()"),
        ("normalised columns", 0, "features.norm(dim=1, keepdim=True)", "features.norm(dim=0, keepdim=True)"),
        ("median dimension", 0, "var.sqrt().sum() / math.sqrt(features.shape[1])",
         "var.sqrt().median() * math.sqrt(features.shape[1])"),
        ("largest dimension", 0, "var.sqrt().sum() / math.sqrt(features.shape[1])",
         "var.sqrt().max() * math.sqrt(features.shape[1])"),
        ("not centred", 0, "(u - u.mean(0))", "u"),
        ("one minus", 0, "return (", "return 1 - ("),
        ("centred over the row", 0, "u.mean(0)", "u.mean(1, keepdim=True)"),
        ("mean absolute deviation", 0, "(u - u.mean(0)).pow(2).mean(0)", "(u - u.mean(0)).abs().mean(0).square()"),
        ("the length of the mean vector", 0, "return (var.sqrt().sum() / math.sqrt(features.shape[1])).item()",
         "return u.mean(0).norm().item()"),
    ]),
}
