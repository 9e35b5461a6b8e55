"""Attempts at lesson 21."""

from . import Tries

ATTEMPTS = {
    "21.crops": Tries([
        """
low, high = scale
area = (low + (high - low) * draws[0]) * height * width
side = torch.sqrt(area).clamp(max=min(height, width))
cx = side / 2 + draws[1] * (width - side)
cy = side / 2 + draws[2] * (height - side)
return torch.stack((cx, cy), dim=1), side
""", """
a, u, v = draws.unbind(0)
share = a * scale[1] + (1 - a) * scale[0]
side = torch.minimum((share * (height * width)) ** 0.5, torch.tensor(float(min(height, width)), dtype=draws.dtype))
left = u * (width - side)
top = v * (height - side)
return torch.cat([(left + side / 2)[:, None], (top + side / 2)[:, None]], 1), side
""", """
centres, sides = [], []
for a, u, v in draws.T:
    area = height * width * (scale[0] + float(a) * (scale[1] - scale[0]))
    s = min(area ** 0.5, height, width)
    centres.append([s / 2 + float(u) * (width - s), s / 2 + float(v) * (height - s)])
    sides.append(s)
return torch.tensor(centres, dtype=draws.dtype), torch.tensor(sides, dtype=draws.dtype)
""", """
low, high = scale
side = ((low + draws[0] * (high - low)) * height * width) ** 0.5
side = torch.where(side > min(height, width), torch.full_like(side, min(height, width)), side)
room = torch.stack([width - side, height - side])
return (side / 2 + draws[1:] * room).T, side
""", """
share = draws[0].mul(scale[1] - scale[0]).add(scale[0])
side = (share.sqrt() * math.sqrt(height * width)).clamp(max=float(height if height < width else width))
x = width / 2 + (draws[1] - 0.5) * (width - side)
y = height / 2 + (draws[2] - 0.5) * (height - side)
return torch.cat([x.view(-1, 1), y.view(-1, 1)], dim=1), side
"""], [
        ("sides first", 0, "return torch.stack((cx, cy), dim=1), side", "return side, torch.stack((cx, cy), dim=1)"),
        ("centres as (2, N)", 0, "dim=1", "dim=0"),
        ("square of the width", 0, "* height * width", "* width * width"),
        ("no root", 0, "torch.sqrt(area)", "area"),
        ("the share to the fourth root", 0, "torch.sqrt(area)", "torch.sqrt(torch.sqrt(area))"),
        ("clamped to the height", 0, "min(height, width)", "height"),
        ("clamped to the width", 0, "min(height, width)", "width"),
        ("half of the side is the limit", 0, "min(height, width)", "min(height, width) / 2"),
        ("no clamp", 0, ".clamp(max=min(height, width))", ""),
        ("from the high end down", 0, "low + (high - low) * draws[0]", "high - (high - low) * draws[0]"),
        ("the mean share", 0, "draws[0]", "0.5 * torch.ones_like(draws[0])"),
        ("one share for all", 0, "draws[0]", "draws[0, :1].expand(draws.shape[1])"),
        ("centre off by a half", 0, "cx = side / 2 +", "cx = side +"),
        ("mirrored across", 0, "draws[1]", "(1 - draws[1])"),
        ("left edges", 1, "(left + side / 2)", "left"),
        ("right edges", 1, "(left + side / 2)", "(left + side)"),
        ("top edges for y", 1, "(top + side / 2)", "top"),
        ("one draw for both", 0, "draws[2]", "draws[1]"),
        ("in shares of the picture", 0, "torch.stack((cx, cy), dim=1)",
         "torch.stack((cx / width, cy / height), dim=1)"),
        ("whole pixels", 0, "return torch.stack((cx, cy), dim=1), side",
         "return torch.stack((cx, cy), dim=1).round(), side.round()"),
        ("share of width and height apart", 0, "torch.sqrt(area)",
         "(low + (high - low) * draws[0]) * (height * width) ** 0.5"),
        ("clamped after the places", 3, "side = torch.where(side > min(height, width), torch.full_like(side, "
         "min(height, width)), side)\n", "", "return (side / 2 + draws[1:] * room).T, side",
         "return (side / 2 + draws[1:] * room).T, side.clamp(max=min(height, width))"),
        ("clamped before the root", 0, "torch.sqrt(area).clamp(max=min(height, width))",
         "torch.sqrt(area.clamp(max=min(height, width)))"),
        ("clamped to the longer side", 0, "min(height, width)", "max(height, width)"),
        ("a share of the height", 0, "torch.sqrt(area)", "height * (low + (high - low) * draws[0]) ** 0.5"),
        ("the share drawn evenly in its logarithm", 0, "(low + (high - low) * draws[0])",
         "(low * (high / low) ** draws[0])"),
        ("a whole side from each edge", 0, "cx = side / 2 + draws[1] * (width - side)",
         "cx = side + draws[1] * (width - 2 * side)"),
        ("the height's room for x", 0, "(width - side)", "(height - side)"),
        ("the area comes back", 0, "dim=1), side", "dim=1), area"),
        ("sides as a column", 0, "dim=1), side", "dim=1), side[:, None]"),
        ("sides sorted", 0, "cy = ", "side = side.sort().values\ncy = "),
        ("from -1 to 1", 4, "(draws[1] - 0.5)", "(2 * draws[1] - 1)"),
        ("centres from the middle of the picture", 4, "width / 2 + ", "", "height / 2 + ", ""),
        ("the share as a whole", 2, "area ** 0.5", "round(area ** 0.5)"),
    ]),
    "21.round": Tries([
        """
d = torch.cdist(z, centres)
near, labels = d.min(dim=1)
order = near.sort(descending=True).indices
new = torch.zeros_like(centres)
used = 0
for k in range(centres.shape[0]):
    mask = labels == k
    if mask.sum() == 0:
        new[k] = z[order[used]]
        used += 1
    else:
        new[k] = z[mask].mean(dim=0)
return labels, new
""", """
d = ((z.unsqueeze(1) - centres.unsqueeze(0)) ** 2).sum(-1)
labels = d.argmin(1)
own = d[torch.arange(len(z)), labels]
new = centres.clone()
empty = [k for k in range(len(centres)) if not (labels == k).any()]
for k in range(len(centres)):
    if k not in empty:
        new[k] = z[labels == k].sum(0) / (labels == k).sum()
for k, i in zip(empty, own.argsort(descending=True)):
    new[k] = z[i]
return labels, new
""", """
labels = torch.cdist(z, centres).argmin(dim=1)
own = (z - centres[labels]).norm(dim=1)
count = torch.bincount(labels, minlength=len(centres))
moved = torch.zeros_like(centres).index_add_(0, labels, z) / count.clamp(min=1)[:, None]
empty = count == 0
moved[empty] = z[own.topk(int(empty.sum())).indices]
return labels, moved
""", """
own, labels = torch.cdist(z, centres).topk(1, dim=1, largest=False)
own, labels = own[:, 0], labels[:, 0]
member = F.one_hot(labels, len(centres)).to(z)
new = torch.einsum('nk,nd->kd', member, z) / member.sum(0)[:, None]
for k in range(len(centres)):
    if not member[:, k].any():
        i = own.argmax()
        new[k], own[i] = z[i], -1
return labels, new
""", """
labels, own = [], []
for point in z:
    d = [(point - c).square().sum().sqrt() for c in centres]
    labels.append(min(range(len(d)), key=lambda k: d[k]))
    own.append(float(min(d)))
queue = sorted(range(len(z)), key=lambda i: own[i], reverse=True)
labels, moved = torch.tensor(labels), []
for k in range(len(centres)):
    if k in labels:
        moved.append(z[labels == k].mean(0))
    else:
        moved.append(z[queue.pop(0)])
return labels, torch.stack(moved)
"""], [
        ("empty ones from the back", 1, "zip(empty, own", "zip(empty[::-1], own"),
        ("always the farthest", 0, "order[used]", "order[0]"),
        ("skips the farthest", 0, "used = 0", "used = 1"),
        ("empty ones untouched", 1, "for k, i in zip(empty, own.argsort(descending=True)):\n    new[k] = z[i]\n", ""),
        ("empty ones at the mean of all", 0, "z[order[used]]", "z.mean(0)"),
        ("empty ones at the first point", 0, "z[order[used]]", "z[used]"),
        ("nan", 0, "mask.sum() == 0", "mask.sum() < 0"),
        ("single points count as empty", 0, "mask.sum() == 0", "mask.sum() <= 1"),
        ("pairs count as empty", 0, "mask.sum() == 0", "mask.sum() <= 2"),
        ("nearest instead of farthest", 0, "descending=True", "descending=False"),
        ("maximum distance", 0, "d.min(dim=1)", "d.max(dim=1)"),
        ("city block", 0, "torch.cdist(z, centres)", "torch.cdist(z, centres, p=1)"),
        ("mean over dimensions", 0, "z[mask].mean(dim=0)", "z[mask].mean(dim=1).mean()"),
        ("half way", 0, "z[mask].mean(dim=0)", "(z[mask].mean(dim=0) + centres[k]) / 2"),
        ("divided by all", 1, "/ (labels == k).sum()", "/ len(z)"),
        ("one more in the count", 1, "/ (labels == k).sum()", "/ ((labels == k).sum() + 1)"),
        ("old centres returned", 0, "return labels, new", "return labels, centres"),
        ("labels renewed", 0, "return labels, new", "return torch.cdist(z, new).argmin(1), new"),
        ("one-hot labels", 0, "return labels, new", "return F.one_hot(labels, len(centres)), new"),
        ("means of directions", 0, "z[mask].mean(dim=0)", "F.normalize(z[mask].mean(dim=0), dim=0)"),
        ("points scaled first", 0, "d = torch.cdist(z, centres)",
         "d = torch.cdist(F.normalize(z, dim=1), F.normalize(centres, dim=1))"),
        ("labels from 1", 0, "return labels, new", "return labels + 1, new"),
        ("centres' nearest points", 0, "near, labels = d.min(dim=1)",
         "near, labels = d.min(dim=1)\nlabels = labels.flip(0)"),
        ("farthest from the moved centre", 2, "moved[empty] = z[own",
         "own = (z - moved[labels]).norm(dim=1)\nmoved[empty] = z[own"),
        ("farthest from all centres together", 0, "near.sort", "d.sum(1).sort"),
        ("farthest from the farthest centre", 0, "near.sort", "d.max(1).values.sort"),
        ("the point leaves its old cluster", 3, "new[k], own[i] = z[i], -1",
         "new[k], own[i] = z[i], -1\n        old = labels[i].item()\n        labels[i] = k\n"
         "        new[old] = z[labels == old].mean(0)"),
        ("the second one is farthest from the first", 3, "new[k], own[i] = z[i], -1",
         "new[k] = z[i]\n        own = torch.minimum(own, (z - z[i]).norm(dim=1))"),
        ("a shift beside the point", 0, "z[order[used]]", "z[order[used]] + 0.01"),
        ("half way to the farthest", 0, "z[order[used]]", "(z[order[used]] + centres[k]) / 2"),
        ("empty ones dropped", 4, "    else:\n        moved.append(z[queue.pop(0)])\n", ""),
        ("the point nearest to the mean", 0, "new[k] = z[mask].mean(dim=0)",
         "new[k] = z[mask][(z[mask] - z[mask].mean(dim=0)).norm(dim=1).argmin()]"),
        ("a running mean", 0, "new[k] = z[mask].mean(dim=0)", "new[k] = 0.9 * centres[k] + 0.1 * z[mask].mean(dim=0)"),
        ("the last points", 0, "z[order[used]]", "z[-1 - used]"),
        ("by cosine", 2, "torch.cdist(z, centres).argmin(dim=1)",
         "(F.normalize(z, dim=1) @ F.normalize(centres, dim=1).T).argmax(dim=1)"),
        ("the old centre counts as a point", 2, "torch.zeros_like(centres).index_add_(0, labels, z) / "
         "count.clamp(min=1)[:, None]", "centres.index_add(0, labels, z) / (count + 1)[:, None]"),
        ("sorted by the squared norm of the points", 0, "near.sort", "z.square().sum(1).sort"),
        ("the largest cluster's farthest point", 0, "z[order[used]]",
         "z[labels == labels.mode().values][near[labels == labels.mode().values].argmax()]"),
    ]),
    "21.step": Tries([
        """
if drawn is not None:
    head.weight.data = drawn.clone()
    head.bias.data = torch.zeros_like(head.bias.data)
logits = head(backbone(views))
loss = F.cross_entropy(logits, labels)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
""", """
if drawn is not None:
    with torch.no_grad():
        head.weight.copy_(drawn)
        nn.init.zeros_(head.bias)
optimizer.zero_grad(set_to_none=False)
h = backbone(views)
log_p = F.log_softmax(head(h), dim=1)
loss = -log_p[torch.arange(len(labels)), labels].mean()
loss.backward()
optimizer.step()
return float(loss.detach())
""", """
with torch.no_grad():
    if drawn is not None:
        head.weight[:] = drawn
        head.bias[:] = 0
optimizer.zero_grad()
out = nn.CrossEntropyLoss()(head(backbone(views)), labels)
out.backward()
optimizer.step()
return out.detach().item()
""", """
if drawn is not None:
    head.load_state_dict({'weight': drawn, 'bias': torch.zeros_like(head.bias)})
scores = head(backbone(views))
loss = (scores.logsumexp(1) - scores.gather(1, labels[:, None])[:, 0]).mean()
backbone.zero_grad()
head.zero_grad()
loss.backward()
optimizer.step()
return float(loss.detach())
""", """
fresh = drawn is not None
if fresh:
    head.weight.data.copy_(drawn)
    head.bias.data.fill_(0)
loss = F.nll_loss(head(backbone(views)).log_softmax(1), labels)
for group in optimizer.param_groups:
    for p in group['params']:
        p.grad = None
loss.backward()
optimizer.step()
return loss.item()
"""], [
        ("only if there is none", 0, "drawn is not None", "drawn is None and False"),
        ("bias kept", 1, "\n        nn.init.zeros_(head.bias)", ""),
        ("bias of ones", 1, "zeros_", "ones_"),
        ("the weight kept", 0, "    head.weight.data = drawn.clone()\n", ""),
        ("half of drawn", 0, "drawn.clone()", "drawn.clone() / 2"),
        ("drawn over 100", 0, "drawn.clone()", "drawn.clone() / 100"),
        ("two updates", 0, "optimizer.step()\n", "optimizer.step()\noptimizer.step()\n"),
        ("cleared after backward", 0, "optimizer.zero_grad()\nloss.backward()",
         "loss.backward()\noptimizer.zero_grad()"),
        ("never cleared", 0, "optimizer.zero_grad()\n", ""),
        ("no update", 0, "optimizer.step()\n", ""),
        ("twice the loss", 0, "F.cross_entropy(logits, labels)", "2 * F.cross_entropy(logits, labels)"),
        ("minus the loss", 0, "F.cross_entropy(logits, labels)", "-F.cross_entropy(logits, labels)"),
        ("smoothed labels", 0, "F.cross_entropy(logits, labels)",
         "F.cross_entropy(logits, labels, label_smoothing=0.1)"),
        ("temperature", 0, "head(backbone(views))", "head(backbone(views)) / 0.5"),
        ("no gradient for the backbone", 1, "h = backbone(views)", "with torch.no_grad():\n    h = backbone(views)"),
        ("evaluation mode", 0, "logits = head", "backbone.eval()\nlogits = head"),
        ("unit features", 0, "head(backbone(views))", "head(F.normalize(backbone(views), dim=1))"),
        ("relu on features", 0, "head(backbone(views))", "head(F.relu(backbone(views)))"),
        ("the last label for all", 0, "logits, labels)", "logits, labels[-1:].expand(len(labels)))"),
        ("labels shifted", 0, "logits, labels)", "logits, labels.roll(1))"),
        ("a tensor", 0, "return loss.item()", "return loss"),
        ("softmax twice", 0, "logits = head(backbone(views))", "logits = head(backbone(views)).softmax(1)"),
        ("the sum", 1, ".mean()", ".sum()"),
        ("a new layer that nobody trains", 0, "    head.weight.data = drawn.clone()\n    head.bias.data = "
         "torch.zeros_like(head.bias.data)",
         "    head = nn.Linear(drawn.shape[1], drawn.shape[0]).to(drawn)\n    head.weight.data = drawn.clone()\n"
         "    head.bias.data = torch.zeros_like(head.bias.data)"),
        ("a new parameter that the optimizer does not know", 0, "    head.weight.data = drawn.clone()",
         "    head.weight = nn.Parameter(drawn.clone())"),
        ("drawn by itself", 0, "drawn.clone()", "0.01 * torch.randn_like(drawn)"),
        ("weights of zero", 0, "drawn.clone()", "torch.zeros_like(drawn)"),
        ("a bias of log K", 0, "torch.zeros_like(head.bias.data)",
         "torch.full_like(head.bias.data, -math.log(len(drawn)))"),
        ("drawn of length 1", 0, "drawn.clone()", "F.normalize(drawn, dim=1)"),
        ("K yes-no questions", 0, "F.cross_entropy(logits, labels)",
         "F.binary_cross_entropy_with_logits(logits, F.one_hot(labels, logits.shape[1]).to(logits))"),
        ("only the head in a new epoch's first step", 0, "logits = head(backbone(views))",
         "z = backbone(views)\nlogits = head(z.detach() if drawn is not None else z)"),
        ("no update in a new epoch's first step", 0, "optimizer.step()", "if drawn is None:\n    optimizer.step()"),
        ("step before backward", 0, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()"),
        ("only the head's gradients cleared", 3, "backbone.zero_grad()\n", ""),
        ("only the backbone's gradients cleared", 3, "head.zero_grad()\n", ""),
        ("if it is none", 0, "drawn is not None", "drawn is None"),
        ("labels weighted by their frequency", 0, "F.cross_entropy(logits, labels)",
         "F.cross_entropy(logits, labels, weight=1 / torch.bincount(labels, minlength=logits.shape[1]).clamp(min=1)"
         ".to(logits))"),
        ("accuracy comes back", 0, "return loss.item()",
         "return (logits.argmax(1) == labels).double().mean().item()"),
        ("the loss after the step", 0, "return loss.item()",
         "return F.cross_entropy(head(backbone(views)), labels).item()"),
    ]),
    "21.same_size": Tries([
        """
b, c, h, w = maps.shape
side = max(1, min(h, round((features / c) ** 0.5)))
return nn.AdaptiveMaxPool2d(side)(maps).reshape(b, -1)
""", """
side = int(math.sqrt(features / maps.size(1)) + 0.5)
side = min(max(side, 1), maps.size(2), maps.size(3))
pooled = F.adaptive_max_pool2d(maps, (side, side))
return pooled.view(len(maps), -1)
""", """
c, h = maps.shape[1:3]
side = min(range(1, h + 1), key=lambda s: abs(s - math.sqrt(features / c)))
return einops.rearrange(F.adaptive_max_pool2d(maps, side), 'b c h w -> b (c h w)')
""", """
h = maps.shape[-1]
s = min(h, max(1, round(math.sqrt(features / len(maps[0])))))
cuts = [(i * h // s, -(-(i + 1) * h // s)) for i in range(s)]
rows = [maps[:, :, a:b, c:d].amax((2, 3)) for a, b in cuts for c, d in cuts]
return torch.stack(rows, 2).flatten(1)
""", """
side = torch.tensor(features / maps.shape[1]).sqrt().round().clamp(1, maps.shape[2]).int().item()
return F.adaptive_max_pool2d(maps, side).flatten(start_dim=1)
"""], [
        ("mean pool", 0, "AdaptiveMaxPool2d", "AdaptiveAvgPool2d"),
        ("floor", 1, " + 0.5", ""),
        ("one more", 1, "+ 0.5", "+ 1.5"),
        ("no lower limit", 0, "max(1, min(h, round((features / c) ** 0.5)))", "min(h, round((features / c) ** 0.5))"),
        ("no upper limit", 0, "min(h, round((features / c) ** 0.5))", "round((features / c) ** 0.5)"),
        ("features as side", 0, "round((features / c) ** 0.5)", "features"),
        ("features over maps", 0, "(features / c) ** 0.5", "features / c"),
        ("batch in the count", 0, "features / c", "features / b"),
        ("global", 0, "side = max(1, min(h, round((features / c) ** 0.5)))", "side = 1"),
        ("half the map", 0, "side = max(1, min(h, round((features / c) ** 0.5)))", "side = max(1, h // 2)"),
        ("not flattened", 0, ".reshape(b, -1)", ""),
        ("flattened over maps", 0, ".reshape(b, -1)", ".reshape(b * c, -1)"),
        ("minimum", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "-nn.AdaptiveMaxPool2d(side)(-maps)"),
        ("absolute", 0, "(maps)", "(maps.abs())"),
        ("after a ReLU", 0, "(maps)", "(maps.relu())"),
        ("corner", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "maps[:, :, :side, :side]"),
        ("every so many", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "F.interpolate(maps, (side, side))"),
        ("rows of unit length", 0, "return nn.AdaptiveMaxPool2d(side)(maps).reshape(b, -1)",
         "return F.normalize(nn.AdaptiveMaxPool2d(side)(maps).reshape(b, -1), dim=1)"),
        ("cut to features", 0, ".reshape(b, -1)", ".reshape(b, -1)[:, :features]"),
        ("max over maps", 0, "(maps).reshape", "(maps).amax(1).reshape"),
        ("windows of a whole size", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "F.max_pool2d(maps, h // side)"),
        ("windows that step by one", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "F.max_pool2d(maps, h - side + 1, 1)"),
        ("the largest of each map", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "maps.flatten(2).topk(side * side).values"),
        ("along the flat map", 0, "nn.AdaptiveMaxPool2d(side)(maps)",
         "F.adaptive_max_pool1d(maps.flatten(2), side * side)"),
        ("root before the division", 0, "(features / c) ** 0.5", "features ** 0.5 / c"),
        ("bilinear", 0, "nn.AdaptiveMaxPool2d(side)(maps)",
         "F.interpolate(maps, (side, side), mode='bilinear', antialias=True)"),
        ("mean of squares", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "F.adaptive_avg_pool2d(maps ** 2, side)"),
        ("down before across", 0, ".reshape(b, -1)", ".transpose(2, 3).reshape(b, -1)"),
        ("padded to features", 0, "return nn.AdaptiveMaxPool2d(side)(maps).reshape(b, -1)",
         "flat = nn.AdaptiveMaxPool2d(side)(maps).reshape(b, -1)\nreturn F.pad(flat, (0, max(0, features - "
         "flat.shape[1])))"),
        ("images last", 0, ".reshape(b, -1)", ".reshape(b, -1).T"),
        ("the places of the maximum", 0, "nn.AdaptiveMaxPool2d(side)(maps)",
         "nn.AdaptiveMaxPool2d(side, return_indices=True)(maps)[1]"),
        ("one side too few", 1, "+ 0.5", "- 0.5"),
        ("at least 2", 1, "max(side, 1)", "max(side, 2)"),
        ("maximum of some maps", 0, "nn.AdaptiveMaxPool2d(side)(maps)", "nn.AdaptiveMaxPool2d(side)(maps[:, ::2])"),
        ("centred first", 0, "(maps)", "(maps - maps.mean((2, 3), keepdim=True))"),
    ]),
}
