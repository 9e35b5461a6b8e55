"""One command for the whole course: `python course.py` (Windows: `py course.py`).

    python course.py                      set up what is missing, open the lessons in JupyterLab
    python course.py lesson 03            run a lesson without a screen and write it as HTML
    python course.py test                 set up what the tests need, run all tests
    python course.py doctor               what is installed, what is missing, and how to mend it
    python course.py setup                set-up only
    python course.py COMMAND --help       train, evaluate, embed, look, cluster, export: with images of your own;
                                          lab, guide, paths: lessons; papers: the reading list; networks: those
                                          that lessons look into; record: five minutes on CIFAR-10

Options of this file, before or after the command:
    --cpu-torch    take the smaller build of PyTorch without CUDA, from PyTorch's own index
    --fresh        throw the environment away and make it anew

Everything goes into `.venv` beside this file; nothing else of the machine is touched, and nothing has to be
activated. The second start installs nothing. COURSE_TORCH_INDEX=URL takes PyTorch from another index of
wheels (an older NVIDIA driver, for instance: https://download.pytorch.org/whl/cu126).

Only the standard library is used here, and no syntax that an old Python cannot read: an old Python has to get
as far as the sentence below. That is why there are neither f-strings nor annotations in this file.
"""
from __future__ import print_function

import sys

if sys.version_info < (3, 11):
    sys.exit("The course needs Python 3.11 or newer, and this is Python {}.{} ({}). Install a newer one from "
             "https://www.python.org/downloads/ and start this file with it, for example: "
             "python3.12 course.py (Windows: py -3.12 course.py).".format(
                 sys.version_info[0], sys.version_info[1], sys.executable))

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = "course-stamp.json"                          # inside .venv, so that it goes when the environment goes
CPU_INDEX = "https://download.pytorch.org/whl/cpu"   # published by the PyTorch project
# Seen with torch 2.15 on Linux: (download, on disk, free disk to ask for in GB, minutes at 20 Mbit/s).
SIZES = {"cuda": ("3.1 GB", "6.3 GB", 10, 25), "cpu": ("0.4 GB", "1.6 GB", 3, 5)}


class SetupError(Exception):
    """Set-up could not be done; the text says why and what to do."""


# ---------------------------------------------------------------- what is there

def venv_python(venv=None):
    """Path of the environment's own interpreter."""
    venv = venv or VENV
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def fingerprint(root=None):
    """Hash of the parts of pyproject.toml that decide what is installed (not of the tests' settings)."""
    import tomllib
    with open(str((root or ROOT) / "pyproject.toml"), "rb") as file:
        data = tomllib.load(file)
    project = data.get("project", {})
    parts = [data.get("build-system"), data.get("tool", {}).get("setuptools")]
    parts += [project.get(key) for key in ("name", "requires-python", "dependencies", "optional-dependencies",
                                           "scripts")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read_stamp():
    """What the last set-up wrote about the environment; {} where there is none or it cannot be read."""
    try:
        stamp = json.loads((VENV / STAMP).read_text(encoding="utf-8"))
        return stamp if isinstance(stamp, dict) else {}
    except (OSError, ValueError):
        return {}


def write_stamp(**values):
    partial = VENV / (STAMP + ".part")
    partial.write_text(json.dumps(values, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(str(partial), str(VENV / STAMP))      # a stamp is there whole or not at all


def venv_version():
    """'3.12' where the environment's interpreter starts and has a working pip folder, else None."""
    code = ("import sys, importlib.util; "
            "print('%d.%d' % sys.version_info[:2] if importlib.util.find_spec('pip') else '')")
    try:
        # -I: the folder that the command was given in must not lend its packages
        found = subprocess.run([str(venv_python()), "-I", "-c", code], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.decode().strip() or None if found.returncode == 0 else None


def plan(extras=(), index=None, fresh=False):
    """Decide what set-up has to do: ('ready' | 'install' | 'make', why).

    `ready` takes nothing, `install` runs pip in the environment that is there, `make` starts from nothing.
    """
    if not VENV.exists() and not VENV.is_symlink():
        return "make", "there is no environment yet"
    stamp = read_stamp()
    ours = bool(stamp) or (VENV / "pyvenv.cfg").is_file() or (VENV.is_dir() and not any(VENV.iterdir()))
    if not ours:
        raise SetupError("{} is no Python environment. Move it away, then start again.".format(VENV))
    if fresh:
        return "make", "--fresh was asked for"
    if stamp.get("state") == "making":
        return "make", "the last set-up was stopped half-way"
    version = venv_version()
    if version is None:
        return "make", "the environment is broken (its Python does not start, or pip is missing from it)"
    if tuple(map(int, version.split("."))) < (3, 11):
        return "make", "the environment is of Python {}, which is too old".format(version)
    if index and stamp and stamp.get("index") != index:
        return "make", "PyTorch is wanted from {}".format(index)
    if stamp.get("state") != "ready":
        return "install", "the course is not installed in it yet"
    if stamp.get("python") != version:
        return "make", "it was made for Python {} and now runs {}".format(stamp.get("python"), version)
    if stamp.get("place") != str(ROOT):
        return "install", "the folder was moved"
    if stamp.get("project") != fingerprint():
        return "install", "the list of needed packages has changed"
    if not set(extras) <= set(stamp.get("extras", [])):
        return "install", "the packages for the tests are still missing"
    return "ready", "nothing to do"


# ---------------------------------------------------------------- set-up

def build_kind(index):
    """'cuda' or 'cpu': which build of PyTorch pip will bring here."""
    if index:
        return "cpu" if index.rstrip("/").endswith("cpu") else "cuda"
    return "cuda" if sys.platform.startswith("linux") and platform.machine() in ("x86_64", "AMD64") else "cpu"


def has_nvidia():
    return bool(shutil.which("nvidia-smi")) or os.path.exists("/proc/driver/nvidia/version")


def announce(index):
    """Say what will be downloaded, how long it may take, and whether the disk has room for it."""
    kind = build_kind(index)
    download, disk, needed, minutes = SIZES[kind]
    print("Downloading PyTorch ({}), JupyterLab and what they need: about {}, {} on disk.".format(
        "with CUDA, for NVIDIA GPUs" if kind == "cuda" else "CPU build", download, disk))
    print("That takes one to three minutes on a fast line, about {} at 20 Mbit/s. It is needed once.".format(
        minutes))
    if kind == "cuda" and not index and not has_nvidia():
        print("No NVIDIA GPU was found here. The CPU build is several times smaller: stop with Ctrl-C and\n"
              "start    {} --cpu-torch".format(command_name()))
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < needed:
        print("Careful: only {:.1f} GB are free on this disk; {} GB are advised.".format(free, needed))
    sys.stdout.flush()


def command_name():
    return "py course.py" if os.name == "nt" else "python3 course.py"


CAUSES = [   # (what pip's errors contain, what it means and what to do), the first that fits counts
    (("no space left", "errno 28", "not enough space", "winerror 112"),
     "The disk is full. Free some space (see above for how much is needed; `pip cache purge` frees what pip "
     "keeps), then start again."),
    (("certificate_verify_failed", "sslerror", "ssl: "),
     "The connection's certificate was not accepted, as behind some company or school networks. Tell pip "
     "about your network's certificate (`pip config set global.cert FILE`) or use another network, then "
     "start again."),
    (("failed to establish a new connection", "name resolution", "getaddrinfo failed", "max retries exceeded",
      "connecttimeout", "readtimeout", "read timed out", "connection broken", "connection reset",
      "incompleteread", "proxyerror", "network is unreachable", "do not match the hashes"),
     "The network could not be reached or broke off. Check the connection (and proxy), then start again: "
     "what has been downloaded whole is kept."),
    (("no matching distribution found for torch", "no matching distribution found for torchvision"),
     "There is no PyTorch for this Python and machine yet. A Python one version older usually has one: see "
     "https://pytorch.org/get-started/locally/, then start this file with that Python and --fresh."),
    (("permission denied", "access is denied", "winerror 5", "winerror 32", "errno 13"),
     "A file could not be written. Close JupyterLab and other programs that use the folder .venv, see that "
     "you own the folder of the course, then start again."),
    (("filename or extension is too long", "long path"),
     "A path became too long for Windows. Move the course to a short folder such as C:\\course, then start "
     "again."),
]


def explain(errors):
    """A sentence about why pip failed, from what it wrote to stderr."""
    text = errors.lower()
    for marks, advice in CAUSES:
        if any(mark in text for mark in marks):
            return advice
    return ("pip stopped with an error; its own words are above. Starting again with --fresh makes the "
            "environment anew; if it stops at the same place, put pip's last lines into an issue of the "
            "course's repository.")


def pip(arguments, env=None):
    """Run the environment's pip: progress goes to the screen, errors there and into the explanation."""
    command = [str(venv_python()), "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
    process = subprocess.Popen(command + arguments, cwd=str(ROOT), stderr=subprocess.PIPE, env=env)
    errors = []
    for line in process.stderr:
        line = line.decode("utf-8", "replace")
        sys.stderr.write(line)
        errors.append(line)
    if process.wait() != 0:
        raise SetupError(explain("".join(errors[-200:])))


def make_venv():
    if VENV.is_symlink() or VENV.is_file():
        VENV.unlink()
    try:
        if VENV.exists():
            shutil.rmtree(str(VENV))
        VENV.mkdir()
        write_stamp(state="making")                   # first: a stop from here on is seen by the next start
    except OSError as error:
        raise SetupError("{} could not be made ({}). Close JupyterLab and other programs that use it, see "
                         "that you may write there, then start again.".format(VENV, error))
    done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        print(done.stdout.decode("utf-8", "replace"), file=sys.stderr)
        hint = ("On Debian and Ubuntu: sudo apt install python{}.{}-venv, then start again.".format(
            *sys.version_info[:2]) if sys.platform.startswith("linux") else
            "Install Python from https://www.python.org/downloads/, then start again.")
        raise SetupError("This Python could not make an environment (python -m venv). " + hint)


def move_scripts(place):
    """Put this folder's path into the environment's scripts (activate, pip, ...), which name the one they came from."""
    old, new = (os.fsencode(os.path.join(str(root), VENV.name)) for root in (place, ROOT))
    for script in venv_python().parent.iterdir():
        if script.is_file() and not script.is_symlink():
            text = script.read_bytes()
            if old in text and b"\0" not in text:            # a program is no script
                script.write_bytes(text.replace(old, new))


def install(extras, index):
    stamp = read_stamp()
    extras = sorted(set(extras) | set(stamp.get("extras", [])))
    index = index or stamp.get("index")
    write_stamp(state=stamp.get("state") if stamp.get("state") == "making" else "installing",
                extras=extras, index=index)
    if index:
        # Through the environment: it goes before every configuration file; proxy and certificates stay set.
        # Both variables, so that a newer torch from another index cannot win.
        only = dict(os.environ, PIP_INDEX_URL=index, PIP_EXTRA_INDEX_URL=index)
        pip([requirement("torch"), requirement("torchvision")], env=only)
    pip(["--editable", "." + ("[" + ",".join(extras) + "]" if extras else "")])
    write_stamp(state="ready", project=fingerprint(), python=venv_version(), place=str(ROOT), extras=extras,
                index=index)


def requirement(name):
    """The line of pyproject.toml that asks for the package `name`."""
    import tomllib
    with open(str(ROOT / "pyproject.toml"), "rb") as file:
        lines = tomllib.load(file)["project"]["dependencies"]
    return next(line for line in lines if line.split(">")[0].strip() == name)


def ensure(extras=(), index=None, fresh=False, lenient=True):
    """Bring `.venv` to where `extras` are installed; returns True where anything had to be done.

    `lenient`: where an update fails and the environment served until now, say so and go on with it.
    """
    todo, why = plan(extras, index, fresh)
    if todo == "ready":
        return False
    before = read_stamp()
    started = time.time()
    print("Setting up the course in {}: {}.".format(VENV, why))
    if todo == "make":
        announce(index)
        make_venv()
    else:
        sys.stdout.flush()
        if before.get("place") not in (None, str(ROOT)):
            move_scripts(before["place"])
    try:
        install(extras, index)
    except SetupError as error:
        served = todo == "install" and before.get("state") == "ready"
        if not (lenient and served and set(extras) <= set(before["extras"])):
            raise
        # A learner without a network who has just updated: what was installed before most likely serves.
        write_stamp(**before)
        print("The environment could not be brought up to date: {}\nGoing on with what is installed; "
              "the next start tries again.".format(error), file=sys.stderr)
        return True
    print("Set up in {:.0f} s.".format(time.time() - started))
    return True


# ---------------------------------------------------------------- commands

def hand_over(command):
    """Become `command`; on Windows, where a process cannot, run it and return its exit code."""
    sys.stdout.flush()
    if os.name != "nt":
        os.execv(command[0], command)
    # Ctrl-C reaches both processes: the one that works answers it, this one waits for its end
    signal.signal(signal.SIGINT, lambda *_: None)
    return subprocess.call(command)


def main(argv=None):
    argv = list(sys.argv[1:] if argv is None else argv)
    index = os.environ.get("COURSE_TORCH_INDEX") or None
    fresh = False
    # Up to "--", so that the options may stand before or after the command; no other command has these two.
    end = argv.index("--") if "--" in argv else len(argv)
    head, tail = argv[:end], argv[end:]
    if "--cpu-torch" in head:
        index = CPU_INDEX
    fresh = "--fresh" in head
    argv = [word for word in head if word not in ("--cpu-torch", "--fresh")] + tail
    if argv and argv[0] in ("-h", "--help", "help"):
        print(__doc__.split("\n\nOnly the standard")[0])
        return 0
    command, rest = (argv[0], argv[1:]) if argv else ("lab", [])
    if command.startswith("-"):                       # options alone: they are the lab's
        command, rest = "lab", argv
    try:
        if command == "doctor" and not fresh:
            # The doctor looks, it does not change anything: without an environment the Python at hand runs it
            python = str(venv_python()) if venv_version() else sys.executable
            paths = [str(ROOT), os.environ.get("PYTHONPATH")]
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
            return hand_over([python, "-P", "-m", "course_lib", "doctor"] + rest)
        if command == "test":
            ensure(["test"], index, fresh)
            os.chdir(str(ROOT))
            # Several processes at once, each with its share of the cores (tests/conftest.py); "-n 0" turns that off
            several = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal"]
            return hand_over([str(venv_python()), "-m", "pytest"] + several + rest)
        done = ensure([], index, fresh, lenient=command != "setup")
        if command == "setup":
            print("The course is set up. Start it with: {}".format(command_name()) if done
                  else "Already set up; nothing was installed.")
            return 0
        # -P: the folder that the command is given in must not lend another course_lib
        return hand_over([str(venv_python()), "-P", "-m", "course_lib", command] + rest)
    except SetupError as error:
        print("\n{}".format(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The next start goes on; what has been downloaded whole is kept.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
