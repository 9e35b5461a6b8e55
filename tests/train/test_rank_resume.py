"""A run over ranks: who sees which images, going on with another number of ranks, and a rank that dies.

This file is also the program that the tests start: it forks the ranks of one stage after another (torch is imported
once) and leaves their results in a folder. What can hold when the number of ranks changes, and is tested:
- the images of each step are the same, whoever shares them;
- where views depend on the image alone, a run moved from 4 ranks to 4, 2 or 1 is the run that stayed, up to rounding;
- with real views the same holds as long as ranks x accumulate stays, for losses that are means over images (MAE).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from course_lib.data.batches import Batches
from course_lib.methods.masked.mae import MAE
from course_lib.models.backbones import ConvNet, build_backbone
from course_lib.train import checkpoint
from course_lib.train.loop import fit
from course_lib.train.ranks import RankLost
from helpers.ranks import Plain, close, toy_images
from helpers.tiny import Toy, images, same

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the ranks of this test are forked")
STEPS, CUT, BATCH = 5, 2, 8


# ---------------------------------------------------------------- the program
class DoubleMAE(MAE):
    """MAE in float64, where rounding cannot hide a difference."""

    def views(self, batch, generator):
        images, visible = super().views(batch, generator)
        return images.double(), visible


def build(kind: str):
    torch.manual_seed(1)
    if kind == "plain":
        return Plain(ConvNet(2, (4, 6)), 16, width=8).double()
    backbone = build_backbone("vit-tiny", 16, patch=4, dim=16, depth=1, heads=2)
    return DoubleMAE(backbone, image_size=16, width=16, depth=1, heads=2).double()


def run(kind: str, out: Path, *, cut: bool = False, resume: bool = False, accumulate: int = 1):
    """The run of `kind` in `out`, all of it or up to step CUT, where every rank is interrupted."""
    method = build(kind)
    if cut:
        views, calls = method.views, []

        def interrupted(batch, generator):
            calls.append(1)
            if len(calls) > CUT * accumulate:
                raise KeyboardInterrupt
            return views(batch, generator)

        method.views = interrupted
    fit(method, toy_images(), steps=STEPS, batch_size=BATCH, lr=1.0, optimizer="sgd", accumulate=accumulate,
        device="cpu", precision="float32", progress=False, log_every=1, out=out, resume=resume)
    return method.state_dict()


def four(folder: Path) -> None:
    seen = Toy()
    fit(seen, images(), steps=9, batch_size=8, accumulate=2, device="cpu", precision="float32", progress=False)
    results = {"seen": seen.named("views")}
    for kind in ("plain", "mae"):
        results[kind] = run(kind, folder / kind)
        run(kind, folder / f"{kind} cut", cut=True)
        dist.barrier()
        if dist.get_rank() == 0:
            left = checkpoint.load(folder / f"{kind} cut" / "last.pt")
            for copy in ("4", "2", "1"):  # each stage goes on from a copy of its own
                checkpoint.save(folder / f"{kind} {copy}" / "last.pt", left)
        dist.barrier()
        results[f"{kind} resumed"] = run(kind, folder / f"{kind} 4", resume=True)
    torch.save(results, folder / f"four {dist.get_rank()}.pt")


def two(folder: Path) -> None:
    apart = Path(f"{folder}/apart {dist.get_rank()}")  # as on two machines that share no disk
    if dist.get_rank() == 0:
        checkpoint.save(apart / "last.pt", checkpoint.load(folder / "plain cut" / "last.pt"))
    try:
        run("plain", apart, resume=True)
    except checkpoint.CheckpointError as error:
        (folder / f"apart {dist.get_rank()}.txt").write_text(str(error))
    torch.save({"plain": run("plain", folder / "plain 2", resume=True),
                "mae": run("mae", folder / "mae 2", resume=True, accumulate=2)}, folder / f"two {dist.get_rank()}.pt")


def dying(folder: Path) -> None:
    """Rank 1 is killed, as the system does when memory is short, in the middle of step 4."""
    method = Toy()
    views = method.views

    def deadly(batch, generator):
        if dist.get_rank() == 1 and len(method.named("views")) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return views(batch, generator)

    method.views = deadly
    try:
        fit(method, images(), steps=9, batch_size=8, device="cpu", precision="float32", progress=False, log_every=1,
            save_every=0.0, out=folder / "dying")
    except RankLost as error:
        (folder / "lost.txt").write_text(str(error))
        os._exit(2)


def one_rank(rank: int, stage: str, world: int, port: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    globals()[stage](folder)
    dist.barrier()
    dist.destroy_process_group()


def main(folder: str) -> None:
    codes = {}
    for stage, world in (("four", 4), ("two", 2), ("dying", 2)):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        fork = processes.get_context("fork")
        ranks = [fork.Process(target=one_rank, args=(rank, stage, world, port, Path(folder))) for rank in range(world)]
        for each in ranks:
            each.start()
        for each in ranks:
            each.join(300)
        codes[stage] = [each.exitcode for each in ranks]
        for each in ranks:
            each.kill()
    Path(folder, "codes.json").write_text(json.dumps(codes))


# ---------------------------------------------------------------- the tests
@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder in which the program ran."""
    folder = tmp_path_factory.mktemp("ranks")
    path = os.environ["PYTHONPATH"]
    done = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=900,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    codes = json.loads((folder / "codes.json").read_text())
    assert codes["four"] == [0] * 4 and codes["two"] == [0] * 2, done.stderr
    assert codes["dying"] == [2, -signal.SIGKILL], done.stderr
    return folder


def ranks_of(folder: Path, stage: str, world: int) -> list[dict]:
    return [torch.load(folder / f"{stage} {rank}.pt") for rank in range(world)]


@needs_fork
def test_ranks_share_the_images_of_a_step_without_overlap_or_loss(results):
    seen = [result["seen"] for result in ranks_of(results, "four", 4)]
    alone = Toy()
    fit(alone, images(), steps=9, batch_size=8, device="cpu", precision="float32", progress=False)
    for step, (together, _) in enumerate(alone.named("views")):
        shares = [[seen[rank][2 * step + part][0] for rank in range(4)] for part in range(2)]
        assert sum(shares[0] + shares[1], []) == together and len(set(together)) == 8
        assert all(len(share) == 1 for part in shares for share in part)
    draws = [tuple(noise) for views in seen for _, noise in views]
    assert len(set(draws)) == 9 * 2 * 4, "every rank, part and step has views of its own"


@pytest.mark.parametrize("ranks, accumulate", [(1, 1), (2, 1), (4, 1), (2, 2), (1, 4)])
def test_the_batches_of_an_epoch_are_each_image_once(ranks, accumulate):
    pictures = images(35)
    cpu = torch.device("cpu")
    everyone = [Batches(pictures, cpu, batch_size=8, seed=3, accumulate=accumulate, rank=rank, ranks=ranks)
                for rank in range(ranks)]
    whole = Batches(pictures, cpu, batch_size=8, seed=3)
    for epoch in range(3):
        drawn = []
        for step in range(4 * epoch, 4 * epoch + 4):
            shares = [[batch.indices for batch, _ in batches(step)] for batches in everyone]
            ordered = [shares[rank][part] for part in range(accumulate) for rank in range(ranks)]
            assert torch.equal(torch.cat(ordered), next(whole(step))[0].indices)
            drawn += torch.cat(ordered).tolist()
        assert len(set(drawn)) == 32 and set(drawn) <= set(range(35))


def test_blocks_and_their_views_depend_on_ranks_times_accumulate_only():
    def blocks(ranks, accumulate):
        found = {}
        for rank in range(ranks):
            batches = Batches(images(), torch.device("cpu"), batch_size=8, seed=1, accumulate=accumulate, rank=rank,
                              ranks=ranks)
            for part, (batch, generator) in enumerate(batches(5)):
                found[part * ranks + rank] = batch.indices.tolist(), torch.rand(4, generator=generator).tolist()
        return found

    assert blocks(4, 1) == blocks(2, 2) == blocks(1, 4) and blocks(4, 1) != blocks(1, 1)


@needs_fork
@pytest.mark.parametrize("kind", ["plain", "mae"])
def test_four_ranks_go_on_as_four(results, kind):
    """Up to rounding: ranks may add their gradients in another order than the run that stayed did."""
    many, start = ranks_of(results, "four", 4), build(kind).state_dict()
    for result in many:
        assert same(result[kind], many[0][kind]) and same(result[f"{kind} resumed"], many[0][f"{kind} resumed"])
        for name, value in result[kind].items():
            close(result[f"{kind} resumed"][name].double(), value.double(), name, 1e-12)
    assert sum(not torch.equal(start[name], value) for name, value in many[0][kind].items()) > len(start) / 2


@needs_fork
@pytest.mark.parametrize("kind", ["plain", "mae"])
def test_four_ranks_go_on_as_two_and_as_one(results, one_thread, kind):
    stayed = ranks_of(results, "four", 4)[0][kind]
    moved = {f"2 ranks, rank {rank}": result[kind] for rank, result in enumerate(ranks_of(results, "two", 2))}
    moved["1 rank"] = run(kind, results / f"{kind} 1", resume=True, accumulate=4 if kind == "mae" else 1)
    assert checkpoint.load(results / f"{kind} cut" / "last.pt")["ranks"] == 4
    for where, state in moved.items():
        for name, value in stayed.items():
            close(state[name].double(), value.double(), f"{where}: {name}", 1e-12)


@needs_fork
def test_other_blocks_than_those_of_the_run_are_refused_where_they_would_change_the_loss(results):
    with pytest.raises(checkpoint.CheckpointError, match="accumulate 1, this one has 2"):
        run("mae", results / "mae cut", resume=True, accumulate=2)


@needs_fork
def test_machines_that_share_no_disk_are_told(results):
    for rank in range(2):
        said = (results / f"apart {rank}.txt").read_text()
        assert f"different steps, 0 to {CUT}" in said and "share" in said


@needs_fork
def test_a_rank_that_dies_stops_the_others_with_a_sentence(results):
    said = (results / "lost.txt").read_text()
    assert "rank 0 of 2 stops at step 4: another rank has died" in said
    assert str(results / "dying" / "last.pt") in said and "--resume" in said
    assert checkpoint.load(results / "dying" / "last.pt")["step"] == 3
    alone, whole = Toy(), Toy()
    torch.manual_seed(0)
    history = fit(alone, images(), steps=9, batch_size=8, device="cpu", precision="float32", progress=False,
                  log_every=1, out=results / "dying", resume=True)
    assert history.steps == 9 and len(history.loss) == 9
    fit(whole, images(), steps=9, batch_size=8, device="cpu", precision="float32", progress=False)
    assert [i for i, _ in alone.named("views")] == [i for i, _ in whole.named("views")][3:]


if __name__ == "__main__":
    main(sys.argv[1])
