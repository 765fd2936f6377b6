"""What holds for every variable and every text?"""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from phase1.exceptions import ConfigurationError
from phase1.settings import NodeSettings, Settings

VALUE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just("https://host/v1"))
NODE = st.dictionaries(
    st.one_of(st.sampled_from(sorted(NodeSettings.model_fields)), st.text()),
    st.one_of(VALUE, st.lists(VALUE, max_size=2), st.dictionaries(st.text(), VALUE, max_size=2)),
)
SECRET = ("openai_api_key", "llm_admin_token", "llm_metrics_token", "llm_nodes")


@settings(deadline=None, derandomize=True)
@given(name=st.sampled_from(sorted(Settings.model_fields)), text=st.text())
@example(name="openai_base_url", text="https://[")
@example(name="redis_url", text="redis://host:99999")
@example(name="llm_pool_size", text="1" * 5000)
@example(name="llm_canary_percent", text="1e400")
def test_a_text_is_honoured_or_refused_in_one_line(name: str, text: str) -> None:
    """Whatever is written: settings that can be shown, or one printable line that begins with the variable."""
    line = _described_or_error(name, text)

    assert line.isprintable()
    assert line.startswith(("{", name.upper()))
    assert line.startswith("{") or len(line) < 250


@settings(deadline=None, derandomize=True)
@given(name=st.sampled_from(SECRET), middle=st.text())
def test_a_secret_is_never_shown(name: str, middle: str) -> None:
    """Valid or not, the text of a secret is in nothing that is printed."""
    assert "hush" not in _described_or_error(name, f"hush{middle}hush")


@settings(deadline=None, derandomize=True)
@given(entries=st.lists(st.one_of(VALUE, NODE), max_size=3))
def test_a_list_of_nodes_is_read_or_refused_in_one_line(entries: list[object]) -> None:
    """Whatever JSON is written, with fields that exist and fields that do not."""
    line = _described_or_error("llm_nodes", json.dumps(entries))

    assert line.isprintable()
    assert line.startswith(("{", "LLM_NODES: "))


def _described_or_error(name: str, text: str) -> str:
    try:
        loaded = Settings.load(**{name: text})
        return f"{loaded.describe()} {loaded!r} {loaded.nodes() if loaded.llm_nodes else ''}"
    except ConfigurationError as error:
        return str(error)
