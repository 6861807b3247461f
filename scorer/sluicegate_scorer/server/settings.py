"""How to serve. Each value is a flag of `sluicegate-scorer serve`."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    Attributes:
        body: bytes of a request's body.
        seconds: time until 504.
        workers: threads that may run the model; 0 for four more than there are CPUs. More than there are CPUs are used
            only while the model waits for something, see `slots`.
        queue: requests that may wait for a thread or a batch; above it 429.
        cpus: CPUs of this container.
    """

    body: int = 100 << 20
    seconds: float = 60.0
    workers: int = 0
    queue: int = 1024
    cpus: int = 2


@dataclass(frozen=True)
class Fast:
    """The path that skips pandas.

    Attributes:
        enabled: whether to look for one at all.
        batch: rows that are predicted at once; 1 turns batching off.
    """

    enabled: bool = True
    batch: int = 64


@dataclass(frozen=True)
class Policy:
    """What a client is told.

    Attributes:
        model_error_status: HTTP status of an exception inside the model; MLflow's own server says 400.
        stack_traces: whether error bodies carry stack traces, as MLflow's own do.
    """

    model_error_status: int = 500
    stack_traces: bool = False


@dataclass(frozen=True)
class Logs:
    """What is logged of requests.

    Attributes:
        access: one JSON line a request.
        payloads: share of requests, 0 to 1, whose bodies are logged.
    """

    access: bool = False
    payloads: float = 0.0


@dataclass(frozen=True)
class ServerSettings:
    """All of them.

    Attributes:
        smoke_test: whether the model has to answer its own input example before the port opens.
        name: the model's name for metrics and V2.
        version: its version, empty where unknown.
        run_id: the run that made it, empty where unknown.
        pod_uid: the pod's UID, which who reads recent answers has to know; where it is empty nobody can.
    """

    limits: Limits = field(default_factory=Limits)
    fast: Fast = field(default_factory=Fast)
    policy: Policy = field(default_factory=Policy)
    logs: Logs = field(default_factory=Logs)
    smoke_test: bool = True
    name: str = "model"
    version: str = ""
    run_id: str = ""
    pod_uid: str = ""
