"""Does the locust file ask what the lab asks? locust itself is no dependency: two of its names stand in for it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

import phase1.lab

FILE = Path(phase1.lab.__file__).with_name("locustfile.py")


class FastHttpUser:
    """As far as the file uses it: `client.request`."""

    def __init__(self) -> None:
        self.client = self
        self.asked: list[tuple[object, ...]] = []

    def request(self, *where: object, **what: object) -> None:
        self.asked.append((*where, what))


@pytest.fixture
def locust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those two names, and `constant`."""
    module = ModuleType("locust")
    module.__dict__.update(FastHttpUser=FastHttpUser, constant=lambda seconds: seconds, task=lambda function: function)
    monkeypatch.setitem(sys.modules, "locust", module)


def test_each_user_asks_with_its_own_number(locust: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Route, method, headers and body come from the environment."""
    monkeypatch.setenv("PHASE1_ROUTE", "/ask")
    monkeypatch.setenv("PHASE1_HEADERS", "Authorization: Bearer demo-{user}\n\nX-Kind: load\n")
    monkeypatch.setenv("PHASE1_BODY", '{"who": "{user}"}')
    kind = runpy.run_path(str(FILE))["ChatUser"]
    users = [kind(), kind()]
    for user in users:
        user.on_start()
        user.ask()
    headers = {"content-type": "application/json", "Authorization": "Bearer demo-2", "X-Kind": "load"}
    assert users[1].asked == [("POST", "/ask", {"data": b'{"who": "2"}', "headers": headers})]
    assert users[0].asked[0][2]["data"] == b'{"who": "1"}'
