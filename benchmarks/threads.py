"""Training next to a program that burns a core, or on a quiet machine: automatic against fixed numbers of threads.

    python benchmarks/threads.py            # about ten minutes on 2 otherwise idle cores

SimCLR with the small conv net on generated shapes, by `fit` with its defaults. Each run has its own process; they take
turns, and only runs of the same turn are compared. The rate is over the whole of `fit`, its first race included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from tables import at_least, median, median_ratio  # noqa: E402

BESIDE = {"quiet": 0.98, "busy": 0.8, "busy from a third on": 0.8}  # target: share of the best number's rate


@contextmanager
def burner(after: float):
    """A process that burns a core, from `after` seconds on."""
    started = []
    timer = threading.Timer(after, lambda: started.append(subprocess.Popen([sys.executable, "-c", "while True: pass"])))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for process in started:
            process.kill()
            process.wait()


def one(number: str, beside: str, seconds: float, quick: bool = False) -> dict:
    """Views/s of one run with `number` threads ("auto" or a number), and the threads it used."""
    from course_lib.augment import SHAPES_VIEWS
    from course_lib.data import load
    from course_lib.methods import build_method
    from course_lib.train import fit

    images, batch = load("shapes", limit=64 if quick else 2048, progress=False).train, 8 if quick else 256
    threads = None if number == "auto" else int(number)

    def train(threads: int | None, seconds: float) -> tuple[float, list]:
        torch.manual_seed(0)
        method = build_method("simclr", "convnet", augment=SHAPES_VIEWS)
        began = time.perf_counter()

        def stop(history) -> None:
            if time.perf_counter() - began > seconds:
                raise KeyboardInterrupt

        history = fit(method, images, steps=10**6, batch_size=batch, device="cpu", log_every=1, progress=False,
                      threads=threads, watch=stop)
        return history.steps * batch * 2 / (time.perf_counter() - began), history.stretches

    train(1, 0.1 * seconds)  # warm up
    with burner({"quiet": 1e6, "busy": 0.0}.get(beside, seconds / 3)):
        if beside == "busy":
            time.sleep(0.5)  # until it burns
        rate, stretches = train(threads, seconds)
    return {"rate": rate, "stretches": stretches}


def elsewhere(number: str, beside: str, seconds: float, quick: bool) -> dict:
    """`one` in its own process."""
    command = [sys.executable, __file__, "--one", number, beside, "--seconds", str(seconds), *["--quick"][:quick]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def threads(rounds: int = 3, seconds: float = 15.0, quick: bool = False, measure=elsewhere) -> list[dict]:
    """The rows: in each surrounding, the automatic number's rate over the best fixed number's."""
    fixed = [str(number) for number in sorted({1, max(1, torch.get_num_threads() - 1), torch.get_num_threads()})]
    found: dict[str, list[dict]] = {beside: [] for beside in BESIDE}
    taken: dict[str, list] = {beside: [] for beside in BESIDE}
    for _ in range(rounds):
        for beside in BESIDE:
            runs = {number: measure(number, beside, seconds, quick) for number in ("auto", *fixed)}
            found[beside].append({number: run["rate"] for number, run in runs.items()})
            taken[beside].append(runs["auto"]["stretches"])
    rows = []
    for beside, least in BESIDE.items():
        turns = found[beside]
        best = max(fixed, key=lambda number: median(turns, number))
        rates = ", ".join(f"{number}: {median(turns, number):.0f}" for number in ("auto", *fixed))
        took = "; ".join(", ".join(f"{number} from step {step}" for step, number in stretches)
                         for stretches in taken[beside])
        rows.append(at_least(f"{beside}: automatic over the best number, {best}", median_ratio(turns, "auto", best),
                             least, f"views/s by threads: {rates}; automatic took {took}", rounds=turns,
                             stretches=taken[beside]))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of one run")
    parser.add_argument("--quick", action="store_true", help="toy size, to see that it runs")
    parser.add_argument("--one", nargs=2, metavar=("THREADS", "BESIDE"), help="one run only, as JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one, args.seconds, args.quick)))
        return 0
    for row in threads(args.rounds, args.seconds, args.quick):
        verdict = {True: "holds", False: "missed", None: ""}[row["holds"]]
        print(f"{row['figure']}: {row['value']} (wanted {row['target']}, {verdict})\n    {row['beside']}\n    "
              + "\n    ".join(", ".join(f"{name} {rate:.0f}" for name, rate in turn.items())
                               for turn in row["data"]["rounds"]),
              flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
