"""What differs between two versions of a file, and how is it taken out, even if other lines have changed since?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["Hunk", "Moved", "hunks_between", "taken_out", "unified_diff"]

_CONTEXT: Final = 3


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that were replaced, each with its line end. `start`: the first one's index in the version after."""

    start: int
    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    above: tuple[bytes, ...]
    below: tuple[bytes, ...]


class Moved(Exception):
    """A hunk is not in the file any more, or not only once."""


def hunks_between(before: bytes, after: bytes) -> tuple[Hunk, ...]:
    """What has to be replaced in `after` to have `before` again."""
    old, new = _lines(before), _lines(after)
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return tuple(
        Hunk(
            new_start,
            tuple(old[old_start:old_end]),
            tuple(new[new_start:new_end]),
            tuple(new[max(0, new_start - _CONTEXT) : new_start]),
            tuple(new[new_end : new_end + _CONTEXT]),
        )
        for tag, old_start, old_end, new_start, new_end in codes
        if tag != "equal"
    )


def taken_out(data: bytes, hunks: Iterable[Hunk]) -> bytes:
    """`data` without the edits of `hunks`; all other lines stay. Raises `Moved` if one of them cannot be found."""
    lines = _lines(data)
    for hunk in sorted(hunks, key=lambda one: one.start, reverse=True):
        at = _find(lines, hunk)
        there = lines[at : at + len(hunk.after)]
        lines[at : at + len(hunk.after)] = _with_ends_of(there, hunk)
    return b"".join(lines)


def unified_diff(name: str, before: bytes, after: bytes) -> bytes:
    """As `git apply` takes it."""
    if before == after:
        return b""
    header = f"diff --git a/{name} b/{name}\n".encode()
    tab = b"\t" if " " in name else b""
    path = name.encode()
    lines = difflib.diff_bytes(
        difflib.unified_diff, _lines(before), _lines(after), b"a/" + path, b"b/" + path, lineterm=b"\n"
    )
    return header + b"".join(_ended(line, tab) for line in lines)


def _ended(line: bytes, tab: bytes) -> bytes:
    if line.startswith((b"--- a/", b"+++ b/")):
        return line.rstrip(b"\n") + tab + b"\n"
    return line if line.endswith(b"\n") else line + b"\n\\ No newline at end of file\n"


def _find(lines: list[bytes], hunk: Hunk) -> int:
    """Where the hunk's lines are now: with as much of what was around them as it takes to be sure."""
    if _matches(lines, hunk.start, hunk, _CONTEXT):
        return hunk.start
    for context in range(_CONTEXT, -1, -1):
        found = list(_places(lines, hunk, context))
        if len(found) == 1 and (hunk.after or context):
            return found[0]
        if len(found) > 1:
            raise Moved(f"{_first(hunk)} stands at {len(found)} places")
    raise Moved(f"{_first(hunk)} was changed by hand")


def _places(lines: list[bytes], hunk: Hunk, context: int) -> Iterator[int]:
    return (at for at in range(len(lines) + 1) if _matches(lines, at, hunk, context))


def _matches(lines: list[bytes], at: int, hunk: Hunk, context: int) -> bool:
    above, below = hunk.above[-context:] if context else (), hunk.below[:context]
    wanted = (*above, *hunk.after, *below)
    start = at - len(above)
    if start < 0 or start + len(wanted) > len(lines):
        return False
    return all(_bare(lines[start + number]) == _bare(line) for number, line in enumerate(wanted))


def _with_ends_of(there: list[bytes], hunk: Hunk) -> list[bytes]:
    """The old lines; if line ends have changed since, as where a last line has got one, with those of today."""
    if there == list(hunk.after) or not there:
        return list(hunk.before)
    end = there[-1][len(_bare(there[-1])) :]
    return [_bare(line) + end for line in hunk.before]


def _bare(line: bytes) -> bytes:
    return line.rstrip(b"\r\n")


def _first(hunk: Hunk) -> str:
    line = hunk.after[0] if hunk.after else b"a line that was taken away"
    return f"`{line.decode('utf-8', 'replace').strip()}`"


def _lines(data: bytes) -> list[bytes]:
    """Git knows one line end, LF; a lone CR is a character like any other."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
