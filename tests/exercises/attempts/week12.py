"""Attempts at lesson 12."""

from . import Tries

ATTEMPTS = {
    "12.attention": Tries([
        """
q = torch.matmul(x, query)
k = torch.matmul(x, key)
v = torch.matmul(x, value)
logits = torch.bmm(q, k.permute(0, 2, 1)) / q.size(-1) ** 0.5
weights = F.softmax(logits, dim=2)
return weights, torch.bmm(weights, v)
"""], [
        ("only the values", 0, "return weights, torch.bmm(weights, v)", "return torch.bmm(weights, v)"),
        ("the results in the other order", 0, "return weights, torch.bmm(weights, v)",
         "return torch.bmm(weights, v), weights"),
        ("logits for weights", 0, "return weights,", "return logits,"),
        ("the tokens themselves are mixed", 0, "torch.bmm(weights, v)", "torch.bmm(weights, x)"),
        ("the residual is added", 0, "torch.bmm(weights, v)", "torch.bmm(weights, v) + v"),
        ("sigmoid in place of softmax", 0, "F.softmax(logits, dim=2)", "torch.sigmoid(logits)"),
        ("softmax of minus", 0, "F.softmax(logits", "F.softmax(-logits"),
        ("weights transposed", 0, "torch.bmm(weights, v)", "torch.bmm(weights.permute(0, 2, 1), v)"),
        ("softmax over the batch", 0, "dim=2", "dim=0"),
        ("a query against queries", 0, "k.permute", "q.permute"),
        ("times the root", 0, "/ q.size(-1) ** 0.5", "* q.size(-1) ** 0.5"),
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
""", """
p = images.shape[-1] // int(prediction.shape[1] ** 0.5)
x = patchify(images, p)
if normalized:
    x = normalize_patches(x)[0]
err = (prediction - x).pow(2).mean(2)
seen = visible if visible.ndim == 2 else einops.rearrange(visible, "b h w -> b (h w)")
return torch.where(seen, torch.zeros_like(err), err).sum() / (~seen).sum()
"""], [
        ("a mask of a grid is refused", 1, 'seen = visible if visible.ndim == 2 else',
         "assert visible.ndim == 2\nseen = visible if visible.ndim == 2 else"),
        ("a mask of a grid is not flattened", 0, "visible.reshape(B, L)", "visible"),
        ("a mask of a grid read column by column", 1, '"b h w -> b (h w)"', '"b h w -> b (w h)"'),
        ("a mask of a grid upside down", 1, '"b h w -> b (h w)")', '"b h w -> b (h w)").flip(1)'),
        ("a mask of a grid: its first row for all", 1, 'einops.rearrange(visible, "b h w -> b (h w)")',
         "visible[:, 0].repeat(1, visible.shape[1])"),
        ("a mask of a grid: the first image's", 1, 'einops.rearrange(visible, "b h w -> b (h w)")',
         "visible[:1].flatten(1).expand_as(err)"),
        ("a mask of a grid the other way round", 1, 'einops.rearrange(visible, "b h w -> b (h w)")',
         "~visible.flatten(1)"),
        ("a mask of a grid scores every patch", 1, 'einops.rearrange(visible, "b h w -> b (h w)")',
         "torch.zeros_like(err).bool()"),
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
    "12.mae_step": Tries([
        """
keep, restore, visible = random_masking(noise, kept)
optimizer.zero_grad()
x = encoder(images, keep)
first, rest = x[:, :1], x[:, 1:]
full = torch.cat((first, unshuffle(rest, mask_token, restore)), dim=1)
pred = decoder(full)
loss = mae_loss(pred, images, visible)
loss.backward()
optimizer.step()
return float(loss)
"""], [
        ("no update", 0, "optimizer.step()", "pass"),
        ("no gradient", 0, "loss.backward()", "pass"),
        ("zeros for mask tokens", 0, "mask_token, restore", "torch.zeros_like(mask_token), restore"),
        ("the mask token stands still", 0, "mask_token, restore", "mask_token.detach(), restore"),
        ("fresh noise", 0, "random_masking(noise", "random_masking(torch.rand_like(noise)"),
        ("uphill", 0, "loss.backward()", "(-loss).backward()"),
        ("the encoder stands still", 0, "x = encoder(images, keep)", "x = encoder(images, keep).detach()"),
        ("no class token in the decoder", 0, "first, unshuffle", "0 * first, unshuffle"),
        ("returns the loss after the step", 0, "return float(loss)",
         "x = encoder(images, keep)\nfull = unshuffle(x[:, 1:], mask_token, restore)\n"
         "return float(mae_loss(decoder(torch.cat((x[:, :1], full), 1)), images, visible))"),
        ("two updates", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
    ]),
}
