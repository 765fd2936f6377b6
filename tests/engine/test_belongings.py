"""A call about something that one account has goes to that account."""

from __future__ import annotations

from phase1.engine.call import AnswerStream, Call
from phase1.engine.node import Node, NodeSpec
from phase1.engine.pool import PoolResult
from phase1.policy.classify import Kind

from .providers import CHAT, Providers, body, status, streamed, whole
from .test_pool import Bench

UPLOAD = Call("POST", "/files", body=b"--multipart")
FILE = body(b'{"object": "file", "id": "file-abc123"}')
LOOK = Call("GET", "/files/file-abc123")
RESPONSE = body(b'{"id": "resp_abc123", "object": "response"}')
NEW = Call("POST", "/responses", body=b'{"model":"m","input":"hello"}')
NEXT = Call("POST", "/responses", body=b'{"model":"m","input":"and?","previous_response_id":"resp_abc123"}')


async def names(bench: Bench, *calls: Call) -> list[str]:
    """Who answered each."""
    return [(await bench.send(call)).trail[-1].node for call in calls]


async def test_what_is_kept_goes_to_the_first_account() -> None:
    """However busy the others are not."""
    bench = Bench(Providers(a=[FILE], b=[FILE], c=[FILE]), strategy="round_robin")
    assert await names(bench, UPLOAD, UPLOAD, Call("GET", "/files"), UPLOAD) == ["a", "a", "a", "a"]


async def test_chats_are_spread_as_ever() -> None:
    """They stand for themselves."""
    bench = Bench(Providers(a=[whole()], b=[whole()]), strategy="round_robin")
    assert await names(bench, CHAT, CHAT) == ["a", "b"]


async def test_a_response_is_gone_on_with_where_it_was_made() -> None:
    """It may be made anywhere."""
    bench = Bench(Providers(a=[RESPONSE], b=[RESPONSE]))
    bench.pool.nodes[0].drain()
    assert await names(bench, NEW) == ["b"]
    bench.pool.nodes[0].revive()
    assert await names(bench, NEXT, NEXT) == ["b", "b"]


async def test_a_streamed_response_is_known_from_its_first_event() -> None:
    """`response.created` has its name."""
    created = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_abc123"}}\n\n'
    said = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"hi"}\n\n'
    bench = Bench(Providers(a=[RESPONSE], b=[streamed(created, said), RESPONSE]))
    bench.pool.nodes[0].drain()
    assert await names(bench, Call("POST", "/responses", body=NEW.body, streams=True)) == ["b"]
    bench.pool.nodes[0].revive()
    assert await names(bench, NEXT) == ["b"]


async def test_what_nobody_has_seen_is_looked_for() -> None:
    """Another worker made it: one account after the other is asked, each once, and the next time the right one."""
    bench = Bench(Providers(a=[status(404)], b=[status(404)], c=[FILE]))
    result = await bench.send(LOOK)
    assert [attempt.node for attempt in result.trail] == ["a", "b", "c"]
    assert await names(bench, LOOK) == ["c"]
    assert bench.pool.budget.exhausted == 0


async def test_what_is_nowhere_is_not_found() -> None:
    """The last answer is the caller's, and nobody's health has suffered."""
    bench = Bench(Providers(a=[status(404)], b=[status(400, error="previous_response_not_found")]))
    result = await bench.send(NEXT)
    assert (result.attempt.status, result.attempts) == (400, 2)
    assert all(node.available for node in bench.pool.nodes)
    assert result.attempt.outcome.kind is Kind.CALLER_ERROR


async def test_other_failures_do_not_send_a_known_thing_elsewhere() -> None:
    """Its account alone can answer; it is asked twice."""
    bench = Bench(Providers(a=[FILE, status(500), FILE], b=[status(404)]))
    assert await names(bench, UPLOAD) == ["a"]
    result = await bench.send(LOOK)
    assert [attempt.node for attempt in result.trail] == ["a", "a"]
    assert result.attempt.outcome.kind is Kind.OK


async def test_one_account_has_no_belongings() -> None:
    """Nodes with the same key at the same provider know the same."""
    providers = Providers(a=[status(404)], b=[FILE])
    specs = [NodeSpec(name, "http://a.test/v1", "sk-a") for name in ("a", "b")]
    nodes = [Node(spec, [providers.transport()], client_concurrency=9) for spec in specs]
    bench = Bench(providers, nodes=nodes)
    assert not bench.pool.belongings.several
    assert (await bench.send(LOOK)).attempts == 1


async def test_names_are_forgotten_in_their_order() -> None:
    """Ten thousand are known."""
    bench = Bench(Providers(a=[whole()], b=[whole()]))
    belongings, (one, other) = bench.pool.belongings, bench.pool.nodes
    attempt = (await _result(bench)).attempt
    for number in range(10_001):
        belongings.note(Call("GET", f"/files/file-number-{number:06}"), other, attempt)
    tiers = ((one, other),)
    assert belongings.tiers(Call("GET", "/files/file-number-000000"), tiers) == (((one,), (other,)), True)
    assert belongings.tiers(Call("GET", "/files/file-number-000001"), tiers) == (((other,),), False)


async def _result(bench: Bench) -> PoolResult:
    result = await bench.send()
    assert not isinstance(result.attempt.stream, AnswerStream)
    return result
