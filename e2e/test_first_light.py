"""The first thing anybody sees: apply, Ready, a prediction, and nothing left behind."""

from e2e.support.load import predict


def test_smoke(apply, wait_ready, workspace):
    apply("shop", model=2)
    wait_ready("shop")
    for url in workspace.urls("shop").values():
        assert predict(url) == 2
