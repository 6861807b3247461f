"""Settings of the server. Each value is a flag of `sluicegate-scorer serve`."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Limits:
    """Limits on requests.

    Attributes:
        body: bytes of a request's body.
        seconds: time until the server responds with 504.
        workers: threads that may run the model; 0 means the number of CPUs plus four. More threads than CPUs are used
            only while the model waits for something, see `slots`.
        queue: requests that may wait for a thread or a batch. Above it the server responds with 429.
        cpus: CPUs of this container.
        stream_idle: seconds that a stream may have no event; 0 means `seconds`.
    """

    body: int = 100 << 20
    seconds: float = 60.0
    workers: int = 0
    queue: int = 1024
    cpus: int = 2
    stream_idle: float = 0.0


@dataclass(frozen=True)
class Fast:
    """The fast path, which does not use pandas.

    Attributes:
        enabled: whether to look for a fast path at all.
        batch: rows that are predicted together; 1 turns batching off.
    """

    enabled: bool = True
    batch: int = 64


@dataclass(frozen=True)
class Policy:
    """What responses say about errors.

    Attributes:
        model_error_status: HTTP status of an exception inside the model. MLflow's own server uses 400.
        stack_traces: whether error bodies contain stack traces, as those of MLflow's own server do.
    """

    model_error_status: int = 500
    stack_traces: bool = False


@dataclass(frozen=True)
class Logs:
    """What the server logs about requests.

    Attributes:
        access: whether to log one JSON line for each request.
        payloads: share of requests, 0 to 1, whose bodies are logged.
    """

    access: bool = False
    payloads: float = 0.0


@dataclass(frozen=True)
class ServerSettings:
    """All settings of the server.

    Attributes:
        smoke_test: whether the model has to predict its own input example before the port opens.
        name: the model's name, for metrics and for version 2 of the Open Inference Protocol.
        version: the model version, empty if unknown.
        run_id: the run that made the model, empty if unknown.
        pod_uid: the pod's UID, which a client has to know to read recent responses. If it is empty, no client can read
            them.
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
