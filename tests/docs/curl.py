"""What does a `curl` line ask for? The few options that the documentation uses, so that the tests need no curl."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

__all__ = ["Asked", "asked"]


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None


def asked(line: str) -> Asked:
    """The request of one line. An option that is not known here is an error."""
    words = iter(shlex.split(line))
    assert next(words) == "curl"
    method, url, headers, body = "GET", "", {}, None
    for word in words:
        match word:
            case "-s":
                pass
            case "-X":
                method = next(words)
            case "-H":
                name, _, value = next(words).partition(": ")
                headers[name] = value
            case "-d":
                body = next(words)
            case _:
                assert not word.startswith("-"), line
                url = word
    return Asked(method, url, headers, body)
