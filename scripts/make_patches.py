"""How do patches/*.patch stay in step with examples/legacy_main.py?

The example is the one truth. Each line that belongs to the integration ends with `# phase1 (n/7 step)`; this script
takes the steps out of it, one after the other, and writes the difference that each of them makes.

    python scripts/make_patches.py            write patches/*.patch
    python scripts/make_patches.py --check    write nothing; exit 1 when a patch is not what would be written
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "legacy_main.py"
PATCHES = ROOT / "patches"


@dataclass(frozen=True, slots=True)
class Step:
    """One integration step: what its patch says above the difference."""

    number: int
    name: str
    subject: str
    why: str

    @property
    def file_name(self) -> str:
        """As `git format-patch` would call it."""
        return f"{self.number:04d}-{self.name}.patch"


STEPS = (
    Step(1, "import", "import phase1", "Makes the names available. Nothing runs at import."),
    Step(
        2,
        "global",
        "give the app its LLM manager",
        "One object beside the global client. `legacy` is a function because the client is built later, at startup;\n"
        "`user_key` keeps each user on one side of the canary. With ENABLE_LLM_POOL=false (the default) no pool is\n"
        "built and no request takes another way. Needs step 1.",
    ),
    Step(
        3,
        "startup",
        "log the LLM system's state at startup",
        "One line in the log says whether the pool is on, and why not if it should be. Needs step 2.",
    ),
    Step(
        4,
        "chat",
        "/chat: await the answer instead of blocking the event loop",
        "The same messages go in and the same text comes out, as before from the global client while the pool is off.\n"
        "With ENABLE_LLM_POOL=true the pool answers, and the global client stands behind it. Needs step 2.",
    ),
    Step(
        5,
        "agent",
        "/conversation-agent/chat: await the answer instead of blocking the event loop",
        "As in /chat; the agent's own rules and its fallback to a plain answer stay as they are. Needs step 2.",
    ),
    Step(
        6,
        "theme",
        "/themes/{id}/deep-dive: await the answer instead of blocking the event loop",
        "As in /chat. Needs step 2.",
    ),
    Step(
        7,
        "monitoring",
        "show the LLM system's numbers inside the app's own authentication",
        'GET /metrics/llm-summary for the users of the app; `"status": "legacy_mode"` while the pool is off.\n'
        "The pages for operators (/debug/llm-system, /metrics/llm-system) come with step 2, with their own rules.\n"
        "Needs step 2.",
    ),
    Step(
        8,
        "optimized",
        "/chat, /conversation-agent/chat: database work side by side, off the event loop",
        "With the pool on and USE_OPTIMIZED_CHAT, USE_OPTIMIZED_AGENT not false: the project and the history are read\n"
        "at the same time, in threads; a turn that the database does not take is kept and replayed, and the answer\n"
        "is not lost with it; the response has performance_metrics. Needs steps 2, 4 and 5.",
    ),
)


def without(text: str, step: Step) -> str:
    """The app's text before `step`: its lines gone, its awaited calls blocking again."""
    mark = rf"  # phase1 \({step.number}/{len(STEPS)} {step.name}\)\n"
    text = re.sub(rf"await llm\.generate_response_async\((.*)\){mark}", r"llm_client.generate_response(\1)\n", text)
    text = re.sub(rf"\n\n(?!import )\S.*{mark}(?:.+\n)+", "", text)  # a paragraph of its own: an endpoint, a function
    text = re.sub(rf"\n\nimport .*{mark}", "\n", text)  # a block of imports of its own
    return re.sub(rf".*{mark}", "", text)


def stages(example: str) -> list[str]:
    """The app's text after 0, 1, … all steps: the first is the plain app, the last the example."""
    texts = [example]
    for step in reversed(STEPS):
        texts.insert(0, without(texts[0], step))
    return texts


def patch(step: Step, before: str, after: str) -> str:
    """The patch file's text."""
    path = EXAMPLE.relative_to(ROOT).as_posix()
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    header = f"Subject: [PATCH {step.number}/{len(STEPS)}] {step.subject}\n\n{step.why}\n"
    undo = f"\nUndo: git apply -R patches/{step.file_name}\n---\ndiff --git a/{path} b/{path}\n"
    return header + undo + "".join(lines)


def patches(example: str) -> dict[str, str]:
    """Text by file name."""
    texts = stages(example)
    return {step.file_name: patch(step, texts[step.number - 1], texts[step.number]) for step in STEPS}


def main(argv: list[str] | None = None) -> int:
    """Write or check the patches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 when something would change")
    check = parser.parse_args(argv).check
    wanted = patches(EXAMPLE.read_text(encoding="utf-8"))
    present = {path.name: path.read_text(encoding="utf-8") for path in PATCHES.glob("*.patch")}
    stale = [name for name in sorted(wanted | present) if wanted.get(name) != present.get(name)]
    for name in stale:
        print(f"{'stale' if check else 'wrote' if name in wanted else 'removed'}: patches/{name}")
        if not check:
            write(PATCHES / name, wanted.get(name))
    return 1 if check and stale else 0


def write(path: Path, text: str | None) -> None:
    """Give the file this text, or remove it."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
