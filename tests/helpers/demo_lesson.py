# %% [markdown] id="title"
# # A demo lesson
# Small enough for the tests of the machinery: one exercise, two knobs, a guess, a question.

# %% id="setup"
import matplotlib.pyplot as plt
import torch

from course_lib.exercises import Exercise, check, quiz, register
from course_lib.notebook.controls import Choice, Slider, Toggle
from course_lib.notebook.knobs import knob
from course_lib.notebook.predictions import predict

generator = torch.Generator().manual_seed(0)

# %% id="register" hide=true
def spread_reference(z):
    return z.std(dim=0).mean()


register(Exercise(
    key="00.spread", title="Spread", minutes=2, difficulty=1, reference=spread_reference,
    probes=lambda generator, dtype: [(torch.randn(6, 3, generator=generator, dtype=dtype),)],
    wrong={"variance": (lambda z: z.var(dim=0).mean(), "Take the root.")}, right={}, gradients=True,
))

# %% id="printed" tags=["nbval-check-output"]
z = torch.randn(64, 3, generator=generator)
print(f"{z.mean():.3f}")

# %% id="stub" exercise="00.spread"
def spread(z):
    """(N, D) -> scalar: the mean over dimensions of the standard deviation."""
    ...


spread = check("00.spread", spread).use

# %% id="guess"
guess = predict("How large is the spread?", (0.0, 2.0), default=0.5)

# %% id="outcome"
guess.reveal(float(spread(z)), "The numbers are drawn from a normal distribution.")

# %% id="wave"
def wave(state):
    x = torch.linspace(0, 6.28, 100)
    y = torch.sin(state["waves"] * x) * (2 if state["double"] else 1)
    figure, axes = plt.subplots(figsize=(4, 2))
    axes.plot(x, y)
    return y, figure


knob(wave, title="A wave", waves=Slider(1, 8, 2, 1), double=Toggle(False))

# %% [markdown] id="wave-caption"
# *Figure 1. A sine over one turn; the slider sets how many waves fit.*

# %% id="bars"
def bars(state):
    heights = torch.arange(1.0, 4.0) ** (2 if state["power"] == "square" else 1)
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.bar(range(3), heights)
    return heights, figure


knob(bars, title="Bars", power=Choice(["line", "square"]))

# %% [markdown] id="bars-caption"
# *Figure 2. Three heights, as they are or squared.*

# %% id="slow" tags=["not-needed"]
big = torch.zeros(3)

# %% id="question"
quiz("What is the standard deviation's unit?", {
    "that of the numbers": "It is the root of the variance.",
    "its square": "That is the variance's.",
}, "that of the numbers")
