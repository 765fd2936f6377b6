"""What must a client be able to do to be measured?"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from phase1.lab.mock.bodies import ANSWER, EMBEDDING_SIZE

__all__ = [
    "KEY",
    "Client",
    "Opener",
    "Site",
    "Unavailable",
    "WrongAnswer",
    "check_embeddings",
    "check_text",
    "count_chunks",
]

KEY = "sk-benchmark-0123456789"
"""The API key that all of them send."""


class Unavailable(Exception):
    """The client cannot run here; the text says why."""


class WrongAnswer(Exception):
    """What came back is not what the upstream sent: then there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where to call. `capacity`: calls in flight that the client must allow; `upstreams`: all there are, by name."""

    name: str
    upstreams: Mapping[str, str]
    capacity: int = 1000

    @property
    def url(self) -> str:
        """`http://127.0.0.1:1234/v1`."""
        return self.upstreams[self.name]


@dataclass(frozen=True, slots=True)
class Client:
    """One call of each kind: `chat`, `responses`, `embeddings`; `stream` tells how many chunks came."""

    unary: Mapping[str, Callable[[], Awaitable[None]]]
    stream: Callable[[], Awaitable[int]] | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    """What a reader of the figures should know."""


class Opener(Protocol):
    """`async with opened(site, variant) as client`. Raises `Unavailable`."""

    def __call__(self, site: Site, variant: str, /) -> AbstractAsyncContextManager[Client]:
        """A client for `site`."""


def check_text(text: object) -> None:
    """Raise `WrongAnswer` for anything but the answer."""
    if text != ANSWER:
        raise WrongAnswer(f"{text!r:.200}")


def check_embeddings(count: int, size: int) -> None:
    """Raise `WrongAnswer` for anything but two embeddings."""
    if (count, size) != (2, EMBEDDING_SIZE):
        raise WrongAnswer(f"{count} embeddings of {size} numbers")


async def count_chunks(stream: AsyncIterable[Any]) -> int:
    """Read a stream of chat chunks to its end."""
    count, said, finished = 0, 0, False
    async for chunk in stream:
        count += 1
        choice = chunk.choices[0]
        said += bool(choice.delta.content)
        finished = choice.finish_reason is not None
    if not finished or not said:
        raise WrongAnswer(f"a stream of {count} chunks without an end")
    return count
