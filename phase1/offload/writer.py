"""How do tokens get into the journal? Gathered for 25 ms, the first at once, written until the journal has them.

All writers of a process share one flusher: at each tick it writes what they have in one round trip. It takes at most a
quarter of the process's time: when a tick takes long, the next comes later, and more is gathered. A frame keeps its
number until the journal has confirmed it; what was confirmed lately is kept, for a journal may come back from its disk
without the last second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from phase1.offload import frames
from phase1.offload.config import Times
from phase1.offload.frames import End
from phase1.offload.journal import Append, Code, Journal, JournalUnavailable, Reply

__all__ = ["TOO_LARGE", "Flusher", "Writer"]

_log = logging.getLogger("phase1")

_WINDOW: Final = 16
"""Frames of one writer in one round trip."""
_RING: Final = 400
_MAX_TEXT: Final = 16 << 10
_SHARE: Final = 3
"""A tick of n ms is followed by at least so many times n ms of other work."""

TOO_LARGE: Final = frames.ending(End.INCOMPLETE, "too_large", "the answer is too long", finish="length")

Stop = Callable[[str], None]
"""Told why nothing more will be written: `fenced`, `cancelled`, `too_large`, `journal_unavailable` …"""


class Writer:
    """Writes one attempt's frames. Its methods never wait, but `end`.

    `head` is written right before the first of them: an attempt that dies before has left no trace, and the next one
    need not take anything back.
    """

    def __init__(
        self, flusher: Flusher, task: str, epoch: int, *, stop: Stop, head: Mapping[str, Any] | None = None
    ) -> None:
        self._flusher = flusher
        self._head = head
        self._task = task
        self._epoch = epoch
        self._stop = stop
        self._seq = 0
        self._kind = ""
        self._parts: list[str] = []
        self._size = 0
        self._unconfirmed: deque[Append] = deque()
        self._confirmed: deque[Append] = deque(maxlen=_RING)
        self._full = self._too_long = False
        self._over: asyncio.Future[Code] | None = None
        self.ended: End | None = None
        """How it ended, as the journal has it: an answer that did not fit has not been completed."""
        self.first_text = False

    def text(self, delta: str, kind: str = "t") -> None:
        """More of the answer (`t`), or of the reasoning (`r`)."""
        if not delta:
            return
        if kind != self._kind:
            self._gather()
            self._kind = kind
        self._parts.append(delta)
        self._size += len(delta)
        first, self.first_text = not self.first_text, True
        self._flusher.dirty(self, now=first or self._size >= _MAX_TEXT)

    def frame(self, frame: Mapping[str, Any]) -> None:
        """Anything else, at once, behind the text so far."""
        self._gather()
        self._number(frames.encode(frame))
        self._flusher.dirty(self, now=True)

    async def end(self, data: str) -> Code:
        """The last frame. Returns when the journal has it (`OK`), or will never take it.

        Of an answer that turned out too long in the very moment of its end, it says so.
        """
        if self._too_long:
            data = TOO_LARGE
        end = str(frames.decode(data)["end"])
        self._gather()
        self._number(data, end)
        self._over = asyncio.get_running_loop().create_future()
        self._flusher.dirty(self, now=True)
        try:
            return await self._over
        finally:
            self._flusher.forget(self)

    def _number(self, data: str, end: str = "") -> None:
        if self._full and not end:
            return
        head, self._head = self._head, None
        if head is not None:
            self._number(frames.encode(head))
        self._seq += 1
        self._unconfirmed.append(Append(self._task, self._epoch, self._seq, data, end))

    def _gather(self) -> None:
        if self._parts:
            self._number(frames.encode({self._kind: "".join(self._parts)}))
            self._parts.clear()
            self._size = 0

    def take(self) -> list[Append]:
        """What is to be written next."""
        self._gather()
        return [append for append, _ in zip(self._unconfirmed, range(_WINDOW), strict=False)]

    @property
    def waiting(self) -> bool:
        """Whether something is not in the journal yet."""
        return bool(self._unconfirmed or self._parts)

    def confirm(self, append: Append, reply: Reply) -> None:
        """What the journal said to one of them."""
        if not self._unconfirmed or append is not self._unconfirmed[0]:
            return  # behind one that was refused
        if reply.cancelled and not append.end:
            self._stop("cancelled")
        match reply.code:
            case Code.OK | Code.ALREADY:
                self._confirmed.append(self._unconfirmed.popleft())
                if append.end:
                    self.ended = End(append.end)
                    self._finish(Code.OK)
            case Code.GAP:
                self._repeat(reply.last)
            case Code.TOO_LARGE:
                self._overflow()
            case code:
                self.give_up(code)

    def _repeat(self, last: int) -> None:
        """The journal has lost what it had confirmed: say it again."""
        again = [append for append in self._confirmed if append.seq > last]
        if not again or again[0].seq != last + 1:
            self.give_up(Code.GAP)
            return
        self._confirmed = deque((append for append in self._confirmed if append.seq <= last), maxlen=_RING)
        self._unconfirmed.extendleft(reversed(again))

    def _overflow(self) -> None:
        """Only an end fits now, under the number of the first frame that did not."""
        refused = self._unconfirmed[0].seq
        ends = [append for append in self._unconfirmed if append.end]
        self._unconfirmed = deque(append._replace(seq=refused, data=TOO_LARGE, end=End.INCOMPLETE) for append in ends)
        self._seq = refused - 1 + len(ends)
        self._full = self._too_long = True
        self._stop("too_large")

    def give_up(self, code: Code | None) -> None:
        """Nothing will be written any more; `None`: the journal is away."""
        self._unconfirmed.clear()
        self._parts.clear()
        self._full = True
        self._stop("journal_unavailable" if code is None else code.name.lower())
        self._finish(code or Code.GONE)

    def _finish(self, code: Code) -> None:
        if self._over is not None and not self._over.done():
            self._over.set_result(code)


class Flusher:
    """The one loop of a process that writes frames. `run` it in a task."""

    def __init__(self, journal: Journal, times: Times, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._times = times
        self._clock = clock
        self._dirty: dict[Writer, None] = {}
        self._some = asyncio.Event()
        self._urgent = asyncio.Event()
        self._away_since: float | None = None

    def dirty(self, writer: Writer, *, now: bool) -> None:
        """`writer` has something; `now`: do not gather more first."""
        self._dirty[writer] = None
        self._some.set()
        if now:
            self._urgent.set()

    def forget(self, writer: Writer) -> None:
        """It is over."""
        self._dirty.pop(writer, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._some.wait()
            started = self._clock()
            if await self.flush():
                self._away_since = None
                await self._gather_more(_SHARE * (self._clock() - started))
            else:
                await asyncio.sleep(self._patience())

    async def _gather_more(self, rest: float) -> None:
        """Until the next tick. A first token cuts the gathering short, but not the rest that a busy process needs."""
        if rest > self._times.coalesce:
            await asyncio.sleep(rest)
            return
        try:
            async with asyncio.timeout(self._times.coalesce):
                await self._urgent.wait()
        except TimeoutError:
            pass

    async def flush(self) -> bool:
        """Write what there is; `False` when the journal is away."""
        writers = list(self._dirty)
        self._dirty.clear()
        self._some.clear()
        self._urgent.clear()
        taken = [(writer, append) for writer in writers for append in writer.take()]
        try:
            replies = await self._journal.append([append for _, append in taken]) if taken else []
        except JournalUnavailable:
            self._again(writers)
            return False
        for (writer, append), reply in zip(taken, replies, strict=True):
            writer.confirm(append, reply)
        self._again(writer for writer in writers if writer.waiting)
        return True

    def _again(self, writers: Iterable[Writer]) -> None:
        for writer in writers:
            self.dirty(writer, now=True)

    def _patience(self) -> float:
        """How long to wait for a journal that is away; too long: its writers are told."""
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            _log.warning("offload: the journal is away; frames are kept for %g s", self._times.append_patience)
        away = now - self._away_since
        if away >= self._times.append_patience:
            for writer in list(self._dirty):
                writer.give_up(None)
                self.forget(writer)
        return min(1.0, 0.05 + away / 4)
