import asyncio
from collections.abc import Callable
from typing import Any, cast

from sluicegate.kube import events
from sluicegate.kube.client import KubeClient
from sluicegate.kube.errors import Conflict, Forbidden, NotFound, Unreachable
from sluicegate.kube.events import EventRecorder
from sluicegate.kube.wire import Object

Run = Callable[[Any], Any]
ABOUT = {
    "apiVersion": "sluicegate.dev/v1alpha1",
    "kind": "ModelDeployment",
    "namespace": "n",
    "name": "m",
    "uid": "u",
}


class FakeEvents:
    def __init__(self) -> None:
        self.created: list[Object] = []
        self.patched: list[Object] = []
        self.faults: list[Exception] = []

    def _fault(self) -> None:
        if self.faults:
            raise self.faults.pop(0)

    async def create(self, _: object, manifest: Object) -> Object:
        self._fault()
        self.created.append(manifest)
        return manifest

    async def merge_patch(self, _kind: object, _ns: str, _name: str, patch: Object) -> Object:
        self._fault()
        self.patched.append(patch)
        return patch


def make(busy: Callable[[], bool] = lambda: False) -> tuple[EventRecorder, FakeEvents, "asyncio.Task[None]"]:
    server = FakeEvents()
    clock = asyncio.get_running_loop().time
    recorder = EventRecorder(cast(KubeClient, server), ("sluicegate.dev/operator", "pod-1"), clock, busy=busy)
    return recorder, server, asyncio.create_task(recorder.run())


def record(recorder: EventRecorder, message: str = "It broke.", uid: str = "u") -> None:
    recorder.record({**ABOUT, "uid": uid}, "Warning", "Broken", message, "Reconcile")


def test_repetitions_become_a_series_once_a_minute(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        for _ in range(100):
            record(recorder)
            await asyncio.sleep(3)
        task.cancel()
        assert len(server.created) == 1
        assert 4 <= len(server.patched) <= 6
        counts = [patch["count"] for patch in server.patched]
        assert counts == sorted(set(counts))
        await recorder.flush()
        assert server.patched[-1]["count"] == 100
        body = server.created[0]
        assert body["involvedObject"] == ABOUT
        assert body["reportingComponent"] == "sluicegate.dev/operator"
        assert body["firstTimestamp"] == body["lastTimestamp"]
        assert server.patched[-1]["lastTimestamp"] >= body["lastTimestamp"]

    virtual(main())


def test_the_first_repetition_is_written_at_once(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        record(recorder)
        await asyncio.sleep(5)
        record(recorder)
        await asyncio.sleep(1)
        task.cancel()
        assert [patch["count"] for patch in server.patched] == [2]

    virtual(main())


def test_events_wait_for_more_important_work_but_not_for_ever(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make(busy=lambda: True)
        record(recorder)
        await asyncio.sleep(events.PATIENCE - 1)
        assert server.created == []
        await asyncio.sleep(2)
        assert len(server.created) == 1
        task.cancel()

    virtual(main())


def test_after_the_window_it_is_news_again(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        record(recorder)
        await asyncio.sleep(601)
        record(recorder)
        await asyncio.sleep(1)
        task.cancel()
        assert len(server.created) == 2
        assert server.created[0]["metadata"]["name"] != server.created[1]["metadata"]["name"]

    virtual(main())


def test_a_flood_about_one_object_is_cut_and_others_are_heard(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        for number in range(200):
            record(recorder, f"message {number}")
        record(recorder, "quiet one", uid="other")
        await asyncio.sleep(1)
        assert len(server.created) == events.BURST + 1
        assert recorder.dropped == 200 - events.BURST
        await asyncio.sleep(events.REFILL)
        record(recorder, "later")
        record(recorder, "later still")
        await asyncio.sleep(1)
        assert len(server.created) == events.BURST + 2
        task.cancel()

    virtual(main())


def test_memory_is_bounded(virtual: Run) -> None:
    async def main() -> None:
        recorder, _, task = make()
        for number in range(events.MAX_SERIES + 50):
            record(recorder, uid=f"u{number}")
        assert recorder.dropped == 50
        assert len(recorder._series) == len(recorder._buckets) == events.MAX_SERIES
        task.cancel()

    virtual(main())


def test_an_outage_is_outlived_and_a_refusal_is_not_repeated(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        server.faults = [Unreachable("down")] * 3
        record(recorder)
        await asyncio.sleep(30)
        assert len(server.created) == 1
        server.faults = [Forbidden(403, "", "namespace is terminating")]
        record(recorder, "another")
        await asyncio.sleep(600)
        assert len(server.created) == 1
        assert recorder.dropped == 1
        server.faults = [Unreachable("down")] * 100
        record(recorder, "a third")
        await asyncio.sleep(600)
        assert len(server.faults) == 100 - events.MAX_ATTEMPTS
        task.cancel()

    virtual(main())


def test_an_expired_event_is_created_anew_and_a_lost_answer_counts(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        record(recorder)
        await asyncio.sleep(61)
        record(recorder)
        server.faults = [NotFound(404, "", "expired")]
        await asyncio.sleep(1)
        assert server.created[1]["count"] == 2
        server.faults = [Unreachable("lost"), Conflict(409, "AlreadyExists", "")]
        record(recorder, "x")
        await asyncio.sleep(30)
        assert recorder.dropped == 0
        task.cancel()

    virtual(main())


def test_long_words_are_cut_to_what_the_api_takes(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        recorder.record({**ABOUT, "name": "n" * 250}, "Normal", "R" * 200, "ü" * 2000, "A" * 200)
        await asyncio.sleep(1)
        body = server.created[0]
        assert len(body["message"].encode()) == 1024
        assert len(body["metadata"]["name"]) <= 253
        assert len(body["reason"]) == len(body["action"]) == 128
        task.cancel()

    virtual(main())


def test_reference() -> None:
    raw = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {}},
    }
    assert events.reference(raw) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "n",
        "name": "p",
        "uid": "u",
    }


def test_messages_are_printable(virtual: Run) -> None:
    async def main() -> None:
        recorder, server, task = make()
        record(recorder, "a\x1b[2Jb\u202ec")
        await asyncio.sleep(5)
        task.cancel()
        assert [event["message"] for event in server.created] == ["a [2Jb c"]

    virtual(main())
