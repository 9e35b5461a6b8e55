"""Every knob moved to its ends by a program: how tests try a lesson's knobs, in the kernel that made them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from course_lib.notebook import knobs
from course_lib.notebook.knobs import Knob, close_figure


def same(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    """Whether two views' data agree: numbers, arrays, tensors and nests of them. NaN equals NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k], tolerance) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b))
    a, b = (x.detach().cpu().numpy() if isinstance(x, Tensor) else x for x in (a, b))
    if isinstance(a, (str, bytes, type(None))) or isinstance(b, (str, bytes, type(None))):
        return a == b
    import numpy as np

    try:
        x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    except (TypeError, ValueError):
        return bool(a == b)
    return x.shape == y.shape and bool(np.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True))


def drive(made: Knob) -> int:
    """Move every control to both ends, in two orders, and compare the data of equal states -> number of redraws.

    AssertionError if a view fails, returns no data or other data for the same state (is not pure), or if a control
    changes nothing. The knob is left where it was.
    """
    start, seen, count = dict(made.state), {}, 0

    def visit(**moves: Any) -> Any:
        nonlocal count
        count += 1
        state = {**made.state, **moves}
        key = tuple(sorted((name, repr(value)) for name, value in state.items()))
        if key in seen:  # drawn before: comparing the data is enough
            data, figure = made.view(dict(state))
            close_figure(figure)
            made.state.update(moves)
        else:
            data = made.set(**moves)
            assert made.error is None, f"{made}: {type(made.error).__name__}: {made.error}"
        assert data is not None, f"{made}: the view returns no data beside the figure"
        assert same(seen.setdefault(key, data), data), f"{made}: other data than before for the same state"
        return data

    now = visit()
    alive: dict[str, bool] = dict.fromkeys(made.controls, False)
    for order in (list(made.controls), list(made.controls)[::-1]):
        for corner in (0, 1):  # each control in turn on top of those before it: A then B, and B then A
            for name in order:
                before, now = now, visit(**{name: made.ends(name)[corner]})
                alive[name] |= not same(before, now)
        now = visit(**start)
    for name in (n for n, moved in alive.items() if not moved):  # it may matter at the start only
        low, high = (visit(**{name: end}) for end in made.ends(name))
        alive[name] |= not same(low, high)
        visit(**start)
    made.set(**start)
    dead = [name for name, moved in alive.items() if not moved]
    assert not dead, f"{made}: moving {', '.join(dead)} from end to end changes no data"
    return count


def drive_all() -> int:
    """`drive` every knob of this kernel; -> how many there are. AssertionError at the first that fails."""
    for made in list(knobs.LIVE.values()):
        drive(made)
    return len(knobs.LIVE)
