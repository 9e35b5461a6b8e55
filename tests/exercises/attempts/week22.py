"""Attempts at lesson 22."""

from . import Tries

ATTEMPTS = {
    "22.pair": Tries([
        """
middle = features[:, 4]
rows = []
for k in (0, 1, 2, 3, 5, 6, 7, 8):
    rows.append(torch.cat([middle, features[:, k]], dim=-1))
return torch.stack(rows, dim=1)
""", """
keep = torch.ones(9, dtype=torch.bool)
keep[4] = False
around = features[:, keep]
middle = einops.repeat(features[:, 4], 'b d -> b k d', k=8)
return torch.cat((middle, around), -1)
"""], [
        ("the last patch is the middle", 0, "features[:, 4]", "features[:, 8]"),
        ("counted from one", 0, "features[:, 4]", "features[:, 5]"),
        ("four neighbours only", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "(1, 3, 5, 7)"),
        ("the corners twice", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "(0, 2, 6, 8, 0, 2, 6, 8)"),
        ("backwards", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "(8, 7, 6, 5, 3, 2, 1, 0)"),
        ("the first eight", 0, "(0, 1, 2, 3, 5, 6, 7, 8)", "range(8)"),
        ("stacked in front", 0, "dim=1)", "dim=0)"),
        ("a sum", 0, "torch.cat([middle, features[:, k]], dim=-1)", "middle + features[:, k]"),
        ("the neighbour twice", 0, "torch.cat([middle,", "torch.cat([features[:, k],"),
        ("the middle twice", 0, "features[:, k]], dim=-1)", "middle], dim=-1)"),
        ("a product beside the middle", 0, "features[:, k]], dim=-1)", "middle * features[:, k]], dim=-1)"),
        ("the mean of all as the middle", 1, "features[:, 4], 'b d", "features.mean(1), 'b d"),
        ("normalised", 1, "return torch.cat((middle, around), -1)",
         "return F.normalize(torch.cat((middle, around), -1), dim=-1)"),
        ("flat", 1, "-1)", "-1).flatten(0, 1)"),
        ("interleaved", 1, "torch.cat((middle, around), -1)", "torch.stack((middle, around), -1).flatten(2)"),
        ("neighbours detached", 1, "around = features[:, keep]", "around = features[:, keep].detach()"),
        ("other pictures' neighbours", 1, "around = features[:, keep]", "around = features[:, keep].flip(0) * 1.5"),
    ]),
    "22.position_step": Tries([
        """
B = patches.shape[0]
features = encoder(patches.reshape(B * 9, *patches.shape[2:]))
features = features.reshape(B, 9, -1)
pairs = pair(features)
logits = head(pairs.reshape(B * 8, -1))
target = torch.arange(8).repeat(B)
loss = F.cross_entropy(logits, target)
optimizer.zero_grad()
loss.backward()
optimizer.step()
return loss.item()
""", """
optimizer.zero_grad()
f = einops.rearrange(encoder(einops.rearrange(patches, 'b k ... -> (b k) ...')), '(b k) d -> b k d', k=9)
logits = head(einops.rearrange(pair(f), 'b k d -> (b k) d')).reshape(len(patches), 8, 8)
loss = -logits.log_softmax(-1).diagonal(dim1=1, dim2=2).mean()
loss.backward()
optimizer.step()
return float(loss)
"""], [
        ("the middle's place as a target", 0, "torch.arange(8).repeat(B)",
         "torch.tensor([0, 1, 2, 3, 5, 6, 7, 0]).repeat(B)"),
        ("places shifted by one", 0, "torch.arange(8).repeat(B)", "((torch.arange(8) + 1) % 8).repeat(B)"),
        ("random places", 0, "torch.arange(8).repeat(B)", "torch.randperm(8).repeat(B)"),
        ("twice the loss", 0, "loss = F.cross_entropy(logits, target)", "loss = 2 * F.cross_entropy(logits, target)"),
        ("the sign", 0, "loss = F.cross_entropy(logits, target)", "loss = -F.cross_entropy(logits, target)"),
        ("squared distance to one-hot", 0, "F.cross_entropy(logits, target)",
         "F.mse_loss(logits, F.one_hot(target, 8).to(logits.dtype))"),
        ("normalised features", 0, "pairs = pair(features)", "pairs = pair(F.normalize(features, dim=-1))"),
        ("step before backward", 0, "loss.backward()\noptimizer.step()", "optimizer.step()\nloss.backward()"),
        ("zero_grad after backward", 0, "optimizer.zero_grad()\nloss.backward()",
         "loss.backward()\noptimizer.zero_grad()"),
        ("two steps", 0, "optimizer.step()", "optimizer.step()\noptimizer.step()"),
        ("patches reversed", 0, "encoder(patches.reshape", "encoder(patches.flip(1).reshape"),
        ("the batch reversed after the encoder", 0, "pairs = pair(features)", "pairs = pair(features.flip(1))"),
        ("only the first half of the batch", 0, "loss = F.cross_entropy(logits, target)",
         "loss = F.cross_entropy(logits[:8], target[:8])"),
        ("without the last neighbour", 1, ".diagonal(dim1=1, dim2=2)", ".diagonal(dim1=1, dim2=2)[:, :7]"),
        ("softmax over the neighbours", 1, "log_softmax(-1)", "log_softmax(1)"),
        ("log of the mean", 1, "-logits.log_softmax(-1).diagonal(dim1=1, dim2=2).mean()",
         "-logits.softmax(-1).diagonal(dim1=1, dim2=2).mean().log()"),
        ("the middle detached", 1, "pair(f)", "pair(torch.cat([f[:, :4], f[:, 4:5].detach(), f[:, 5:]], 1))"),
        ("patches centred first", 0, "features = encoder(patches.reshape",
         "patches = patches - patches.mean(1, keepdim=True)\nfeatures = encoder(patches.reshape"),
        ("temperature", 0, "F.cross_entropy(logits, target)", "F.cross_entropy(logits / 0.2, target)"),
        ("label smoothing", 0, "F.cross_entropy(logits, target)",
         "F.cross_entropy(logits, target, label_smoothing=0.1)"),
        ("the accuracy comes back", 0, "return loss.item()",
         "return (logits.argmax(1) == target).double().mean().item()"),
    ]),
    "22.standardise": Tries([
        """
flat = weight.reshape(len(weight), -1)
flat = flat - flat.mean(1, keepdim=True)
flat = flat / (flat.pow(2).mean(1, keepdim=True) + eps).sqrt()
return flat.reshape(weight.shape)
""", """
mean = weight.mean(dim=[1, 2, 3], keepdim=True)
var = ((weight - mean) ** 2).mean(dim=[1, 2, 3], keepdim=True)
return (weight - mean) * torch.rsqrt(var + eps)
"""], [
        ("the largest is 1", 0, "(flat.pow(2).mean(1, keepdim=True) + eps).sqrt()",
         "flat.abs().amax(1, keepdim=True)"),
        ("mean absolute value", 0, "(flat.pow(2).mean(1, keepdim=True) + eps).sqrt()",
         "(flat.abs().mean(1, keepdim=True) + eps)"),
        ("a sum in place of a mean", 0, "flat.pow(2).mean(1", "flat.pow(2).sum(1"),
        ("the median", 0, "flat - flat.mean(1, keepdim=True)", "flat - flat.median(1, keepdim=True).values"),
        ("by output and row", 1, "[1, 2, 3]", "[1, 2]"),
        ("eps twice", 1, "torch.rsqrt(var + eps)", "torch.rsqrt(var + 2 * eps)"),
        ("multiplied by the deviation", 1, "torch.rsqrt(var + eps)", "torch.sqrt(var + eps)"),
        ("the mean of all filters", 1, "mean = weight.mean(dim=[1, 2, 3], keepdim=True)", "mean = weight.mean()"),
        ("plus the mean", 1, "return (weight - mean)", "return (weight + mean)"),
        ("mean of squares without the mean", 1, "((weight - mean) ** 2)", "(weight ** 2)"),
        ("only the mean detached", 1, "((weight - mean) ** 2)", "((weight - mean) ** 2).detach()"),
        ("fan-in scaled", 1, "torch.rsqrt(var + eps)", "torch.rsqrt(var * weight[0].numel() + eps)"),
        ("a filter transposed", 0, "return flat.reshape(weight.shape)",
         "return flat.reshape(weight.shape).flip(0)"),
        ("flat", 0, "return flat.reshape(weight.shape)", "return flat"),
        ("eps subtracted", 1, "var + eps", "var - eps + 1e-3"),
    ]),
    "22.ranks": Tries([
        """
def rank(x):
    smaller = (x[None, :] < x[:, None]).double().sum(1)
    same = (x[None, :] == x[:, None]).double().sum(1)
    return smaller + 0.5 * same
ra, rb = rank(a), rank(b)
ra, rb = ra - ra.mean(), rb - rb.mean()
return (ra @ rb / (ra.norm() * rb.norm())).item()
""", """
ranks = []
for x in (a, b):
    place = torch.empty(len(x))
    order = x.argsort()
    place[order] = torch.arange(len(x), dtype=torch.float32)
    for value in x.unique():
        place[x == value] = place[x == value].mean()
    ranks.append(place)
return F.cosine_similarity(ranks[0] - ranks[0].mean(), ranks[1] - ranks[1].mean(), dim=0)
"""], [
        ("ties not shared", 1, "place[x == value] = place[x == value].mean()", "pass"),
        ("ties share the greatest", 1, "place[x == value].mean()", "place[x == value].max()"),
        ("order for place", 1, "place[order] = torch.arange(len(x), dtype=torch.float32)", "place = order.float()"),
        ("not centred", 1, "ranks[0] - ranks[0].mean(), ranks[1] - ranks[1].mean()", "ranks[0], ranks[1]"),
        ("a alone", 0, "rank(a), rank(b)", "rank(a), rank(a)"),
        ("b from the top", 0, "rank(a), rank(b)", "rank(a), rank(-b)"),
        ("absolute", 0, "return (ra @ rb", "return abs(ra @ rb"),
        ("divided by n", 0, "(ra.norm() * rb.norm())", "len(a)"),
        ("divided by one norm squared", 0, "(ra.norm() * rb.norm())", "(ra.norm() * ra.norm())"),
        ("squared distance of ranks", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return (ra - rb).square().mean().item()"),
        ("smaller or equal", 0, "x[None, :] < x[:, None]", "x[None, :] <= x[:, None]"),
        ("logarithms of ranks", 0, "ra, rb = rank(a), rank(b)", "ra, rb = rank(a).log1p(), rank(b).log1p()"),
        ("pairs in the same order", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return ((a[:, None] < a) == (b[:, None] < b)).double().mean().item()"),
        ("the top agrees", 0, "return (ra @ rb / (ra.norm() * rb.norm())).item()",
         "return float(a.argmax() == b.argmax())"),
        ("reversed list", 0, "rank(a), rank(b)", "rank(a), rank(b.flip(0))"),
        ("rounded", 0, ".item()", ".round().item()"),
    ]),
}
