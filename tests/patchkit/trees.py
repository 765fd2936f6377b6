"""Where do the apps come from that the tools look at? From `apps/`, or from a few lines in the test."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from phase1.patchkit.doctor import Diagnosis, diagnose
from phase1.patchkit.model import Target
from phase1.patchkit.plan import Plan, plan

APPS = Path(__file__).parent / "apps"

HEAD = """\
from fastapi import FastAPI
from openai import AsyncOpenAI, OpenAI

app = FastAPI()
client = OpenAI()


"""
ASK = 'client.responses.create(model="m", input=question)'


def copy_of(name: str, folder: Path) -> Path:
    """A fixture app in a folder of its own."""
    target = folder / name
    shutil.copytree(APPS / name, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def tree_of(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """These files below `folder`, every byte as it is given."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def found(root: Path) -> Diagnosis:
    """What the doctor says."""
    return diagnose(Target(root))


def diagnosed(text: str, folder: Path) -> Diagnosis:
    """What the doctor says of what somebody typed."""
    return diagnose(Target.parse(text, folder))


def told(diagnosis: Diagnosis) -> list[tuple[str, str, str]]:
    """Rule, safety and place of each finding."""
    return [(finding.rule.id, finding.safety.value, finding.place) for finding in diagnosis.findings]


def blocking(root: Path) -> list[str]:
    """The SDK calls that block, as file:line."""
    chains = [chain for finding in found(root).blocking for chain in finding.chains]
    return sorted({f"{chain.steps[-1][1]}:{chain.steps[-1][2]}" for chain in chains})


def planned(root: Path, *, unsafe: bool = False, only: tuple[str, ...] = ()) -> Plan:
    """What would be edited."""
    return plan(found(root), unsafe=unsafe, only=only)


def patched(root: Path, *, unsafe: bool = False) -> dict[str, str]:
    """The texts of the files after the edits."""
    return {change.source.name: change.after.decode() for change in planned(root, unsafe=unsafe).changes}


def contents(root: Path) -> dict[str, bytes]:
    """All bytes below `root`."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
