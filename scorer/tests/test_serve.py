"""`sluicegate-scorer serve`: predictions, draining, and models that fail to load.

The predictions are real, and SIGTERM starts the draining.
"""

import contextlib
import threading
import time

import httpx
import pytest
from sluicegate_scorer import cli, requirements, serve

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
    monkeypatch.setattr(serve, "check", lambda directory: None)
    monkeypatch.setattr(requirements, "check", lambda *args, **options: None)
    monkeypatch.setattr(serve, "serve", lambda directory, settings: got.append(settings) or 0)
    assert cli.main(["serve", str(tmp_path), *arguments]) == 0
    assert [(settings.server.limits.seconds, settings.grace) for settings in got] == [limits]


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


def test_refuses_a_folder_without_a_model(scorer, tmp_path):
    assert "does not exist" in scorer("serve", tmp_path / "no").termination_message
    assert "has no MLmodel file" in scorer("serve", tmp_path).termination_message
