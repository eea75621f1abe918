"""What can be asked of this repository: `nox --list`; every session is a thin call of one command.

All sessions share one environment, `.nox/env`, made from requirements.lock by the session `env` and kept until
the lock or pyproject.toml changes. `nox --no-venv -s SESSION` uses the environment that nox runs in.
"""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests"]

if sys.version_info < (3, 11):  # noqa: UP036 (the Python that nox was installed in may be older)
    sys.exit(f"Rematch needs Python 3.11 or later, and nox runs in Python {sys.version.split()[0]}")

import tomllib  # noqa: E402 (older Pythons do not have it)

ROOT = Path(__file__).parent
SOURCES = ("benchmark", "baselines", "tests", "hatch_build.py", "noxfile.py", "docs/pages.py")
INSTALL_INPUTS = ("requirements.lock", "pyproject.toml")

tools = Path(sys.executable).parent
"""Where the commands lie: beside nox itself, until the session `env` has made an environment."""


@nox.session(default=False)
def env(session: nox.Session) -> None:
    """Make the environment that the other sessions run in (they call this themselves)."""
    global tools
    if session.virtualenv.venv_backend == "none":
        return
    tools = Path(session.bin)
    stamp = tools.parent / "rematch.stamp"
    digest = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in INSTALL_INPUTS)).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    session.install("--require-hashes", "-r", "requirements.lock", silent=False)  # gigabytes: show how far
    session.install("--no-deps", "--no-build-isolation", "-e", ".")
    # by a command, so that `nox --no-install` leaves the stamp alone too
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    session.run_install("python", "-c", write, str(stamp), digest, log=False)


def run(session: nox.Session, command: str, *arguments: str, **variables: str) -> None:
    """Run a command of the shared environment, with its folder first on the path."""
    path = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
    beside = tools / command
    program = str(beside) if beside.is_file() else command
    session.run(program, *arguments, env={"PATH": path, **variables}, external=True)


@nox.session(requires=["env"], venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style (ruff check, ruff format) and types (mypy, strict)."""
    run(session, "ruff", "check", *SOURCES)
    run(session, "ruff", "format", "--check", *SOURCES)
    run(session, "mypy", *SOURCES)


@nox.session(requires=["env"], venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the tests; arguments go to pytest: `nox -s tests -- -k ranks`."""
    # one thread a worker, or they get in each other's way, and no spinning in tests that take two;
    # worksteal keeps most of a file on one worker
    workers = str(min(4, os.cpu_count() or 1))
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    run(session, "pytest", "-n", workers, "--dist", "worksteal", *session.posargs, **threads)


@nox.session(requires=["env"], venv_backend="none", default=False)
def distributed(session: nox.Session) -> None:
    """Train every method by two and three processes and by one, which must come to the same; kill one of them."""
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    run(session, "pytest", "tests/distributed", *session.posargs, REMATCH_ALL_DISTRIBUTED="1", **threads)


@nox.session(requires=["env"], venv_backend="none", default=False)
def compiled(session: nox.Session) -> None:
    """Take steps of `training.compile` and steps without, which must come to the same; needs a C++ compiler."""
    variables = {"OMP_NUM_THREADS": "1", "REMATCH_ALL_COMPILED": "1"}
    run(session, "pytest", "tests/baselines/test_compiled.py", *session.posargs, **variables)


def reproduction(method: str) -> Callable[[nox.Session], None]:
    """Make the session that trains and evaluates one method."""

    def session(session: nox.Session) -> None:
        run(session, "rematch", "reproduce", method, *session.posargs)

    session.__doc__ = f"Train and evaluate {method}: `nox -s {name_of(method)} [-- flickr30k]`."
    return session


def name_of(method: str) -> str:
    """Return the name of a method's session."""
    return f"reproduce-{method.replace('_', '-')}"


METHODS = sorted(
    tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][
        "rematch.baselines"
    ]
)
"""The registered methods, each with a session of its own."""

for method in METHODS:
    declare = nox.session(name=name_of(method), requires=["env"], venv_backend="none", default=False)
    declare(reproduction(method))


@nox.session(requires=["env"], venv_backend="none", default=False)
def reproduce(session: nox.Session) -> None:
    """Train and evaluate every method: `nox -s reproduce [-- mscoco]`."""
    run(session, "rematch", "reproduce", "all", *session.posargs)


@nox.session(requires=["env"], venv_backend="none", default=False)
def tables(session: nox.Session) -> None:
    """Write what is made from the committed records: tables, claims, studies, the report page."""
    run(session, "rematch", "leaderboard", *session.posargs)


@nox.session(requires=["env"], venv_backend="none", default=False)
def drift(session: nox.Session) -> None:
    """Fail when scores leave their tolerance: `nox -s drift [-- --full]`."""
    run(session, "rematch", "drift", *session.posargs)


@nox.session(requires=["env"], venv_backend="none", default=False)
def diff(session: nox.Session) -> None:
    """Say what changed between two runs: `nox -s diff -- sgraf-saf rcar-i2t`, or `-- --against main`."""
    run(session, "rematch", "diff", *session.posargs)


@nox.session(requires=["env"], venv_backend="none", default=False)
def latency(session: nox.Session) -> None:
    """Time encoding, scoring and ranking: `nox -s latency [-- RECIPE]`."""
    run(session, "rematch", "time", "model", *session.posargs)


@nox.session(requires=["env"], venv_backend="none", default=False)
def parity(session: nox.Session) -> None:
    """Compare with recorded values of the published code: `nox -s parity [-- METHOD [FILES]]`."""
    run(session, "rematch", "parity", *(session.posargs or ["all"]))


@nox.session(requires=["env"], venv_backend="none", default=False)
def doctor(session: nox.Session) -> None:
    """Say whether this machine can run Rematch, and what to do where it cannot."""
    run(session, "rematch", "doctor", *session.posargs)


@nox.session(name="gpu-check", requires=["env"], venv_backend="none", default=False)
def gpu_check(session: nox.Session) -> None:
    """Check a GPU on random weights and made-up data, in 8 minutes: `nox -s gpu-check [-- --minutes 4]`."""
    run(session, "rematch", "gpu-check", *session.posargs)


@nox.session(requires=["env"], venv_backend="none", default=False)
def wheel(session: nox.Session) -> None:
    """Build the wheel into dist/, and run it from an empty folder; nothing is downloaded."""
    run(session, "hatchling", "build", "-t", "wheel")
    run(session, "pytest", "tests/test_wheel.py", *session.posargs, OMP_NUM_THREADS="1")


@nox.session(venv_backend="uv", default=False)
def docs(session: nox.Session) -> None:
    """Build the site from docs/ into .rematch/site/html; a dead link or a missing anchor is an error."""
    session.install("--require-hashes", "-r", "docs/requirements.lock")
    session.run("python", "docs/pages.py", ".rematch/site")
    session.run("zensical", "build", "--strict", "--clean", "--config-file", ".rematch/site/mkdocs.yml")


@nox.session(venv_backend="uv", default=False)
def peers(session: nox.Session) -> None:
    """Compare recalls with other evaluators, of pinned versions, in an environment of its own; see docs/peers.md."""
    session.install("--require-hashes", "-r", "requirements.lock", silent=False)
    session.install("--no-deps", "--no-build-isolation", "-e", ".")
    session.install("--no-deps", "-r", "tests/peers/requirements.txt")
    session.run("pytest", "-q", "tests/peers", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session(requires=["env"], venv_backend="none", default=False)
def mutants(session: nox.Session) -> None:
    """Ask the tests about a sample of changed modules: `nox -s mutants [-- AREA --minutes 20]`; see docs/mutants.md."""
    run(session, "python", "-m", "tests.mutants", *session.posargs, OMP_NUM_THREADS="1")


@nox.session(venv_backend="none", default=False)
def findings(session: nox.Session) -> None:
    """Run the scripts of findings/: surprises of other people's tools, each in a temporary folder (needs a network)."""
    shared = ROOT / ".nox" / "env" / "bin" / "python"  # has torch, where `env` has made it
    python = {"PYTHON": str(shared)} if shared.is_file() else {}
    for script in sorted((ROOT / "findings").glob(session.posargs[0] if session.posargs else "*.sh")):
        session.run("bash", str(script), external=True, env=python)


@nox.session(venv_backend="uv", default=False)
def lock(session: nox.Session) -> None:
    """Write the two locks anew from pyproject.toml: `nox -s lock [-- --upgrade]`."""
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-annotate", "--no-header"]
    product = ["--group", "dev", "pyproject.toml", "--output-file", "requirements.lock"]
    site = ["--group", "docs", "--output-file", "docs/requirements.lock"]
    for files in (product, site):
        session.run("uv", "pip", "compile", "--quiet", *options, *files, *session.posargs)
