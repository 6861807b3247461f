"""Installation of a model's requirements, and what the server needs.

Both go into an environment of their own. uv resolves them together. The result runs the model and the server, or the
reason why nothing can is known before anything is served. Versions that the requirements leave open are those of the
image, with which the server was tested.
"""

import contextlib
import fcntl
import importlib.metadata
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from sluicegate_scorer import environment, requirements
from sluicegate_scorer.errors import ScorerError, one_line

log = logging.getLogger("sluicegate_scorer.install")

_MAKING = ".making-"
_REMEDIES = {
    "no space left": "Raise dependencies.sizeLimit in the operator's settings, or use a larger volume",
    "hash mismatch": "Upload the file that the model was logged with to the package index, or correct the model's "
    "requirements.txt",
    "failed to build": "Add a wheel for the image's Python to the package index",
    "no solution found": "Correct the model's requirements.txt, or add the missing package to the package index",
    "peer certificate": "Set SSL_CERT_FILE in dependencies.env of the operator's settings to the CA certificate of "
    "the package index, or set UV_SYSTEM_CERTS=1",
    "failed to fetch": "Check the package index and the proxy in dependencies of the operator's settings",
    "permission denied": "Use a volume that the container's user may write to (fsGroup)",
}
_BUILD_OUTPUT = {"[stdout]", "[stderr]"}
_MAX_ERROR = 20
"""Lines from uv's `error:` on that are kept, whatever follows them."""
_DEPENDS_ON_PYTHON = {"failed to build", "no solution found"}
_OTHERWISE = "Correct the model's requirements.txt, or check the package index"


@dataclass(frozen=True)
class Installed:
    """A complete environment.

    Attributes:
        environment: its directory.
        packages: how many distributions it has.
        installed: whether this run made it. Otherwise it already existed.
    """

    environment: str
    packages: int
    installed: bool

    def as_json(self) -> str:
        """Return what the command prints and writes as its termination message."""
        return json.dumps(asdict(self))


def install(model: Path, target: Path, timeout: float, server: Sequence[str] | None = None) -> Installed:
    """Make the environment that the model requires, or find that it already exists.

    The environment is made under a temporary name and then renamed, so it is never incomplete. Several processes, on
    several machines, may do the same for one directory. One of them makes it and the others wait. If the file system
    has no locks, all of them make it, and the first rename takes effect.

    Args:
        model: the model's directory.
        target: a directory for any number of environments.
        timeout: seconds for the whole installation.
        server: what the server needs, the distribution's own list by default.

    Raises:
        ScorerError: if the installation fails. The text is the message for the user.
    """
    needs = environment.server_needs() if server is None else tuple(server)
    target = target.resolve()  # links from any directory lead there
    final = target / environment.key(model, needs)
    deadline = time.monotonic() + timeout
    with _disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        if final.is_dir():
            return _existing(final)
        with _locked(target / f".{final.name}.lock", deadline) as locked:
            if final.is_dir():
                return _existing(final)
            if locked:
                for leftover in target.glob(f"{_MAKING}{final.name}-*"):
                    shutil.rmtree(leftover, ignore_errors=True)
            making = Path(tempfile.mkdtemp(prefix=f"{_MAKING}{final.name}-", dir=target))
            making.chmod(0o755)
            try:
                _Attempt(model, target, making / "environment", deadline).run(needs)
                with contextlib.suppress(OSError):  # another process made it in the meantime, which is as good
                    (making / "environment").rename(final)
                return Installed(str(final), _count(final), installed=True)
            finally:
                shutil.rmtree(making, ignore_errors=True)


def link(path: Path, installed: Installed) -> None:
    """Make `path` a symbolic link to the environment, in one atomic step."""
    temporary = path.with_name(f".{path.name}.new")
    with _disk_errors(path.parent):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(installed.environment, target_is_directory=True)
        temporary.replace(path)


class _Attempt:
    """The making of one environment."""

    def __init__(self, model: Path, target: Path, place: Path, deadline: float) -> None:
        self._model = model
        self._place = place
        self._deadline = deadline
        self._timeout = deadline - time.monotonic()
        self._env = {
            **os.environ,
            # On the volume, so that files are linked and not copied. Another environment then need not download them
            # again.
            "UV_CACHE_DIR": str(target / ".uv-cache"),
            "UV_NO_CONFIG": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        }

    def run(self, server: Sequence[str]) -> None:
        """Resolve, install, and import the server once."""
        began = time.monotonic()
        uv = _uv()
        scratch = self._place.parent
        stated, needs, overrides, lock = (scratch / f"{name}.txt" for name in ("model", "server", "overrides", "lock"))
        needs.write_text("\n".join(server))
        overrides.write_text("\n".join(line for line in server if requirements.is_mlflow(line)))
        lock.write_text("\n".join(_image_versions()))
        model_requirements = self._model / "requirements.txt"
        if not model_requirements.is_file():
            stated.write_text("\n".join(requirements.stated_requirements(self._model)[1]))
            model_requirements = stated
        log.info("installing %s and the server's requirements to %s", model_requirements, scratch.parent)
        python = str(self._place / "bin" / "python")
        self._uv([uv, "venv", "-q", "--relocatable", "--no-project", "--python", sys.executable, str(self._place)])
        with_model = [*("--overrides", str(overrides)), *("--python", python)]
        sources = [str(model_requirements), str(needs)]
        self._uv([uv, "pip", "compile", "-q", "--no-header", "--no-annotate", *sources, *with_model, "-o", str(lock)])
        files = [
            argument for name in (str(lock), *sources) for argument in ("-r", name)
        ]  # the model's file once more, for its hashes
        self._uv([uv, "pip", "install", "--exact", "--no-deps", *files, *with_model])
        self._try()
        log.info("installed in %.1fs", time.monotonic() - began)

    def _uv(self, command: list[str]) -> None:
        code, lines = self._command(command, self._env)
        if code:
            failure = _failure_text(lines) or f"uv failed with exit code {code}"
            symptom = next((symptom for symptom in _REMEDIES if symptom in failure.lower()), "")
            remedy = _REMEDIES.get(symptom, _OTHERWISE)
            if symptom in _DEPENDS_ON_PYTHON:
                remedy = self._with_python(remedy)
            raise ScorerError(f"cannot install the model's requirements: {one_line(failure, 420)}. {remedy}")

    def _with_python(self, remedy: str) -> str:
        """Return a remedy that names the Python which the model requires, if it is another one than the image's.

        Package indexes often have no wheels of old packages for a newer Python.
        """
        python = requirements.python_difference(self._model)
        if python is None:
            return remedy
        return (
            f"The model requires {python}. Set spec.runtime.image to an image with this Python, or "
            f"{remedy[0].lower()}{remedy[1:]}"
        )

    def _try(self) -> None:
        """Import the server and the module that loads the model.

        This shows that the server runs, and leaves the bytecode for every start.
        """
        env = environment.variables(environment.python_path(self._place.parent))
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        program = "import uvloop; from sluicegate_scorer import serve; from sluicegate_scorer.server import app"
        code, lines = self._command([str(self._place / "bin/python"), "-c", program], env)
        if code:
            raise ScorerError(
                "the server does not start with the model's requirements: "
                f"{one_line(lines[-1] if lines else f'exit code {code}', 420)}. Correct the model's requirements.txt"
            )
        if loader := _loader(self._model):  # if this fails, the server reports the reason when it loads the model
            self._command([str(self._place / "bin/python"), "-c", f"import {loader}"], env)

    def _command(self, command: list[str], env: dict[str, str]) -> tuple[int, list[str]]:
        """Return the exit code and the last lines of a command, after those with uv's `error:` if it wrote any.

        The output of a build follows uv's own lines, and has hundreds of lines.

        Raises:
            ScorerError: if the time limit passed. The command is killed then.
        """
        error: list[str] = []
        lines: deque[str] = deque(maxlen=60)
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        timer = threading.Timer(max(self._deadline - time.monotonic(), 0), _kill, [process.pid])
        timer.start()
        with process:
            for line in process.stdout or ():
                if line.strip():
                    if not error and _is_error(line):
                        lines.clear()
                        error.append(line.rstrip())
                    else:
                        (error if 0 < len(error) < _MAX_ERROR else lines).append(line.rstrip())
                    log.info("%s", one_line(line, 300))
        timer.cancel()
        if time.monotonic() >= self._deadline:
            last = f" (last output: {one_line([*error, *lines][-1], 200)})" if error or lines else ""
            raise ScorerError(
                f"the model's requirements were not installed within {self._timeout:.0f}s{last}. "
                + self._with_python(
                    "Raise dependencies.timeout in the operator's settings, or use an image that has them"
                )
            )
        return process.returncode, [*error, *lines]


def _kill(group: int) -> None:
    """Kill a command with all processes that it started.

    A package that is being built is a process of its own.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _existing(final: Path) -> Installed:
    log.info("already installed: %s", final)
    return Installed(str(final), _count(final), installed=False)


def _count(final: Path) -> int:
    return sum(1 for _ in final.glob("lib/python*/site-packages/*.dist-info"))


def _image_versions() -> list[str]:
    """Return the versions of this environment.

    uv prefers the versions that a lock file already has.
    """
    versions = {
        distribution.name: distribution.version
        for distribution in importlib.metadata.distributions()
        if distribution.name
    }
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if name != "sluicegate-scorer"]


def _uv() -> str:
    try:
        from uv import find_uv_bin
    except ImportError as error:
        raise ScorerError("sluicegate-scorer install needs uv. Run pip install uv") from error
    return find_uv_bin()


def _is_error(line: str) -> bool:
    return re.match(r"\W*error:", line) is not None


def _failure_text(lines: Sequence[str]) -> str:
    """Return uv's output from `error:` on, as one line without its markers.

    Of the output of a build, it has only the last line, which names the exception.
    """
    start = next((n for n, line in enumerate(lines) if _is_error(line)), None)
    if start is None:
        return lines[-1] if lines else ""
    text = list(lines[start:])
    build = next((n for n, line in enumerate(text) if line.strip() in _BUILD_OUTPUT), None)
    if build is not None:
        output = [line.strip() for line in text[build:] if not line.startswith("hint:")]
        text = [*text[:build], output[-1]]
    parts = [re.sub(r"^[^\w`]*(error:|cause:|hint:)?\s*", "", line) for line in text]
    return ": ".join(part.rstrip(":.") for part in parts if part)


def _loader(model: Path) -> str | None:
    """Return the module that loads the model, from its MLmodel file."""
    try:
        flavors = yaml.safe_load((model / "MLmodel").read_text(encoding="utf-8"))["flavors"]
        loader = str(flavors["python_function"]["loader_module"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None
    return loader if re.fullmatch(r"mlflow(\.\w+)+", loader) else None


@contextlib.contextmanager
def _locked(path: Path, deadline: float) -> Iterator[bool]:
    """Hold a lock, once other processes have released it.

    Yields:
        False if the file system has no locks.

    Raises:
        ScorerError: if the time limit passed first.
    """
    with path.open("a") as file:
        logged = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ScorerError(
                        "the time limit passed while another pod installed the model's requirements. Raise "
                        "dependencies.timeout in the operator's settings"
                    ) from None
                if not logged:
                    log.info("waiting for another process that installs the same environment")
                    logged = True
                time.sleep(0.2)
            except OSError as error:
                log.info("this volume has no file locks (%s)", error.strerror)
                yield False
                return
            else:
                yield True
                return


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScorerError(
            f"cannot install to {target}: {error.strerror or error}. Use a volume with enough space that user "
            f"{os.getuid()} may write to (fsGroup, dependencies.sizeLimit in the operator's settings)"
        ) from error
