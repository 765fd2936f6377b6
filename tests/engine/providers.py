"""What do providers answer, in tests without a network? Each node's by its own script.

    providers = Providers(a=[status(500)], b=[whole("hello")])    # a fails for ever, b answers
    nodes = providers.nodes(clock)                                # two nodes, named a and b
    providers.asked                                               # ["a", "b"]: who was asked, in order

A step of a script makes one answer; the last step is taken again and again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from urllib.parse import urlsplit

from phase1.engine.call import Call
from phase1.engine.node import Node, NodeSpec
from phase1.engine.transport import WireRequest
from phase1.engine.transport.mock import MockResponse, MockTransport

from .upstream import chat_events, completion, error_body

__all__ = [
    "CHAT",
    "STREAMED_CHAT",
    "Chunk",
    "Pause",
    "Providers",
    "Step",
    "after",
    "body",
    "chat_stream",
    "never",
    "raising",
    "status",
    "streamed",
    "whole",
]

CHAT = Call("POST", "/chat/completions", body=b'{"model":"m","messages":[]}')
STREAMED_CHAT = Call("POST", "/chat/completions", body=b'{"model":"m","messages":[],"stream":true}', streams=True)

Step = Callable[[], MockResponse | Awaitable[MockResponse]]


class Pause:
    """Among the chunks of a stream: that many seconds of silence; `inf` = for ever."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[object, None, None]:
        return _pass(self._seconds).__await__()


async def _pass(seconds: float) -> None:
    await (asyncio.get_running_loop().create_future() if seconds == float("inf") else asyncio.sleep(seconds))


Chunk = bytes | Exception | Pause


def whole(text: str = "hello") -> Step:
    """A whole chat completion."""
    return body(json.dumps(completion(text)).encode())


def body(*chunks: Chunk, content_type: str = "application/json", code: int = 200) -> Step:
    """An answer with these chunks as its body."""
    return lambda: MockResponse(code, (("content-type", content_type),), chunks)


def status(code: int, *, error: str | None = None, headers: Mapping[str, str] | None = None) -> Step:
    """An error answer; `error` is its `error.code`."""
    fields = (("content-type", "application/json"), *(headers or {}).items())
    return lambda: MockResponse(code, fields, [json.dumps(error_body(error)).encode()])


def streamed(*chunks: Chunk) -> Step:
    """A stream of events, in these chunks."""
    return body(*chunks, content_type="text/event-stream; charset=utf-8")


def chat_stream(*words: str) -> Step:
    """A whole chat stream."""
    return streamed(*chat_events(*(words or ("hel", "lo"))))


def raising(error: Exception) -> Step:
    """No answer at all."""

    def fail() -> MockResponse:
        raise error

    return fail


def after(seconds: float, step: Step) -> Step:
    """The same, later."""

    async def wait() -> MockResponse:
        await _pass(seconds)
        answer = step()
        assert isinstance(answer, MockResponse)
        return answer

    return wait


def never() -> Awaitable[MockResponse]:
    """Silence, before the headers."""
    return asyncio.get_running_loop().create_future()


class Providers:
    """One provider per node, by the node's name."""

    def __init__(self, **scripts: Sequence[Step]) -> None:
        self._scripts = {name: list(steps) for name, steps in scripts.items()}
        self.asked: list[str] = []
        """Names of the nodes that were asked, in order."""
        self.responses: list[MockResponse] = []
        """Every answer that was given."""
        self.transports: list[MockTransport] = []
        """Every transport that was made."""

    def script(self, **scripts: Sequence[Step]) -> None:
        """What these providers answer from now on."""
        self._scripts.update({name: list(steps) for name, steps in scripts.items()})

    def transport(self, connections: int = 0, connect_timeout: float = 0.0) -> MockTransport:
        """A `TransportFactory`."""
        self.transports.append(MockTransport(self._answer))
        return self.transports[-1]

    async def _answer(self, request: WireRequest) -> MockResponse:
        name = str(urlsplit(request.url).hostname).partition(".")[0]
        self.asked.append(name)
        steps = self._scripts[name]
        answer = (steps.pop(0) if len(steps) > 1 else steps[0])()
        response = answer if isinstance(answer, MockResponse) else await answer
        self.responses.append(response)
        return response

    def specs(self, **changes: object) -> tuple[NodeSpec, ...]:
        """A node for each provider; `changes` are for all of them."""
        return tuple(self.spec(name, **changes) for name in self._scripts)

    def spec(self, name: str, **changes: object) -> NodeSpec:
        """One provider's node."""
        fields = {"api_key": f"sk-{name}", "pool_size": 1, **changes}
        return NodeSpec(name=name, base_url=f"http://{name}.test/v1", **fields)

    def nodes(self, clock: Callable[[], float], **changes: object) -> list[Node]:
        """Nodes at work, of one client with 1,000 places each."""
        return [Node(spec, [self.transport()], client_concurrency=1000, clock=clock) for spec in self.specs(**changes)]

    @property
    def open(self) -> list[MockResponse]:
        """Answers that were not closed."""
        return [response for response in self.responses if not response.closed]
