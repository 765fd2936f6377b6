"""Does the command line say what to do next, and is its exit code right?"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest
from typer.testing import CliRunner

from phase1.cli import main
from phase1.commands import app

runner = CliRunner()


def test_without_arguments_it_says_what_to_do_next() -> None:
    """What phase1 is, the demo, and where to read on; that is no error."""
    done = runner.invoke(app, [])
    assert done.exit_code == 0
    for text in ("a pool of LLM endpoints", "phase1 demo", "ENABLE_LLM_POOL=true", "README.md", "INTEGRATION.md"):
        assert text in done.stdout


def test_version() -> None:
    """The distribution's."""
    done = runner.invoke(app, ["--version"])
    assert (done.exit_code, done.stdout) == (0, f"phase1 {version('phase1')}\n")


def test_help_lists_the_commands() -> None:
    """With a line each."""
    done = runner.invoke(app, ["--help"])
    assert done.exit_code == 0
    assert "Measure a legacy app against the same app with the pool." in done.stdout


def test_help_of_demo_lists_its_options() -> None:
    """And when it fails."""
    done = runner.invoke(app, ["demo", "--help"])
    assert done.exit_code == 0
    for option in ("--users", "--rounds", "--latency", "--port", "--serve", "--json", "OPENAI_API_KEY"):
        assert option in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["--nonsense"], ["demo", "--users", "0"], ["demo", "--latency", "-1"], ["demo", "--port", "65536"]],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_shows_nothing_on_stdout(arguments: list[str]) -> None:
    """The reason is on standard error."""
    done = runner.invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error" in done.stderr


def test_command_is_main() -> None:
    """What is installed as `phase1` is `phase1.cli:main`."""
    (command,) = entry_points(group="console_scripts", name="phase1")
    assert command.load() is main


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_missing_extra_is_one_line(library: str) -> None:
    """No traceback: the line to type."""
    without = f"import sys; sys.modules[{library!r}] = None; from phase1.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'phase1\'s command line needs: pip install "phase1[cli]"\n'


def test_other_missing_module_is_not_taken_for_the_extra() -> None:
    """A broken installation keeps its traceback."""
    without = "import sys; sys.modules['phase1.lab.demo'] = None; from phase1.cli import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "phase1.lab.demo" in done.stderr.splitlines()[-1]
