"""The users of `phase1 stress`, under locust: with its web page, its ramps, and as many machines as it has workers.

    pip install locust
    locust -f "$(python -c 'import phase1.lab; print(phase1.lab.__path__[0])')/locustfile.py" -H http://127.0.0.1:8000

Environment: PHASE1_ROUTE, PHASE1_METHOD, PHASE1_BODY (JSON, @file, or - for none), PHASE1_HEADERS (one "Name: value" a
line); `{user}` in headers and body is the number of the user, as everywhere in the lab.
"""

from __future__ import annotations

import itertools
import os

from locust import FastHttpUser, constant, task

from phase1.lab.defaults import Wishes, ask_of

_ASK = ask_of(
    Wishes(
        route=os.environ.get("PHASE1_ROUTE", ""),
        method=os.environ.get("PHASE1_METHOD", ""),
        body=os.environ.get("PHASE1_BODY", ""),
        headers=[line for line in os.environ.get("PHASE1_HEADERS", "").splitlines() if line.strip()],
    ),
    {},
)
_NUMBERS = itertools.count(1)


class ChatUser(FastHttpUser):
    """Asks, waits for the answer, asks again."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Get a number."""
        self.number = next(_NUMBERS)

    @task
    def ask(self) -> None:
        """One request."""
        headers, body = _ASK.headers_of(self.number), _ASK.body_of(self.number)
        self.client.request(_ASK.method, _ASK.route, data=body, headers=headers)
