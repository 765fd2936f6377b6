"""What does it cost a call to be counted and recorded? The facts of one call, told to all who listen in an app.

What is measured: making the facts (the tokens are read from the answer's bytes; the SDK's doors know the model), and
telling them to the tally, the flight recorder and the stage clock. Against the same loop without any of it.
"""

from __future__ import annotations

import json
import time

from phase1.doors.manager import LLMManager
from phase1.engine.usage import tokens_in
from phase1.events import AttemptFinished, CallFinished, Routed
from phase1.lab.mock.bodies import ANSWER, MESSAGES, MODEL
from phase1.observe.monitor import Monitor
from phase1.policy.kinds import Kind
from phase1.settings import Settings

__all__ = ["observing"]

_CALLS = 5000
_REQUEST = json.dumps({"messages": MESSAGES, "model": MODEL}, separators=(",", ":")).encode()
_RESPONSE = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46},
    },
    separators=(",", ":"),
).encode()


def observing(*, rounds: int) -> list[dict[str, float]]:
    """Per round: microseconds of CPU per call."""
    manager = LLMManager(Settings.load(enable_llm_pool=False))
    monitor = Monitor(manager)
    _cpu_us(manager)
    figures = [
        {"without_us": without, "with_us": with_it, "added_us": with_it - without}
        for without, with_it in ((_empty_us(), _cpu_us(manager)) for _ in range(rounds))
    ]
    if len(monitor.recorder.last()) != min(1000, _CALLS):
        raise RuntimeError("the recorder has not heard of the calls")
    return figures


def _empty_us() -> float:
    started = time.process_time()
    for _ in range(_CALLS):
        time.perf_counter()
    return (time.process_time() - started) / _CALLS * 1e6


def _cpu_us(manager: LLMManager) -> float:
    notify = manager.events.notify
    started = time.process_time()
    for _ in range(_CALLS):
        began = time.perf_counter()
        notify(Routed("pool", "split"))
        attempt = AttemptFinished("default", False, Kind.OK, 200, 0.4, began, "api.openai.com", "", None)  # noqa: FBT003
        notify(attempt)
        read, written = tokens_in(_RESPONSE)
        sizes = len(_REQUEST), len(_RESPONSE)
        clocks = 0.0, 0.41, 0.41
        trail = (attempt,)
        path = "/chat/completions"
        notify(CallFinished(Kind.OK, 200, 1, *clocks, False, path, MODEL, None, trail, began, *sizes, read, written, 0))  # noqa: FBT003
    return (time.process_time() - started) / _CALLS * 1e6


if __name__ == "__main__":
    found = sorted(figure["added_us"] for figure in observing(rounds=15))
    print(f"counting and recording one call: {found[len(found) // 2]:.2f} µs of CPU (median of {len(found)} rounds)")
