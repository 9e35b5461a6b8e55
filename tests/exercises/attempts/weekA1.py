"""Attempts at appendix A1."""

from . import Tries

ATTEMPTS = {
    "A1.time_fairly": Tries([
        """
for _ in range(warmup):
    work()
wait()
t = torch.zeros(rounds, dtype=torch.float64)
for i in range(rounds):
    start = clock()
    work()
    wait()
    t[i] = clock() - start
return float(t.quantile(0.5))
""", """
times = []
for i in range(warmup + rounds):
    a = clock()
    work()
    wait()
    b = clock()
    if i >= warmup:
        times.append(b - a)
return median(times)
"""], [
        ("one warm-up call, whatever is asked", 0, "range(warmup)", "range(1)"),
        ("one round more than asked", 0, "torch.zeros(rounds,", "torch.zeros(rounds + 1,", "range(rounds)",
         "range(rounds + 1)"),
        ("waits before the work", 0, "    work()\n    wait()\n    t", "    wait()\n    work()\n    t"),
        ("times two calls", 0, "    work()\n    wait()\n    t", "    work()\n    work()\n    wait()\n    t"),
        ("the upper quartile", 0, "0.5", "0.75"),
        ("warm-up off by one", 1, "i >= warmup", "i > warmup"),
        ("milliseconds", 0, "clock() - start", "1000 * (clock() - start)"),
        ("the first warm round", 1, "median(times)", "times[0]"),
        ("minus the median", 1, "b - a", "a - b"),
        ("rounds include the warm-up", 1, "range(warmup + rounds)", "range(rounds)"),
    ]),
    "A1.conv_cost": Tries([
        """
N, C, H, W = shape
p = kernel // 2
h = math.floor((H + 2 * p - kernel) / stride) + 1
w = math.floor((W + 2 * p - kernel) / stride) + 1
per_output = 2 * kernel ** 2 * C / groups
outputs = N * channels * h * w
params = channels * C * kernel ** 2 / groups
return {"flops": outputs * per_output, "bytes": (N * C * H * W + params + outputs) * 4}
"""], [
        ("output divided by the stride", 0, "math.floor((H + 2 * p - kernel) / stride) + 1", "H // stride",
         "math.floor((W + 2 * p - kernel) / stride) + 1", "W // stride"),
        ("height twice", 0, "w = math.floor((W", "w = math.floor((H"),
        ("a bias", 0, "params =", "params = channels +"),
        ("output channels in the input", 0, "N * C * H * W", "N * channels * H * W"),
        ("input channels in the output", 0, "outputs = N * channels", "outputs = N * C"),
        ("kernel cubed", 0, "2 * kernel ** 2 * C", "2 * kernel ** 3 * C"),
        ("no plus one", 0, " / stride) + 1", " / stride)"),
        ("weights for each image", 0, "+ params +", "+ N * params +"),
        ("times groups", 0, "* C / groups\noutputs", "* C * groups\noutputs"),
        ("output read and written", 0, "+ outputs)", "+ 2 * outputs)"),
        ("padding once", 0, "2 * p", "p"),
    ]),
    "A1.floor": Tries([
        """
both = torch.stack([flops / peak, moved / bandwidth], dim=1)
longest, which = both.max(dim=1)
total = longest.sum()
return {"seconds": total, "arithmetic": longest[which == 0].sum() / total}
"""], [
        ("roofs exchanged", 0, "flops / peak, moved / bandwidth", "flops / bandwidth, moved / peak"),
        ("multiplied", 0, "flops / peak, moved / bandwidth", "flops * peak, moved * bandwidth"),
        ("roofs over counts", 0, "flops / peak, moved / bandwidth", "peak / flops, bandwidth / moved"),
        ("share over the number of parts", 0, "/ total}", "/ len(flops)}"),
        ("share of the total operations", 0,
         "longest[which == 0].sum() / total", "flops[which == 0].sum() / flops.sum()"),
        ("in milliseconds", 0, '"seconds": total', '"seconds": 1000 * total'),
        ("share in per cent", 0, "longest[which == 0].sum()", "100 * longest[which == 0].sum()"),
        ("the median part", 0, "longest.sum()", "longest.median()"),
        ("geometric mean", 0, "longest, which = both.max(dim=1)",
         "longest, which = both.prod(dim=1).sqrt(), both.argmax(dim=1)"),
    ]),
    "A1.compare": Tries([
        """
found = []
for i in range(rounds + 1):
    a = b = 0.0
    if i % 2 == 1:
        t = clock()
        new()
        b = clock() - t
    t = clock()
    old()
    a = clock() - t
    if i % 2 == 0:
        t = clock()
        new()
        b = clock() - t
    if i > 0:
        found.append(a / b)
low, high = median_interval(found)
return dict(ratio=float(torch.tensor(found, dtype=torch.float64).quantile(0.5)), low=low, high=high)
"""], [
        ("interval ends exchanged", 0, "low=low, high=high", "low=high, high=low"),
        ("the interval's width", 0, "low=low", "low=high - low"),
        ("rounds, not rounds + 1", 0, "range(rounds + 1)", "range(rounds)"),
        ("the last round is left out", 0, "if i > 0", "if i < rounds"),
        ("new never goes first", 0, "i % 2 == 1", "i % 2 == 2", "i % 2 == 0", "i % 2 < 2"),
        ("the upper quartile", 0, "quantile(0.5)", "quantile(0.75)"),
        ("share of old in both", 0, "a / b", "a / (a + b)"),
        ("logarithms", 0, "a / b", "math.log(a / b)"),
        ("the middle of the interval", 0,
         "float(torch.tensor(found, dtype=torch.float64).quantile(0.5))", "(low + high) / 2"),
        ("speed-up in per cent", 0, "a / b", "100 * (a / b - 1)"),
    ]),
}
