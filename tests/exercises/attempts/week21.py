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
    ]),
}
