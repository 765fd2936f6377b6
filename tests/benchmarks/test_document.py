"""Is what was written read again?"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cli import main
from benchmarks.document import Results
from tests.benchmarks.documents import results, sample


def test_document_survives_the_file(tmp_path: Path) -> None:
    """Also in a directory that is not there yet."""
    written = results({"unary-20": {"openai3": [sample(1000.0)]}})
    written.save(tmp_path / "deep" / "latest.json")
    assert Results.load(tmp_path / "deep" / "latest.json").document == written.document


def test_another_document_is_refused() -> None:
    """Not every JSON is ours."""
    with pytest.raises(ValueError, match="schema"):
        Results({"schema": "something else"})


def test_missing_figures_are_no_figures() -> None:
    """Neither scenario nor client need be there."""
    assert results({}).rounds("unary-20", "openai3", "cpu_us") == []


def test_table_command_prints_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the README shows comes from here."""
    results({"unary-20": {"openai3": [sample(1000.0)]}}).save(tmp_path / "a.json")
    assert main(["table", str(tmp_path / "a.json")]) == 0
    assert "title of openai3" in capsys.readouterr().out


def test_table_command_says_what_is_wrong_with_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    assert main(["table", str(tmp_path / "a.json")]) == 2
    assert capsys.readouterr().err.startswith("error: not a result of ours")


def test_profile_of_nobody_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """It names the clients that there are."""
    assert main(["--profile", "phase1-full", "--scenario", "nothing"]) == 2
    assert "unary-100" in capsys.readouterr().err
