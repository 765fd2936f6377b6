"""Is the report readable as Markdown, and complete?"""

from __future__ import annotations

from pathlib import Path

from benchmarks.document import Results
from benchmarks.report import markdown, summary, table
from tests.benchmarks.documents import results, sample


def test_table_is_markdown() -> None:
    """Text on the left, figures on the right, columns as wide as needed."""
    assert table(["client", "µs"], [["a", "1,215"], ["longer name", "7"]]) == (
        "| client      |    µs |\n| ----------- | ----: |\n| a           | 1,215 |\n| longer name |     7 |"
    )


def test_table_keeps_a_cell_with_a_bar_in_its_column() -> None:
    """A bar would open another one."""
    assert "a \\| b" in table(["client"], [["a | b"]])


def test_report_shows_medians_and_ratios() -> None:
    """The stock client is what the others are compared with."""
    report = markdown(
        results(
            {"unary-20": {"openai3": [sample(1000.0)] * 3, "phase1-full": [sample(40.0), sample(50.0), sample(60.0)]}}
        )
    )
    assert "| title of phase1-full |    50 |" in report
    assert "| title of phase1-full | 0.05 (0.04–0.06) |" in report


def test_report_leaves_out_scenarios_that_nobody_ran() -> None:
    """No empty columns."""
    report = markdown(results({"unary-20": {"openai3": [sample(1000.0)]}}))
    assert "10,000 queued |" not in report


def test_report_says_when_and_where() -> None:
    """A figure without its machine means nothing."""
    report = markdown(results({}))
    assert report.startswith("Measured 2026-01-02T03:04:05+00:00 on a processor, 2 cores")


def test_report_tells_what_is_missing_and_why() -> None:
    """Silence would look like success."""
    report = markdown(results({}, skipped={"litellm": {"*": ".venv-litellm is missing"}}))
    assert "- litellm: .venv-litellm is missing" in report


def test_report_names_the_transport_of_ours() -> None:
    """The client says it itself."""
    measured = sample(50.0) | {"notes": {"transport": "HttpxTransport"}}
    assert "title of phase1-full (HttpxTransport)" in markdown(results({"unary-20": {"phase1-full": [measured]}}))


def test_readmes_table_is_that_of_the_last_run() -> None:
    """`scripts/readme_bench.py` has written it from the results that lie beside."""
    root = Path(__file__).resolve().parents[2]
    readme = (root / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- bench:begin -->")[2].partition("<!-- bench:end -->")[0]
    assert shown.strip() == summary(Results.load(root / "benchmarks" / "results" / "latest.json"))
