"""What does somebody see who types `phase1 doctor`, `phase1 patch` and `phase1 revert`?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from phase1.commands import app
from phase1.patchkit.journal import FOLDER

from .trees import contents, copy_of, tree_of


@pytest.fixture(autouse=True)
def nobodys_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run in one, whose summary is not theirs."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def run(*arguments: object) -> Result:
    """`phase1` with these arguments."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def document(*arguments: object) -> dict[str, Any]:
    """The JSON that a command prints."""
    value: dict[str, Any] = json.loads(run(*arguments).stdout)
    return value


def repository(root: Path) -> Path:
    """The tree, committed."""
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as it was"]):
        git(root, *command)
    return root


def git(root: Path, *arguments: str) -> str:
    """Run git in the tree."""
    person = ["-c", "user.name=tester", "-c", "user.email=tester@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *person, *arguments], cwd=root, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize(
    ("name", "code"), [("direct", 1), ("locked", 1), ("async_client", 0), ("offloaded", 0), ("other_clients", 0)]
)
def test_exit_code_of_doctor_is_for_ci(name: str, code: int, tmp_path: Path) -> None:
    """1 if a request can block the loop, 0 if not."""
    assert run("doctor", copy_of(name, tmp_path)).exit_code == code


def test_doctor_says_where_why_and_what_to_do(tmp_path: Path) -> None:
    """File and line, the way from the route, the edit, and the next command."""
    root = copy_of("helper", tmp_path)
    told = run("doctor", root).stdout
    assert "main.py:10 P202 blocking-helper" in told
    assert "process() blocks the event loop: it asks a model (client.chat.completions.create, steps.py:7)" in told
    assert "POST /ask (ask) → ask() → process() → clarify() → complete() → client.chat.completions.create" in told
    assert "→ await phase1.call(process, …)  (phase1 patch edits it)" in told
    assert f"Next: phase1 patch {root} shows the edits, and writes nothing." in told
    assert "\x1b[" not in told


def test_doctor_of_a_healthy_app_says_so(tmp_path: Path) -> None:
    """Nothing to do is told too."""
    told = run("doctor", copy_of("offloaded", tmp_path)).stdout
    assert "Nothing blocks the event loop; 1 file and 4 routes read." in told
    assert "No route asks a model" in run("doctor", copy_of("other_clients", tmp_path)).stdout


def test_doctor_json(tmp_path: Path) -> None:
    """Everything, for a program; `--json` and `--format json` are the same."""
    root = copy_of("helper", tmp_path)
    told = document("doctor", root, "--json")
    assert told == document("doctor", root, "--format", "json")
    assert told["schema"] == "phase1.doctor/v1"
    assert told["summary"] == {"blocking": 1, "opportunities": 2, "files": 3, "routes": 1, "unreadable": 0}
    first = told["findings"][0]
    assert (first["id"], first["file"], first["line"], first["column"]) == ("P202", "main.py", 10, 12)
    assert first["chains"][0]["steps"][-1] == {"what": "client.chat.completions.create", "file": "steps.py", "line": 7}
    assert first["help"] == "INTEGRATION.md#p202-blocking-helper"


def test_column_counts_characters(tmp_path: Path) -> None:
    """Not bytes: editors and SARIF count characters."""
    assert document("doctor", copy_of("direct", tmp_path), "--json")["findings"][0]["column"] == 26


def test_doctor_github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Annotations with paths from the repository, and a table for the workflow's page."""
    copy_of("locked", tmp_path)
    tree_of(tmp_path / "locked", {"broken.py": "def ("})
    monkeypatch.chdir(tmp_path)
    lines = run("doctor", "locked", "--format", "github").stdout.splitlines()
    assert lines[0].startswith("::error file=locked/main.py,line=14,col=18,title=P302 under-lock::client.chat")
    assert "%0APOST /ask (ask) → ask() → client.chat.completions.create%0A" in lines[0]
    assert lines[1].startswith("::notice file=locked/main.py,line=7,")
    assert lines[2].startswith("::warning file=locked/broken.py,line=1,title=not read::a syntax error")
    assert "### phase1 doctor: 1 blocking, 1 to pool" in lines
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    assert "###" not in run("doctor", "locked", "--format", "github").stdout
    assert "| `main.py:14` | P302 under-lock |" in page.read_text()


def test_doctor_sarif(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules, results with their place, and the way from the route as a code flow."""
    copy_of("helper", tmp_path)
    monkeypatch.chdir(tmp_path)
    told = document("doctor", "helper", "--format", "sarif")
    (done,) = told["runs"]
    assert told["version"] == "2.1.0"
    first = done["results"][0]
    assert done["tool"]["driver"]["rules"][first["ruleIndex"]]["id"] == first["ruleId"] == "P202"
    place = first["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]) == (
        "helper/main.py",
        {"startLine": 10, "startColumn": 12},
    )
    flow = first["codeFlows"][0]["threadFlows"][0]["locations"]
    assert [step["location"]["message"]["text"] for step in flow][-1] == "client.chat.completions.create"
    assert {result["level"] for result in done["results"]} == {"error", "note"}


def test_patch_shows_a_diff_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default, and git takes it from where it was printed."""
    root = copy_of("wrapper", tmp_path)
    before = contents(root)
    monkeypatch.chdir(tmp_path)
    shown = run("patch", "wrapper")
    assert (shown.exit_code, contents(root)) == (0, before)
    assert shown.stdout == run("patch", "wrapper", "--diff").stdout
    assert "Would edit 3 files: 1 × P101 install, 1 × P102 adopt-client, 1 × P202 blocking-helper" in shown.stderr
    subprocess.run(["git", "apply", "-"], input=shown.stdout.encode(), cwd=tmp_path, check=True, timeout=60)
    assert b"phase1.call(tutor.answer, question)" in (root / "app" / "routes.py").read_bytes()


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"], ids=["no end", "lf", "crlf"])
def test_git_takes_every_line_end(end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a last line end, and one with CRLF."""
    root = copy_of("direct", tmp_path)
    path = root / "main.py"
    text = path.read_bytes().rstrip(b"\n")
    path.write_bytes(text.replace(b"\n", b"\r\n") + end if end == b"\r\n" else text + end)
    monkeypatch.chdir(root)
    diff = run("patch", ".").stdout_bytes
    assert run("patch", ".", "--write").exit_code == 0
    patched = path.read_bytes()
    assert run("revert", ".").exit_code == 0
    subprocess.run(["git", "apply", "-"], input=diff, cwd=root, check=True, timeout=60)
    assert path.read_bytes() == patched


def test_check_is_for_ci(tmp_path: Path) -> None:
    """1 if there is something to edit, without a word about how; 0 afterwards."""
    root = copy_of("direct", tmp_path)
    before = run("patch", root, "--check")
    assert (before.exit_code, before.stdout) == (1, "")
    assert run("patch", root, "--write").exit_code == 0
    assert run("patch", root, "--check").exit_code == 0


def test_write_twice_and_revert(tmp_path: Path) -> None:
    """The second patch finds nothing, the revert gives all bytes back, a second revert says that there is nothing."""
    root = copy_of("wrapper", tmp_path)
    before = contents(root)
    written = run("patch", root, "--write")
    assert "Edited 3 files" in written.stderr
    assert f"Undo: phase1 revert {root}" in written.stderr
    after = contents(root)
    assert "Nothing to edit." in run("patch", root, "--write").stderr
    assert contents(root) == after
    assert "reverted main.py (byte for byte)" in run("revert", root).stdout
    assert contents(root) == before
    again = run("revert", root)
    assert (again.exit_code, "nothing to revert" in again.stderr) == (2, True)


def test_json_of_patch_and_revert(tmp_path: Path) -> None:
    """What was done, for a program."""
    root = copy_of("sync_stream", tmp_path)
    shown = document("patch", root, "--json")
    assert (shown["schema"], shown["written"]) == ("phase1.patch/v1", False)
    assert [one["file"] for one in shown["files"]] == ["main.py"]
    assert "+    stream = await phase1.call(" in shown["files"][0]["diff"]
    assert [one["id"] for one in shown["edited"]] == ["P201", "P101", "P102"]
    assert [(one["id"], one["safety"]) for one in shown["left"]] == [("P204", "unsafe")]
    assert document("patch", root, "--write", "--json")["written"] is True
    assert document("revert", root, "--json") == {
        "schema": "phase1.revert/v1",
        "written": True,
        "files": [{"file": "main.py", "exact": True}],
    }


def test_unsafe_edits_are_asked_for(tmp_path: Path) -> None:
    """Told without, made with --unsafe."""
    root = copy_of("history", tmp_path)
    told = run("patch", root)
    assert "Nothing to edit." in told.stderr
    assert "Left alone: 2 unsafe (with --unsafe)" in told.stderr
    assert "phase1.call(bot.answer, question)" in run("patch", root, "--unsafe").stdout


def test_only_one_rule(tmp_path: Path) -> None:
    """By id or name; install comes with it, because nothing works without."""
    root = copy_of("direct", tmp_path)
    by_id = run("patch", root, "--only", "P102").stdout
    assert by_id == run("patch", root, "--only", "adopt-client").stdout
    assert "phase1.adopt" in by_id
    assert "phase1.install" in by_id
    assert "phase1.call" not in by_id
    unknown = run("patch", root, "--only", "P999")
    assert unknown.exit_code == 2
    assert "there is no rule 'P999'; allowed are P101, P102, P201" in unknown.stderr


def test_dirty_tree_is_refused(tmp_path: Path) -> None:
    """Edits are not mixed with changes that nobody has committed, unless --force says so."""
    root = repository(copy_of("wrapper", tmp_path))
    with (root / "app" / "services" / "tutor.py").open("a") as file:
        file.write("# not committed\n")
    before = contents(root)
    refused = run("patch", root, "--write")
    assert refused.exit_code == 1
    assert (
        "there are uncommitted changes (app/services/tutor.py): commit or stash them, or use --force" in refused.stderr
    )
    assert contents(root) == before
    assert run("patch", root).exit_code == 0
    assert run("patch", root, "--write", "--force").exit_code == 0


def test_clean_tree_in_git_is_patched(tmp_path: Path) -> None:
    """Also a folder of a repository; what git shows then are the edits and the manifest."""
    root = copy_of("direct", tmp_path / "repository" / "backend")
    repository(tmp_path / "repository")
    assert run("patch", root, "--write").exit_code == 0
    status = git(tmp_path / "repository", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert status == [" M backend/direct/main.py", f"?? backend/direct/{FOLDER}/manifest.json"]


def test_file_that_git_does_not_know_is_refused(tmp_path: Path) -> None:
    """It could not be had back from git; others that git does not know do not matter."""
    root = tree_of(tmp_path, {"README": "hello"})
    repository(root)
    copy_of("direct", root)
    assert run("patch", root / "direct", "--write").exit_code == 1


def test_interrupted_run_is_finished_first(tmp_path: Path) -> None:
    """A manifest that names files which are still old: revert, then patch again."""
    root = copy_of("wrapper", tmp_path)
    before = contents(root)
    assert run("patch", root, "--write").exit_code == 0
    (root / "main.py").write_bytes(before["main.py"])
    refused = run("patch", root, "--write")
    assert refused.exit_code == 1
    assert "an earlier run was interrupted before it wrote main.py" in refused.stderr
    assert run("revert", root).exit_code == 0
    assert contents(root) == before


def test_revert_shows_first(tmp_path: Path) -> None:
    """`--diff` writes nothing."""
    root = copy_of("direct", tmp_path)
    run("patch", root, "--write")
    after = contents(root)
    shown = run("revert", root, "--diff")
    assert "-phase1.install(app)" in shown.stdout
    assert "would revert main.py (byte for byte)" in shown.stderr
    assert contents(root) == after


@pytest.mark.parametrize("command", ["doctor", "patch", "revert"])
def test_path_that_is_not_there_is_named(command: str, tmp_path: Path) -> None:
    """One line, exit code 2, no traceback."""
    told = run(command, tmp_path / "nowhere")
    assert told.exit_code == 2
    assert told.stderr.startswith("error: ")
    assert "nowhere" in told.stderr
    assert told.stderr.count("\n") == 1


def test_ways_exclude_each_other(tmp_path: Path) -> None:
    """`--check --write` is a mistake."""
    told = run("patch", copy_of("direct", tmp_path), "--check", "--write")
    assert (told.exit_code, told.stderr) == (2, "error: --diff, --check and --write are three ways: choose one\n")


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The manifest comes first: without it nothing is edited."""
    root = copy_of("direct", tmp_path)
    (root / FOLDER).write_text("a file where the folder should be")
    before = contents(root)
    told = run("patch", root, "--write")
    assert told.exit_code == 2
    assert told.stderr.startswith("error: ")
    assert contents(root) == before


def test_module_and_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`main:app`, as uvicorn takes it, below the working directory."""
    root = copy_of("several_apps", tmp_path)
    monkeypatch.chdir(root)
    assert run("patch", ".", "--check").exit_code == 0
    assert run("patch", "main:app", "--check").exit_code == 1
    assert run("doctor", "old_main:app").exit_code == 0


def without_libcst(code: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run `code` where libcst is not installed."""
    lines = ("import sys", "sys.modules['libcst'] = None", code)
    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_doctor_needs_no_libcst(tmp_path: Path) -> None:
    """It only reads."""
    code = "from phase1.cli import main; sys.argv = ['phase1', 'doctor', '.']; sys.exit(main())"
    done = without_libcst(code, copy_of("direct", tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    assert "P201 blocking-call" in done.stdout


def test_patch_says_what_it_needs(tmp_path: Path) -> None:
    """One line that says how to install it."""
    code = "from phase1.cli import main; sys.argv = ['phase1', 'patch', '.']; sys.exit(main())"
    done = without_libcst(code, copy_of("direct", tmp_path))
    assert done.returncode == 2
    assert done.stderr == 'error: phase1 patch needs an optional library: pip install "phase1[patch]"\n'


def test_app_is_never_imported(tmp_path: Path) -> None:
    """Not even when it would do harm."""
    harm = tmp_path / "harm"
    text = f"open({str(harm)!r}, 'w').close()\n"
    root = copy_of("direct", tmp_path)
    (root / "main.py").write_text(text + (root / "main.py").read_text())
    run("doctor", root)
    run("patch", root, "--write")
    run("revert", root)
    assert not harm.exists()
