"""Are two requests the same? By a digest of everything that shapes the answer, and of whose request it is.

Digests, not prompts, are the keys of a cache. Each part goes in with its length, so that no two rows of parts look
alike. Header fields count unless they are known to differ from call to call without a meaning: an unknown one makes a
request different, which costs a hit and never gives a wrong answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Final

__all__ = ["fingerprint"]

_VERSION: Final = "phase1 1"
_MEANINGLESS: Final = frozenset(
    {
        "accept",
        "b3",
        "baggage",
        "cache-control",
        "idempotency-key",
        "pragma",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-amzn-trace-id",
        "x-client-request-id",
        "x-cloud-trace-context",
        "x-correlation-id",
        "x-request-id",
    }
)
_MEANINGLESS_PREFIXES: Final = ("x-stainless-", "x-b3-", "x-datadog-")

_Pairs = Sequence[tuple[str, str]]


def fingerprint(
    *, scope: Sequence[str], path: str, question: Mapping[str, object], headers: _Pairs, credentials: _Pairs
) -> str:
    """64 hexadecimal digits. `scope`: whose answer it is (endpoints, user …); `question`: the request's JSON object."""
    digest = sha256()
    fields = sorted((name, value) for name, value in headers if not _is_meaningless(name))
    for parts in ((_VERSION, path, _canonical(question)), scope, _flat(fields), _flat(sorted(credentials))):
        digest.update(b"%d;" % len(parts))
        for part in parts:
            encoded = part.encode(errors="surrogatepass")
            digest.update(b"%d:%b" % (len(encoded), encoded))
    return digest.hexdigest()


def _is_meaningless(name: str) -> bool:
    return name in _MEANINGLESS or name.startswith(_MEANINGLESS_PREFIXES)


def _canonical(question: Mapping[str, object]) -> str:
    """The same text for the same JSON, whoever wrote it."""
    return json.dumps(question, sort_keys=True, separators=(",", ":"))


def _flat(pairs: Iterable[tuple[str, str]]) -> Sequence[str]:
    return [part for pair in pairs for part in pair]
