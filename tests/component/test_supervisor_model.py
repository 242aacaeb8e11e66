"""Random lives of a whole supervisor: whatever happens in whatever order, the invariants of docs/architecture.md hold.

The supervisor is the real one (see `played`); hypothesis plays the system, the zygotes, the workers, those who command
and the clock. `scripts/model` runs as many steps as one likes.
"""

from __future__ import annotations

import dataclasses
import signal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aeros.core.exitcodes import ExitCode
from aeros.core.ipc.messages import Failed, FilesChanged, LoadFailed, WantsRetirement
from aeros.core.shared.scoreboard import REQUESTS
from aeros.supervisor.model.policy import Policy
from aeros.supervisor.zygotes.load import FORK, WORKER

from .played import SUPERVISOR, Client, Family, PlayedWorker, PlayedZygote, Process, Violation, Watch

MOST = 4
POLICY = Policy(
    workers=2,
    boot_timeout_s=10.0,
    worker_timeout_s=5.0,
    drain_timeout_s=3.0,
    shutdown_timeout_s=1.0,
    max_lifetime_s=None,
    max_rss_bytes=None,
    reload_surge=None,
    use_reloader=False,
)
#: From any state, with everybody behaving: a slot that was given up waits a minute, and so may the reload that is to
#: bring back a lost zygote.
REST_WITHIN_S = 150.0
#: From any state, with nobody hearing: to drain and shut down, to be killed, again, the zygotes' last call.
STOP_WITHIN_S = 40.0


class SupervisorLife(RuleBasedStateMachine, Watch):
    """Steps are what can happen to a server; after each, the supervisor has had its say and time stands still."""

    family: Family

    @initialize(
        workers=st.integers(1, 3),
        surge=st.sampled_from([None, None, 1, 2]),
        why_not=st.sampled_from(["", "", "", "the program was read from standard input"]),
        drain_delay_s=st.sampled_from([0.0, 0.0, 2.0]),
        lifetime_s=st.sampled_from([None, None, 20.0]),
        tls=st.booleans(),
        pilot=st.booleans(),
        load=st.sampled_from([FORK, FORK, WORKER]),
        well_begun=st.sampled_from([True, True, True, False]),
    )
    def begin(
        self,
        workers: int,
        surge: int | None,
        why_not: str,
        drain_delay_s: float,
        lifetime_s: float | None,
        tls: bool,
        pilot: bool,
        load: str,
        well_begun: bool,
    ) -> None:
        policy = dataclasses.replace(
            POLICY, workers=workers, reload_surge=surge, drain_delay_s=drain_delay_s, max_lifetime_s=lifetime_s
        )
        load = FORK if why_not else load
        self.family = Family(policy, why_not=why_not, tls=tls, pilot=pilot, watch=self, load=load)
        self.system = self.family.system
        self.why_not = why_not
        self.all_behave = False
        if well_begun:
            self.family.behave()
            self.family.pass_time(1.0)
            self.family.behave()
            assert self.family.announced == 1

    # --- what the supervisor must never do to a worker

    def told_to_retire(self, worker: PlayedWorker) -> None:
        target = self.family.office.target
        if not worker.accepting or target.stopping or worker.order.slot >= target.workers or worker.guilty:
            return
        others = [
            one
            for one in self.system.running(PlayedWorker)
            if one is not worker and one.order.slot == worker.order.slot and one.accepting
        ]
        if not any(not one.told_to_retire for one in others):
            raise Violation(f"{worker} is told to end ({worker.retire_reason}), and nobody else serves its slot")

    def killed(self, worker: PlayedWorker) -> None:
        target = self.family.office.target
        harmless = worker.accepting and not worker.blocked and not worker.guilty and not worker.told_to_retire
        if harmless and not worker.deserted and target.stopping != "now" and not self.hand_over_fails(worker):
            raise Violation(f"{worker} is killed although it serves")

    def unblock(self, worker: PlayedWorker) -> None:
        """Who was silent for too long is being killed, and still is when the loop turns again meanwhile."""
        limit_s = self.family.office.policy.worker_timeout_s
        worker.guilty = worker.guilty or bool(limit_s and worker.silent_s() > limit_s)
        worker.blocked = False

    def hand_over_fails(self, worker: PlayedWorker) -> bool:
        """Of a candidate that serves already (--reload-surge), when its reload is refused and it will not end."""
        return worker.order.generation > self.family.office.target.committed

    # --- who is there to act

    def draw(self, data: Any, ones: list[Any]) -> Any:
        return data.draw(st.sampled_from(sorted(ones, key=lambda one: one.pid)))

    def running(self, kind: type[Process]) -> list[Any]:
        return self.system.running(kind) if hasattr(self, "family") else []

    @property
    def alive(self) -> bool:
        return hasattr(self, "family") and not self.family.over

    # --- what zygotes, programs and workers do

    @precondition(lambda self: any(one.can_act for one in self.running(Process)))
    @rule(data=st.data())
    def somebody_acts(self, data: Any) -> None:
        self.draw(data, [one for one in self.running(Process) if one.can_act]).act()
        self.family.turn()

    @precondition(lambda self: self.alive)
    @rule()
    def everybody_acts(self) -> None:
        self.family.behave()

    @precondition(lambda self: any(one.orders and not one.stuck for one in self.running(PlayedZygote)))
    @rule(data=st.data(), how=st.sampled_from(["refused", "hook", "quiet"]))
    def a_fork_goes_wrong(self, data: Any, how: str) -> None:
        self.draw(data, [one for one in self.running(PlayedZygote) if one.orders and not one.stuck]).act(how)
        self.family.turn()

    @precondition(lambda self: self.running(PlayedZygote))
    @rule(data=st.data())
    def a_zygote_dies(self, data: Any) -> None:
        self.draw(data, self.running(PlayedZygote)).end(signal.SIGKILL)
        self.family.turn()

    @precondition(lambda self: self.running(PlayedZygote))
    @rule(data=st.data())
    def a_zygote_gets_stuck(self, data: Any) -> None:
        self.draw(data, self.running(PlayedZygote)).stuck = True

    @precondition(lambda self: any(not one.loaded and one.stderr >= 0 for one in self.running(PlayedZygote)))
    @rule(data=st.data(), how=st.sampled_from(["refuses", "fails", "is killed"]))
    def a_program_does_not_get_far(self, data: Any, how: str) -> None:
        program = self.draw(data, [one for one in self.running(PlayedZygote) if not one.loaded and one.stderr >= 0])
        if how == "refuses":
            program.say(LoadFailed("there is no app", "Traceback"))
        program.end(signal.SIGKILL if how == "is killed" else 256)
        self.family.turn()

    @precondition(lambda self: self.alive and not self.why_not)
    @rule(load=st.sampled_from([FORK, WORKER]))
    def new_code_is_loaded_another_way(self, load: str) -> None:
        """A library whose threads a fork would lose is used while it is loaded, or not any more."""
        self.system.load = load

    @precondition(lambda self: self.running(PlayedWorker))
    @rule(data=st.data(), how=st.sampled_from(["dies", "dies", "fails", "exits"]))
    def a_worker_ends(self, data: Any, how: str) -> None:
        worker = self.draw(data, self.running(PlayedWorker))
        if how == "fails":
            worker.say(Failed("startup", "ValueError: no", "Traceback", False))
        worker.end({"dies": signal.SIGKILL, "fails": 256}.get(how, 0))
        self.family.turn()

    @precondition(lambda self: self.running(PlayedWorker))
    @rule(data=st.data())
    def a_worker_is_blocked(self, data: Any) -> None:
        self.draw(data, self.running(PlayedWorker)).blocked = True

    @precondition(lambda self: any(one.blocked for one in self.running(PlayedWorker)))
    @rule(data=st.data())
    def a_worker_is_not_blocked_any_more(self, data: Any) -> None:
        worker = self.draw(data, [one for one in self.running(PlayedWorker) if one.blocked])
        self.unblock(worker)
        worker.beat()
        self.family.turn()

    @precondition(lambda self: any(one.accepting for one in self.running(PlayedWorker)))
    @rule(data=st.data())
    def a_worker_wants_to_be_replaced(self, data: Any) -> None:
        worker = self.draw(data, [one for one in self.running(PlayedWorker) if one.accepting])
        worker.say(WantsRetirement("max_requests reached"))
        self.family.turn()

    @precondition(lambda self: self.running(PlayedWorker))
    @rule(data=st.data(), garbage=st.sampled_from([b"\0\0\0\2{}", b"\xff" * 9, b'\0\0\0\x0f{"kind":"Go"}  ']))
    def a_worker_talks_nonsense(self, data: Any, garbage: bytes) -> None:
        worker = self.draw(data, self.running(PlayedWorker))
        worker.guilty = True
        worker.say_bytes(garbage)
        self.family.turn()

    @precondition(lambda self: self.running(PlayedWorker))
    @rule(data=st.data(), requests=st.integers(1, 5))
    def requests_are_served(self, data: Any, requests: int) -> None:
        self.draw(data, self.running(PlayedWorker)).serve(requests)

    @precondition(lambda self: any(one.loaded for one in self.running(PlayedZygote)))
    @rule(data=st.data())
    def source_files_change(self, data: Any) -> None:
        zygote = self.draw(data, [one for one in self.running(PlayedZygote) if one.loaded])
        zygote.say(FilesChanged(["app.py"]))
        self.family.turn()

    # --- what people do

    @precondition(lambda self: self.alive)
    @rule(
        number=st.sampled_from(
            [signal.SIGHUP, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGCHLD]
        )
    )
    def somebody_signals(self, number: int) -> None:
        if number != signal.SIGTTIN or self.family.office.target.workers < MOST:
            self.family.signal(number)

    @precondition(lambda self: self.alive)
    @rule(
        data=st.data(),
        command=st.one_of(
            st.tuples(st.just("reload"), st.sampled_from([{}, {}, {"timeout_s": 3.0}])),
            st.tuples(st.just("scale"), st.integers(-1, MOST).map(lambda n: {"workers": n})),
            st.tuples(st.just("restart"), st.sampled_from([{}, {"slot": 0}, {"slot": 1}, {"slot": 7}])),
            st.tuples(st.just("stack"), st.sampled_from([{"slot": 0}, {"slot": 1}, {"slot": 7}])),
            st.tuples(st.sampled_from(["wait_ready", "ping", "reopen", "debug", "sing"]), st.just({})),
        ),
    )
    def somebody_commands(self, data: Any, command: tuple[str, dict[str, Any]]) -> None:
        clients = [one for one in self.family.clients if not one.closed]
        if len(clients) < 3:
            clients = [*clients, Client(self.family)]
            self.family.clients.append(clients[-1])
        data.draw(st.sampled_from(clients)).ask(command[0], **command[1])
        self.family.turn()

    @precondition(lambda self: self.alive and any(not one.closed for one in self.family.clients))
    @rule(data=st.data())
    def a_client_leaves(self, data: Any) -> None:
        client = data.draw(st.sampled_from([one for one in self.family.clients if not one.closed]))
        client.channel.close()
        client.closed = True
        client.asked.clear()
        self.family.turn()

    @precondition(lambda self: self.alive)
    @rule(how=st.sampled_from([signal.SIGTERM, signal.SIGQUIT, "command", "now"]), chance=st.integers(0, 3))
    def somebody_stops_it(self, how: Any, chance: int) -> None:
        if chance:  # or few lives would be long
            return
        if isinstance(how, str):
            client = Client(self.family)
            self.family.clients.append(client)
            client.ask("stop", now=how == "now")
            self.family.turn()
        else:
            self.family.signal(how)

    # --- what the system does

    @precondition(lambda self: self.alive)
    @rule(seconds=st.sampled_from([0.01, 0.4, 1.1, 2.5, 6.0, 12.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.family.pass_time(seconds)

    @precondition(lambda self: self.alive)
    @rule(seconds=st.sampled_from([1.0, 3.0, 20.0, 3600.0]), everybody=st.booleans())
    def the_supervisor_is_held_up(self, seconds: float, everybody: bool) -> None:
        """Stopped, or the whole machine asleep."""
        self.family.pass_time(seconds, supervisor_runs=False, others_run=not everybody)

    @precondition(lambda self: self.alive)
    @rule(what=st.sampled_from(["descriptors", "spawn"]))
    def something_runs_short(self, what: str) -> None:
        self.system.short_of ^= {what}

    @precondition(lambda self: self.alive)
    @rule()
    def certificates_are_renewed(self) -> None:
        self.family.renew_certificates()

    @precondition(lambda self: not self.alive)
    @rule()
    def it_is_over(self) -> None:
        pass

    # --- what must hold at every step

    @invariant()
    def processes_are_bounded(self) -> None:
        if self.alive:
            fresh = [one for one in self.family.office.fleet.workers.values() if one.alive]
            assert len(fresh) <= 3 * MOST
            assert len({(one.slot, one.generation) for one in fresh if one.fresh}) == len(
                [one for one in fresh if one.fresh]
            )
            known = {one.pid for one in self.family.office.fleet.workers.values()}
            strangers = [one for one in self.running(PlayedWorker) if one.pid not in known and not one.deserted]
            # Forked, and its zygote has died or is about to tell.
            assert all(not one.accepting for one in strangers), strangers
            # The one that forks, its spare, the candidate's. Retired ones end with their last worker.
            zygotes = self.family.supervisor.generations.sources.zygotes
            assert len([one for one in zygotes if not one.retired]) <= 4

    @invariant()
    def one_generation_serves_at_rest(self) -> None:
        if not self.alive:
            return
        target, reload = self.family.office.target, self.family.supervisor.generations.reloading.reload
        if target.candidate is None and reload.idle:
            assert {slot.generation for slot in self.family.office.fleet.slots.values()} <= {target.committed}
            # A refused one may go on where the old one cannot come back, and nobody but it serves the slot.
            slots = [w.slot for w in self.family.office.fleet.serving() if w.generation == target.committed]
            for worker in self.running(PlayedWorker):
                serves = worker.accepting and not worker.told_to_retire and not worker.blocked and not worker.guilty
                if serves and not worker.deserted and worker.order.generation != target.committed:
                    assert worker.order.slot not in slots, worker

    @invariant()
    def no_zombie_is_left_to_the_supervisor(self) -> None:
        if self.alive:
            assert not self.system.zombies

    @invariant()
    def no_request_is_lost_from_the_totals(self) -> None:
        if self.alive:
            known = {one.cell for one in self.family.office.fleet.workers.values()}
            live = sum(self.family.scoreboard.cell(cell).words[REQUESTS] for cell in known)
            assert self.family.supervisor.workforce.accounts.totals.requests + live == self.system.requests

    @invariant()
    def a_good_end_is_a_good_exit_code(self) -> None:
        if hasattr(self, "family") and self.family.over and not self.family.announced:
            codes = (ExitCode.OK, ExitCode.APP, ExitCode.KILLED)
            assert self.family.exit_code in codes

    # --- and at the end of every life

    def teardown(self) -> None:
        if not hasattr(self, "family"):
            return
        try:
            if not self.family.over:
                self.it_comes_to_rest()
                self.it_ends()
            self.everything_is_accounted_for()
        except BaseException as error:
            error.add_note("\n".join(["the log:", *self.family.log.lines[-60:]]))
            self.family.close()
            raise
        left = self.family.close()
        assert not left, left

    def it_comes_to_rest(self) -> None:
        """From here, with everybody behaving, the fleet gets to full strength, or the stop ends."""
        self.system.short_of.clear()
        for process in self.running(Process):
            if isinstance(process, PlayedWorker):
                self.unblock(process)
            else:
                process.stuck = False
        until = self.family.loop.now + REST_WITHIN_S
        while self.family.loop.now < until:
            self.family.behave()
            if self.family.over or (self.at_rest() and self.family.loop.now > until - REST_WITHIN_S + 3.0):
                break
            self.family.pass_time(0.5)
        if self.family.over:
            return
        assert not self.family.office.target.stopping, "the stop does not end"
        if self.cannot_fork_ever():
            return
        assert self.at_rest(), (
            self.family.supervisor.reporter.summary(),
            self.family.supervisor.generations.reloading.reload,
        )
        listening = [client for client in self.family.clients if not client.closed]
        assert not [question for client in listening for question in client.open_questions]

    def cannot_fork_ever(self) -> bool:
        """Every zygote is gone, and the program cannot be run again."""
        return bool(self.why_not) and not self.family.supervisor.generations.sources.forkable

    def at_rest(self) -> bool:
        office = self.family.office
        serving = {one.order.slot for one in self.running(PlayedWorker) if one.accepting}
        return (
            self.family.supervisor.generations.reloading.reload.idle
            and not office.target.last_call_until
            and serving == set(range(office.target.workers))
            and len(self.running(PlayedWorker)) == office.target.workers == len(office.fleet.workers)
            and {one.generation for one in office.fleet.workers.values()} == {office.target.committed}
            and not any(one.recycle for one in office.fleet.workers.values())
            and self.family.supervisor.reporter.state == "ready"
        )

    def it_ends(self) -> None:
        """SIGTERM, and nobody hears: what the supervisor cannot ask for, it kills."""
        if self.family.over:
            return
        self.family.signal(signal.SIGTERM)
        for process in self.running(Process):
            if isinstance(process, PlayedWorker):
                process.blocked = True
            else:
                process.stuck = True
        limit = STOP_WITHIN_S + self.family.office.policy.drain_delay_s
        until = self.family.loop.now + limit
        while not self.family.over and self.family.loop.now < until:
            self.family.pass_time(0.5)
        assert self.family.over, f"still there {limit} s after SIGTERM: {self.running(Process)}"

    def everything_is_accounted_for(self) -> None:
        assert self.family.over
        # Orphans whose zygote died before it could tell of them find their channel closed.
        for _ in range(3):
            for process in self.running(PlayedWorker):
                process.blocked = False
                if process.can_act:
                    process.act()
        left = [one for one in self.running(Process) if one.parent == SUPERVISOR]
        assert all(one.deserted for one in left), left
        for client in self.family.clients:
            client.listen()
            assert client.closed or not client.open_questions, client.open_questions
        fatal = [line for line in self.family.log.lines if line.startswith("critical")]
        assert not fatal or not self.family.announced or self.why_not, fatal


TestSupervisorLife = SupervisorLife.TestCase
TestSupervisorLife.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
