"""Does the flag `llm-pool` say what phase1 does, through OpenFeature's own client?"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

import phase1
from phase1.doors.manager import LLMManager
from phase1.openfeature import FLAG, Phase1Provider
from phase1.policy.canary import Canary
from phase1.policy.selection import Reason
from tests.asgi.web import browser, mount
from tests.doors.bench import HELLO, Bench, Ear, SyncLegacy, failure
from tests.doors.fixtures import clean_environment

__all__ = ["clean_environment"]

USERS = [f"user-{number}" for number in range(50)]


@pytest.fixture(autouse=True)
def no_provider() -> Iterator[None]:
    """OpenFeature's registry is one for the process."""
    yield
    api.shutdown()
    api.clear_providers()


def client(manager: LLMManager | None = None) -> OpenFeatureClient:
    """As an app has it."""
    api.set_provider(Phase1Provider(manager), "phase1")
    return api.get_client("phase1")


def of(user: str) -> EvaluationContext:
    """Whose flag it is."""
    return EvaluationContext(targeting_key=user)


def test_flag_is_sticky_and_says_what_the_canary_does() -> None:
    """As a boolean and as a string, with variant and reason; the question is no request."""
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=40)
    ear = Ear()
    bench.manager.events.subscribe(ear)
    asked, canary = client(bench.manager), Canary(40)
    for user in USERS:
        covered = canary.covers(canary.bucket(user))
        as_boolean = asked.get_boolean_details(FLAG, False, of(user))  # noqa: FBT003 - OpenFeature's way
        as_string = asked.get_string_details(FLAG, "legacy", of(user))
        assert (as_boolean.value, as_boolean.variant) == (covered, "pool" if covered else "legacy")
        assert (as_string.value, as_string.variant) == (as_boolean.variant, as_boolean.variant)
        assert (as_boolean.reason, as_string.reason) == ("SPLIT", "SPLIT")
        assert as_boolean.flag_metadata == {"bucket": canary.bucket(user)}
    assert asked.get_string_details(FLAG, "pool").reason == "DEFAULT"
    assert ear.heard == []


async def test_async_client_says_the_same() -> None:
    """OpenFeature's other half."""
    asked = client(Bench(legacy=SyncLegacy()).manager)
    assert await asked.get_boolean_value_async(FLAG, False, of("ann")) is True  # noqa: FBT003
    assert await asked.get_string_value_async(FLAG, "legacy", of("ann")) == "pool"


@pytest.mark.parametrize(
    ("settings", "value", "reason"),
    [
        ({"enable_llm_pool": False}, "legacy", "DISABLED"),
        ({"force_legacy_llm": True}, "legacy", "KILL_SWITCH"),
        ({"llm_canary_percent": 0, "llm_canary_allow": "ann"}, "pool", "TARGETING_MATCH"),
        ({"llm_canary_deny": "ann"}, "legacy", "TARGETING_MATCH"),
        ({"openai_api_key": None}, "legacy", "ERROR"),
    ],
)
def test_reasons_are_phase1s(settings: dict[str, Any], value: str, reason: str) -> None:
    """In OpenFeature's spelling; a pool that could not start is legacy whatever the default is."""
    details = client(Bench(legacy=SyncLegacy(), **settings).manager).get_string_details(FLAG, "pool", of("ann"))
    assert (details.value, details.reason, details.error_code) == (value, reason, None)


async def test_open_breaker_is_a_reason() -> None:
    """After three failures."""
    bench = Bench(lambda: failure(500), legacy=SyncLegacy())
    async with bench.manager:
        await bench.ask_in_turn(3)
        details = client(bench.manager).get_boolean_details(FLAG, True, of("ann"))  # noqa: FBT003
    assert (details.value, details.reason) == (False, "CIRCUIT_OPEN")


def test_unknown_flag_is_the_default_with_an_honest_error() -> None:
    """Of whatever type."""
    asked = client(Bench().manager)
    for details in (
        asked.get_boolean_details("llm-pol", True),  # noqa: FBT003
        asked.get_string_details("llm-pol", "mine"),
        asked.get_integer_details("llm-pol", 3),
    ):
        assert (details.error_code, details.reason) == (ErrorCode.FLAG_NOT_FOUND, "ERROR")
        assert details.error_message == "flag 'llm-pol': unknown; phase1 has one, llm-pool"
    assert asked.get_boolean_value("llm-pol", True) is True  # noqa: FBT003


def test_other_types_are_a_mismatch() -> None:
    """The default comes back."""
    asked = client(Bench().manager)
    for details in (
        asked.get_integer_details(FLAG, 7),
        asked.get_float_details(FLAG, 0.5),
        asked.get_object_details(FLAG, {"a": 1}),
    ):
        assert details.error_code is ErrorCode.TYPE_MISMATCH
        assert details.value in (7, 0.5, {"a": 1})


async def test_inside_a_request_the_flag_is_the_route_of_its_calls() -> None:
    """Also without a targeting key, and also when the percent has changed between question and call."""
    bench = Bench(legacy=SyncLegacy(), llm_canary_percent=50, llm_canary_key="header:X-User")

    async def chat(request: Request) -> Response:
        asked = api.get_client("phase1")
        before = asked.get_string_value(FLAG, "?")
        again = asked.get_string_value(FLAG, "?", of(request.headers["x-user"]))
        bench.manager.canary = Canary(0)
        text = await phase1.get_llm(request).generate_response_async(HELLO)
        other = asked.get_string_value(FLAG, "?", of("somebody else"))
        bench.manager.canary = Canary(50)
        return JSONResponse([before, again, text, other])

    client()
    found = set()
    async with bench.manager, browser(mount(Starlette(routes=[Path("/chat", chat)]), bench.manager)) as http:
        for user in USERS:
            before, again, text, other = (await http.get("/chat", headers={"x-user": user})).json()
            assert before == again
            assert text == {"pool": "from the pool", "legacy": "from legacy"}[before]
            assert other == "legacy"
            found.add(before)
    assert found == {"pool", "legacy"}


OUTSIDE = f"""
from openfeature import api
from phase1.openfeature import Phase1Provider

api.set_provider(Phase1Provider(), "phase1")
print(api.get_client("phase1").get_string_details("{FLAG}", "pool").reason, Phase1Provider())
"""


def test_default_manager_answers_outside_of_apps() -> None:
    """It reads the environment."""
    done = subprocess.run([sys.executable, "-c", OUTSIDE], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("DISABLED <Phase1Provider of the request in hand>", "")


def test_every_reason_has_openfeatures_spelling() -> None:
    """Theirs where they have one."""
    theirs = {reason.value for reason in importlib.import_module("openfeature.flag_evaluation").Reason}
    ours = {reason.upper() for reason in Reason}
    assert ours - theirs - {"STALE"} == {"KILL_SWITCH", "CIRCUIT_OPEN", "RAMPING"}  # 0.8 has no name for stale


def test_missing_library_is_told_with_the_extra() -> None:
    """As for every extra."""
    code = "import sys; sys.modules['openfeature'] = None\nimport phase1.openfeature"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'phase1.openfeature needs an optional library: pip install "phase1[openfeature]"' in done.stderr
