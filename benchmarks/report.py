"""How are the figures shown? As Markdown tables, which a terminal and the README can show alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.document import Results
from benchmarks.figures import Spread, ratios, short, spread
from benchmarks.targets import STOCK, Judged, judge_all

__all__ = ["markdown", "summary", "table"]

_MICROSECONDS = (
    ("unary-1", "1 in flight, µs"),
    ("unary-20", "20"),
    ("unary-100", "100"),
    ("responses-20", "responses, 20"),
    ("embeddings-20", "embeddings, 20"),
    ("queued-10000", "10,000 queued"),
    ("stream-20", "per chunk, µs"),
    ("paced-20", "per paced chunk, µs"),
)
_NOTHING = "–"


def markdown(results: Results) -> str:
    """The whole report."""
    parts = [_about, _clients, _ratios, _apps, _targets]
    return "\n\n".join([*(part(results) for part in parts), *_skipped(results)]) + "\n"


def summary(results: Results) -> str:
    """What README shows of it: the clients, and the targets."""
    return "\n\n".join(part(results) for part in (_about, _clients, _targets))


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table, its columns as wide as they need to be; the first is text, the others figures."""
    rows = [list(head), *([cell.replace("|", "\\|") for cell in line] for line in lines)]
    widths = [max(3, *(len(line[column]) for line in rows)) for column in range(len(head))]
    rule = [f"{'-' * (width - 1)}{'-' if column == 0 else ':'}" for column, width in enumerate(widths)]
    return "\n".join(_line(line, widths) for line in (rows[0], rule, *rows[1:]))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    figures = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return f"| {' | '.join([cells[0].ljust(widths[0]), *figures])} |"


def _about(results: Results) -> str:
    document, machine = results.document, results.document["machine"]
    pinned = "client and upstream pinned to a core each" if machine["pinned"] else "not pinned"
    return (
        f"Measured {document['when']} on {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python"
        f" {machine['python']}; {pinned}; load average {machine['load_before']:.1f} to {machine['load_after']:.1f};"
        f" plan `{document['plan']}`, {document['rounds']} rounds, {document['seconds']:.0f} s. Medians; CPU of the"
        " client's process."
    )


def _clients(results: Results) -> str:
    shown = [(name, title) for name, title in _MICROSECONDS if results.document["samples"].get(name)]
    head = ["client", *(title for _, title in shown), "1,000 on 200 ms: p50", "calls/s", "MB per 1,000"]
    return table(head, [[_title(results, name), *_figures(results, name, shown)] for name in _measured(results)])


def _measured(results: Results) -> list[str]:
    """The clients that have any figure at all."""
    samples = results.document["samples"]
    return [name for name in results.document["rows"] if any(found.get(name) for found in samples.values())]


def _title(results: Results, name: str) -> str:
    row = results.document["rows"][name]
    detail = results.notes(name).get("transport", "") or _version(row["title"].lower(), row["versions"])
    return f"{row['title']} ({detail})" if detail else str(row["title"])


def _version(title: str, versions: Mapping[str, str]) -> str:
    """Of the library that the title names."""
    names = [name for name in ("litellm", "openai", "aiohttp", "httpx2", "httpx") if name in title]
    return versions.get(names[0], "") if names else ""


def _figures(results: Results, name: str, shown: Sequence[tuple[str, str]]) -> list[str]:
    cells = [_cell(results.spread(scenario, name, "cpu_us")) for scenario, _ in shown]
    p50 = results.spread("slow-1000", name, "p50")
    return [
        *cells,
        f"{p50.median * 1000:,.0f} ms" if p50 else _NOTHING,
        _cell(results.spread("slow-1000", name, "per_second")),
        _cell(results.spread("memory-1000", name, "mb")),
    ]


def _cell(figure: Spread | None) -> str:
    return short(figure.median) if figure else _NOTHING


def _ratios(results: Results) -> str:
    """CPU against the stock client of the same round."""
    shown = [(name, title) for name, title in _MICROSECONDS if results.rounds(name, STOCK, "cpu_us")]
    lines = [
        [_title(results, name), *(_against_stock(results, scenario, name) for scenario, _ in shown)]
        for name in _measured(results)
        if name != STOCK
    ]
    return "CPU against the stock client of the same round, with the lowest and the highest round:\n\n" + table(
        ["client", *(title.removesuffix(", µs") for _, title in shown)], lines
    )


def _against_stock(results: Results, scenario: str, name: str) -> str:
    figure = spread(ratios(results.rounds(scenario, name, "cpu_us"), results.rounds(scenario, STOCK, "cpu_us")))
    return str(figure) if figure else _NOTHING


def _apps(results: Results) -> str:
    titles = {
        "legacy": "`ENABLE_LLM_POOL=false`: middleware + facade",
        "pool": "pool: middleware + portal + FastAPI dependency + selection",
        "pool-starlette": "pool: the same with `get_llm(request)` in Starlette",
        "observing": "metrics and flight recorder, per LLM call",
    }
    metrics = ("without_us", "with_us", "added_us")
    lines = [
        [title, *(str(results.spread("asgi", name, metric) or _NOTHING) for metric in metrics)]
        for name, title in titles.items()
    ]
    return table(["per app request, µs of CPU", "without", "with", "added"], lines)


def _targets(results: Results) -> str:
    return table(["target", "at most", "prototype", "measured", ""], [_target(judged) for judged in judge_all(results)])


def _target(judged: Judged) -> list[str]:
    target = judged.target
    unit = f" {target.unit}" if target.unit else ""
    measured = f"{judged.figure}{unit}" if judged.figure else _NOTHING
    return [target.what, f"{short(target.limit)}{unit}", target.prototype, measured, judged.verdict]


def _skipped(results: Results) -> list[str]:
    lines = [
        f"- {name}{_where(reasons, why)}: {why}"
        for name, reasons in results.document["skipped"].items()
        for why in dict.fromkeys(reasons.values())
    ]
    refused = {results.notes(name).get("not available", "") for name in _measured(results)} - {""}
    lines += [f"- all features: this version refuses {names}" for names in sorted(refused)]
    return ["Not measured:\n\n" + "\n".join(lines)] if lines else []


def _where(reasons: Mapping[str, str], why: str) -> str:
    """In which scenarios it was left out for that reason."""
    scenarios = [scenario for scenario, reason in reasons.items() if reason == why and scenario != "*"]
    return f" ({', '.join(scenarios)})" if scenarios else ""
