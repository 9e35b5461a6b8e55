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
    ]),
    "14.add_block": Tries([
        """
rows, cols = slice(top, top + height), slice(left, left + width)
count = int(visible[rows, cols].sum().item())
if count == 0 or count > missing:
    return 0
visible[rows, cols] = False
return count
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
    ]),
    "14.beit_loss": Tries([
        """
logp = torch.log_softmax(logits, dim=-1).flatten(0, 1)
nll = -logp[torch.arange(len(logp)), words.flatten()]
hidden = (~visible).flatten().to(nll.dtype)
return (nll * hidden).sum() / hidden.sum()
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
    ]),
}
