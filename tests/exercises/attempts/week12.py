"""Attempts at lesson 12."""

from . import Tries

ATTEMPTS = {
    "12.random_masking": Tries([
        """
shuffled = torch.sort(noise, dim=1, stable=True)[1]
keep = shuffled[:, :kept]
restore = torch.zeros_like(shuffled)
restore.scatter_(1, shuffled, torch.arange(noise.shape[1]).expand_as(shuffled).contiguous())
visible = torch.zeros_like(noise)
visible.scatter_(1, keep, 1)
return keep, restore, visible.bool()
"""], [
        ("sorted along the batch", 0, "torch.sort(noise, dim=1, stable=True)[1]",
         "torch.sort(noise, dim=1, stable=True)[1].flip(0)"),
        ("the values of the noise", 0, "return keep,", "return noise.gather(1, keep),"),
        ("the rest is kept", 0, "keep = shuffled[:, :kept]", "keep = shuffled[:, kept:]"),
        ("one more is kept", 0, "shuffled[:, :kept]", "shuffled[:, :kept + 1]"),
        ("restore as ranks of the kept only", 0, "return keep, restore", "return keep, restore[:, :kept]"),
        ("the mask of floats", 0, "visible.bool()", "visible"),
        ("the order of results", 0, "return keep, restore, visible.bool()", "return keep, visible.bool(), restore"),
        ("largest first among the kept", 0, "return keep,", "return keep.flip(1),"),
        ("restore moved by one", 0, "return keep, restore,", "return keep, restore + 1,"),
        ("visible of the first row for all", 0, "visible.bool()", "visible.bool()[:1].expand(len(noise), -1)"),
        ("fresh noise", 0, "torch.sort(noise,", "torch.sort(torch.rand_like(noise),"),
    ]),
    "12.unshuffle": Tries([
        """
B, kept, D = tokens.shape
L = restore.shape[1]
out = torch.zeros(B, L, D)
full = torch.cat([tokens, mask_token.repeat(B, L - kept, 1)], dim=1)
for b in range(B):
    out[b] = full[b][restore[b]]
return out
"""], [
        ("scattered", 0, "out[b] = full[b][restore[b]]", "out[b, restore[b]] = full[b]"),
        ("restore of the neighbour", 0, "restore[b]]", "restore[b - 1]]"),
        ("the mean token as mask token", 0, "mask_token.repeat(B, L - kept, 1)",
         "tokens.mean(1, keepdim=True).expand(B, L - kept, D)"),
        ("mask token added everywhere", 0, "return out", "return out + mask_token"),
        ("mask token twice as large", 0, "mask_token.repeat", "(2 * mask_token).repeat"),
        ("only the kept", 0, "return out", "return out[:, :kept]"),
        ("tokens in reverse order", 0, "[tokens,", "[tokens.flip(1),"),
        ("first kept always", 0, "[tokens,", "[tokens[:, :1].expand(-1, kept, -1),"),
        ("places sorted", 0, "restore[b]]", "restore[b].sort().values]"),
        ("token repeated where hidden", 0, "mask_token.repeat(B, L - kept, 1)",
         "tokens[:, -1:].repeat(1, L - kept, 1)"),
    ]),
    "12.sincos_positions": Tries([
        """
freq = torch.exp(-math.log(10000.0) * torch.arange(dim // 4) / (dim // 4))
axis = torch.arange(grid, dtype=torch.float32)
col, row = axis.repeat(grid), axis.repeat_interleave(grid)
parts = [torch.sin(torch.outer(col, freq)), torch.cos(torch.outer(col, freq)),
         torch.sin(torch.outer(row, freq)), torch.cos(torch.outer(row, freq))]
out = torch.cat(parts, dim=1)
if class_token:
    out = F.pad(out, (0, 0, 1, 0))
return out
"""], [
        ("1000 in place of 10000", 0, "10000.0", "1000.0"),
        ("cosines first", 0, "torch.sin(torch.outer(col", "torch.cos_(torch.outer(col",
         "torch.cos(torch.outer(col", "torch.sin(torch.outer(col",
         "cos_(", "cos("),
        ("ones for the class token", 0, "F.pad(out, (0, 0, 1, 0))", "F.pad(out, (0, 0, 1, 0), value=1.0)"),
        ("always a class token", 0, "if class_token:\n    out", "out"),
        ("never a class token", 0, "if class_token:", "if False:"),
        ("frequencies in reverse order", 0, "/ (dim // 4))", "/ (dim // 4)).flip(0)"),
        ("positions as shares of the grid", 0, "dtype=torch.float32)", "dtype=torch.float32) / grid"),
        ("exponent k / (dim/4 - 1)", 0, "/ (dim // 4))", "/ max(dim // 4 - 1, 1))"),
        ("angles times pi", 0, "freq = torch.exp", "freq = math.pi * torch.exp"),
        ("float64", 0, "return out", "return out.double()"),
        ("positions centred", 0, "dtype=torch.float32)", "dtype=torch.float32) - (grid - 1) / 2"),
    ]),
    "12.mae_loss": Tries([
        """
B, L, n = prediction.shape
g = int(L ** 0.5)
p = images.shape[-1] // g
x = einops.rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=p, q=p)
if normalized:
    x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-6)
err = F.mse_loss(prediction, x, reduction="none").mean(-1)
hidden = torch.logical_not(visible.reshape(B, L))
return err[hidden].mean()
"""], [
        ("sum over a patch", 0, 'reduction="none").mean(-1)', 'reduction="none").sum(-1)'),
        ("absolute error", 0, "F.mse_loss", "F.l1_loss"),
        ("never normalised", 0, "if normalized:", "if False:"),
        ("always normalised", 0, "if normalized:", "if True:"),
        ("the prediction normalised as well", 0, "    x = (x",
         "    prediction = normalize_patches(prediction)[0]\n    x = (x"),
        ("whole image normalised", 0, "x.mean(-1, keepdim=True)", "x.mean((1, 2), keepdim=True)",
         "x.var(-1, keepdim=True)", "x.var((1, 2), keepdim=True)"),
        ("sum over hidden", 0, "err[hidden].mean()", "err[hidden].sum()"),
        ("root", 0, "err[hidden].mean()", "err[hidden].mean().sqrt()"),
        ("divided by the visible ones", 0, "err[hidden].mean()", "err[hidden].sum() / (~hidden).sum()"),
        ("mean only taken off", 0, " / torch.sqrt(x.var(-1, keepdim=True) + 1e-6)", ""),
        ("smooth l1", 0, "F.mse_loss", "F.smooth_l1_loss"),
        ("columns before rows", 0, "(p q c)", "(q p c)"),
        ("target without gradient, prediction detached", 0, "F.mse_loss(prediction,",
         "F.mse_loss(prediction.detach(),"),
    ]),
}
