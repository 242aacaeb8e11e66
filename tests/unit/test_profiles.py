"""Profiles: what the worker samples, what the supervisor takes, what people get."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from types import SimpleNamespace
from typing import Any, cast

from aeros.core.ipc.messages import Profiled
from aeros.status.profile import WorkerProfile
from aeros.supervisor.workers.profiles import Profiles
from aeros.worker.report.profiler import Profiler


def work(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


async def wait_long() -> None:
    await asyncio.sleep(30)


def sampled() -> Profiled:
    async def main() -> Profiled:
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Profiled] = loop.create_future()
        task = loop.create_task(wait_long())
        profiler = Profiler(loop, lambda: [cast(Any, SimpleNamespace(task=task))], told.set_result)
        assert profiler.start(1.5) == ""
        assert "SIGPROF" in Profiler(loop, list, told.set_result).start(1.0)
        await asyncio.sleep(0)
        work(0.3)
        time.sleep(0.6)
        found = await asyncio.wait_for(told, 30)
        task.cancel()
        return found

    return asyncio.run(main())


def seconds_in(told: Profiled, kind: str, function: str) -> float:
    numbers = {number for number, frame in enumerate(told.frames) if frame.startswith(f"{function} (")}
    mine = [stack for stack in told.stacks if stack["kind"] == kind]
    return sum(stack["seconds"] for stack in mine if numbers & set(stack["frames"]))


def test_it_tells_the_processor_from_a_blocked_loop_and_from_awaits() -> None:
    told = sampled()
    assert signal.getsignal(signal.SIGPROF) is signal.SIG_DFL
    assert seconds_in(told, "running", "work") > 0.1
    assert seconds_in(told, "running", "sampled.<locals>.main") >= seconds_in(told, "running", "work")
    assert seconds_in(told, "blocked", "sampled.<locals>.main") > 0.05
    assert seconds_in(told, "awaiting", "wait_long") >= 0.1
    assert seconds_in(told, "awaiting", "work") == 0


class Loop:
    def __init__(self) -> None:
        self.later: list[Any] = []

    def call_later(self, seconds: float, call: Any, *arguments: Any) -> Any:
        timer = SimpleNamespace(cancel=lambda: self.later.remove(timer), fire=lambda: call(*arguments))
        self.later.append(timer)
        return timer


def test_a_profile_is_asked_once_and_its_deadline_ends_with_it() -> None:
    loop, answers = Loop(), cast("list[Any]", [])
    office = cast(Any, SimpleNamespace(loop=loop, tell=lambda channel, message: None))
    worker = cast(Any, SimpleNamespace(ident=7, slot=0, generation=1, pid=17))
    profiles = Profiles(office)
    profiles.ask(worker, None, 1.0, answers.append)
    lies: list[dict[str, Any]] = [
        {"kind": "running", "frames": [0, 5], "seconds": 1},
        {"kind": "evil", "frames": [0], "seconds": 1},
        {"kind": "running", "frames": [True, "x"], "seconds": 1},
        {"kind": "running", "frames": [0], "seconds": -1},
        {},
    ]
    right = {"kind": "running", "frames": [0, 1], "seconds": 0.5}
    profiles.hear(worker, Profiled("", 1.0, 50, 0.0, ["f (a.py:1)", "g\x1b[31m (a.py:2)"], [*lies, right]))
    assert loop.later == []
    (answer,) = answers
    assert answer["stacks"] == [right]
    profiles.hear(worker, Profiled("", 1.0, 50, 0.0, [], []))
    assert len(answers) == 1, "nobody had asked"
    profiles.ask(worker, None, 1.0, answers.append)
    loop.later[0].fire()
    assert "has not sent its profile" in str(answers[1])


def test_the_page_has_the_profile_and_none_of_its_text_as_markup() -> None:
    frames = ("f</script><script>alert(1)</script> (a.py:1)",)
    stacks = [{"kind": "running", "frames": [0], "seconds": 0.5}]
    about = {"slot": 0, "pid": 1, "generation": 1, "seconds": 1.0, "samples": 5, "left_out_s": 0.0}
    profile = WorkerProfile.from_message({**about, "frames": list(frames), "stacks": stacks})
    page = profile.html()
    assert "alert(1)</script>" not in page
    assert page.count("</script>") == 2
    told = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
    assert told["frames"] == list(frames)
    speedscope = json.loads(profile.speedscope())
    assert speedscope["shared"]["frames"] == [{"name": frames[0]}]
    assert [one["weights"] for one in speedscope["profiles"]] == [[0.5], [], []]
