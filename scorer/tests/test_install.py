"""`sluicegate-scorer install`, with a package index that the test serves.

One wheel stands for the server's own packages. It points to this environment.
"""

import concurrent.futures
import contextlib
import errno
import fcntl
import functools
import http.server
import io
import json
import os
import platform
import sysconfig
import tarfile
import threading
import time
import warnings
import zipfile
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pytest
from mlflow.models import infer_signature
from sluicegate_scorer import environment, install
from sluicegate_scorer.errors import ScorerError

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc

SERVER = ("stands-for-the-server", f"mlflow=={mlflow.__version__}")
USES_A_PACKAGE = """
import mlflow
import shop_features

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [shop_features.VERSION] * len(model_input)

mlflow.models.set_model(Model())
"""


def wheel(folder: Path, name: str, version: str, files: dict[str, str], requires: str = "") -> None:
    """Write a wheel as a package index serves it."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    requires = f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    (folder / name).mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for each, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(each, text)


def sdist(folder: Path, name: str, backend: str) -> None:
    """Write a source distribution with its own build backend, as a package index serves it."""
    module = name.replace("-", "_")
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {
        "backend.py": backend,
        "pyproject.toml": f'{project}[project]\nname = "{name}"\nversion = "1.0"\n',
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n",
    }
    (folder / name).mkdir(exist_ok=True)
    with tarfile.open(folder / name / f"{module}-1.0.tar.gz", "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{module}-1.0/{file}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))


class Index:
    """A package index on loopback, with one folder per package.

    Python's own HTTP server lists the folders in the format of PEP 503.
    """

    def __init__(self, folder: Path) -> None:
        self.requests: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        index = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                index.requests.append(self.path)
                index.hold.wait(60)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    super().do_GET()

        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    site_packages = sysconfig.get_path("purelib")
    wheel(folder, "stands-for-the-server", "1.0", {"server.pth": f"{site_packages}\n"})
    wheel(folder, "mlflow", mlflow.__version__, {})
    for version in ("1.0", "2.0", "3.0"):
        files = {"shop_features.py": f"VERSION = {version}\n"}
        wheel(folder, "shop-features", version, files, requires="needed-too")
    wheel(folder, "needed-too", "1.0", {"needed_too.py": ""})
    wheel(folder, "breaks-the-server", "1.0", {"uvicorn.py": "raise RuntimeError('this is no uvicorn')\n"})
    return folder


@pytest.fixture
def index(packages, monkeypatch):
    made = Index(packages)
    monkeypatch.setenv("UV_DEFAULT_INDEX", made.url)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for name in (
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_INDEX",
        "UV_FIND_LINKS",
        "UV_CONSTRAINT",
        "UV_EXCLUDE_NEWER",
    ):
        monkeypatch.delenv(name, raising=False)
    yield made
    made.stop()


@pytest.fixture
def model(tmp_path):
    def write(text: str, **files: str) -> Path:
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        for name, content in {"requirements.txt": text, **files}.items():
            (folder / name).write_text(content)
        return folder

    return write


def versions(found: install.Installed) -> set[str]:
    """Return the packages that an environment has."""
    names = Path(found.environment).glob("lib/python*/site-packages/*.dist-info")
    return {name.stem for name in names} - {"stands_for_the_server-1.0", f"mlflow-{mlflow.__version__}"}


@pytest.mark.filterwarnings("ignore")  # MLflow warns that the model has no example.
def test_serves_with_the_required_versions_and_reuses_them(index, tmp_path, scorer, serving, monkeypatch):
    code, model, target = tmp_path / "code.py", tmp_path / "model", tmp_path / "environments"
    code.write_text(USES_A_PACKAGE.replace("import shop_features", "").replace("shop_features.VERSION", "1.0"))
    data = np.array([[1.0, 2.0, 3.0]])
    requirements = ["shop-features==2.0", "mlflow==2.9.2"]
    mlflow.pyfunc.save_model(
        model, python_model=str(code), signature=infer_signature(data, data[:, 0]), pip_requirements=requirements
    )
    (model / "code.py").write_text(USES_A_PACKAGE)
    failed = scorer("serve", model, "--port", "1")
    assert "shop-features==2.0 (missing)" in failed.termination_message
    assert "spec.runtime.dependencies: Install" in failed.termination_message
    made = install.install(model, target, 300, SERVER)
    assert made.installed
    assert versions(made) == {"shop_features-2.0", "needed_too-1.0"}, "MLflow is the server's, whatever the model says"
    link = tmp_path / "link"
    install.link(link, made)
    install.link(link, made)
    monkeypatch.setenv("SLUICEGATE_DEPENDENCIES", "refuse")
    monkeypatch.setenv("SLUICEGATE_ENVIRONMENT", str(link))
    with serving(model) as (url, process):
        body = {"inputs": data.tolist()}
        assert httpx.post(f"{url}/invocations", json=body).json() == {"predictions": [2.0]}
        assert f"{made.environment}/bin/python" in Path(f"/proc/{process.pid}/cmdline").read_text()
        process.terminate()
        assert process.wait(20) == 0, "the server took the place of the command, and stops in order"
    index.stop()
    again = install.install(model, target, 5, SERVER)
    assert again == install.Installed(made.environment, made.packages, installed=False)
    monkeypatch.delenv("SLUICEGATE_ENVIRONMENT")
    lost = scorer("serve", model, "--environment", tmp_path / "nowhere")
    assert "no environment for this image's Python exists at" in lost.termination_message


def test_concurrent_pods_install_once(index, model, tmp_path):
    folder = model("shop-features==1.0")
    stranger = tmp_path / "environments" / f".making-{environment.key(folder, SERVER)}-killed"
    stranger.mkdir(parents=True)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        run = functools.partial(install.install, folder, tmp_path / "environments", 300, SERVER)
        results = [result.result() for result in [pool.submit(run) for _ in range(3)]]
    assert sorted(result.installed for result in results) == [False, False, True]
    assert len({result.environment for result in results}) == 1
    assert not list((tmp_path / "environments").glob(".making-*")), "what a killed pod left is gone too"


def test_one_process_wins_without_locks(index, model, tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    folder = model("shop-features==1.0")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        run = functools.partial(install.install, folder, tmp_path / "environments", 300, SERVER)
        results = [result.result() for result in [pool.submit(run) for _ in range(2)]]
    assert [versions(result) for result in results] == [{"shop_features-1.0", "needed_too-1.0"}] * 2
    assert len([path for path in (tmp_path / "environments").iterdir() if not path.name.startswith(".")]) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shop-features==9.0", ["shop-features==9.0", "add the missing package to the package index"]),
        ("nothing-like-it==1.0", ["nothing-like-it", "package index"]),
        ("shop-features==1.0\nshop-features==2.0", ["shop-features==1.0", "shop-features==2.0"]),
        (f"shop-features==1.0 --hash=sha256:{'0' * 64}", ["Hash mismatch", "shop-features==1.0", "Upload the file"]),
        (
            "shop-features==",
            ["Couldn't parse requirement", "model/requirements.txt", "Correct the model's requirements.txt"],
        ),
        ("breaks-the-server==1.0", ["the server does not start with the model's requirements", "this is no uvicorn"]),
    ],
)
def test_failed_installation_names_the_requirement(index, model, tmp_path, text, expected):
    with pytest.raises(ScorerError) as raised:
        install.install(model(text), tmp_path / "environments", 120, SERVER)
    message = str(raised.value)
    assert [part for part in expected if part not in message] == []
    assert "\n" not in message
    assert len(message) < 600, "what status shows"
    assert not [path for path in (tmp_path / "environments").iterdir() if not path.name.startswith((".uv", ".making"))][
        1:
    ]


FAILS = """
def build_wheel(*_):
    for n in range(400):
        print("line", n, "of the compiler")
    raise RuntimeError("the compiler refuses splitting.pyx")
"""
OLD_PYTHON = {"python_env.yaml": "python: 3.9.13\n"}


@pytest.mark.parametrize(("files", "python"), [({}, False), (OLD_PYTHON, True)], ids=["same python", "other python"])
def test_failed_build_names_package_and_python(index, packages, model, tmp_path, files, python):
    sdist(packages, "fails-to-build", FAILS)
    with pytest.raises(ScorerError) as raised:
        install.install(model("fails-to-build==1.0", **files), tmp_path / "environments", 120, SERVER)
    message = str(raised.value)
    assert "Failed to build `fails-to-build==1.0`" in message
    assert "RuntimeError: the compiler refuses splitting.pyx" in message
    assert "line 3" not in message
    assert ("requires python 3.9.13 (installed: " in message) == python
    assert "dd a wheel for the image's Python to the package index" in message
    assert len(message) < 600, "what status shows"


def test_network_failure_does_not_name_python(index, model, tmp_path, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/simple")
    with pytest.raises(ScorerError, match="Check the package index") as raised:
        install.install(model("shop-features", **OLD_PYTHON), tmp_path / "environments", 60, SERVER)
    assert "3.9.13" not in str(raised.value)


def test_unreachable_index_is_named_without_its_password(index, model, tmp_path, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://me:hunter2@127.0.0.1:1/simple")
    with pytest.raises(
        ScorerError, match=r"127\.0\.0\.1:1/simple.*Connection refused.*Check the package index"
    ) as raised:
        install.install(model("shop-features"), tmp_path / "environments", 60, SERVER)
    assert "hunter2" not in str(raised.value)


def test_time_limit_leaves_no_environment(index, model, tmp_path):
    index.hold.clear()
    folder = model("shop-features")
    with pytest.raises(ScorerError, match=r"not installed within 3s.*Raise dependencies\.timeout"):
        install.install(folder, tmp_path / "environments", 3, SERVER)
    index.hold.set()
    assert {path.name for path in (tmp_path / "environments").iterdir()} <= {
        ".uv-cache",
        f".{environment.key(folder, SERVER)}.lock",
    }
    assert index.requests


def test_time_limit_kills_a_build(index, packages, model, tmp_path, monkeypatch):
    backend = (
        "import os, time\ndef build_wheel(*_):\n    open(os.environ['NOTE'], 'w').write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
    )
    sdist(packages, "slow-build", backend)
    note = tmp_path / "pid"
    monkeypatch.setenv("NOTE", str(note))
    message = r"not installed within 25s.*requires python 3\.9\.13 .* or raise dependencies\.timeout"
    with pytest.raises(ScorerError, match=message):
        install.install(model("slow-build", **OLD_PYTHON), tmp_path / "environments", 25, SERVER)
    build = Path(f"/proc/{note.read_text()}/stat")
    deadline = time.monotonic() + 60
    # Process 1 of the machine reaps the build.
    while build.exists() and build.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the build goes on"
        time.sleep(0.1)


def test_read_only_volume_names_the_fix(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScorerError, match="Use a volume with enough space that user"):
        install.install(model("x"), tmp_path / "file" / "environments", 5, SERVER)


def test_key_depends_on_the_requirements(model, monkeypatch):
    keys = [environment.key(model(text), SERVER) for text in ("a==1\n", "a==1", "  a==1 \n\n", "a==2", "a==1\nb")]
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 3
    assert environment.key(model("-c constraints.txt\na"), SERVER) != environment.key(
        model("-c constraints.txt\na", **{"constraints.txt": "a<3"}), SERVER
    )
    assert environment.key(model("a==1"), (*SERVER, "more")) != keys[0]
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert environment.key(model("a==1"), SERVER) != keys[0]


def test_command_reports_the_environment(index, model, scorer, tmp_path):
    """Run the command with the distribution's own requirements.

    Of these, the index has only MLflow.
    """
    assert f"mlflow=={mlflow.__version__}" in environment.server_needs()
    relative = os.path.relpath(tmp_path / "environments")
    failed = scorer("install", model("shop-features"), relative, "--link", tmp_path / "link")
    assert failed.returncode == 1
    assert "cannot install the model's requirements" in failed.termination_message
    assert failed.stderr.splitlines()[-1] == failed.termination_message
    name = environment.key(tmp_path / "model", environment.server_needs())
    (tmp_path / "environments" / name / "bin").mkdir(parents=True)
    done = scorer("install", tmp_path / "model", relative, "--link", tmp_path / "link")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.termination_message) == {
        "environment": str(tmp_path / "environments" / name),
        "packages": 0,
        "installed": False,
    }
    assert (tmp_path / "link").resolve().name == name
