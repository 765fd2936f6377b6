"""Does what README.md, INTEGRATION.md and CHANGELOG.md name exist: files, anchors, commands, settings, names?"""

from __future__ import annotations

import re
import runpy
import tomllib
from pkgutil import resolve_name

import pytest
from typer.testing import CliRunner

import phase1
from phase1.commands import app as commands
from phase1.settings import Settings

from .pages import CHANGELOG, INTEGRATION, README, ROOT, Page

PAGES = pytest.mark.parametrize("page", [README, INTEGRATION, CHANGELOG], ids=lambda page: page.path.stem)
SETTINGS = {name.upper() for name in Settings.model_fields} | {"OPENAI_API_POOL_SIZE"}
NOT_OURS = {
    "AZURE_OPENAI_API_KEY",
    "DATABASE_URL",
    "HTTPS_PROXY",
    "MAX_CHAT_MESSAGE_LENGTH",
    "OPENAI_API_KEY_2",
    "OPENAI_TIMEOUT",
    "PHASE1_APP",
    "PHASE1_FACTORY",
    "RATE_LIMIT",
}
"""Capitals on the pages that are no settings: a node's keys, what shim, HTTP library and apps read."""


@PAGES
def test_links_lead_somewhere(page: Page) -> None:
    """A file of the repository, a heading of a page, or another site."""
    broken = []
    for link in page.links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.path.parent / path if path else page.path
        if not target.is_file() or (anchor and anchor not in Page(str(target.relative_to(ROOT))).anchors):
            broken.append(link)
    assert broken == []


def test_headings_of_the_guide_are_anchors_once() -> None:
    """Tools link to them: no anchor ends with a number because another heading reads the same."""
    assert [anchor for anchor in INTEGRATION.anchors if re.search(r"-\d$", anchor)] == []


def test_contents_of_the_guide_are_complete() -> None:
    """Each chapter is in the list at its top."""
    top = INTEGRATION.text.partition("\n## ")[0]
    chapters = re.findall(r"^## (.+)$", INTEGRATION.prose, re.MULTILINE)
    assert re.findall(r"^- \[([^\]]+)\]\(", top, re.MULTILINE) == chapters


@PAGES
def test_variables_are_settings(page: Page) -> None:
    """Everything in capitals with an underscore, in text or code."""
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", page.text))
    assert named - SETTINGS - NOT_OURS == set()


def test_example_file_has_every_setting() -> None:
    """And nothing that is none."""
    lines = (ROOT / ".env.phase1.example").read_text(encoding="utf-8").splitlines()
    named = {found[1] for line in lines if (found := re.match("#([A-Z0-9_]+)=", line))}
    assert named == {name.upper() for name in Settings.model_fields}


@PAGES
def test_public_names_exist(page: Page) -> None:
    """`phase1.x` is public or a module of an extra, and a longer path can be imported."""
    public = {*phase1.__all__, "openfeature"}
    for name in set(re.findall(r"(?<![\w./])phase1(?:\.[A-Za-z_]\w*)+", page.text)):
        assert resolve_name(name) is not None
        assert name.count(".") > 1 or name.removeprefix("phase1.") in public, name


def test_every_public_name_is_in_the_guide() -> None:
    """Nobody has to read the code to find a door."""
    assert [name for name in phase1.__all__ if not re.search(rf"\b{name}\b", INTEGRATION.text)] == []


@PAGES
def test_make_targets_exist(page: Page) -> None:
    """`make demo` and the others are in the Makefile."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9-]+)(?=[`\s])", "\n".join([*page.codes, *_shell(page)]))) <= targets


def _shell(page: Page) -> list[str]:
    return [block.text for block in page.blocks if block.language in {"bash", "text"}]


@PAGES
def test_commands_of_phase1_exist(page: Page) -> None:
    """`phase1 demo`, `phase1 run`, with the options that are named."""
    for command, rest in re.findall(
        r"\bphase1 ([a-z]+(?:-[a-z]+)*)\b([^`\n]*)", "\n".join([*page.codes, *_shell(page)])
    ):
        shown = CliRunner().invoke(commands, [command, "--help"])
        assert shown.exit_code == 0, command
        if command != "run":  # its options are uvicorn's
            assert [option for option in re.findall("--[a-z-]+", rest) if option not in shown.stdout] == []


@PAGES
def test_files_that_are_run_or_named_exist(page: Page) -> None:
    """Scripts, examples and patches."""
    places = r"(?:\.ci|deploy|examples|patches|phase1|scripts|tests|constraints)/[\w./-]*\w"
    named = {name for name in re.findall(rf"(?<![\w/.])({places})", page.text) if "legacy_main.db" not in name}
    assert [name for name in named if not (ROOT / name).exists()] == []


@PAGES
def test_extras_exist(page: Page) -> None:
    """`pip install ".[metrics]"` and the extras named otherwise."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r'pip install "\.\[([a-z]+)\]"', page.text)) | set(re.findall("extra `([a-z]+)`", page.text))
    assert named <= described["optional-dependencies"].keys()


def test_supported_versions_are_those_of_the_package() -> None:
    """As README.md and CHANGELOG.md name them."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert described["requires-python"] == ">=3.11"
    assert "openai>=1.68,<4" in described["dependencies"]
    for page in (README, CHANGELOG):
        assert re.search("openai 1.68 to 3.x[;,] Python 3.11 and newer", page.text)


# --- the block that shows the demo ------------------------------------------------------------------------------------

DEMO = runpy.run_path(str(ROOT / "scripts" / "readme_demo.py"))


def test_demo_block_holds_what_the_demo_prints() -> None:
    """The day, the machine, before and after, and that every promise was kept."""
    block = README.text.partition(DEMO["BEGIN"])[2].partition(DEMO["END"])[0]
    assert re.search(r"\$ make demo    # \d{4}-\d\d-\d\d\n", block)
    assert re.search(r"^machine +\d+ cores, ", block, re.MULTILINE)
    for row in ("mean", "p50", "p95", "success", "requests/s", "timeouts"):
        assert re.search(rf"^\| {row} +\|", block, re.MULTILINE)
    assert "\nkept: " in block
    assert "not kept" not in block


def test_demo_block_is_replaced_not_added() -> None:
    """Twice is once, and the rest of the page stays."""
    once = DEMO["with_output"](README.text, "numbers \n", "2030-01-01")
    assert DEMO["with_output"](once, "numbers\n", "2030-01-01") == once
    assert "$ make demo    # 2030-01-01\nnumbers\n```" in once
    assert once.partition(DEMO["END"])[2] == README.text.partition(DEMO["END"])[2]
