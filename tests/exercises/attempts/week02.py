"""Attempts at lesson 02."""

from . import Tries

ATTEMPTS = {
    "02.mask_from_noise": Tries([
        """
B, L = noise.shape
keep = max(1, round(L * (1 - mask_ratio)))
places = noise.topk(keep, dim=1, largest=False).indices
mask = torch.zeros(B, L, dtype=torch.bool)
mask.scatter_(1, places, True)
return mask
""", """
keep = max(1, round(noise.shape[1] * (1 - mask_ratio)))
rows = []
for row in noise:
    shown = torch.full((len(row),), False)
    shown[row.sort().indices[:keep]] = True
    rows.append(shown)
return torch.stack(rows)
""", """
keep = max(1, round(noise.shape[1] * (1 - mask_ratio)))
rank = noise.argsort(dim=-1).argsort(dim=-1)
return rank < keep
""", """
keep = round(max(1.0, noise.shape[-1] * (1 - mask_ratio)))
mask = torch.zeros_like(noise)
mask[torch.arange(len(noise)).unsqueeze(1), noise.argsort(1)[:, :keep]] = 1
return mask.bool()
""", """
B, L = noise.shape
keep = max(1, round(L * (1 - mask_ratio)))
return (noise[:, :, None] > noise[:, None, :]).sum(-1) < keep
""", """
L = noise.size(1)
keep = max(round(L - L * mask_ratio), 1)
order = torch.sort(noise, dim=1).indices
hidden = torch.ones(noise.shape, dtype=torch.bool)
hidden.scatter_(1, order[:, :keep], False)
return hidden.logical_not()
""", """
keep = max(1, round(noise.shape[1] * (1 - mask_ratio)))
return noise <= noise.sort(1).values[:, keep - 1:keep]
"""], [
        ("one patch too many", 0, "keep = max(1, round(L * (1 - mask_ratio)))",
         "keep = max(1, round(L * (1 - mask_ratio))) + 1"),
        ("always rounded up", 0, "round(L * (1 - mask_ratio))", "math.ceil(L * (1 - mask_ratio))"),
        ("round half up", 0, "round(L * (1 - mask_ratio))", "int(L * (1 - mask_ratio) + 0.5)"),
        ("none may stay", 0, "max(1, round(L * (1 - mask_ratio)))", "round(L * (1 - mask_ratio))"),
        ("along the batch", 0, "dim=1, largest", "dim=0, largest", "scatter_(1,", "scatter_(0,",
         "keep = max(1, round(L", "keep = max(1, round(B"),
        ("the first row's places for all", 0, "mask.scatter_(1, places, True)", "mask[:, places[0]] = True"),
        ("columns of all rows", 0, "mask.scatter_(1, places, True)", "mask[:, places] = True"),
        ("floats", 0, "return mask", "return mask.float()"),
        ("the places", 0, "return mask", "return places"),
        ("below the k-th", "keep = max(1, round(noise.shape[1] * (1 - mask_ratio)))\n"
                           "return noise < noise.kthvalue(keep, dim=1, keepdim=True).values"),
        ("one threshold for the batch", "keep = max(1, round(noise.numel() * (1 - mask_ratio)))\n"
                                        "return noise <= noise.flatten().kthvalue(keep).values"),
        ("a quantile", "return noise <= noise.quantile(1 - mask_ratio, dim=1, keepdim=True)"),
        ("the first patches", 1, "shown[row.sort().indices[:keep]]", "shown[:keep]"),
        ("fresh noise", 1, "for row in noise:", "for row in torch.rand_like(noise):"),
        ("the ratio is fixed", 0, "mask_ratio)", "0.6)"),
        ("at least two stay", 0, "max(1,", "max(2,"),
        ("one too few", 0, "keep = max(1, round(L * (1 - mask_ratio)))",
         "keep = max(1, round(L * (1 - mask_ratio)) - 1)"),
        ("the hidden ones rounded", 0, "round(L * (1 - mask_ratio))", "L - round(L * mask_ratio)"),
        ("counted by images", 0, "round(L *", "round(B *"),
        ("noise of what stays", 0, "return mask", "return noise * mask"),
        ("with an axis too many", 0, "return mask", "return mask.unsqueeze(-1)"),
        ("upside down", 0, "return mask", "return mask.flip(1)"),
        ("the smallest of each column", "keep = max(1, round(noise.shape[0] * (1 - mask_ratio)))\n"
                                        "return noise.argsort(0).argsort(0) < keep"),
        ("the middle ones", 1, "row.sort().indices[:keep]", "row.sort().indices[1:keep + 1]"),
    ]),
    "02.sparse_conv": Tries([
        """
k = weight.shape[-1]
y = F.conv2d(x, weight, bias, padding=k // 2)
y = y.masked_fill(~enlarge(visible, y.shape[-1]), 0.0)
return y[:, :, ::stride, ::stride]
""", """
k = weight.shape[-1]
columns = F.unfold(x, k, padding=k // 2, stride=stride)
y = weight.flatten(1) @ columns
size = math.ceil(x.shape[-1] / stride)
y = y.view(len(x), weight.shape[0], size, size)
if bias is not None:
    y = y + bias[:, None, None]
return y * enlarge(visible, size)
""", """
pad = weight.shape[2] // 2
y = F.conv2d(F.pad(x, (pad, pad, pad, pad)), weight, bias, stride)
mask = visible.repeat_interleave(y.shape[2] // visible.shape[2], 2)
mask = mask.repeat_interleave(y.shape[3] // visible.shape[3], 3)
return y * mask
""", """
y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
if bias is not None:
    y = y + bias.reshape(1, -1, 1, 1)
return torch.where(enlarge(visible, y.shape[-1]), y, 0)
""", """
size = x.shape[-1] // stride
mask = einops.repeat(visible, "b 1 h w -> b 1 (h p) (w q)", p=size // visible.shape[2], q=size // visible.shape[3])
out = torch.conv2d(x, weight, bias, stride, weight.shape[-1] // 2)
out = out.clone()
out[~mask.expand_as(out)] = 0
return out
""", """
k = weight.shape[-1]
n, d = x.shape[-1], len(weight)
wide = F.pad(x, (k // 2,) * 4)
y = sum(torch.einsum("bchw,dc->bdhw", wide[:, :, i:i + n, j:j + n], weight[:, :, i, j])
        for i in range(k) for j in range(k))[:, :, ::stride, ::stride]
y = y if bias is None else y + bias.view(d, 1, 1)
return y * enlarge(visible, y.shape[-1])
""", """
rows = [F.conv2d(image[None], weight, bias, stride=stride, padding=weight.shape[-1] // 2) for image in x]
y = torch.cat(rows)
return y * F.interpolate(visible.to(y.dtype), size=y.shape[-2:], mode="nearest")
"""], [
        ("not padded", 0, "padding=k // 2", "padding=0"),
        ("padded by one", 0, "padding=k // 2", "padding=1"),
        ("stride left out", 0, "y[:, :, ::stride, ::stride]", "y"),
        ("the other phase", 0, "y[:, :, ::stride, ::stride]", "y[:, :, stride - 1::stride, stride - 1::stride]"),
        ("not a number where hidden", 0, "0.0)", "float('nan'))"),
        ("ones where hidden", 0, "0.0)", "1.0)"),
        ("no bias", 0, "weight, bias,", "weight, None,"),
        ("the kernel turned", 0, "F.conv2d(x, weight,", "F.conv2d(x, weight.flip(2, 3),"),
        ("columns and rows swapped in the mask", 0, "enlarge(visible, y.shape[-1])",
         "enlarge(visible, y.shape[-1]).mT"),
        ("the first image's mask", 0, "enlarge(visible,", "enlarge(visible[:1],"),
        ("the last image's mask", 1, "enlarge(visible, size)", "enlarge(visible.roll(1, 0), size)"),
        ("circular padding", 0, "F.conv2d(x, weight, bias, padding=k // 2)",
         "F.conv2d(F.pad(x, (k // 2,) * 4, mode='circular'), weight, bias)"),
        ("a mask that has grown", 0, "y = y.masked_fill(~enlarge(visible, y.shape[-1]), 0.0)",
         "near = F.max_pool2d(enlarge(visible, y.shape[-1]).float(), k, 1, k // 2)\ny = y * near.to(y.dtype)"),
        ("only windows that are all visible", 0, "y = y.masked_fill(~enlarge(visible, y.shape[-1]), 0.0)",
         "near = -F.max_pool2d(-enlarge(visible, y.shape[-1]).float(), k, 1, k // 2)\ny = y * near.to(y.dtype)"),
        ("a mask read off the input", 0, "~enlarge(visible, y.shape[-1])", "~(x != 0).any(1, keepdim=True)"),
        ("a relu behind it", 1, "return y *", "return y.relu() *"),
        ("the bias twice", 1, "bias[:, None, None]", "2 * bias[:, None, None]"),
        ("the mean of the window", 1, "@ columns", "@ columns / k**2"),
        ("averaged down", 0, "y[:, :, ::stride, ::stride]", "F.avg_pool2d(y, stride)"),
        ("the largest of each stride", 0, "y[:, :, ::stride, ::stride]", "F.max_pool2d(y, stride)"),
        ("the kernel transposed", 0, "F.conv2d(x, weight,", "F.conv2d(x, weight.mT,"),
        ("reflected padding", 0, "F.conv2d(x, weight, bias, padding=k // 2)",
         "F.conv2d(F.pad(x, (k // 2,) * 4, mode='replicate'), weight, bias)"),
        ("a mask a pixel to the right", 0, "enlarge(visible, y.shape[-1])",
         "enlarge(visible, y.shape[-1]).roll(1, -1)"),
        ("dilated", 0, "padding=k // 2", "padding=k - 1, dilation=2"),
        ("only the first channel masked", 0, "y = y.masked_fill(~enlarge(visible, y.shape[-1]), 0.0)",
         "mask = enlarge(visible, y.shape[-1])\ny = torch.cat([y[:, :1] * mask, y[:, 1:]], 1)"),
        ("the kernel without gradient", 0, "F.conv2d(x, weight,", "F.conv2d(x, weight.detach(),"),
        ("padded afterwards", 0, "F.conv2d(x, weight, bias, padding=k // 2)",
         "F.pad(F.conv2d(x, weight, bias), (k // 2,) * 4)"),
        ("hidden by one visible flag of the batch", 0, "enlarge(visible,", "enlarge(visible.any(0, keepdim=True),"),
    ]),
    "02.masked_batch_norm": Tries([
        """
n = visible.sum()
m = visible.to(x.dtype)
mean = torch.einsum("bchw,bihw->c", x, m) / n
square = torch.einsum("bchw,bihw->c", x * x, m) / n
var = square - mean ** 2
y = (x - mean[:, None, None]) * torch.rsqrt(var + eps)[:, None, None]
y = y * weight[:, None, None] + bias[:, None, None]
return torch.where(visible, y, torch.zeros_like(y))
""", """
rows = x.permute(0, 2, 3, 1)[visible.squeeze(1)]
mean, var = rows.mean(0), rows.var(0, unbiased=False)
y = (x.movedim(1, -1) - mean) / (var + eps) ** 0.5 * weight + bias
return y.movedim(-1, 1) * visible
""", """
mask = visible.float().to(x.dtype)
total = mask.sum()
mu = (x * mask).sum(dim=(0, 2, 3)) / total
mu = mu.reshape(1, -1, 1, 1)
sigma2 = (mask * (x - mu) ** 2).sum(dim=(0, 2, 3), keepdim=True) / total
return mask * (weight[None, :, None, None] * (x - mu) / torch.sqrt(sigma2 + eps) + bias[None, :, None, None])
""", """
B, C, H, W = x.shape
flat = x.transpose(0, 1).reshape(C, -1)
m = visible.transpose(0, 1).reshape(-1)
out = F.batch_norm(flat[:, m].T, None, None, weight, bias, training=True, eps=eps)
y = torch.zeros_like(flat)
y[:, m] = out.T
return y.reshape(C, B, H, W).transpose(0, 1)
""", """
result = torch.zeros_like(x)
for c in range(x.shape[1]):
    values = x[:, c][visible[:, 0]]
    scaled = (values - values.mean()) / torch.sqrt(values.var(correction=0) + eps)
    result[:, c][visible[:, 0]] = scaled * weight[c] + bias[c]
return result
""", """
share = visible.to(x.dtype).mean()
mean = (x * visible).mean((0, 2, 3), keepdim=True) / share
var = ((x - mean).pow(2) * visible).mean((0, 2, 3), keepdim=True) / share
gain = weight.view(1, -1, 1, 1) * (var + eps).rsqrt()
return ((x - mean) * gain + bias.view(1, -1, 1, 1)).masked_fill(~visible, 0)
""", """
hidden = ~visible
nan = x.masked_fill(hidden, float("nan"))
mean = nan.nanmean((0, 2, 3), keepdim=True)
d = torch.where(visible, x - mean, 0)
var = d.square().sum((0, 2, 3), keepdim=True) / visible.sum()
return torch.where(visible, d / (var + eps) ** 0.5 * weight[:, None, None] + bias[:, None, None], 0.0)
"""], [
        ("counted once a channel", 0, "n = visible.sum()", "n = visible.expand_as(x).sum()"),
        ("counted by images", 0, "n = visible.sum()", "n = len(x)"),
        ("no weight", 0, "y * weight[:, None, None] + bias", "y + bias"),
        ("no bias", 0, " + bias[:, None, None]", ""),
        ("weight and bias swapped", 1, "* weight + bias", "* bias + weight"),
        ("no eps", 1, "(var + eps)", "var"),
        ("a fixed eps", 1, "(var + eps)", "(var + 1e-5)"),
        ("statistics without gradient", 1, "/ (var + eps)", "/ (var.detach() + eps)", "- mean)", "- mean.detach())"),
        ("mean without gradient", 1, "- mean)", "- mean.detach())"),
        ("not centred", 1, "x.movedim(1, -1) - mean", "x.movedim(1, -1)"),
        ("the second moment for the variance", 0, "var = square - mean ** 2", "var = square"),
        ("a median", 1, "rows.mean(0)", "rows.median(0).values"),
        ("the bias everywhere", 0, "return torch.where(visible, y, torch.zeros_like(y))",
         "return torch.where(visible, y, bias[:, None, None])"),
        ("x where hidden", 0, "torch.zeros_like(y))", "x)"),
        ("each channel's own mask", 0, "m = visible.to(x.dtype)", "m = (x[:, :1] != 0).to(x.dtype)"),
        ("hidden ones only", 1, "[visible.squeeze(1)]", "[~visible.squeeze(1)]"),
        ("by position", "m = visible.to(x.dtype)\nn = m.sum(0, keepdim=True).clamp(min=1)\n"
                        "mean = (x * m).sum(0, keepdim=True) / n\n"
                        "var = ((x - mean) ** 2 * m).sum(0, keepdim=True) / n\n"
                        "w, b = weight[:, None, None], bias[:, None, None]\n"
                        "return ((x - mean) / (var + eps).sqrt() * w + b) * m"),
        ("mean of the images' means", "m = visible.to(x.dtype)\nn = m.sum((2, 3), keepdim=True).clamp(min=1)\n"
                                      "mean = ((x * m).sum((2, 3), keepdim=True) / n).mean(0, keepdim=True)\n"
                                      "var = (((x - mean) ** 2 * m).sum((2, 3), keepdim=True) / n).mean(0, "
                                      "keepdim=True)\nw, b = weight[:, None, None], bias[:, None, None]\n"
                                      "return ((x - mean) / (var + eps).sqrt() * w + b) * m"),
        ("the weight before the centring", 1, "(x.movedim(1, -1) - mean) / (var + eps) ** 0.5 * weight",
         "(x.movedim(1, -1) * weight - mean) / (var + eps) ** 0.5"),
        ("one added to the weight", 1, "* weight", "* (1 + weight)"),
        ("eps as a share of the variance", 1, "(var + eps)", "(var * (1 + eps))"),
        ("the first image's statistics", 1, "[visible.squeeze(1)]", "[:1][visible[:1].squeeze(1)]"),
        ("by rows of the map", "m = visible.to(x.dtype)\nn = m.sum((0, 3), keepdim=True).clamp(min=1)\n"
                               "mean = (x * m).sum((0, 3), keepdim=True) / n\n"
                               "var = ((x - mean) ** 2 * m).sum((0, 3), keepdim=True) / n\n"
                               "w, b = weight[:, None, None], bias[:, None, None]\n"
                               "return ((x - mean) / (var + eps).sqrt() * w + b) * m"),
        ("the mean absolute deviation", 1, "rows.var(0, unbiased=False)", "(rows - rows.mean(0)).abs().mean(0) ** 2"),
        ("the mean of all, the variance of the visible", 1, "rows.mean(0)", "x.mean((0, 2, 3))"),
        ("the bias inside the gain", 1, "* weight + bias", "* (weight + bias)"),
        ("layer norm over the channels", 1, "rows.mean(0), rows.var(0, unbiased=False)",
         "x.mean(1)[..., None], x.var(1, unbiased=False)[..., None]"),
        ("the last channel's statistics for all", 1, "rows.mean(0), rows.var(0, unbiased=False)",
         "rows[:, -1].mean(), rows[:, -1].var(unbiased=False)"),
    ]),
    "02.spark_loss": Tries([
        """
p = images.shape[-1] // visible.shape[-1]
pred, target = patchify(prediction, p), patchify(images, p)
if normalized:
    target, _, _ = normalize_patches(target)
w = 1.0 - visible.reshape(len(visible), -1).to(pred.dtype)
each = F.mse_loss(pred, target, reduction="none").mean(2)
return torch.einsum("bl,bl->", each, w) / (w.sum() + 1e-8)
""", """
p = images.shape[-1] // visible.shape[-1]
pred, target = patchify(prediction, p), patchify(images, p)
if normalized:
    target = (target - target.mean(-1, keepdim=True)) / torch.sqrt(target.var(-1, keepdim=True) + 1e-6)
hidden = ~visible.flatten(1)
if not hidden.any():
    return (prediction * 0).sum()
return (pred - target)[hidden].square().mean()
""", """
side = images.size(-1) // visible.size(-1)
with torch.no_grad():
    goal = patchify(images, side)
    if normalized:
        goal = normalize_patches(goal)[0]
loss = ((patchify(prediction, side) - goal) ** 2).mean(dim=-1)
mask = visible.flatten(1).logical_not().to(loss.dtype)
return (loss * mask).sum() / mask.sum().clamp(min=1)
""", """
p = images.shape[-1] // visible.shape[-1]
guess, target = patchify(prediction, p), patchify(images, p)
if normalized:
    target = normalize_patches(target)[0]
hidden = ~visible.reshape(visible.shape[0], -1)
n = target.shape[-1]
total = (hidden[..., None] * (guess - target).square()).sum()
return total / n / (hidden.sum() + 1e-8)
""", """
p = images.shape[-1] // visible.shape[-1]
target = patchify(images.detach(), p)
target = normalize_patches(target)[0] if normalized else target
each = torch.linalg.vector_norm(patchify(prediction, p) - target, dim=-1) ** 2 / target.shape[-1]
hidden = (~visible).flatten(1)
return torch.where(hidden, each, 0).sum() / max(int(hidden.sum()), 1)
""", """
p = images.shape[-1] // visible.shape[-1]
total, count = 0 * prediction.sum(), 0
for picture, drawn, shown in zip(images, prediction, visible.flatten(1)):
    target, guess = patchify(picture[None], p)[0], patchify(drawn[None], p)[0]
    if normalized:
        target = normalize_patches(target[None])[0][0]
    for l in range(len(shown)):
        if not shown[l]:
            total, count = total + F.mse_loss(guess[l], target[l]), count + 1
return total / max(count, 1)
""", """
p = images.shape[-1] // visible.shape[-1]
goal = patchify(images, p)
if normalized:
    mean, var = goal.mean(dim=-1, keepdim=True), goal.var(dim=-1, keepdim=True)
    goal = (goal - mean) / (var + 1e-6) ** .5
weight = 1 - visible.flatten(1).to(goal.dtype)
weight = weight / (weight.sum() + 1e-8)
return (weight * (patchify(prediction, p) - goal).pow(2).mean(-1)).sum()
"""], [
        ("always normalised", 0, "if normalized:", "if True:"),
        ("never normalised", 0, "if normalized:", "if False:"),
        ("the prediction, too", 0, "target, _, _ = normalize_patches(target)",
         "target, pred = normalize_patches(target)[0], normalize_patches(pred)[0]"),
        ("the prediction instead", 0, "target, _, _ = normalize_patches(target)",
         "pred, _, _ = normalize_patches(pred)"),
        ("sum over a patch", 0, ".mean(2)", ".sum(2)"),
        ("absolute", 0, "F.mse_loss", "F.l1_loss"),
        ("smooth", 0, "F.mse_loss", "F.smooth_l1_loss"),
        ("root", 0, "/ (w.sum() + 1e-8)", "/ (w.sum() + 1e-8) ** 0.5"),
        ("not divided", 0, " / (w.sum() + 1e-8)", ""),
        ("divided by the visible", 0, "/ (w.sum() + 1e-8)", "/ ((1 - w).sum() + 1e-8)"),
        ("divided by images", 0, "/ (w.sum() + 1e-8)", "/ len(w)"),
        ("centred only", 1, " / torch.sqrt(target.var(-1, keepdim=True) + 1e-6)", ""),
        ("the whole image normalised", 1, "target.mean(-1, keepdim=True)", "target.mean((1, 2), keepdim=True)",
         "target.var(-1, keepdim=True)", "target.var((1, 2), keepdim=True)"),
        ("the prediction without gradient", 0, "F.mse_loss(pred,", "F.mse_loss(pred.detach(),"),
        ("the grid for the patch", 0, "p = images.shape[-1] // visible.shape[-1]", "p = visible.shape[-1]"),
        ("the neighbour's mask", 0, "visible.reshape(", "visible.roll(1, 0).reshape("),
        ("the mask turned", 0, "visible.reshape(", "visible.mT.reshape("),
        ("the other way round", 0, "if normalized:", "if not normalized:"),
        ("a norm for each patch", 0, "return torch", "each = each.sqrt()\nreturn torch"),
        ("the values counted as well", 0, "/ (w.sum() + 1e-8)", "/ (w.sum() * pred.shape[-1] + 1e-8)"),
        ("the worst pixel of a patch", 0, ".mean(2)", ".amax(2)"),
        ("the visible subtracted", 0, "w = 1.0 - visible", "w = 1.0 - 2.0 * visible"),
        ("the first image only", 0, '"bl,bl->", each, w) / (w.sum()', '"bl,bl->", each[:1], w[:1]) / (w[:1].sum()'),
        ("the prediction's mean and deviation", 1, "target.mean(-1", "pred.mean(-1", "target.var(-1", "pred.var(-1"),
        ("half of it", 0, "return torch", "return 0.5 * torch"),
        ("plus one in the denominator", 0, "1e-8", "1.0"),
        ("divided by the standard deviation only", 1, "(target - target.mean(-1, keepdim=True))", "target"),
        ("normalised over the patches of an image", 1, "target.mean(-1, keepdim=True)", "target.mean(1, keepdim=True)",
         "target.var(-1, keepdim=True)", "target.var(1, keepdim=True)"),
    ]),
    "02.spark_step": Tries([
        """
mask = visible[:, None]
optimizer.zero_grad()
with sparse(encoder, mask):
    maps = encoder.stages(images * enlarge(mask, images.shape[-1]))
filled = []
for i, x in enumerate(maps[::-1]):
    big = enlarge(mask, x.shape[-1])
    x = x * big + mask_tokens[i] * ~big
    filled.append(projections[i](x))
loss = spark_loss(decoder(filled), images, visible)
loss.backward()
optimizer.step()
return float(loss)
""", """
seen = visible[:, None]
masked = images * enlarge(seen, images.shape[2])
with sparse(encoder, seen):
    maps = list(encoder.stages(masked))
    maps.reverse()
    dense = []
    for token, project, x in zip(mask_tokens, projections, maps):
        here = enlarge(seen, x.shape[-1])
        dense.append(project(x.masked_fill(~here, 0) + token * ~here))
    loss = spark_loss(decoder(dense), images, visible, normalized=True)
optimizer.zero_grad(set_to_none=True)
loss.backward()
optimizer.step()
return loss.detach().item()
""", """
optimizer.zero_grad()
seen = visible.unsqueeze(1)
given = images.clone()
given[~enlarge(seen, images.shape[-1]).expand_as(images)] = 0
with sparse(encoder, seen):
    largest_first = encoder.stages(given)
smallest_first = largest_first[::-1]
dense = [None] * len(smallest_first)
for s in range(len(dense)):
    x, a = smallest_first[s], enlarge(seen, smallest_first[s].shape[-1]).to(images.dtype)
    dense[s] = projections[s](a * x + (1 - a) * mask_tokens[s])
loss = spark_loss(decoder(dense), images, visible)
loss.backward()
optimizer.step()
return float(loss.detach())
""", """
seen = visible.unsqueeze(1)
with sparse(encoder, seen):
    maps = encoder.stages(torch.where(enlarge(seen, images.shape[-1]), images, torch.zeros_like(images)))
n = len(maps)
dense = [projections[n - 1 - i](torch.where(enlarge(seen, maps[i].shape[-1]), maps[i], mask_tokens[n - 1 - i]))
         for i in reversed(range(n))]
drawn = decoder(dense)
optimizer.zero_grad()
loss = spark_loss(drawn, images, visible)
loss.backward()
optimizer.step()
return loss.item()
""", """
B, f = len(images), visible.shape[-1]
mask = visible.view(B, 1, f, f)
with sparse(encoder, mask):
    x = images * enlarge(mask, images.shape[-1]).to(images.dtype)
    maps = encoder.stages(x)
filled = []
for project, token, m in zip(projections, mask_tokens, maps[::-1]):
    hidden = ~enlarge(mask, m.shape[-1])
    filled += [project(torch.where(hidden, token.expand_as(m), m))]
value = spark_loss(decoder(filled), images, visible)
for group in optimizer.param_groups:
    for p in group["params"]:
        p.grad = None
value.backward()
optimizer.step()
return value.item()
"""], [
        ("no update", 0, "optimizer.step()", "pass"),
        ("no gradient", 0, "loss.backward()", "pass"),
        ("uphill", 0, "loss.backward()", "(-loss).backward()"),
        ("two updates", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("two gradients", 0, "loss.backward()", "loss.backward(retain_graph=True); loss.backward()"),
        ("the embeddings stand still", 0, "mask_tokens[i] * ~big", "mask_tokens[i].detach() * ~big"),
        ("twice the embedding", 0, "mask_tokens[i] * ~big", "2 * mask_tokens[i] * ~big"),
        ("the encoder stands still", 0, "for i, x in enumerate(maps[::-1]):",
         "for i, x in enumerate(m.detach() for m in maps[::-1]):"),
        ("the smallest map stands still", 0, "    x = x * big", "    x = (x.detach() if i == 0 else x) * big"),
        ("the image with its mask inverted", 0, "images * enlarge(mask, images.shape[-1])",
         "images * ~enlarge(mask, images.shape[-1])"),
        ("the loss of the masked image", 0, "spark_loss(decoder(filled), images, visible)",
         "spark_loss(decoder(filled) * enlarge(mask, images.shape[-1]), images, visible)"),
        ("emptied again behind the projection", 0, "filled.append(projections[i](x))",
         "filled.append(projections[i](x) * big)"),
        ("maps from the largest", 0, "maps[::-1]", "maps"),
        ("half of the images", 0, "spark_loss(decoder(filled), images, visible)",
         "spark_loss(decoder(filled)[:2], images[:2], visible[:2])"),
        ("the encoder sees the whole image, as an ordinary network", 0,
         "encoder.stages(images * enlarge(mask, images.shape[-1]))", "encoder.stages(images)",
         "with sparse(encoder, mask):", "if True:"),
        ("the mask of another image", 0, "mask = visible[:, None]", "mask = visible.roll(1, 0)[:, None]"),
        ("the loss after the step", 0, "return float(loss)",
         "with torch.no_grad(), sparse(encoder, mask):\n"
         "    maps = encoder.stages(images * enlarge(mask, images.shape[-1]))\n"
         "filled = [p(torch.where(enlarge(mask, x.shape[-1]), x, t)) for t, p, x in "
         "zip(mask_tokens, projections, maps[::-1])]\n"
         "return float(spark_loss(decoder(filled), images, visible))"),
        ("gradients cleared before the step", 0, "optimizer.step()", "optimizer.zero_grad(); optimizer.step()"),
        ("the loss over the batch size", 0, "return float(loss)", "return float(loss) / len(images)"),
        ("the decoder alone learns", 0, "loss = spark_loss(decoder(filled),",
         "loss = spark_loss(decoder([m.detach() for m in filled]),"),
        ("the mean of the images' losses", 0, "spark_loss(decoder(filled), images, visible)",
         "torch.stack([spark_loss(*(x[None] for x in row)) for row in zip(decoder(filled), images, visible)]).mean()"),
        ("only the largest map", 0, "loss = spark_loss(decoder(filled),",
         "filled = [f if n == len(filled) - 1 else f * 0 for n, f in enumerate(filled)]\n"
         "loss = spark_loss(decoder(filled),"),
        ("the mask upside down", 0, "mask = visible[:, None]", "mask = visible.flip(1)[:, None]"),
        ("the first image's mask", 0, "mask = visible[:, None]",
         "mask = visible[:1, None].expand(len(visible), -1, -1, -1)"),
        ("the mean of the visible in place of the embedding", 0, "mask_tokens[i] * ~big",
         "(x * big).mean((2, 3), keepdim=True) * ~big"),
        ("the gradient times the batch size", 0, "loss.backward()", "(loss * len(images)).backward()"),
    ]),
}
