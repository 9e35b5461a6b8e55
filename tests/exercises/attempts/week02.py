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
        ("nothing hidden is not a number", 1, "if not hidden.any():", "if False:"),
        ("centred only", 1, " / torch.sqrt(target.var(-1, keepdim=True) + 1e-6)", ""),
        ("the whole image normalised", 1, "target.mean(-1, keepdim=True)", "target.mean((1, 2), keepdim=True)",
         "target.var(-1, keepdim=True)", "target.var((1, 2), keepdim=True)"),
        ("the prediction without gradient", 0, "F.mse_loss(pred,", "F.mse_loss(pred.detach(),"),
        ("the grid for the patch", 0, "p = images.shape[-1] // visible.shape[-1]", "p = visible.shape[-1]"),
        ("the neighbour's mask", 0, "visible.reshape(", "visible.roll(1, 0).reshape("),
        ("the mask turned", 0, "visible.reshape(", "visible.mT.reshape("),
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
    ]),
}
