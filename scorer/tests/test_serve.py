"""`sluicegate-scorer serve`: predictions, draining, and models that fail to load.

The predictions are real, and SIGTERM starts the draining.
"""

import contextlib
import json
import threading
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from sluicegate_scorer import cli, logs, requirements, serve

ROW = {"dataframe_records": [{"recency_days": 1.0, "visits": 2.0, "basket_value": 3.0}]}


@pytest.fixture
def fetched(registry, train, scorer, tmp_path):
    def get(name, *options):
        uri = train(name, *options)
        done = scorer("fetch", uri, tmp_path / name, MLFLOW_TRACKING_URI=registry)
        assert done.returncode == 0, done.stderr
        return tmp_path / name

    return get


def test_predicts_and_stops_cleanly(fetched, serving):
    model = fetched("served")
    with serving(model) as (url, process):
        example = (model / "serving_input_example.json").read_bytes()
        response = httpx.post(f"{url}/invocations", content=example, headers={"content-type": "application/json"})
        assert [round(value / 100) for value in response.json()["predictions"]] == [1, 1]
        assert httpx.get(f"{url}/ping").status_code == 200
        assert httpx.get(f"{url}/version").text == "3.17.2"
        process.terminate()
        assert process.wait(10) == 0
        assert "/invocations" not in process.stderr.read()


def test_serves_requests_while_draining(fetched, serving):
    with serving(fetched("slow", "--slow", "2"), "--drain", "1") as (url, process):
        responses = []
        request = threading.Thread(
            target=lambda: responses.append(httpx.post(f"{url}/invocations", json=ROW, timeout=20))
        )
        request.start()
        time.sleep(0.5)
        process.terminate()
        time.sleep(0.3)
        late = httpx.get(f"{url}/ping")
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        request.join(20)
        assert responses[0].json() == {"predictions": [100.0]}
        assert process.wait(10) == 0


def test_request_in_progress_at_sigterm_is_answered(fetched, serving):
    """The arguments are those of the operator's pod template for `traffic.timeout: 8s`, with a shorter drain."""
    limits = ("--drain", "1", "--timeout", "8", "--grace", "10")
    with serving(fetched("patient", "--slow", "6"), *limits) as (url, process):
        responses = []
        request = threading.Thread(
            target=lambda: responses.append(httpx.post(f"{url}/invocations", json=ROW, timeout=20))
        )
        request.start()
        time.sleep(0.5)
        process.terminate()
        request.join(20)
        assert responses[0].json() == {"predictions": [100.0]}
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ([], (60, 62)),
        (["--timeout", "600"], (600, 602)),
        (["--timeout", "600", "--grace", "30"], (600, 30)),
    ],
)
def test_grace_covers_the_longest_request(monkeypatch, tmp_path, arguments, limits):
    got = []
    monkeypatch.setattr(logs, "log_to_stderr", lambda: None)
    monkeypatch.setattr(serve, "check", lambda directory: None)
    monkeypatch.setattr(requirements, "check", lambda *args, **options: None)
    monkeypatch.setattr(serve, "serve", lambda directory, settings: got.append(settings) or 0)
    assert cli.main(["serve", str(tmp_path), *arguments]) == 0
    assert [(settings.server.limits.seconds, settings.grace) for settings in got] == [limits]


USES_ITS_PROCESS = """
import asyncio
import logging
import logging.config

import mlflow
import shop_helper

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        logging.basicConfig(filename="model.log", level=logging.INFO)
        logging.config.dictConfig({"version": 1, "incremental": False, "loggers": {"shop": {"level": "INFO"}}})
        self.loop = asyncio.get_event_loop()

    def predict(self, context, model_input, params=None):
        logging.getLogger("shop").info("predicting")
        future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0, shop_helper.PRICE), self.loop)
        return [future.result(10)] * len(model_input)

mlflow.models.set_model(Model())
"""


@pytest.mark.filterwarnings("ignore")
def test_model_has_its_own_logging_loop_and_modules(serving, tmp_path, monkeypatch):
    """Check what a model has on MLflow's server too: the root logger, the loop that runs, and the working directory.

    The program is a script in another directory, like the one that pip installs.
    """
    import mlflow

    code, script, work, model = (tmp_path / name for name in ("code.py", "bin/script.py", "work", "model"))
    for folder in (script.parent, work):
        folder.mkdir()
    code.write_text(USES_ITS_PROCESS)
    script.write_text("from sluicegate_scorer.cli import entry\nentry()\n")
    (work / "shop_helper.py").write_text("PRICE = 5\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(serve.__file__).parents[1]))
    monkeypatch.syspath_prepend(work)
    example = [[1.0, 2.0]]
    mlflow.pyfunc.save_model(model, python_model=str(code), pip_requirements=["mlflow", "shop-helper"])
    (model / "serving_input_example.json").write_text(json.dumps({"inputs": example}))
    monkeypatch.chdir(work)
    with serving(model, program=[str(script)]) as (url, process):
        assert httpx.post(f"{url}/invocations", json={"inputs": example}).json() == {"predictions": [5]}
        process.terminate()
        assert process.wait(10) == 0
        output = process.stderr.read()
    logged = (work / "model.log").read_text()
    assert logged.count("predicting") == 2, "the smoke test and the request"
    assert "loading" not in logged, "the server's own lines stay on stderr"
    assert output.count("ready after") == 1, "dictConfig disables loggers, and the server enables its own again"
    assert "Uvicorn running" in output
    assert sorted(path.name for path in work.iterdir() if path.name != "__pycache__") == ["model.log", "shop_helper.py"]


def test_grace_period_limits_the_stop(fetched, serving):
    with serving(fetched("slower", "--slow", "30"), "--grace", "1") as (url, process):

        def ask():
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(f"{url}/invocations", json=ROW, timeout=20)

        threading.Thread(target=ask, daemon=True).start()
        time.sleep(0.5)
        process.terminate()
        assert process.wait(5) == 0


def test_model_that_cannot_be_loaded_names_the_cause(fetched, scorer):
    done = scorer("serve", fetched("broken", "--broken", "load"), "--port", 1)
    assert done.returncode == 1
    assert "No module named 'a_package_that_is_not_in_the_image'" in done.termination_message
    assert "MlflowException" in done.termination_message
    assert done.reason == "ModelLoadFailed"
    assert done.stderr.splitlines()[-1] == done.termination_message


@pytest.mark.parametrize("form", ["file://{}", "file:{}", "file://localhost{}", "FILE://{}", "{}"])
def test_serves_a_file_uri(tmp_path, form):
    folder = tmp_path / "my model"
    named = form.format(folder if form == "{}" else quote(str(folder)))
    with cli._model(cli._parser().parse_args(["serve", "-m", named])) as directory:
        assert directory == folder


def test_refuses_a_file_uri_of_another_host(scorer):
    done = scorer("serve", "-m", "file://models/churn")
    assert "names the host models. Use file:///PATH" in done.termination_message


def test_refuses_a_folder_without_a_model(scorer, tmp_path):
    assert "does not exist" in scorer("serve", tmp_path / "no").termination_message
    assert "has no MLmodel file" in scorer("serve", tmp_path).termination_message
