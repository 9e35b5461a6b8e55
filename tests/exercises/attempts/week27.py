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
""", """
image = torch.lerp(first[:, None, :2], first[:, None, 2:], points)
there = (image - second[:, None, :2]) / (second[:, None, 2:] - second[:, None, :2])
return there, (there.clamp(0, 1) == there).all(dim=-1)
""", """
out, shown = torch.empty_like(points), torch.empty(points.shape[:2], dtype=torch.bool)
places = []
for b in range(len(points)):
    image = first[b, :2] + points[b] * (first[b, 2:] - first[b, :2])
    places.append((image - second[b, :2]) / (second[b, 2:] - second[b, :2]))
    shown[b] = ~((places[-1] < 0) | (places[-1] > 1)).any(1)
return torch.stack(places), shown
""", """
size1, size2 = first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]
scale, shift = size1 / size2, (first[:, :2] - second[:, :2]) / size2
there = points * scale.unsqueeze(1) + shift.unsqueeze(1)
return there, ((there - 0.5).abs() <= 0.5).sum(-1) == 2
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
        ("corner 2 for the size, both views", """
image = first[:, None, :2] + points * first[:, None, 2:]
there = (image - second[:, None, :2]) / second[:, None, 2:]
return there, ((there >= 0) & (there <= 1)).all(-1)
"""),
        ("corner 2 for the size of view 1", 1, "torch.lerp(first[:, None, :2], first[:, None, 2:], points)",
         "first[:, None, :2] + points * first[:, None, 2:]"),
        ("any coordinate", 1, ".all(dim=-1)", ".any(dim=-1)"),
        ("a mask for each coordinate", 1, ".all(dim=-1)", ""),
        ("over the points", 1, ".all(dim=-1)", ".all(dim=1)"),
        ("the first view for all", 1, "first[:, None, :2], first[:, None, 2:]",
         "first[:1, None, :2], first[:1, None, 2:]"),
        ("places of view 1 tested", 1, "(there.clamp(0, 1) == there)", "(points.clamp(0, 1) == points)"),
        ("the places alone", 1, "return there, (there.clamp(0, 1) == there).all(dim=-1)", "return there"),
        ("from the corner 2 backwards", 1, "first[:, None, :2], first[:, None, 2:]",
         "first[:, None, 2:], first[:, None, :2]"),
        ("counted from the middle", 1, "return there,", "return there - 0.5,"),
        ("the ratio upside down", 3, "size1 / size2", "size2 / size1"),
        ("the shift in the image", 3, "(first[:, :2] - second[:, :2]) / size2", "(first[:, :2] - second[:, :2])"),
        ("the shift turned round", 3, "(first[:, :2] - second[:, :2])", "(second[:, :2] - first[:, :2])"),
        ("widths without sign", 3, "size1, size2 = first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]",
         "size1, size2 = (first[:, 2:] - first[:, :2]).abs(), (second[:, 2:] - second[:, :2]).abs()"),
        ("detached", 1, "return there,", "return there.detach(),"),
        ("points written into", 3, "there = points * scale",
         "points *= scale.unsqueeze(1)\nthere = points + 0 * scale"),
        ("rounded to cells", 1, "return there,", "return (there * 8).floor() / 8,"),
    ]),
    "27.positives": Tries([
        """
L = p.shape[1]
side = round(L ** 0.5)
wide1, wide2 = (first[:, 2:] - first[:, :2]) / side, (second[:, 2:] - second[:, :2]) / side
unit = torch.stack([wide1.pow(2).sum(1).sqrt(), wide2.pow(2).sum(1).sqrt()]).max(0).values
gap = (p.unsqueeze(2) - q.unsqueeze(1)).norm(dim=-1)
return gap / unit[:, None, None] < threshold
""", """
side = int(p.shape[1] ** 0.5 + 0.5)
d1 = torch.hypot(first[:, 2] - first[:, 0], first[:, 3] - first[:, 1]) / side
d2 = torch.hypot(second[:, 2] - second[:, 0], second[:, 3] - second[:, 1]) / side
far = ((p[:, :, None] - q[:, None]) ** 2).sum(-1).sqrt()
return far.div(torch.max(d1, d2).view(-1, 1, 1)).lt(threshold)
""", """
L = p.size(1)
A = torch.zeros(len(p), L, L, dtype=torch.bool)
for b in range(len(p)):
    unit = max((first[b, 2:] - first[b, :2]).norm(), (second[b, 2:] - second[b, :2]).norm()) / math.sqrt(L)
    for i in range(L):
        A[b, i] = (q[b] - p[b, i]).norm(dim=-1) < threshold * unit
return A
""", """
size = torch.stack([first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]]).square().sum(-1).amax(0)
gap = (p.unsqueeze(2) - q.unsqueeze(1)).square().sum(-1)
return gap * p.shape[1] < threshold ** 2 * size[:, None, None]
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
        ("side of the batch", 1, "int(p.shape[1] ** 0.5 + 0.5)", "p.shape[0]"),
        ("side of the coordinates", 1, "int(p.shape[1] ** 0.5 + 0.5)", "p.shape[-1]"),
        ("one cell fewer", 1, "int(p.shape[1] ** 0.5 + 0.5)", "int(p.shape[1] ** 0.5 + 0.5) - 1"),
        ("each centre in its own cells", 1, "far.div(torch.max(d1, d2).view(-1, 1, 1))",
         "((p / d1[:, None, None])[:, :, None] - (q / d2[:, None, None])[:, None]).norm(dim=-1)"),
        ("wrong columns", 1, "first[:, 2] - first[:, 0], first[:, 3] - first[:, 1]",
         "first[:, 1] - first[:, 0], first[:, 3] - first[:, 2]",
         "second[:, 2] - second[:, 0], second[:, 3] - second[:, 1]",
         "second[:, 1] - second[:, 0], second[:, 3] - second[:, 2]"),
        ("half the threshold", 1, ".lt(threshold)", ".lt(threshold / 2)"),
        ("numbers for the mask", 1, ".lt(threshold)", ".lt(threshold).float()"),
        ("squared against not squared", 3, "threshold ** 2 * size", "threshold * size"),
        ("L times L", 3, "gap * p.shape[1]", "gap * p.shape[1] ** 2"),
        ("the larger side", 2, "(first[b, 2:] - first[b, :2]).norm(), (second[b, 2:] - second[b, :2]).norm()",
         "(first[b, 2:] - first[b, :2]).abs().max(), (second[b, 2:] - second[b, :2]).abs().max()"),
        ("the second view's cell", 1, "torch.max(d1, d2)", "d2"),
        ("not less", 1, ".lt(threshold)", ".ge(threshold)"),
        ("no cell is its own", 2, "A[b, i] = (q[b] - p[b, i]).norm(dim=-1) < threshold * unit",
         "A[b, i] = (q[b] - p[b, i]).norm(dim=-1) < threshold * unit\n        A[b, i, i] = False"),
        ("the first image's unit", 2, "(first[b, 2:] - first[b, :2]).norm(), (second[b, 2:] - second[b, :2]).norm()",
         "(first[0, 2:] - first[0, :2]).norm(), (second[0, 2:] - second[0, :2]).norm()"),
        ("a threshold to the cell", 1, "far.div(torch.max(d1, d2).view(-1, 1, 1)).lt(threshold)", "far.lt(threshold)"),
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
""", """
B, D, h, w = maps.shape
x = einops.rearrange(F.normalize(maps, dim=1), "b d h w -> b (h w) d")
v = einops.rearrange(F.normalize(values, dim=1), "b d h w -> b (h w) d")
weights = F.relu(torch.einsum("bid,bjd->bij", x, x)) ** gamma
return einops.rearrange(torch.einsum("bij,bjd->bid", weights, v), "b (h w) d -> b d h w", h=h)
""", """
out = []
for m, u in zip(maps, values):
    m, u = m.flatten(1), F.normalize(u.flatten(1), dim=0)
    like = F.cosine_similarity(m[:, :, None], m[:, None, :], dim=0).clamp_min(0).pow(gamma)
    out.append((u @ like).reshape(maps.shape[1:]))
return torch.stack(out)
""", """
x = maps.flatten(2)
length = x.norm(dim=1)
cosine = (x.transpose(1, 2) @ x) / (length[:, :, None] * length[:, None, :])
weights = torch.where(cosine > 0, cosine, torch.zeros_like(cosine)) ** gamma
v = values.flatten(2)
return ((v / v.norm(dim=1, keepdim=True)) @ weights).unflatten(2, maps.shape[2:])
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
        ("power before the clamp", 1, 'F.relu(torch.einsum("bid,bjd->bij", x, x)) ** gamma',
         'F.relu(torch.einsum("bid,bjd->bij", x, x) ** gamma)'),
        ("scaled by the channels", 3, "(length[:, :, None] * length[:, None, :])", "x.shape[1] ** 0.5"),
        ("only one length", 3, "(length[:, :, None] * length[:, None, :])", "length[:, :, None] ** 2"),
        ("the whole map to length 1", 3, "(length[:, :, None] * length[:, None, :])",
         "x.flatten(1).norm(dim=1)[:, None, None] ** 2"),
        ("a maximum", 3, "@ weights)", "@ F.one_hot(weights.argmax(1), weights.shape[1]).to(v))"),
        ("the map gathered", 1, "weights, v)", "weights, x)"),
        ("neighbours along the channels", 2, "F.normalize(u.flatten(1), dim=0)", "F.normalize(u.flatten(1), dim=1)"),
        ("width and height exchanged", 1, 'b (h w) d -> b d h w", h=h', 'b (w h) d -> b d h w", h=h'),
        ("the first image's weights", 1, "weights, v)", "weights[:1].expand_as(weights), v)"),
        ("gamma minus one", 2, ".pow(gamma)", ".pow(gamma - 1)"),
        ("a root of the places", 2, "(u @ like)", "((u @ like) / like.shape[0] ** 0.5)"),
        ("weights detached", 1, "weights, v)", "weights.detach(), v)"),
        ("distances", 3, "weights = torch.where(cosine > 0, cosine, torch.zeros_like(cosine)) ** gamma",
         "weights = (1 - cosine) ** gamma"),
        ("exponentials", 3, "torch.where(cosine > 0, cosine, torch.zeros_like(cosine)) ** gamma",
         "torch.exp(gamma * cosine)"),
        ("in the sequence form", 1,
         'return einops.rearrange(torch.einsum("bij,bjd->bid", weights, v), "b (h w) d -> b d h w", h=h)',
         'return torch.einsum("bij,bjd->bid", weights, v)'),
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
""", """
ys = [propagate(x, transform(x)) for x in (online(view1), online(view2))]
with torch.no_grad():
    keys = [target(view) for view in (view1, view2)]
loss = -2 * consistency(ys[0], keys[1], positive) - 2 * consistency(ys[1], keys[0], positive.mT)
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
ema_update(target, online, momentum)
return float(loss)
""", """
k1, k2 = target(view1).detach(), target(view2).detach()
a, b = online(view1), online(view2)
loss = 2 * (-consistency(propagate(a, transform(a)), k2, positive)
            - consistency(propagate(b, transform(b)), k1, positive.transpose(-1, -2)))
loss.backward()
optimizer.step()
optimizer.zero_grad()
with torch.no_grad():
    for t, o in zip(target.parameters(), online.parameters()):
        t.lerp_(o, 1 - momentum)
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
        ("arguments of propagate exchanged", 1, "propagate(x, transform(x))", "propagate(transform(x), x)"),
        ("propagated without a transform", 1, "propagate(x, transform(x))", "propagate(x, x) + 0 * transform(x).sum()"),
        ("the transform alone", 1, "propagate(x, transform(x))", "transform(x)"),
        ("transformed first", 1, "propagate(x, transform(x))", "propagate(transform(x), transform(x))"),
        ("the pairs turned round in both", 1, "keys[1], positive)", "keys[1], positive.mT)"),
        ("own keys, turned pairs", 1, "consistency(ys[1], keys[0], positive.mT)",
         "consistency(ys[1], keys[1], positive.mT)"),
        ("one minus", 1, "return float(loss)", "return 4 + float(loss)"),
        ("the negative returned", 1, "return float(loss)", "return -float(loss)"),
        ("zero_grad before step", 1, "loss.backward()\n", "loss.backward()\noptimizer.zero_grad()\n"),
        ("one step, target from the start", 1, "ema_update(target, online, momentum)",
         "ema_update(target, online, 1 - momentum)"),
        ("the online follows the target", 1, "ema_update(target, online, momentum)",
         "ema_update(online, target, momentum)"),
        ("y detached", 1, "consistency(ys[0],", "consistency(ys[0].detach(),"),
        ("weights 1", 1, "-2 * consistency(ys[0]", "-consistency(ys[0]", "- 2 * consistency(ys[1]",
         "- consistency(ys[1]"),
        ("views averaged", 1, "target(view) for view in (view1, view2)",
         "target((view1 + view2) / 2) for view in (view1, view2)"),
        ("online in evaluation mode", 1, "ys = [propagate", "online.eval()\nys = [propagate"),
        ("gamma 1", 1, "propagate(x, transform(x))", "propagate(x, transform(x), 1.0)"),
        ("target moved before backward", 1, "optimizer.zero_grad(set_to_none=True)",
         "ema_update(target, online, momentum)\noptimizer.zero_grad(set_to_none=True)",
         "optimizer.step()\nema_update(target, online, momentum)", "optimizer.step()"),
    ]),
}
