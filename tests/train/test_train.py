"""`fit`: honest failures, hooks, precision, diagnostics. (Resuming: tests/test_resume.py; rates: test_optim.py.)"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import types
import warnings

import numpy as np
import pytest
import torch
from IPython.core.interactiveshell import ExecutionResult

from course_lib import optim
from course_lib.device import keep_freed_memory, pick_device, pick_precision
from course_lib.methods.contrastive.vicreg import VICReg
from course_lib.methods.masked.spark import SparK
from course_lib.models.backbones import ConvNet
from course_lib.train import checkpoint, interrupt, ranks
from course_lib.train.history import NonFiniteLoss
from course_lib.train.loop import fit
from helpers.tiny import SMALL, Stop, Toy, images, same, spark, state, vicreg

pytestmark = pytest.mark.usefixtures("one_thread")


# ---------------------------------------------------------------- failing well
class Breaks(Toy):
    def __init__(self, at, value=float("nan")):
        super().__init__()
        self.at, self.value, self.done = at, value, 0

    def loss(self, views, progress):
        self.done += 1
        parts = super().loss(views, progress)
        if self.done == self.at:
            parts["part"] = parts["part"] * self.value
            parts["loss"] = parts["loss"] + parts["part"]
        return {**parts, "embedding": self.backbone(views) * (self.value if self.done == self.at else 1)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_breaks_names_step_part_and_last_good_checkpoint(tmp_path, value):
    method = Breaks(at=7, value=value)
    with pytest.raises(NonFiniteLoss) as caught:
        fit(method, images(), steps=12, out=tmp_path, log_every=2, save_every=0, **SMALL)
    message = str(caught.value)
    assert "step 7" in message and "'part'" in message and str(tmp_path / "last.pt") in message and "lr" in message
    stored = checkpoint.load(tmp_path / "last.pt")
    assert stored["step"] == 6 and all(t.isfinite().all() for t in stored["method"].values())
    with pytest.raises(NonFiniteLoss, match="none"):
        fit(Breaks(at=2), images(), steps=3, **SMALL)


def test_weights_broken_by_a_finite_loss_are_not_saved(tmp_path):
    class Root(Toy):  # the slope of a root at 0 is infinite, its value is not
        def loss(self, views, progress):
            parts = super().loss(views, progress)
            return {**parts, "loss": parts["loss"] + (self.backbone(views) * 0).square().sum().sqrt()}

    with pytest.raises(NonFiniteLoss, match="weights 'backbone.1.weight'"):
        fit(Root(), images(), steps=1, out=tmp_path, **SMALL)
    assert not (tmp_path / "last.pt").exists()


def test_interrupting_returns_what_there_is(tmp_path):
    method = vicreg()
    history = fit(method, images(), steps=50, out=tmp_path, watch=Stop(4), log_every=2, **SMALL)
    assert history.interrupted and history.steps == 4 and len(history.loss) == 4 and not method.training
    assert "interrupted: 4 of 50" in repr(history) and history.seconds > 0
    assert (tmp_path / "metrics.csv").exists() and checkpoint.load(tmp_path / "last.pt")["step"] == 4
    assert not fit(vicreg(), images(), steps=50, out=tmp_path, resume=True, **SMALL).interrupted


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill cannot send Ctrl-C on Windows")
def test_ctrl_c_waits_for_the_end_of_the_step(tmp_path, ctrl_c):
    class Impatient(VICReg):
        def loss(self, views, progress=0.0):
            parts = super().loss(views, progress)  # running statistics have moved, weights not yet
            if progress == 3 / 9 and not self.stopped:
                self.stopped = True
                os.kill(os.getpid(), signal.SIGINT)
            return parts

    def build(stopped):
        torch.manual_seed(0)
        method = Impatient(ConvNet(1, (4,)), 16, width=4)
        method.stopped = stopped
        return method

    whole, cut, rest = build(True), build(False), build(True)
    fit(whole, images(), steps=9, **SMALL)
    history = fit(cut, images(), steps=9, out=tmp_path, **SMALL)
    assert history.interrupted and history.steps == 4 and len(history.loss) == 4
    fit(rest, images(), steps=9, out=tmp_path, resume=True, **SMALL)
    assert same(state(whole), state(rest))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill cannot send Ctrl-C on Windows")
def test_a_second_ctrl_c_does_not_wait(ctrl_c):
    reached = []
    with pytest.raises(KeyboardInterrupt):
        with interrupt.between_steps():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(1)
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # the handler runs between two bytecodes
                pass
            reached.append(2)
    assert reached == [1]


def test_fit_works_in_a_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(fit(Toy(), images(), steps=2, **SMALL).steps))
    thread.start()
    thread.join()
    assert results == [2]


def test_out_of_memory_is_advice():
    class Greedy(Toy):
        def loss(self, views, progress):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RuntimeError, match=r"ran out of memory at batch_size 8. Try batch_size 4, or accumulate=2"):
        fit(Greedy(), images(), steps=2, **SMALL)


@pytest.mark.parametrize("settings, says", [
    (dict(), "exactly one of"), (dict(steps=1, epochs=1), "exactly one of"),
    (dict(steps=1, batch_size=64), "batch_size 64 is larger than the 36 images"),
    (dict(steps=1, batch_size=9, accumulate=2), "multiple of ranks x accumulate = 2"),
    (dict(steps=0), "steps is 0; expected a whole number from 1 up"), (dict(epochs=0.01), "nothing to do"),
    (dict(epochs=float("inf")), "epochs is inf"), (dict(seconds=float("inf")), "seconds is inf"),
    (dict(steps=1, optimizer="adam"), "unknown optimizer 'adam'"),
    (dict(steps=1, precision="int8"), "unknown precision 'int8'"),
    (dict(steps=1, device="gpu"), "unknown device 'gpu'")])
def test_settings_that_do_not_fit(settings, says):
    with pytest.raises(ValueError, match=says):
        fit(Toy(), images(), **{**SMALL, **settings})


# ---------------------------------------------------------------- the step
def test_accumulating_parts_is_the_same_update():
    def run(accumulate):
        torch.manual_seed(0)
        method = Toy()
        fit(method, images(), steps=3, accumulate=accumulate, optimizer="sgd", lr=1.0, **SMALL)
        return method

    whole, parts = run(1), run(4)
    for name, value in state(whole).items():
        torch.testing.assert_close(state(parts)[name], value, rtol=1e-5, atol=1e-7)
    assert [len(indices) for indices, _ in parts.named("views")] == [2] * 12
    regrouped = [sum((i for i, _ in parts.named("views")[4 * s : 4 * s + 4]), []) for s in range(3)]
    assert regrouped == [indices for indices, _ in whole.named("views")]
    assert len({tuple(d) for _, d in parts.named("views")}) == 12, "each part draws views of its own"


class Hooked(Toy):
    def param_groups(self, weight_decay):
        self.calls.append(("groups", weight_decay))
        return optim.parameter_groups(self, weight_decay)

    def on_epoch(self, epoch):
        self.calls.append(("epoch", epoch))

    def before_update(self):
        self.calls.append(("before", self.backbone[1].weight.grad.clone(), self.backbone[1].weight.detach().clone()))

    def after_update(self, progress):
        self.calls.append(("after", progress, self.backbone[1].weight.detach().clone()))


def test_hooks_are_called_once_each_at_the_right_moment():
    method = Hooked()
    fit(method, images(), steps=10, accumulate=2, weight_decay=0.3, clip=1e-3, **SMALL)
    assert method.named("groups") == [(0.3,)]
    assert [epoch for epoch, in method.named("epoch")] == [0, 1, 2]
    before, after = method.named("before"), method.named("after")
    assert len(before) == len(after) == 10 and len(method.named("loss")) == 20
    assert [progress for progress, _ in after] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert [p for p, in method.named("loss")[::2]] == pytest.approx([i / 10 for i in range(10)])
    assert all(gradient.norm() <= 1.001e-3 for gradient, _ in before), "before_update sees the clipped gradient"
    assert not any(torch.equal(b[1], a[1]) for b, a in zip(before[:9], after[:9])), "the update lies between"
    assert [name for name, *_ in method.calls[:6]] == ["groups", "epoch", "views", "loss", "views", "loss"]


def test_views_draw_no_gradient_and_methods_train():
    class Checks(Toy):
        def views(self, batch, generator):
            assert not torch.is_grad_enabled() and self.training
            assert batch.images.dtype == torch.uint8
            assert batch.labels.tolist() == [i % 3 for i in batch.indices.tolist()]
            return super().views(batch, generator)

    method = Checks().eval()
    fit(method, images(), steps=1, **SMALL)
    assert not method.training


# ---------------------------------------------------------------- precision, devices, compilation
def test_precision_is_chosen_by_the_hardware(monkeypatch):
    cuda, cpu = types.SimpleNamespace(type="cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert pick_precision(cuda)[0] == torch.float16 and "loss scaling" in pick_precision(cuda)[1]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert pick_precision(cuda)[0] == torch.bfloat16
    monkeypatch.setattr("course_lib.device.cpu_has_bfloat16", lambda: True)
    assert pick_precision(cpu)[0] == torch.bfloat16
    monkeypatch.setattr("course_lib.device.cpu_has_bfloat16", lambda: False)
    assert pick_precision(cpu)[0] == torch.float32
    assert pick_precision(types.SimpleNamespace(type="mps"))[0] == torch.float32
    assert pick_precision(cpu, "float16") == (torch.float16, "asked for")


def test_asking_for_a_missing_device_is_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device().type == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(ValueError, match=f"device '{name}' was asked for"):
            pick_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1").index == 1
    with pytest.raises(ValueError, match="device 'cuda:2' was asked for, but the last that torch sees is 'cuda:1'"):
        pick_device("cuda:2")


def test_more_processes_than_gpus_is_a_sentence_unless_the_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("WORLD_SIZE", "3"), ("RANK", "2"), ("LOCAL_RANK", "2"), ("MASTER_PORT", "29500"),
                        ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    joined = []
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend, timeout: joined.append(backend))
    with pytest.raises(ValueError, match="process 3 of this machine has no GPU of its own: torch sees 2"):
        ranks.join()
    ranks.join("cpu")
    assert joined == ["gloo"]


@pytest.mark.parametrize("precision, enabled", [("float32", False), ("bfloat16", False), ("float16", True)])
def test_losses_are_scaled_for_float16_only(monkeypatch, precision, enabled):
    made = []
    real = torch.amp.GradScaler

    class Recorded(real):
        def __init__(self, device, enabled=True):
            made.append((device, enabled))
            super().__init__(device, enabled=False)

    monkeypatch.setattr(torch.amp, "GradScaler", Recorded)
    fit(Toy(), images(), steps=1, **{**SMALL, "precision": precision})
    assert made == [("cpu", enabled)]


def test_bfloat16_reaches_the_network_but_not_the_loss():
    class Probe(VICReg):
        def loss(self, views, progress=0.0):
            parts = super().loss(views, progress)
            self.types = {parts["embedding"].dtype, parts["loss"].dtype}
            return parts

    method = Probe(ConvNet(1, (4,)), 16, width=4)
    history = fit(method, images(), steps=2, **{**SMALL, "precision": "bfloat16"})
    assert method.types == {torch.bfloat16, torch.float32} and history.precision == "bfloat16"
    assert all(p.dtype == torch.float32 for p in method.parameters())


def test_diagnostics_see_a_collapse():
    class Collapsing(Toy):
        def loss(self, views, progress):
            z = torch.randn(64, 6) if progress < 0.5 else torch.randn(64, 1).expand(64, 6)
            return {**super().loss(views, progress), "embedding": z}

    history = fit(Collapsing(), images(), steps=10, **SMALL)
    assert history.rank_steps == list(range(1, 11))
    assert history.rank[0] > 5 and history.rank[-1] == pytest.approx(1, abs=1e-3)
    assert 0.7 < history.std[0] < 1.3


def compiler_missing() -> str:
    if sys.platform == "win32":
        return "torch.compile on Windows needs Microsoft's compiler set up in the shell"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        return "torch.compile on a CPU needs a C++ compiler, and there is none"
    return ""


@pytest.mark.slow
@pytest.mark.skipif(bool(compiler_missing()), reason=compiler_missing() or "-")
@pytest.mark.parametrize("build", [vicreg, spark])
def test_a_compiled_run_is_the_same_run(build):
    plain, compiled = build(), build()
    a = fit(plain, images(), steps=4, **SMALL)
    torch._dynamo.reset()
    b = fit(compiled, images(), steps=4, compile=True, **SMALL)
    assert b.loss == pytest.approx(a.loss, rel=1e-3)
    assert state(plain).keys() == state(compiled).keys()


def test_a_run_that_cannot_be_compiled_goes_on_and_says_why(monkeypatch):
    def no_compiler(run):
        def call(*arguments):
            raise RuntimeError("\nno C++ compiler was found\nmore about it")
        return call

    plain = fit(vicreg(), images(), steps=3, **SMALL)
    monkeypatch.setattr(torch, "compile", no_compiler)
    with pytest.warns(UserWarning, match="does not work here.*no C.. compiler was found") as seen:
        history = fit(vicreg(), images(), steps=3, compile=True, **SMALL)
    assert history.loss == plain.loss and len([w for w in seen if "torch.compile" in str(w.message)]) == 1


def test_an_error_of_the_method_is_not_blamed_on_the_compiler(monkeypatch):
    class Broken(Toy):
        def loss(self, views, progress):
            raise KeyError("no such part")

    monkeypatch.setattr(torch, "compile", lambda run: run)
    with pytest.raises(KeyError, match="no such part"), warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(Broken(), images(), steps=3, compile=True, **SMALL)


def test_every_method_trains(tmp_path):
    for build in (vicreg, spark):
        history = fit(build(), images(), epochs=1.5, out=tmp_path / build.__name__, **SMALL)
        assert history.steps == 6 and all(np.isfinite(history.loss)) and history.views_per_second > 0
    assert isinstance(checkpoint.load_method(tmp_path / "spark" / "last.pt"), SparK)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_freed_memory_is_kept_for_the_next_step():
    import resource

    if not keep_freed_memory():
        pytest.skip("another C library than glibc")

    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    def step() -> None:
        blocks = [torch.ones(2**20) for _ in range(8)]  # 32 MB, which glibc gives back as it comes
        del blocks

    step()
    before = faults()
    for _ in range(5):
        step()
    assert faults() - before < 5 * 8 * 1024 / 4  # every step took 8 x 1024 pages from the system
    keep_freed_memory.cache_clear()
    assert keep_freed_memory()  # a second time does no harm


class Shell:
    """A kernel's shell: what is registered is called at the end of a cell, as IPython does."""

    def __init__(self):
        self.events, self.kernel, self.waiting = self, object(), []

    def register(self, event, function):
        assert event == "post_run_cell"
        self.waiting.append(function)

    def unregister(self, event, function):
        self.waiting.remove(function)

    def end(self) -> ExecutionResult:
        result = ExecutionResult(None)
        for function in list(self.waiting):
            function(result)
        return result


def test_in_a_notebook_an_interrupted_training_is_the_last_of_its_run_of_cells(monkeypatch, capsys):
    """The stop button: this fit returns, another of the same cell does not start, and the cell counts as failed."""
    shell, seen = Shell(), []
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)

    def watch(history):
        seen.append((history.steps, history.interrupted))
        Stop(4)(history)

    assert fit(vicreg(), images(), steps=50, watch=watch, log_every=2, **SMALL).steps == 4
    assert seen == [(2, False), (4, False), (4, True)]  # drawn once more, and a second interrupt there stops nothing
    assert "cells that were waiting are not run" in capsys.readouterr().out
    with pytest.raises(KeyboardInterrupt, match="this cell stops here"):
        fit(vicreg(), images(), steps=3, **SMALL)
    result = shell.end()
    assert isinstance(result.error_in_exec, KeyboardInterrupt) and not shell.waiting
    assert fit(vicreg(), images(), steps=3, **SMALL).steps == 3
    assert shell.end().success
