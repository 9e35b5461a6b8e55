"""Attempts at lesson 13."""

from . import Tries

ATTEMPTS = {
    "13.coarse_mask": Tries([
        """
B, m, _ = noise.shape
k = math.ceil(m * m * mask_ratio)
hidden = noise.reshape(B, -1).topk(k, dim=1, largest=False).indices
mask = torch.ones(B, m * m, dtype=torch.bool)
mask.scatter_(1, hidden, False)
return mask.view(B, m, m).repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
""", """
B, m, n = noise.shape
limit = noise.flatten(1).sort(1).values[:, math.ceil(m * n * mask_ratio) - 1]
mask = noise > limit[:, None, None]
return mask[:, :, None, :, None].expand(B, m, scale, n, scale).reshape(B, m * scale, n * scale)
""", """
m = noise.shape[1]
ranks = noise.flatten(1).argsort(dim=1).argsort(dim=1)
mask = (ranks >= math.ceil(m * m * mask_ratio)).view(noise.shape)
place = torch.arange(m * scale) // scale
return mask[:, place][:, :, place]
"""], [
        ("mask_ratio fixed", 2, "m * m * mask_ratio", "m * m * 0.6"),
        ("scale not used", 2, "torch.arange(m * scale) // scale", "torch.arange(m)"),
        ("rows only enlarged", 2, "[:, :, place]", ""),
        ("ranked over the batch", 2, "noise.flatten(1).argsort(dim=1).argsort(dim=1)",
         "noise.flatten().argsort().argsort().view(len(noise), -1)"),
        ("one mask for all images", 2, "mask[:, place]", "mask[:1].expand_as(mask)[:, place]"),
        ("one too many", 2, "ranks >=", "ranks >"),
        ("the count without the square", 2, "m * m * mask_ratio", "m * mask_ratio"),
        ("cells counted after enlarging", 2, "m * m * mask_ratio", "m * m * scale * scale * mask_ratio"),
        ("ranked along the columns", 2, "noise.flatten(1).argsort(dim=1).argsort(dim=1)",
         "noise.argsort(dim=1).argsort(dim=1).flatten(1)"),
        ("transposed", 2, "view(noise.shape)", "view(noise.shape).mT"),
        ("a float mask", 2, "[:, :, place]", "[:, :, place].float()"),
        ("flat", 2, "[:, :, place]", "[:, :, place].flatten(1)"),
        ("modulo in place of the quotient", 2, "// scale", "% m"),
        ("enlarged along batch and rows", 0, "repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)",
         "repeat_interleave(scale, dim=0).repeat_interleave(scale, dim=1)"),
        ("a quantile that is interpolated", 1, "noise.flatten(1).sort(1).values[:, math.ceil(m * n * mask_ratio) - 1]",
         "noise.flatten(1).quantile(mask_ratio, dim=1)"),
        ("hidden by the mean of the noise", 1, "limit[:, None, None]", "noise.mean((1, 2), keepdim=True)"),
        ("bilinear", 2, "return mask[:, place][:, :, place]",
         "return F.interpolate(mask[:, None].float(), scale_factor=scale, mode='bilinear')[:, 0] > 0.5"),
    ]),
    "13.average_distance": Tries([
        """
big = visible.repeat_interleave(size // visible.shape[1], 1).repeat_interleave(size // visible.shape[2], 2)
found = []
for mask in big:
    seen, hidden = mask.nonzero().float(), (~mask).nonzero().float()
    found.append(torch.cdist(hidden, seen).min(dim=1).values)
return torch.cat(found).mean().item()
""", """
times = size // visible.shape[1]
y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
total, count = 0.0, 0
for mask in visible:
    big = torch.kron(mask.int(), torch.ones(times, times, dtype=torch.int)).bool()
    dy, dx = y[~big][:, None] - y[big][None], x[~big][:, None] - x[big][None]
    total += (dy ** 2 + dx ** 2).double().sqrt().amin(1).sum().item()
    count += int((~big).sum())
return total / count
"""], [
        ("True taken for hidden", 0, "mask.nonzero().float(), (~mask)", "(~mask).nonzero().float(), (mask)"),
        ("the farthest", 0, "min(dim=1)", "max(dim=1)"),
        ("the smallest of all", 0, ".mean().item()", ".min().item()"),
        ("the sum", 0, ".mean().item()", ".sum().item()"),
        ("the median", 0, ".mean().item()", ".median().item()"),
        ("from each visible one", 0, "min(dim=1)", "min(dim=0)"),
        ("divided by the size", 0, ".mean().item()", ".mean().item() / size"),
        ("the root after the mean", 1, ".double().sqrt().amin(1).sum().item()", ".double().amin(1).sum().item()",
         "total / count", "(total / count) ** 0.5"),
        ("the larger of both axes", 1, "(dy ** 2 + dx ** 2).double().sqrt()", "torch.maximum(dy.abs(), dx.abs())"),
        ("rows only", 1, "(dy ** 2 + dx ** 2)", "(dy ** 2)"),
        ("divided by all pixels", 1, "int((~big).sum())", "big.numel()"),
        ("divided by the visible", 1, "int((~big).sum())", "int(big.sum())"),
        ("divided by the images", 1, "int((~big).sum())", "1"),
        ("minus one: neighbours touch", 0, ".mean().item()", ".mean().item() - 1"),
        ("the first image only", 0, "in big:", "in big[:1]:"),
        ("size taken for the grid", 1, "times = size // visible.shape[1]", "times = visible.shape[1]"),
        ("from patch to patch, in patches", 0,
         "visible.repeat_interleave(size // visible.shape[1], 1).repeat_interleave(size // visible.shape[2], 2)",
         "visible"),
    ]),
    "13.simmim_loss": Tries([
        """
p = images.shape[-1] // visible.shape[-1]
hidden = (~visible).to(images.dtype)
hidden = F.interpolate(hidden[:, None], scale_factor=float(p), mode="nearest")
absolute = F.l1_loss(prediction, images, reduction="none")
return (absolute * hidden).sum() / (hidden.sum() + eps) / images.size(1)
""", """
p = images.shape[-1] // visible.shape[-1]
error = (prediction - images).abs().mean(1)
hidden = ~visible.repeat_interleave(p, 1).repeat_interleave(p, 2)
return (error * hidden).sum() / (hidden.sum() + eps)
"""], [
        ("not absolute", 1, "(prediction - images).abs()", "(prediction - images)"),
        ("sum over the colours", 1, ".abs().mean(1)", ".abs().sum(1)"),
        ("the largest colour", 1, ".abs().mean(1)", ".abs().amax(1)"),
        ("root of the squares", 1, ".abs().mean(1)", ".square().mean(1).sqrt()"),
        ("eps fixed", 1, "+ eps)", "+ 1e-5)"),
        ("eps in the numerator", 1, "(error * hidden).sum() / (hidden.sum() + eps)",
         "((error * hidden).sum() + eps) / hidden.sum()"),
        ("divided by the batch", 1, "(hidden.sum() + eps)", "len(images)"),
        ("the sum", 1, " / (hidden.sum() + eps)", ""),
        ("prediction detached", 1, "(prediction - images)", "(prediction.detach() - images)"),
        ("divided by the visible", 1, "(hidden.sum() + eps)", "((~hidden).sum() + eps)"),
        ("mask transposed", 1, "hidden = ~visible", "hidden = ~visible.mT"),
        ("mask of the image before", 1, "hidden = ~visible", "hidden = ~visible.roll(1, 0)"),
        ("enlarged along rows only, the columns tiled", 1, "repeat_interleave(p, 2)", "repeat(1, 1, p)"),
        ("mean over images of sums", 1, "(error * hidden).sum() / (hidden.sum() + eps)",
         "((error * hidden).sum((1, 2)) / (hidden.sum() + eps)).mean()"),
        ("hidden prediction against 0", 1, "prediction - images", "prediction"),
        ("one number for each image", 1, "(error * hidden).sum() / (hidden.sum() + eps)",
         "(error * hidden).sum((1, 2)) / (hidden.sum((1, 2)) + eps)"),
        ("half of the target", 1, "prediction - images", "prediction - images * 0.5"),
    ]),
    "13.simmim_step": Tries([
        """
x = embed(images)
seen = visible.flatten(1).unsqueeze(-1)
x = x.masked_fill(~seen, 0.0) + mask_token * (~seen)
x = x + positions
loss = simmim_loss(head(encoder(x)), images, visible)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return float(loss)
""", """
optimizer.zero_grad(set_to_none=True)
x = embed(images).clone()
x[~visible.flatten(1)] = mask_token.squeeze()
out = head(encoder(positions + x))
loss = simmim_loss(out, images, visible)
loss.backward()
optimizer.step()
return loss.detach().cpu().item()
""", """
seen = visible.flatten(1)[:, :, None]
out = head(encoder(torch.where(seen, embed(images), mask_token) + positions))
times = images.shape[-1] // visible.shape[-1]
pixels = visible.repeat_interleave(times, 1).repeat_interleave(times, 2)[:, None]
loss = simmim_loss(torch.where(pixels, images, out), images, visible)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
"""], [
        ("the embedding detached", 0, "x = embed(images)", "x = embed(images).detach()"),
        ("positions detached", 0, "x + positions", "x + positions.detach()"),
        ("positions twice", 0, "x + positions", "x + 2 * positions"),
        ("positions subtracted", 0, "x + positions", "x - positions"),
        ("the mask transposed", 0, "visible.flatten(1)", "visible.mT.flatten(1)"),
        ("uphill", 0, "loss.backward()", "(-loss).backward()"),
        ("no update", 0, "optimizer.step()", "pass"),
        ("two updates", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("the loss halved", 0, "return float(loss)", "return float(loss) / 2"),
        ("the encoder twice", 0, "head(encoder(x))", "head(encoder(encoder(x)))"),
        ("the loss's gradient through the image's mean", 0, "images, visible)",
         "images - images.mean((2, 3), keepdim=True), visible)"),
        ("squared loss", 0, "loss = simmim_loss(head(encoder(x)), images, visible)",
         "loss = simmim_loss(head(encoder(x)), images, visible) ** 2"),
        ("only the visible tokens go in", 0, "head(encoder(x))",
         "head(encoder(x * seen))"),
        ("the first image's tokens for all", 0, "x = embed(images)",
         "x = embed(images[:1]).expand(len(images), -1, -1)"),
        ("the token scaled", 0, "mask_token * (~seen)", "mask_token * (~seen) / (~seen).sum(1, keepdim=True)"),
        ("no gradient for the head", 0, "head(encoder(x))", "head(encoder(x).detach())"),
        ("the images of the batch before", 0, "images, visible)\noptimizer", "images.roll(1, 0), visible)\noptimizer"),
        ("cleared between backward and step", 0, "optimizer.zero_grad()\nloss.backward()",
         "loss.backward()\noptimizer.zero_grad()"),
    ]),
    "13.pixel_shuffle": Tries([
        """
b, n, h, w = maps.shape
c = n // stride ** 2
x = maps.view(b, c, stride, stride, h, w)
return x.permute(0, 1, 4, 2, 5, 3).reshape(b, c, h * stride, w * stride)
""", """
return einops.rearrange(maps, "b (c p q) h w -> b c (h p) (w q)", p=stride, q=stride)
""", """
return F.pixel_shuffle(maps, stride)
"""], [
        ("columns before rows", 0, "permute(0, 1, 4, 2, 5, 3)", "permute(0, 1, 4, 3, 5, 2)"),
        ("a view alone", """
b, n, h, w = maps.shape
return maps.reshape(b, n // stride ** 2, h * stride, w * stride)
"""),
        ("height and width exchanged", 0, "permute(0, 1, 4, 2, 5, 3).reshape(b, c, h * stride, w * stride)",
         "permute(0, 1, 5, 2, 4, 3).reshape(b, c, w * stride, h * stride)"),
        ("stride, not its square", 0, "n // stride ** 2", "n // stride"),
        ("unshuffle", """
return F.pixel_unshuffle(maps, stride)
"""),
        ("enlarged, not rearranged", """
c = maps.shape[1] // stride ** 2
return maps[:, :c].repeat_interleave(stride, 2).repeat_interleave(stride, 3)
"""),
        ("three colours always", 0, "c = n // stride ** 2", "c = 3"),
        ("stride 2 always", 1, "p=stride, q=stride", "p=2, q=2"),
        ("upside down in each block", 0, "return x.permute", "return x.flip(2).permute"),
        ("left and right in each block", 0, "return x.permute", "return x.flip(3).permute"),
        ("the mean of the block", """
b, n, h, w = maps.shape
x = maps.view(b, n // stride ** 2, stride ** 2, h, w).mean(2)
return x.repeat_interleave(stride, 2).repeat_interleave(stride, 3)
"""),
        ("detached", 0, "maps.view", "maps.detach().view"),
        ("batch and colours mixed", 0, "maps.view(b, c, stride, stride, h, w)",
         "maps.transpose(0, 1).reshape(b, c, stride, stride, h, w)"),
    ]),
}
