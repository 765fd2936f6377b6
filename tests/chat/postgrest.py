"""What stands in for Supabase? The part of PostgREST's protocol that query builders speak, over tables in memory.

https://docs.postgrest.org/en/stable/references/api/tables_views.html
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

BOUND = 10.0

Row = dict[str, Any]


@dataclass
class Request:
    """What arrived."""

    method: str
    table: str
    query: dict[str, str]
    body: Any


@dataclass
class PostgREST:
    """`with PostgREST() as rest:` serves at `rest.url`. It answers only when `together` requests wait at once."""

    together: int = 1
    tables: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    unique: dict[str, str] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """For the next requests: `drop` (after the work is done), `refuse` (a 500), `hang`."""
    released: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.barrier = threading.Barrier(self.together)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.rest = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.released.set()
        self.barrier.abort()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(BOUND)

    def answer(self, request: Request, prefer: str) -> tuple[int, Any]:
        """Do what is asked, in one transaction."""
        with self.lock:
            if request.method == "GET":
                return 200, self._select(request)
            return self._insert(request, prefer)

    def _select(self, request: Request) -> list[Row]:
        query = dict(request.query)
        limit, order = int(query.pop("limit", "1000000")), query.pop("order", "")
        columns = query.pop("select", "*")
        rows = [row for row in self.tables[request.table] if all(_matches(row, *item) for item in query.items())]
        name, _, direction = order.partition(".")
        if name:
            rows.sort(key=lambda row: row[name], reverse=direction.startswith("desc"))
        return [_only(row, columns) for row in rows[:limit]]

    def _insert(self, request: Request, prefer: str) -> tuple[int, Any]:
        rows = request.body if isinstance(request.body, list) else [request.body]
        column = self.unique.get(request.table)
        there = {row[column] for row in self.tables[request.table]} if column else set()
        double = [row for row in rows if column and row[column] in there]
        if double and "ignore-duplicates" not in prefer:
            return 409, {"code": "23505", "message": "duplicate key", "details": None, "hint": None}
        if any(row.get("message") == "forbidden" for row in rows):
            return 400, {"code": "23514", "message": "check violated", "details": None, "hint": None}
        new = [row for row in rows if row not in double]
        self.tables[request.table].extend(new)
        return 201, new


def _matches(row: Row, column: str, condition: str) -> bool:
    operator, _, value = condition.partition(".")
    assert operator == "eq"
    return str(row.get(column)) == value


def _only(row: Row, columns: str) -> Row:
    names = [name.strip() for name in columns.split(",")]
    return dict(row) if names == ["*"] else {name: row.get(name) for name in names}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    rest: PostgREST


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _serve(self, body: Any) -> None:  # noqa: ANN401 - JSON
        rest, address = self.server.rest, urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        query.pop("columns", None)  # of a bulk insert: which there are
        request = Request(self.command, address.path.rpartition("/")[2], query, body)
        rest.seen.append(request)
        fault = rest.faults.pop(0) if rest.faults else ""
        faults: dict[str, Callable[[], None]] = {"refuse": self._refuse, "hang": self._hang}
        if fault in faults:
            faults[fault]()
            return
        rest.barrier.wait(BOUND)
        status, answer = rest.answer(request, self.headers.get("prefer", ""))
        if fault == "drop":
            self.close_connection = True
        else:
            self._send(status, answer)

    def _refuse(self) -> None:
        self._send(500, {"code": "XX000", "message": "scripted", "details": None, "hint": None})

    def _hang(self) -> None:
        self.server.rest.released.wait(BOUND)
        self.close_connection = True

    def _send(self, status: int, body: Any) -> None:  # noqa: ANN401 - JSON
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Silence."""
