"""Do copies stand in the metrics, and do several workers' reports add up?"""

from __future__ import annotations

import json
from typing import Any

from phase1.observe.document import merged_document, recent_of
from phase1.observe.monitor import Monitor
from phase1.observe.numbers import numbers_of
from phase1.observe.shadowed import merged_shadow
from tests.doors.bench import SHADOW, Bench, SyncLegacy, failure, until


async def worker(text: str = "from the pool", *, fails: bool = False, **settings: Any) -> tuple[Bench, dict[str, Any]]:  # noqa: ANN401
    """One that has compared a call, and its document."""
    answers = [lambda: failure(500)] if fails else []
    bench = Bench(*answers, legacy=SyncLegacy(text), **(SHADOW | settings))
    monitor = Monitor(bench.manager)
    async with bench.manager:
        await bench.ask()
        if (shadow := bench.manager.shadow) is not None:
            await until(lambda: shadow.report.compared == 1)
        found: dict[str, Any] = json.loads(json.dumps(monitor.document()))
    return bench, found


async def test_copies_are_in_the_metrics() -> None:
    """Every known label from the start, with the values of the report."""
    bench, _ = await worker("From the pool!")
    numbers = numbers_of(bench.manager)
    assert numbers["phase1_shadow_sampled"] == {(): 1.0}
    assert numbers["phase1_shadow_compared"] == {
        ("status", "same"): 1.0,
        ("status", "different"): 0.0,
        ("finish_reason", "same"): 0.0,
        ("finish_reason", "different"): 0.0,
    }
    assert numbers["phase1_shadow_dropped"]["budget",] == 0.0
    assert numbers["phase1_shadow_similarity"][()][1] == 1.0  # type: ignore[index]
    assert sum(numbers["phase1_shadow_duration_seconds"]["pool",][0]) == 1  # type: ignore[index, arg-type]
    assert numbers["phase1_shadow_cost"][()] == bench.manager.shadow.cost > 0  # type: ignore[union-attr]
    assert numbers["phase1_shadow_in_flight"] == {(): 0.0}


async def test_without_shadowing_there_is_nothing() -> None:
    """Neither a metric nor a report."""
    bench, document = await worker(llm_shadow_percent=0)
    numbers = numbers_of(bench.manager)
    assert not [name for name, values in numbers.items() if name.startswith("phase1_shadow") and values]
    assert document["shadow"] is None


async def test_reports_of_several_workers_add_up() -> None:
    """Also with one that runs another version, and one that has it off."""
    (bench, one), (_, two), (_, off) = await worker(), await worker(fails=True), await worker(llm_shadow_percent=0)
    other = {name: value for name, value in off.items() if name != "shadow"}
    says = [{"document": document, "recent": {}} for document in (two, off, other)]
    merged = merged_document(one, recent_of(bench.manager), says)["shadow"]
    assert (merged["sampled"], merged["compared"], merged["percent"]) == (2, 2, 100.0)
    assert merged["statuses"] == [
        {"legacy": "200", "pool": "200", "count": 1},
        {"legacy": "200", "pool": "500", "count": 1},
    ]
    assert merged["similarity"]["count"] == sum(merged["similarity"]["counts"]) == 1
    assert merged["seconds"]["legacy"]["count"] == 2
    assert merged["money"]["per_day"] == 1.0
    assert merged["money"]["spent"] == one["shadow"]["money"]["spent"] + two["shadow"]["money"]["spent"]
    twice = merged_shadow([one["shadow"], one["shadow"]])
    assert twice is not None
    assert twice["statuses"] == [{"legacy": "200", "pool": "200", "count": 2}]
    assert merged_shadow([None, {}]) is None
