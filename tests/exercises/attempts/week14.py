"""Attempts at lesson 14."""

from . import Tries

ATTEMPTS = {
    "14.perplexity": Tries([
        """
p = counts / counts.sum()
p = p[p > 0]
return torch.exp(-(p * torch.log(p)).sum())
""", """
n = counts.sum()
return torch.exp(torch.log(n) - torch.xlogy(counts, counts).sum() / n)
""", """
p = counts / counts.sum()
return torch.special.entr(p).sum().exp()
""", """
p = counts / counts.sum()
return 2 ** (-(torch.xlogy(p, p) / math.log(2)).sum())
""", """
p = counts.double() / counts.sum()
return torch.where(p > 0, p ** -p, torch.ones_like(p)).prod().to(counts.dtype)
"""], [
        ("minus forgotten", 0, "torch.exp(-(", "torch.exp(("),
        ("probabilities by softmax", 0, "p = counts / counts.sum()", "p = counts.softmax(0)"),
        ("laplace smoothing", 0, "counts / counts.sum()", "(counts + 1) / (counts + 1).sum()"),
        ("divided by the largest", 0, "counts / counts.sum()", "counts / counts.max()"),
        ("the root", 0, "torch.exp(-(p * torch.log(p)).sum())", "torch.exp(-(p * torch.log(p)).sum()) ** 0.5"),
        ("base 10", 0, "torch.exp(-(p * torch.log(p)).sum())", "torch.exp(-(p * torch.log10(p)).sum())"),
        ("mean of logs", 0, "(p * torch.log(p)).sum()", "torch.log(p).mean()"),
        ("one over the largest share", 0, "torch.exp(-(p * torch.log(p)).sum())", "1 / p.max()"),
        ("divided by log K", 0, "torch.exp(-(p * torch.log(p)).sum())",
         "-(p * torch.log(p)).sum() / math.log(len(counts))"),
        ("eps inside", 0, "p = p[p > 0]\n", "", "torch.log(p)", "torch.log(p + 1e-3)"),
        ("the mean in place of the sum of counts", 0, "counts / counts.sum()", "counts / counts.mean()"),
        ("p forgotten before the log", 0, "(p * torch.log(p)).sum()", "torch.log(p).sum()"),
        ("log of counts", 0, "torch.log(p)", "torch.log(counts[counts > 0])"),
        ("log1p", 0, "torch.log(p)", "torch.log1p(p)"),
        ("normalised length", 0, "counts / counts.sum()", "counts / counts.norm()"),
        ("entropy over its maximum, exp", 0, "torch.exp(-(p * torch.log(p)).sum())",
         "torch.exp(-(p * torch.log(p)).sum() / math.log(len(p) + 1e-9))"),
        ("Renyi of order 2, exp", 0, "torch.exp(-(p * torch.log(p)).sum())", "torch.exp(-torch.log((p ** 2).sum()))"),
        ("plus one", 0, "torch.exp(-(p * torch.log(p)).sum())", "torch.exp(-(p * torch.log(p)).sum()) + 1"),
        ("one minus the exponential of minus", 0, "torch.exp(-(p * torch.log(p)).sum())",
         "1 - torch.exp((p * torch.log(p)).sum())"),
        ("K minus", 0, "torch.exp(-(p * torch.log(p)).sum())", "len(counts) - torch.exp(-(p * torch.log(p)).sum())"),
        ("binary entropy", 0, "(p * torch.log(p)).sum()",
         "(p * torch.log(p) + (1 - p + 1e-9) * torch.log(1 - p + 1e-9)).sum()"),
        ("exp inside the sum", 0, "torch.exp(-(p * torch.log(p)).sum())", "torch.exp(-(p * torch.log(p))).sum()"),
    ]),
    "14.add_block": Tries([
        """
rows, cols = slice(top, top + height), slice(left, left + width)
count = int(visible[rows, cols].sum().item())
if count == 0 or count > missing:
    return 0
visible[rows, cols] = False
return count
""", """
block = visible[top:top + height, left:left + width]
new = block.sum()
if new < 1 or new > missing:
    return 0
block.fill_(False)
return int(new)
""", """
block = visible[top:][:height, left:][:, :width]
new = int(torch.count_nonzero(block))
if new in range(1, missing + 1):
    block.zero_()
    return new
return 0
"""], [
        ("returns the area", 0, "return count", "return height * width"),
        ("returns True", 0, "return count", "return True"),
        ("sets True", 0, "= False", "= True"),
        ("a copy is changed", 0, "visible[rows, cols] = False",
         "visible = visible.clone()\nvisible[rows, cols] = False"),
        ("the hidden are counted", 0, "visible[rows, cols].sum()", "(~visible[rows, cols]).sum()"),
        ("counted from 1", 0, "slice(top, top + height)", "slice(top + 1, top + height + 1)"),
        ("top and left exchanged", 0, "slice(top, top + height), slice(left, left + width)",
         "slice(left, left + height), slice(top, top + width)"),
        ("what is still missing", 0, "return count", "return missing - count"),
        ("last row left out", 0, "top + height)", "top + height - 1)"),
        ("missing ignored", 0, " or count > missing", ""),
        ("rows and columns swapped in the mask", 0, "visible[rows, cols].sum()", "visible[cols, rows].sum()",
         "visible[rows, cols] = False", "visible[cols, rows] = False"),
        ("height from the left", 0, "left + width)", "left + height)"),
        ("refused returns minus one", 0, "return 0", "return -1"),
        ("refused returns False", 0, "    return 0", "    return None"),
        ("accepted only when all is missing", 0, "count > missing", "count != missing"),
        ("compared with >=", 0, "count > missing", "count >= missing"),
        ("only the border is hidden", 0, "visible[rows, cols] = False",
         "visible[top, cols] = False; visible[rows, left] = False"),
        ("everything else is hidden", 0, "visible[rows, cols] = False",
         "keep = visible[rows, cols].clone(); visible[:] = False; visible[rows, cols] = keep"),
        ("how many are left", 0, "return count", "return int(visible.sum())"),
        ("centred on top and left", 0, "slice(top, top + height), slice(left, left + width)",
         "slice(max(0, top - height // 2), top + height // 2), slice(max(0, left - width // 2), left + width // 2)"),
        ("end included", 0, "left + width)", "left + width + 1)"),
        ("visible in all counted", 0, "visible[rows, cols].sum()", "visible.sum()"),
        ("a mean", 0, "visible[rows, cols].sum().item()", "visible[rows, cols].float().mean().item()"),
    ]),
    "14.relative_index": Tries([
        """
N = (2 * height - 1) * (2 * width - 1)
pos = [(r, c) for r in range(height) for c in range(width)]
T = 1 + len(pos)
out = torch.zeros(T, T, dtype=torch.int64)
for i, (r1, c1) in enumerate(pos):
    for j, (r2, c2) in enumerate(pos):
        out[i + 1, j + 1] = (r1 - r2 + height - 1) * (2 * width - 1) + c1 - c2 + width - 1
out[0, 1:] = N
out[1:, 0] = N + 1
out[0, 0] = N + 2
return out
""", """
y = torch.arange(height).repeat_interleave(width)
x = torch.arange(width).repeat(height)
N = (2 * height - 1) * (2 * width - 1)
rel = (y.view(-1, 1) - y.view(1, -1) + height - 1) * (2 * width - 1) + (x.view(-1, 1) - x.view(1, -1) + width - 1)
out = rel.new_full((len(y) + 1, len(y) + 1), N + 2)
out[1:, 1:] = rel
out[0, 1:] = N
out[1:, 0] = N + 1
return out
""", """
n = torch.arange(height * width)
dy, dx = n[:, None] // width - n // width, n[:, None] % width - n % width
centre = (height - 1) * (2 * width - 1) + width - 1
N = 2 * centre + 1
rel = centre + dy * (2 * width - 1) + dx
top = torch.cat([torch.tensor([N + 2]), torch.full((len(n),), N)])
return torch.cat([top[None], torch.cat([torch.full((len(n), 1), N + 1), rel], 1)])
""", """
N = (2 * height - 1) * (2 * width - 1)
y, x = torch.meshgrid(torch.arange(height, dtype=torch.int32), torch.arange(width, dtype=torch.int32), indexing="ij")
dy, dx = (place.flatten()[:, None] - place.flatten() for place in (y, x))
out = F.pad((dy + height - 1) * (2 * width - 1) + dx + width - 1, (1, 0, 1, 0), value=N)  # int32 indexes a table, too
out[1:, 0], out[0, 0] = N + 1, N + 2
return out
"""], [
        ("no class token", 0, "return out", "return out[1:, 1:]"),
        ("one row for each pair", 0, "(r1 - r2 + height - 1) * (2 * width - 1) + c1 - c2 + width - 1",
         "i * len(pos) + j"),
        ("stride 2 width", 0, "* (2 * width - 1) +", "* (2 * width) +"),
        ("height for width in the shift", 0, "+ width - 1\n", "+ height - 1\n"),
        ("squared offsets", 0, "(r1 - r2 + height - 1)", "(r1 - r2) ** 2"),
        ("class rows at 0", 0, "= N\n", "= 0\n"),
        ("extra rows start one later", 0, "N = (2 * height - 1) * (2 * width - 1)",
         "N = (2 * height - 1) * (2 * width - 1) + 1"),
        ("rows only", 0, " + c1 - c2 + width - 1", ""),
        ("sign of the columns", 0, "c1 - c2", "c2 - c1"),
        ("width and height exchanged throughout", 0, "for r in range(height) for c in range(width)",
         "for r in range(width) for c in range(height)"),
        ("class to class the same as class to patch", 0, "out[0, 0] = N + 2", "out[0, 0] = N"),
        ("sign of the rows", 0, "r1 - r2", "r2 - r1"),
        ("shift by the size", 0, "+ height - 1)", "+ height)"),
        ("shift of the columns forgotten", 0, " + width - 1\n", """
"""),
        ("sums, not differences", 0, "r1 - r2 + height - 1", "r1 + r2"),
        ("class row and column exchanged", 0, "out[0, 1:] = N\nout[1:, 0] = N + 1",
         "out[0, 1:] = N + 1\nout[1:, 0] = N"),
        ("corner zero", 0, "out[0, 0] = N + 2\n", ""),
        ("a float table", 0, "dtype=torch.int64", "dtype=torch.float32"),
        ("N without the minus", 0, "N = (2 * height - 1) * (2 * width - 1)", "N = (2 * height) * (2 * width)"),
        ("stride of the columns' count times", 0, "* (2 * width - 1) +", "* (width - 1) +"),
        ("transposed", 0, "return out", "return out.T"),
        ("Manhattan", 0, "(r1 - r2 + height - 1) * (2 * width - 1) + c1 - c2 + width - 1",
         "abs(r1 - r2) + abs(c1 - c2)"),
        ("class token last", 0, "out[i + 1, j + 1]", "out[i, j]",
         "out[0, 1:] = N\nout[1:, 0] = N + 1\nout[0, 0] = N + 2",
         "out[-1, :-1] = N\nout[:-1, -1] = N + 1\nout[-1, -1] = N + 2"),
        ("circular offsets", 0, "(r1 - r2 + height - 1) * (2 * width - 1) + c1 - c2 + width - 1",
         "((r1 - r2) % height) * (2 * width - 1) + (c1 - c2) % width"),
        ("columns by the height", 0, "for r in range(height) for c in range(width)",
         "for c in range(width) for r in range(height)"),
    ]),
    "14.beit_loss": Tries([
        """
logp = torch.log_softmax(logits, dim=-1).flatten(0, 1)
nll = -logp[torch.arange(len(logp)), words.flatten()]
hidden = (~visible).flatten().to(nll.dtype)
return (nll * hidden).sum() / hidden.sum()
""", """
total, n = 0, 0
for z, w, v in zip(logits, words, visible):
    total = total + F.cross_entropy(z[~v], w[~v], reduction="sum")
    n += int((~v).sum())
return total / n
""", """
p = logits.softmax(-1).gather(-1, words.unsqueeze(-1)).squeeze(-1)
return -p.log()[visible.logical_not()].mean()
""", """
loss = F.cross_entropy(logits.transpose(1, 2), words, reduction="none")
return loss.masked_select(~visible).mean()
"""], [
        ("softmax, no log", 0, "torch.log_softmax(logits", "torch.softmax(logits"),
        ("log base 2", 0, "nll = -logp", "nll = -logp / math.log(2) * 1.0"),
        ("words moved by one", 0, "words.flatten()", "(words.flatten() + 1) % logits.shape[-1]"),
        ("the words of the neighbour", 0, "words.flatten()", "words.roll(1, 1).flatten()"),
        ("sum over visible, divided by hidden", 0, "(nll * hidden)", "(nll * (1 - hidden))"),
        ("divided by the number of images", 0, "/ hidden.sum()", "/ len(logits)"),
        ("label smoothing", 0, "return (nll * hidden).sum() / hidden.sum()",
         "return F.cross_entropy(logits[~visible], words[~visible], label_smoothing=0.1)"),
        ("divided by K", 0, "/ hidden.sum()", "/ hidden.sum() / logits.shape[-1]"),
        ("the argmax as target", 0, "words.flatten()", "logits.argmax(-1).flatten()"),
        ("sign", 0, "nll = -logp", "nll = logp"),
        ("accuracy", 0, "return (nll * hidden).sum() / hidden.sum()",
         "return (logits.argmax(-1) == words)[~visible].to(logits.dtype).mean()"),
        ("temperature 0.1", 0, "torch.log_softmax(logits,", "torch.log_softmax(logits / 0.1,"),
        ("the words' order along the images", 0, "words.flatten()", "words.T.flatten()"),
        ("logits detached", 0, "torch.log_softmax(logits,", "torch.log_softmax(logits.detach(),"),
        ("softmax over the images", 0, "dim=-1", "dim=0"),
        ("the median", 0, "(nll * hidden).sum() / hidden.sum()", "nll[hidden.bool()].median()"),
        ("hidden minus visible", 0, "(nll * hidden).sum() / hidden.sum()",
         "(nll * (2 * hidden - 1)).sum() / hidden.sum()"),
        ("divided by the visible", 0, "/ hidden.sum()", "/ (1 - hidden).sum()"),
        ("divided by hidden twice", 0, "/ hidden.sum()", "/ hidden.sum() ** 2"),
        ("one number an image", 0, "(nll * hidden).sum() / hidden.sum()",
         "(nll * hidden).view(words.shape).sum(1) / hidden.view(words.shape).sum(1)"),
        ("the first word is word 1", 0, "words.flatten()", "(words.flatten() - 1)"),
        ("binary cross-entropy", 0, "return (nll * hidden).sum() / hidden.sum()",
         "return F.binary_cross_entropy_with_logits(logits, F.one_hot(words, logits.shape[-1]).to(logits.dtype))"),
        ("perplexity", 0, "return (nll * hidden).sum() / hidden.sum()",
         "return ((nll * hidden).sum() / hidden.sum()).exp()"),
        ("focal", 0, "(nll * hidden)", "(nll * (1 - (-nll).exp()) * hidden)"),
        ("the largest logit not taken off: no logsumexp", 0, "torch.log_softmax(logits, dim=-1)", "logits"),
        ("hidden logits zeroed", 0, "return (nll * hidden).sum() / hidden.sum()",
         "return F.cross_entropy((logits * (~visible)[..., None]).flatten(0, 1), words.flatten())"),
    ]),
    "14.beit_step": Tries([
        """
with torch.no_grad():
    targets = tokenizer(images)
x = embed(images)
keep = visible.unsqueeze(-1).to(x.dtype)
x = x * keep + mask_token * (1 - keep)
out = transformer(x)
loss = beit_loss(out, targets, visible)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return float(loss)
""", """
words = tokenizer(images)
tokens = embed(images).clone()
tokens[~visible] = mask_token[0, 0]
loss = beit_loss(transformer(tokens), words, visible)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
""", """
optimizer.zero_grad()
tokens = embed(images).masked_fill(~visible[:, :, None], 0) + mask_token * (~visible[:, :, None])
loss = beit_loss(transformer(tokens), tokenizer(images).detach(), visible)
loss.backward()
optimizer.step()
return loss.item()
"""], [
        ("no update", 0, "optimizer.step()", "pass"),
        ("no gradient", 0, "loss.backward()", "pass"),
        ("the embedding stands still", 0, "x = embed(images)", "x = embed(images).detach()"),
        ("the mask token for all images' first patch", 0, "keep = visible", "keep = visible[:, :1].expand_as(visible)"),
        ("words of the image before", 0, "tokenizer(images)", "tokenizer(images.roll(1, 0))"),
        ("uphill", 0, "loss.backward()", "(-loss).backward()"),
        ("masked after the transformer", 0, "out = transformer(x)",
         "out = transformer(embed(images)) * keep"),
        ("the transformer twice", 0, "out = transformer(x)", "out = transformer(x) + transformer(x)"),
        ("two updates", 0, "optimizer.step()", "optimizer.step(); optimizer.step()"),
        ("the loss after the step", 0, "return float(loss)",
         "x = embed(images) * keep + mask_token * (1 - keep)\n"
         "return float(beit_loss(transformer(x), targets, visible))"),
        ("a mean over images", 0, "return float(loss)", "return float(loss) / len(images)"),
        ("visible tokens scaled", 0, "x * keep + mask_token * (1 - keep)",
         "x * keep / keep.mean() + mask_token * (1 - keep)"),
        ("all hidden", 1, "tokens[~visible] = mask_token[0, 0]", "tokens[:] = mask_token[0, 0]"),
        ("words of another batch order", 0, "beit_loss(out, targets, visible)",
         "beit_loss(out, targets.flip(0), visible)"),
        ("mask detached", 0, "mask_token * (1 - keep)", "mask_token.detach() * (1 - keep)"),
        ("logits detached", 0, "out = transformer(x)", "out = transformer(x.detach())"),
        ("loss squared", 0, "return float(loss)", "return float(loss) ** 2"),
        ("keep is not cast: the mask of one image", 0, "visible.unsqueeze(-1)", "visible[0].unsqueeze(-1)"),
        ("half of the tokens kept", 0, "mask_token * (1 - keep)", "mask_token * (1 - keep) + 0.5 * x * (1 - keep)"),
        ("the words of the masked places only from the mask", 0, "tokenizer(images)", "tokenizer(images * 0)"),
        ("the patches shuffled", 0, "out = transformer(x)", "out = transformer(x.flip(1))"),
        ("the logits shuffled", 0, "out = transformer(x)", "out = transformer(x.flip(1)).flip(1)"),
        ("exp of the loss", 0, "return float(loss)", "return math.exp(float(loss))"),
        ("loss of the images' sum", 0, "loss.backward()", "(len(images) * loss).backward()"),
        ("mask token scaled by the count", 0, "mask_token * (1 - keep)", "mask_token * (1 - keep) * visible.shape[1]"),
        ("gradient clipped", 0, "optimizer.step()",
         "torch.nn.utils.clip_grad_value_(optimizer.param_groups[0]['params'], 1e-3); optimizer.step()"),
        ("zero_grad after backward", 0, "optimizer.zero_grad()\nloss.backward()",
         "loss.backward()\noptimizer.zero_grad()"),
        ("one more argument of the loss negated", 0, "beit_loss(out, targets, visible)",
         "-beit_loss(out, targets, visible)"),
        ("predicts the tokens themselves", 0, "loss = beit_loss(out, targets, visible)",
         "loss = F.mse_loss(x, embed(images))"),
    ]),
}
