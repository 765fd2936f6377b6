"""How is a call aimed at a node, and may the node be asked now?"""

from __future__ import annotations

import json
import logging

import pytest

from phase1.engine.call import Call
from phase1.engine.node import Node, NodeSpec
from phase1.engine.transport.mock import MockResponse, MockTransport

from .providers import CHAT

SPEC = NodeSpec(name="n", base_url="https://api.test/v1", api_key="sk-secret")


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Stands still."""
    return Clock()


def node(spec: NodeSpec = SPEC, clock: Clock | None = None, *, clients: int = 1) -> Node:
    """A node at work."""
    transports = [MockTransport(lambda _: MockResponse()) for _ in range(clients)]
    return Node(spec, transports, client_concurrency=2, clock=clock or Clock())


def spec(**changes: object) -> NodeSpec:
    """Another node."""
    return NodeSpec(**{"name": "n", "base_url": "https://api.test/v1", "api_key": "sk-secret", **changes})  # type: ignore[arg-type]


# -- aim


def test_call_gets_the_nodes_address_and_key() -> None:
    """Method, headers and body stay as they are."""
    call = Call("POST", "/chat/completions?x=1", headers=[("x-a", "1")], body=b"{}")
    request = node().aim(call)
    assert (request.method, request.url) == ("POST", "https://api.test/v1/chat/completions?x=1")
    assert request.headers == [("x-a", "1"), ("authorization", "Bearer sk-secret")]
    assert request.body == b"{}"


def test_slash_at_the_end_of_the_address_changes_nothing() -> None:
    """People write both."""
    assert node(spec(base_url="https://api.test/v1/")).aim(CHAT).url == "https://api.test/v1/chat/completions"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/chat", "https://api.test/v1/chat?api-version=2"),
        ("/chat?x=1", "https://api.test/v1/chat?x=1&api-version=2"),
        ("/chat?api-version=9", "https://api.test/v1/chat?api-version=9"),
    ],
)
def test_query_of_the_address_goes_to_the_end(path: str, url: str) -> None:
    """Azure's version; the call's own wins."""
    assert node(spec(base_url="https://api.test/v1?api-version=2")).aim(Call("POST", path)).url == url


def test_any_number_of_paths_is_at_the_same_address() -> None:
    """Addresses are remembered, but not those of every file and every response."""
    one = node()
    urls = {one.aim(Call("GET", f"/files/{number % 300}")).url for number in range(900)}
    assert urls == {f"https://api.test/v1/files/{number}" for number in range(300)}
    assert len(one._urls) < 300


def test_azure_gets_its_key_in_its_own_header() -> None:
    """By the host."""
    headers = node(spec(base_url="https://x.openai.azure.com/openai/v1")).aim(CHAT).headers
    assert headers == [("api-key", "sk-secret")]


def test_key_that_came_with_the_call_is_used_only_where_the_node_has_none() -> None:
    """A key of the app never goes to a node that has its own."""
    call = Call("POST", "/chat", credentials=[("authorization", "Bearer theirs")])
    own, none = node(), node(spec(api_key=""))
    assert own.aim(call).headers == [("authorization", "Bearer sk-secret")]
    assert none.aim(call).headers == [("authorization", "Bearer theirs")]
    assert (own.has_key, none.has_key) == (True, False)


def test_model_gets_the_nodes_name_for_it() -> None:
    """The rest of the payload is the same."""
    call = Call("POST", "/chat", body=b'{"model": "gpt", "temperature": 0.1, "messages": [{"content": "\xc3\xa4"}]}')
    body = json.loads(node(spec(models={"gpt": "my-deployment"})).aim(call).body)
    assert body == {"model": "my-deployment", "temperature": 0.1, "messages": [{"content": "ä"}]}


@pytest.mark.parametrize(
    "body",
    [b'{"model": "other"}', b'{"model": ["gpt"]}', b'{"input": "gpt"}', b'["gpt"]', b"--multipart", b"", b"\xff"],
)
def test_body_that_names_no_model_of_the_map_is_left_alone(body: bytes) -> None:
    """Byte for byte."""
    assert node(spec(models={"gpt": "my-deployment"})).aim(Call("POST", "/x", body=body)).body is body


def test_without_a_map_the_body_is_not_even_read() -> None:
    """The same bytes object."""
    assert node().aim(CHAT).body is CHAT.body


# -- quota domains


def test_nodes_with_one_key_at_one_address_are_one_quota_domain() -> None:
    """Unless the configuration says otherwise."""
    first, second = node(spec(name="a")), node(spec(name="b"))
    assert first.account(CHAT) == second.account(CHAT)


@pytest.mark.parametrize(
    "change", [{"api_key": "sk-other"}, {"base_url": "http://localhost/v1"}, {"quota_domain": "q"}]
)
def test_another_key_address_or_name_is_another_quota_domain(change: dict[str, str]) -> None:
    """Local servers often share a dummy key and no quota."""
    assert node(spec(**change)).account(CHAT) != node().account(CHAT)


def test_configured_quota_domain_joins_nodes() -> None:
    """Two keys of one organisation."""
    first, second = node(spec(api_key="k1", quota_domain="org")), node(spec(api_key="k2", quota_domain="org"))
    assert first.account(CHAT) == second.account(CHAT) == "org"


def test_key_that_came_with_the_call_is_its_own_quota_domain() -> None:
    """One user's 429 rests nobody else; the key itself cannot be read from it."""
    keyless = node(spec(api_key=""))
    mine, yours = (Call("POST", "/x", credentials=[("authorization", f"Bearer {who}")]) for who in ("mine", "yours"))
    assert keyless.account(mine) != keyless.account(yours)
    assert keyless.account(mine) == keyless.account(mine)
    assert "mine" not in keyless.account(mine)


# -- off and on


def test_node_that_was_refused_is_off_for_a_while(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """30 s, with an alarm in the log that names it and no key."""
    refused = node(clock=clock)
    with caplog.at_level(logging.ERROR, logger="phase1"):
        assert refused.switch_off() is True
    assert (refused.up, refused.off_for()) == (False, 30.0)
    assert "node n refuses its key or model; it is off for 30 s" in caplog.text
    assert "sk-secret" not in caplog.text
    clock.now += 30.0
    assert refused.up


def test_time_off_doubles_up_to_ten_minutes(clock: Clock) -> None:
    """30, 60, 120 … 600 s."""
    refused, lengths = node(clock=clock), []
    for _ in range(7):
        refused.switch_off()
        lengths.append(refused.off_for())
        clock.now += lengths[-1]
    assert lengths == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_twenty_refusals_together_are_one(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Calls that were under way when the key was refused say nothing new."""
    refused = node(clock=clock)
    assert [refused.switch_off() for _ in range(20)] == [True] + [False] * 19
    assert refused.off_for() == 30.0
    assert len(caplog.records) == 1


def test_answer_switches_it_on_again(clock: Clock) -> None:
    """At once, and the next time off is short again."""
    refused = node(clock=clock)
    refused.switch_off()
    clock.now += 30.0
    refused.switch_off()
    assert refused.switch_on() is True
    assert refused.up
    assert refused.switch_on() is False
    refused.switch_off()
    assert refused.off_for() == 30.0


# -- clients


def test_calls_are_spread_over_the_clients() -> None:
    """The one with the fewest calls in flight has the next."""
    busy = node(clients=3)
    taken = [busy.take_client() for _ in range(6)]
    assert [client.in_flight for client in busy.clients] == [2, 2, 2]
    assert (busy.in_flight, busy.capacity) == (6, 6)
    busy.give_back(taken[1])
    assert busy.take_client() is taken[1]
    for client in taken:
        busy.give_back(client)
    assert busy.in_flight == 0


async def test_closing_closes_every_client() -> None:
    """Also when one of them fails."""

    class Stuck(MockTransport):
        __slots__ = ()

        async def aclose(self) -> None:
            raise OSError("stuck")

    transports = [MockTransport(lambda _: MockResponse()), Stuck(lambda _: MockResponse())] * 2
    closing = Node(SPEC, [*transports, MockTransport(lambda _: MockResponse())], client_concurrency=1, clock=Clock())
    with pytest.raises(OSError, match="stuck"):
        await closing.aclose()
    assert [client.transport.closed for client in closing.clients][::2] == [True] * 3  # type: ignore[attr-defined]


def test_repr_tells_live_state_and_no_secret(clock: Clock) -> None:
    """Up or off, and how busy."""
    shown = node(clock=clock)
    shown.take_client()
    assert repr(shown) == "<Node n up in_flight=1/2>"
    shown.switch_off()
    clock.now += 10.0
    assert repr(shown) == "<Node n off for 20 s in_flight=1/2>"
    call = Call("POST", "/x", body=b"my prompt", credentials=[("authorization", "Bearer theirs")])
    request = shown.aim(call)
    told = f"{SPEC} {request} {call}"
    assert not any(secret in told for secret in ("sk-secret", "prompt", "theirs"))
