"""Does the wheel carry all that an installed phase1 needs, and does the lock cover all that pyproject.toml asks for?"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
LOCKS = sorted((ROOT / "constraints").glob("*.txt"))
OUR_LOCKS = [lock for lock in LOCKS if lock.stem != "litellm"]
"""LiteLLM's is for a benchmark that runs it in an environment of its own, without us."""


OLDER = "integrations-older"
"""Locked only where openai 1 and 2 are."""


def asked_for(lock: Path) -> list[Requirement]:
    """Every requirement of the core, the extras and the groups, without those on phase1 itself."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = described["project"], described["dependency-groups"]
    if lock.stem == "dev":
        del groups[OLDER]
    lists = [project["dependencies"], *project["optional-dependencies"].values(), *groups.values()]
    lines = [line for one in lists for line in one if isinstance(line, str)]
    return [wanted for wanted in map(Requirement, lines) if wanted.name != "phase1"]


def locked(lock: Path) -> dict[str, str]:
    """Version by canonical name."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in a freshly built wheel."""
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return zipfile.ZipFile(built).namelist()


def test_wheel_is_typed(wheel: list[str]) -> None:
    """Type checkers of apps that install phase1 see its annotations."""
    assert "phase1/py.typed" in wheel


def test_wheel_carries_example_and_patches(wheel: list[str]) -> None:
    """`phase1 demo` works where only the wheel is: the example and each of its patches are in `phase1/lab`."""
    patches = {f"phase1/lab/patches/{patch.name}" for patch in (ROOT / "patches").glob("*.patch")}
    assert patches
    assert {"phase1/lab/legacy_main.py", *patches} <= set(wheel)


def test_wheel_carries_the_report_s_template(wheel: list[str]) -> None:
    """`phase1 compare --html` works where only the wheel is."""
    assert "phase1/lab/report/report.html" in wheel


def test_wheel_carries_nothing_else(wheel: list[str]) -> None:
    """Installing phase1 puts one package and its metadata on the path: no `tests`, no `scripts`."""
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"phase1"}


@pytest.mark.parametrize("lock", OUR_LOCKS, ids=lambda lock: lock.stem)
def test_lock_covers_what_is_asked_for(lock: Path) -> None:
    """A change of pyproject.toml that was not locked (`make lock`) is noticed here, without a network."""
    versions = locked(lock)
    missing = [
        str(wanted)
        for wanted in asked_for(lock)
        if versions.get(canonicalize_name(wanted.name), "0") not in wanted.specifier
    ]
    assert not missing


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_names_no_place(lock: Path) -> None:
    """A lock holds versions only: no index, no path of the machine it was made on."""
    lines = [line.split("#")[0] for line in lock.read_text(encoding="utf-8").splitlines()]
    assert not [line for line in lines if "/" in line or line.startswith("-")]
