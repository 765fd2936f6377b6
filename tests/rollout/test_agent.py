"""Do workers follow the store as one, and does nothing that happens to it raise the percent?"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from phase1.policy.breaker import BreakerMode, BreakerState, Permit
from phase1.policy.canary import Arm
from phase1.policy.classify import Verdict
from phase1.policy.rollout import Desired, RolloutPhase
from phase1.policy.rollout_acts import NotAllowed, force_breaker, new_epoch, set_percent
from phase1.policy.selection import Reason
from phase1.rollout.agent import Agent
from phase1.rollout.operator import Contended, Operator, history, progress_of
from phase1.rollout.record import BadRecord, decode, encode
from phase1.rollout.store import MemoryStore
from tests.doors.bench import Bench

from .worlds import PLAN, World

P = RolloutPhase


def desired(world: World) -> Desired:
    """What stands in the store."""
    return decode(world.store.read() or "")


def started(workers: int = 3) -> World:
    """A rollout that has begun."""
    world = World(workers)
    world.round()
    world.operator.act("start", PLAN)
    world.round()
    return world


# -- following


def test_worker_that_has_read_nothing_gives_nobody_to_the_pool() -> None:
    """The state may say so; with its first word it does what that says."""
    world = World(1)
    assert world.percents == {0.0}
    world.round()
    assert world.percents == {100.0}


def test_percent_reaches_every_worker() -> None:
    """In their next round."""
    world = World()
    world.round()
    world.operator.change(lambda state: set_percent(state, 12.5), reason="a test")
    world.round()
    assert world.percents == {12.5}
    assert {worker.agent.known.generation for worker in world.workers} == {1}


def test_kill_reaches_every_worker() -> None:
    """And is taken back."""
    world = World()
    world.round()
    world.operator.kill(on=True)
    world.round()
    for worker in world.workers:
        assert worker.bench.manager.select("user-1").reason is Reason.KILL_SWITCH
    world.operator.kill(on=False)
    world.round()
    assert not any(worker.bench.manager.switches.force_legacy for worker in world.workers)


def test_kill_switch_of_the_settings_is_not_taken_back() -> None:
    """`FORCE_LEGACY_LLM=true` holds whatever the state says."""
    world = World(1)
    manager = world.workers[0].bench.manager
    manager.settings = manager.settings.model_copy(update={"force_legacy_llm": True})
    world.operator.kill(on=True)
    world.round()
    world.operator.kill(on=False)
    world.round()
    assert manager.switches.force_legacy


def test_epoch_and_breaker_mode_are_followed() -> None:
    """Other keys; and breakers that an operator decides."""
    world = World(2)
    world.round()
    world.operator.change(new_epoch, reason="a test")
    world.operator.change(lambda state: force_breaker(state, BreakerMode.FORCED_OFF), reason="a test")
    world.round()
    for worker in world.workers:
        assert worker.bench.manager.canary.salt == "llm-pool:1"
        assert worker.bench.manager.breaker.mode is BreakerMode.FORCED_OFF


def test_memory_is_the_settings_percent_from_the_start() -> None:
    """There is nobody to wait for."""
    bench = Bench(llm_canary_percent=7)
    agent = Agent(bench.manager, MemoryStore(), None)
    assert bench.manager.canary.percent == 7
    agent.round()
    assert bench.manager.canary.percent == 7
    assert agent.status()["shared"] is False


# -- a store that is not well


@pytest.mark.parametrize(
    "text",
    [
        "{",
        json.dumps({**json.loads(encode(Desired(generation=9, percent=50))), "percent": 250}),
        encode(Desired(generation=1, percent=100)),
        None,
    ],
    ids=["truncated", "percent of 250", "older", "gone"],
)
def test_what_must_not_be_followed_is_said_and_mended(text: str | None, caplog: pytest.LogCaptureFixture) -> None:
    """The last good state stays in every worker, and the leader writes it back as a newer one."""
    world = started()
    before = desired(world)
    world.operator.act("pause", PLAN)
    world.round()
    world.store.write(text)
    world.clock.now += 0.5
    with caplog.at_level(logging.ERROR, "phase1"):
        world.workers[1].agent.round()
    assert world.workers[1].percent == 10
    assert world.workers[1].agent.problem is not None
    assert "the state record" in caplog.text
    numbers = {(family, labels): value for family, labels, value in world.workers[1].agent.numbers()}
    assert numbers["phase1_state_problem", ()] == 1.0
    world.round(2)
    assert world.percents == {10.0}
    assert [worker.agent.problem for worker in world.workers] == [None] * 3
    assert desired(world) == replace(before, generation=3, phase=P.PAUSED)
    assert "written back" in history(world.store, 1)[0]["reason"]


def test_state_of_a_newer_version_is_left_alone() -> None:
    """The old worker keeps what it knows, and does not overwrite what the new ones work with."""
    world = started()
    text = json.dumps({**json.loads(encode(Desired(generation=9, percent=50))), "schema": 2})
    world.store.write(text)
    world.round(5, each=lambda: world.workers[0].calls(3))
    assert (world.percents, world.store.read()) == ({10.0}, text)
    with pytest.raises(BadRecord, match="newer version"):
        world.operator.act("promote", PLAN)


def test_older_state_with_a_kill_switch_kills() -> None:
    """Somebody has typed `phase1 kill` into a store that was emptied."""
    world = started()
    world.store.write(None)
    world.operator.kill(on=True)
    assert desired(world).generation == 1
    world.round(2)
    assert all(worker.bench.manager.switches.force_legacy for worker in world.workers)
    assert (desired(world).kill, desired(world).percent) == (True, 10)


def test_worker_that_begins_with_a_bad_record_stays_at_nothing() -> None:
    """There is a state, and nobody knows which."""
    world = World(2)
    world.store.write("{")
    world.round(3)
    assert world.percents == {0.0}
    assert world.store.read() == "{"
    world.operator.kill(on=True)
    world.round()
    assert all(worker.bench.manager.switches.force_legacy for worker in world.workers)


def test_store_that_is_away_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is called stale after three seconds, said once, and the percent stays until it is back."""
    world = started()
    world.store.away = True
    world.round(4)
    manager = world.workers[0].bench.manager
    assert manager.select(world.workers[0].key(Arm.CANARY)).reason is Reason.SPLIT
    with caplog.at_level(logging.WARNING, "phase1"):
        world.round(20)
        assert manager.select(world.workers[0].key(Arm.CANARY)).reason is Reason.STALE
        assert manager.select(world.workers[0].key(Arm.CONTROL)).reason is Reason.STALE
        assert world.percents == {10.0}
        status = world.workers[0].agent.status()
        assert (status["age"], status["problem"]) == (12.0, "shared: does not answer (TimeoutError)")
        world.store.away = False
        world.round()
    assert [line for line in caplog.messages if "stays, and no percent" in line] == [
        "shared: does not answer (TimeoutError); 10.0 % stays, and no percent rises until it is back"
    ] * 3
    assert caplog.messages[-3:] == ["the state store shared: answers again"] * 3
    assert not manager.canary.stale
    assert ("phase1_state_errors", (), 24.0) in list(world.workers[0].agent.numbers())


def test_kill_while_the_store_is_away_holds_here_and_reaches_the_others_later() -> None:
    """The worker that was asked is on legacy at once."""
    world = started()
    one, other = world.workers[:2]
    world.store.away = True
    one.agent.kill_here(on=True)
    world.round(10)
    assert one.bench.manager.switches.force_legacy
    assert not other.bench.manager.switches.force_legacy
    world.store.away = False
    world.round(2)
    assert all(worker.bench.manager.switches.force_legacy for worker in world.workers)
    world.operator.kill(on=False)
    world.round()
    assert not any(worker.bench.manager.switches.force_legacy for worker in world.workers)


def test_kill_here_may_be_taken_back() -> None:
    """Before anybody else has heard of it."""
    world = started(1)
    world.store.away = True
    worker = world.workers[0]
    worker.agent.kill_here(on=True)
    worker.agent.kill_here(on=False)
    assert not worker.bench.manager.switches.force_legacy
    world.store.away = False
    world.operator.kill(on=False)
    world.round(8)
    assert desired(world).kill is False


# -- leading


def test_one_leads() -> None:
    """And only one."""
    world = World(4)
    world.round(10)
    assert world.leader.agent.status()["leads"]


def test_equal_canary_is_promoted_step_by_step() -> None:
    """No step before its time, one line for each."""
    world = started()
    world.round(8, each=lambda: [worker.calls(10) for worker in world.workers])
    assert world.percents == {10.0}
    world.round(4, each=lambda: [worker.calls(10) for worker in world.workers])
    assert world.percents == {50.0}
    world.round(14, each=lambda: [worker.calls(10) for worker in world.workers])
    assert world.percents == {100.0}
    assert desired(world).phase is P.PROMOTED
    lines = history(world.store, 100)
    assert [(line["actor"], line["from"]["percent"], line["to"]["percent"]) for line in lines] == [
        ("user", None, 10.0),
        ("auto", 10.0, 50.0),
        ("auto", 50.0, 100.0),
    ]
    assert lines[1]["evidence"]["n"] >= 240


def test_worse_canary_is_rolled_back_and_stays() -> None:
    """Within ten blocks of one worker; nothing but an operator leads out."""
    world = started()
    world.round(1, each=lambda: world.workers[1].calls(10, canary_fails=True))
    world.round()
    assert world.percents == {0.0}
    assert desired(world).phase is P.ROLLED_BACK
    world.round(200)
    assert desired(world).generation == 2
    last = history(world.store, 1)[0]
    assert last["reason"] == "the canary is worse than the control: failed"
    assert last["evidence"]["failures"] == {"canary": 10, "control": 0}
    assert last["evidence"]["log_e"]["failed"] >= last["evidence"]["threshold"]
    world.operator.act("start", PLAN)
    world.round()
    assert world.percents == {10.0}


def test_outage_of_both_is_not_the_canarys_fault() -> None:
    """The control fails, too."""
    world = started()
    world.round(10, each=lambda: world.workers[0].calls(20, canary_fails=True, control_fails=True))
    assert desired(world).phase is P.PROGRESSING


def test_calls_of_another_percent_are_not_counted() -> None:
    """At 100 % everybody was the canary: what ends late, or in a worker that is late, is not this step's."""
    world = World(2)
    world.round()
    one, other = world.workers
    for n in range(300):
        one.ask(f"user-{n}")
        other.ask(f"user-{n}")
    world.operator.act("start", PLAN)
    world.clock.now += 0.5
    one.agent.round()  # the leader is at 10 %, the other one is not
    late = [other.begin(f"user-{n}") for n in range(300, 600)]
    world.round()
    for unit in late:
        other.end(unit)
    world.round(2)
    evidence = progress_of(world.store)["evidence"]
    assert evidence["n"] == sum(unit.manager.canary.arm(unit.chosen.bucket) is Arm.CANARY for unit in late)
    assert evidence["control_n"] == 0
    world.round(1, each=lambda: [worker.calls(5) for worker in world.workers])
    world.round()
    assert progress_of(world.store)["evidence"]["control_n"] == 10


def test_open_breaker_holds() -> None:
    """In any worker; and time does not count meanwhile."""
    world = started()
    world.workers[2].bench.manager.breaker.force(BreakerMode.FORCED_OFF)
    world.round(40, each=lambda: [worker.calls(10) for worker in world.workers[:2]])
    assert world.percents == {10.0}
    assert progress_of(world.store)["reason"] == "the breaker is not active"


def test_next_leader_goes_on() -> None:
    """The old one is gone without a word: time and evidence are there, nothing is counted twice."""
    world = started()
    world.round(4, each=lambda: [worker.calls(5) for worker in world.workers])
    world.round()
    old, before = world.leader, progress_of(world.store)
    world.workers.remove(old)
    world.round(7)  # the lease runs out
    heir, after = world.leader, progress_of(world.store)
    assert after["leader"] == heir.agent.worker != before["leader"]
    assert after["evidence"]["n"] == before["evidence"]["n"] == 60
    assert after["elapsed"] >= before["elapsed"]
    assert after["evidence"]["blocks"] == before["evidence"]["blocks"] == 60


@pytest.mark.parametrize("progress", ["{", "[]", "{}", '{"merged": 3}', '{"merged": {}, "watch": {"at": [1]}}'])
def test_next_leader_begins_anew_where_nothing_can_be_read(progress: str) -> None:
    """With no evidence, rather than with wrong one."""
    world = started(2)
    world.round(4, each=lambda: [worker.calls(5) for worker in world.workers])
    world.workers.remove(world.leader)
    world.store.put("progress", progress)
    world.round(7)
    assert progress_of(world.store)["evidence"]["n"] == 0


def test_two_that_think_they_lead_raise_once() -> None:
    """The record is replaced by who has read it last."""
    world = started(2)
    world.round(8, each=lambda: [worker.calls(20) for worker in world.workers])
    world.store.lease = lambda name, owner, seconds: True  # type: ignore[method-assign]  # a store that has forgotten who
    world.round(8, each=lambda: [worker.calls(20) for worker in world.workers])
    assert world.percents == {50.0}
    assert [line["to"]["percent"] for line in history(world.store, 10)] == [10.0, 50.0]


def test_leader_that_retires_makes_room_at_once() -> None:
    """A worker that ends in good order."""
    world = started(2)
    old = world.leader
    world.workers.remove(old)
    old.agent._leave()
    assert old.agent.worker not in world.store.reports()
    world.round()
    assert world.leader is world.workers[0]


def test_leaving_a_store_that_is_away_is_quiet() -> None:
    """There is nothing to be done."""
    world = started(1)
    world.store.away = True
    world.workers[0].agent._leave()


def test_gone_worker_is_forgotten() -> None:
    """After ten seconds without a sign."""
    world = started()
    gone = next(worker for worker in world.workers if worker is not world.leader)
    world.workers.remove(gone)
    world.round(19)
    assert gone.agent.worker in world.store.reports()
    world.round(4)
    assert gone.agent.worker not in world.store.reports()


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"seq": 1}', '{"seq": 1, "canary": [], "control": []}', "3"])
def test_report_that_is_none_is_passed_over(text: str) -> None:
    """Of another version, or half written."""
    world = started()
    world.store.report("odd", text)
    world.round(3, each=lambda: world.workers[0].calls(1))
    assert progress_of(world.store)["evidence"]["n"] == 3


def test_without_a_plan_nothing_moves() -> None:
    """`LLM_AUTO_ROLLOUT=false`: the state is followed, and not changed."""
    world = World(2, plan=None)
    world.round()
    world.operator.act("start", PLAN)
    world.round(40, each=lambda: world.workers[0].calls(20))
    assert (world.percents, desired(world).generation) == ({10.0}, 1)


# -- operators


def test_operator_tries_again_when_somebody_was_faster() -> None:
    """And gives up when it never ends."""
    world = World(1)
    swap, tries = world.store.swap, iter([False, False, True])
    world.store.swap = lambda *given: next(tries) and swap(*given)  # type: ignore[method-assign]
    assert world.operator.kill(on=True)[1].generation == 1
    world.store.swap = lambda *given: False  # type: ignore[method-assign]
    with pytest.raises(Contended):
        world.operator.kill(on=False)
    world.store.write("{")
    with pytest.raises(Contended):
        world.operator.kill(on=True)


def test_nothing_is_written_for_nothing() -> None:
    """No line either."""
    world = World(1)
    world.operator.kill(on=False)
    assert (world.store.read(), history(world.store, 5)) == (None, [])


def test_damaged_record_is_replaced_by_who_knows_better_or_by_a_kill() -> None:
    """From a terminal only by a kill: nobody there knows what it said."""
    world = World(1)
    world.store.write("{")
    with pytest.raises(BadRecord):
        world.operator.kill(on=False)
    with pytest.raises(BadRecord):
        world.operator.act("start", PLAN)
    known = Desired(generation=4, percent=10)
    Operator(world.store, by="a worker", known=known).change(lambda state: set_percent(state, 5), reason="a test")
    assert desired(world) == replace(known, generation=5, percent=5)
    world.store.write("{")
    assert world.operator.kill(on=True)[1] == Desired(generation=1, kill=True)
    Operator(world.store, by="a worker", known=known).kill(on=False)
    assert desired(world).generation == 1 or not desired(world).kill


def test_promotion_by_hand_asks_how_long_ago() -> None:
    """What the leader has counted; of another step it says nothing."""
    world = started()
    with pytest.raises(NotAllowed, match="not twice within 5 s"):
        world.operator.act("promote", PLAN)
    world.round(11)
    world.operator.act("promote", PLAN)
    assert desired(world).percent == 50
    with pytest.raises(NotAllowed):
        world.operator.act("promote", PLAN)
    world.store.put("progress", '{"watch": {"at": [1, 50.0], "risen": "long"}}')
    with pytest.raises(NotAllowed):
        world.operator.act("promote", PLAN)


def test_history_has_each_change_once() -> None:
    """Also one whose writer died after the line and before the record; what is no line is passed over."""
    world = World(1)
    world.operator.kill(on=True)
    (line,) = world.store.audit(5)
    world.store._audit += [line, "{", "[]", '{"generation": 3}']
    assert [entry["generation"] for entry in history(world.store, 10)] == [1]


# -- several breakers


def break_it(world: World, index: int) -> None:
    """Three failures in a row."""
    breaker = world.workers[index].bench.manager.breaker
    for _ in range(3):
        with breaker.acquire() as permit:  # type: ignore[union-attr]
            permit.release(Verdict.FAILURE)


def states(world: World) -> list[BreakerState]:
    """Of all workers."""
    return [worker.bench.manager.breaker.state for worker in world.workers]


def test_breakers_open_together() -> None:
    """One worker has seen it; the open time does not grow by being told around."""
    world = World()
    world.round(2)
    break_it(world, 1)
    world.round(2)
    assert states(world) == [BreakerState.DISABLED] * 3
    world.round(20)
    assert BreakerState.DISABLED not in states(world)


def test_one_probes_and_all_come_back() -> None:
    """The others wait; two successes bring everybody into the ramp."""
    world = World()
    world.round(2)
    break_it(world, 1)
    world.round(2)
    for _ in range(60):
        world.round()
        permits = [worker.bench.manager.breaker.acquire() for worker in world.workers]
        if BreakerState.RAMPING in states(world):
            break
        probes = [permit for permit in permits if isinstance(permit, Permit)]
        assert len(probes) <= 1
        for permit in probes:
            assert permit.probe
            permit.release(Verdict.SUCCESS)
    world.round(2)
    assert states(world) == [BreakerState.RAMPING] * 3


def test_prober_without_requests_passes_it_on() -> None:
    """Or everybody would wait for somebody whom nobody asks."""
    world = World(2)
    world.round(2)
    break_it(world, 0)
    allowed: set[int] = set()
    for _ in range(60):
        world.round()
        allowed |= {n for n, worker in enumerate(world.workers) if worker.bench.manager.breaker._rules.may_probe}
    assert allowed == {0, 1}


def test_without_the_store_each_probes_for_itself() -> None:
    """Waiting for a lease that nobody can give would be for ever."""
    world = World(2)
    world.round(2)
    break_it(world, 0)
    world.round()
    world.store.away = True
    world.round(20)
    assert [worker.bench.manager.breaker.admits() for worker in world.workers] == [True, True]


def test_newcomer_hears_what_lasts_only() -> None:
    """An opening that is not over, and no ramp of long ago."""
    world = World(2)
    world.round(2)
    break_it(world, 0)
    world.round()
    world.workers.append(world.join())
    world.round()
    assert states(world) == [BreakerState.DISABLED] * 3


# -- the thread


def test_thread_follows_and_ends(tmp_path: Any) -> None:  # noqa: ANN401
    """Woken, it does not wait; closed, it gives back what it has."""
    world = World(1)
    agent = world.workers[0].agent
    agent._clock = time.monotonic
    before = threading.active_count()
    agent.watch()
    agent.watch()
    assert threading.active_count() == before + 1
    asyncio.run(agent.ready(10.0))
    assert agent.has_read
    world.operator.kill(on=True)
    agent.wake()
    _until(lambda: agent.known.kill)
    agent.close()
    _until(lambda: world.store.closed == 1)
    assert world.store.reports() == {}
    assert world.workers[0].bench.manager.breaker._rules.may_probe
    agent.watch()
    agent.close()
    agent.watch()
    agent.close()
    _until(lambda: not any(thread.name == "phase1-rollout" for thread in threading.enumerate()))


async def test_store_that_hangs_holds_up_no_request() -> None:
    """The thread stands in it, and requests go their ways; nothing of theirs is locked meanwhile."""
    world = World(1)
    worker = world.workers[0]
    world.round()
    entered, gate = threading.Event(), threading.Event()

    def hang() -> str | None:
        entered.set()
        assert gate.wait(10)
        return None

    world.store.read = hang  # type: ignore[method-assign]
    worker.agent.watch()
    assert entered.wait(10)
    for _ in range(200):
        assert await worker.bench.ask() == "from the pool"
        assert worker.agent.status()["percent"] == 100
        assert list(worker.agent.numbers())
    assert not gate.is_set()
    worker.agent.close()
    gate.set()


def test_thread_survives_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next round comes."""
    world = World(1)
    agent = world.workers[0].agent
    turns = iter([RuntimeError("a bug")])
    good = agent.round

    def round_() -> None:
        for error in turns:
            raise error
        good()

    agent.round = round_  # type: ignore[method-assign]
    agent.watch()
    _until(lambda: agent.has_read)
    agent.close()
    assert "the rollout's round failed" in caplog.text


def test_forked_worker_has_a_name_of_its_own() -> None:
    """Its parent goes on under the old one."""
    world = World(1)
    agent = world.workers[0].agent
    name = agent.worker
    agent._pid = os.getpid() + 1
    agent.watch()
    agent.close()
    assert agent.worker != name


def _until(condition: Any) -> None:  # noqa: ANN401
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
