"""Attempts at lesson 27."""

from . import Tries

ATTEMPTS = {
    "27.carry": Tries([
        """
x1, y1, x2, y2 = [first[:, k, None] for k in range(4)]
u1, v1, u2, v2 = [second[:, k, None] for k in range(4)]
x = x1 + points[..., 0] * (x2 - x1)
y = y1 + points[..., 1] * (y2 - y1)
there = torch.stack([(x - u1) / (u2 - u1), (y - v1) / (v2 - v1)], dim=-1)
shown = (there.min(-1).values >= 0) & (there.max(-1).values <= 1)
return there, shown
"""], [
        ("no lower edge", 0, "(there.min(-1).values >= 0) & (there.max(-1).values <= 1)",
         "there.max(-1).values <= 1"),
        ("no upper edge", 0, "(there.min(-1).values >= 0) & (there.max(-1).values <= 1)",
         "there.min(-1).values >= 0"),
        ("clamped into the view", 0, "return there, shown", "return there.clamp(0, 1), shown"),
        ("outside is zero", 0, "return there, shown", "return there * shown[..., None], shown"),
        ("a positive width", 0, "(u2 - u1)", "(u2 - u1).abs()"),
        ("x1, x2, y1, y2", 0, "x1, y1, x2, y2 =", "x1, x2, y1, y2 =", "u1, v1, u2, v2 =", "u1, u2, v1, v2 ="),
        ("corner 2 is a size", 0, "points[..., 0] * (x2 - x1)", "points[..., 0] * x2"),
        ("counted from corner 2", 0, "(x - u1)", "(x - u2)"),
        ("y with the width", 0, "points[..., 1] * (y2 - y1)", "points[..., 1] * (x2 - x1)"),
        ("the same point for all", 0, "points[..., 0]", "points[:, :1, 0]"),
        ("mirrored twice", 0, "x = x1 + points[..., 0] * (x2 - x1)",
         "x = x1 + torch.where(x1 > x2, 1 - points[..., 0], points[..., 0]) * (x2 - x1)"),
        ("from -1 to 1", 0, "return there, shown", "return 2 * there - 1, shown"),
        ("hidden ones", 0, "return there, shown", "return there, ~shown"),
        ("places in the image", 0, "return there, shown", "return torch.stack([x, y], -1), shown"),
        ("numbers for the mask", 0, "return there, shown", "return there, 1.0 - shown.double()"),
    ]),
    "27.positives": Tries([
        """
L = p.shape[1]
side = round(L ** 0.5)
wide1, wide2 = (first[:, 2:] - first[:, :2]) / side, (second[:, 2:] - second[:, :2]) / side
unit = torch.stack([wide1.pow(2).sum(1).sqrt(), wide2.pow(2).sum(1).sqrt()]).max(0).values
gap = (p.unsqueeze(2) - q.unsqueeze(1)).norm(dim=-1)
return gap / unit[:, None, None] < threshold
"""], [
        ("the mean of the diagonals", 0, ".max(0).values", ".mean(0)"),
        ("the larger over the batch", 0, ".max(0).values", ".max()"),
        ("their sum", 0, ".max(0).values", ".sum(0)"),
        ("threshold fixed", 0, "< threshold", "< 0.7"),
        ("the other default", 0, "< threshold", "< (0.5 if threshold == 0.7 else threshold)"),
        ("largest difference", 0, ".norm(dim=-1)", ".abs().amax(-1)"),
        ("city blocks", 0, ".norm(dim=-1)", ".abs().sum(-1)"),
        ("x alone", 0, ".norm(dim=-1)", "[..., 0].abs()"),
        ("a square of the unit", 0, "gap / unit", "gap / unit.square()"),
        ("from p to p", 0, "q.unsqueeze(1)", "p.unsqueeze(1)"),
        ("nearest only", 0, "return gap / unit[:, None, None] < threshold",
         "return F.one_hot(gap.argmin(2), L).bool()"),
        ("without the root", 0, "wide1.pow(2).sum(1).sqrt()", "wide1.pow(2).sum(1)", "wide2.pow(2).sum(1).sqrt()",
         "wide2.pow(2).sum(1)"),
        ("the width with its sign", 0, "wide1.pow(2).sum(1).sqrt()", "wide1[:, 0]", "wide2.pow(2).sum(1).sqrt()",
         "wide2[:, 0]"),
        ("the sides added", 0, "wide1.pow(2).sum(1).sqrt()", "wide1.abs().sum(1)", "wide2.pow(2).sum(1).sqrt()",
         "wide2.abs().sum(1)"),
        ("half of the cells", 0, "round(L ** 0.5)", "L // 2"),
    ]),
    "27.propagate": Tries([
        """
b, d, h, w = maps.shape
a = maps.reshape(b, d, h * w)
a = a / a.norm(dim=1, keepdim=True)
v = values.reshape(b, d, h * w)
v = v / v.norm(dim=1, keepdim=True)
like = torch.relu(torch.bmm(a.transpose(1, 2), a)).pow(gamma)
return torch.bmm(v, like).reshape(b, d, h, w)
"""], [
        ("the map added", 0, "return torch.bmm(v, like).reshape(b, d, h, w)",
         "return maps + torch.bmm(v, like).reshape(b, d, h, w)"),
        ("a mean", 0, "torch.bmm(v, like)", "torch.bmm(v, like) / (h * w)"),
        ("length 1", 0, "torch.bmm(v, like)", "F.normalize(torch.bmm(v, like), dim=1)"),
        ("maps added up", 0, "torch.bmm(v, like)", "torch.bmm(a, like) + 0 * v"),
        ("absolute values", 0, "torch.relu(torch.bmm(a.transpose(1, 2), a))",
         "torch.bmm(a.transpose(1, 2), a).abs()"),
        ("sigmoid", 0, "torch.relu(", "torch.sigmoid("),
        ("a temperature", 0, ".pow(gamma)", " / gamma"),
        ("times gamma", 0, ".pow(gamma)", " * gamma"),
        ("gamma fixed", 0, ".pow(gamma)", ".pow(2)"),
        ("gamma to the weights", 0, ".pow(gamma)", ".neg().add(gamma)"),
        ("mirrored places", 0, "reshape(b, d, h, w)", "reshape(b, d, h, w).flip(3)"),
        ("rows for columns", 0, "reshape(b, d, h, w)", "reshape(b, d, w, h).transpose(2, 3)"),
        ("values compared", 0, "torch.bmm(a.transpose(1, 2), a)", "torch.bmm(v.transpose(1, 2), v)"),
        ("maps against values", 0, "torch.bmm(a.transpose(1, 2), a)", "torch.bmm(v.transpose(1, 2), a)"),
        ("values detached", 0, "torch.bmm(v, like)", "torch.bmm(v.detach(), like)"),
        ("channels in place of places", 0, "return torch.bmm(v, like)",
         "return torch.bmm(torch.relu(torch.bmm(a, a.transpose(1, 2))).pow(gamma), v)"),
        ("only the most alike", 0, "torch.bmm(v, like)", "torch.bmm(v, like * (like > 0.5))"),
    ]),
    "27.pixpro_step": Tries([
        """
with torch.no_grad():
    key1, key2 = target(view1), target(view2)
def smooth(view):
    x = online(view)
    g = transform(x)
    a, v = F.normalize(x.flatten(2), dim=1), F.normalize(g.flatten(2), dim=1)
    return torch.bmm(v, torch.relu(torch.bmm(a.transpose(1, 2), a)) ** 2).reshape(x.shape)
y1, y2 = smooth(view1), smooth(view2)
forth = consistency(y1, key2, positive)
back = consistency(y2, key1, positive.transpose(1, 2))
loss = -2 * forth - 2 * back
optimizer.zero_grad()
loss.backward()
optimizer.step()
with torch.no_grad():
    for t, o in zip(target.parameters(), online.parameters()):
        t.mul_(momentum).add_(o, alpha=1 - momentum)
return loss.item()
"""], [
        ("no step", 0, "optimizer.step()\n", ""),
        ("no backward", 0, "loss.backward()\n", ""),
        ("one minus momentum", 0, "t.mul_(momentum).add_(o, alpha=1 - momentum)",
         "t.mul_(1 - momentum).add_(o, alpha=momentum)"),
        ("the online network follows", 0, "t.mul_(momentum).add_(o, alpha=1 - momentum)",
         "o.mul_(momentum).add_(t, alpha=1 - momentum)"),
        ("keys propagated", 0, "key1, key2 = target(view1), target(view2)",
         "key1, key2 = [propagate(k, k) for k in (target(view1), target(view2))]"),
        ("keys transformed", 0, "key1, key2 = target(view1), target(view2)",
         "key1, key2 = transform(target(view1)), transform(target(view2))"),
        ("views exchanged", 0, "y1, y2 = smooth(view1), smooth(view2)", "y1, y2 = smooth(view2), smooth(view1)"),
        ("only backwards", 0, "-2 * forth - 2 * back", "-2 * back"),
        ("half", 0, "-2 * forth - 2 * back", "-(forth + back) / 2"),
        ("one minus the cosine", 0, "-2 * forth - 2 * back", "2 * (1 - forth) + 2 * (1 - back)"),
        ("no pairs asked", 0, "positive)", "torch.ones_like(positive))"),
        ("other pairs", 0, "positive)", "~positive)", "positive.transpose", "(~positive).transpose"),
        ("sharper", 0, "** 2", "** 4"),
        ("similarities detached", 0, "torch.bmm(a.transpose(1, 2), a)", "torch.bmm(a.transpose(1, 2), a).detach()"),
        ("transform detached", 0, "g = transform(x)", "g = transform(x.detach())"),
        ("residual", 0, ".reshape(x.shape)", ".reshape(x.shape) + x"),
        ("target copied", 0, "t.mul_(momentum).add_(o, alpha=1 - momentum)", "t.copy_(o)"),
        ("loss of one image", 0, "positive)", "positive * (torch.arange(len(positive)) == 1)[:, None, None])"),
        ("target in evaluation mode", 0, "key1, key2 = target(view1), target(view2)",
         "target.eval(); key1, key2 = target(view1), target(view2)"),
    ]),
}
