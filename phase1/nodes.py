"""Which LLM endpoints are in the pool?

A list of nodes comes as JSON (`LLM_NODES`) or as TOML (`LLM_NODES_FILE`, tables `[[nodes]]`). One `ConfigurationError`
tells all problems of a list; neither a key nor the value of an unknown field (a misspelt `api_key`?) is in its text.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from phase1.exceptions import ConfigurationError
from phase1.validation import credential, http_url, public_url, reason, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pydantic_core import ErrorDetails

    Lookup: TypeAlias = Callable[[str], str | None]
    """What a variable of the environment holds; `None` when it is not set."""

__all__ = ["NodeSettings", "nodes_from_file", "nodes_from_json"]

_NODE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHOWN: Final = ("name", "base_url", "weight", "pool_size", "priority", "rpm", "tpm")
"""Fields whose value may be printed."""

_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_Text: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


def _node_name(value: str) -> str:
    if _NODE_NAME.fullmatch(value):
        return value
    raise ValueError("must be 1 to 64 characters of A-Z a-z 0-9 . _ -")


class NodeSettings(BaseModel):
    """One endpoint. In a list, `api_key_env` may stand for `api_key`; a node that was read always has its key.

    Constructed directly it raises pydantic's `ValidationError`, whose text hides the input.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_node_name)]
    """1 to 64 of `A-Z a-z 0-9 . _ -`; unique in the list; a label of metrics."""
    base_url: Annotated[str, AfterValidator(http_url)]
    """`https://host/v1`, as the SDK's `base_url`."""
    api_key: Annotated[SecretStr, Field(min_length=1), AfterValidator(credential)]
    api_key_env: str | None = None
    """The variable that the key came from."""
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Share of the traffic, relative to the other nodes."""
    pool_size: int | None = Field(default=None, ge=1, le=1000)
    """Clients of this node; `None` is `LLM_POOL_SIZE`."""
    models: dict[_Text, _Text] = Field(default_factory=dict)
    """The model's name in the app → its name at this node."""
    rpm: int | None = Field(default=None, ge=1)
    """Requests per minute, for each model, or for the whole `quota_domain`; `None`: what the upstream's headers say."""
    tpm: int | None = Field(default=None, ge=1)
    """Tokens per minute, likewise."""
    region: _Text | None = None
    quota_domain: _Text | None = None
    """Nodes of one quota domain share a provider's limits; `None`: the key decides."""
    priority: int = Field(default=0, ge=0)
    """0 is asked first; nodes of equal priority are siblings."""

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        for name, value in super().__repr_args__():
            yield name, public_url(self.base_url) if name == "base_url" else value


def nodes_from_json(text: str, *, lookup: Lookup) -> tuple[NodeSettings, ...]:
    """The nodes of `LLM_NODES`; `text` is never repeated in an error, for it may hold keys."""
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"LLM_NODES: is not valid JSON ({error})") from None
    return _nodes("LLM_NODES", entries, lookup)


def nodes_from_file(path: Path, *, lookup: Lookup) -> tuple[NodeSettings, ...]:
    """The nodes of `LLM_NODES_FILE`."""
    variable = f"LLM_NODES_FILE={shown(path)}"
    content = _toml(variable, path)
    if content.keys() != {"nodes"}:
        raise ConfigurationError(f"{variable}: must hold tables [[nodes]] and nothing else")
    return _nodes(variable, content["nodes"], lookup)


def _toml(variable: str, path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{variable}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{variable}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{variable}: is not valid TOML ({error})") from None


def _nodes(variable: str, entries: object, lookup: Lookup) -> tuple[NodeSettings, ...]:
    if not isinstance(entries, list) or not entries:
        raise ConfigurationError(f"{variable}: must be a list of at least one node")
    read = [_node(entry, _label(entry, position), lookup) for position, entry in enumerate(entries, 1)]
    nodes = tuple(node for node in read if isinstance(node, NodeSettings))
    problems = [problem for node in read if isinstance(node, list) for problem in node]
    problems += [*_repeated(nodes), *_contradictory(nodes)]
    if problems:
        raise ConfigurationError(f"{variable}: {'; '.join(problems)}")
    return _with_shared_limits(nodes)


def _label(entry: object, position: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f'node "{name}"' if isinstance(name, str) and _NODE_NAME.fullmatch(name) else f"node #{position}"


def _repeated(nodes: tuple[NodeSettings, ...]) -> list[str]:
    counts = Counter(node.name for node in nodes)
    return [f'node "{name}": {count} nodes have this name' for name, count in counts.items() if count > 1]


def _contradictory(nodes: tuple[NodeSettings, ...]) -> list[str]:
    """Limits that cannot hold together: of one node, and of nodes that share them."""
    found = [
        f'node "{node.name}": tpm={node.tpm}: must be at least rpm={node.rpm}, for a request has a token'
        for node in nodes
        if node.rpm and node.tpm and node.tpm < node.rpm
    ]
    for name in ("rpm", "tpm"):
        first: dict[str, NodeSettings] = {}
        for node in nodes:
            here = getattr(node, name)
            other = first.setdefault(_domain(node), node) if here else node
            if here and here != (there := getattr(other, name)):
                found.append(
                    f'node "{node.name}": {name}={here}: node "{other.name}" of the same quota has {name}={there};'
                    " give both the same, or leave one out"
                )
    return found


def _domain(node: NodeSettings) -> str:
    """What nodes share their limits by: as the pool sees it, for nodes with the same models."""
    return node.quota_domain or f"{node.base_url} {node.api_key.get_secret_value()} {sorted(node.models.items())}"


def _with_shared_limits(nodes: tuple[NodeSettings, ...]) -> tuple[NodeSettings, ...]:
    """A node that leaves a limit out has that of the others of its quota."""
    known: dict[tuple[str, str], int] = {
        (_domain(node), name): limit for node in nodes for name in ("rpm", "tpm") if (limit := getattr(node, name))
    }
    return tuple(
        node.model_copy(update={name: known.get((_domain(node), name)) for name in ("rpm", "tpm")}) for node in nodes
    )


def _node(entry: object, label: str, lookup: Lookup) -> NodeSettings | list[str]:
    """The node, or what is wrong with it."""
    if not isinstance(entry, dict):
        return [f"{label}: must be a table of fields"]
    problems = _key_problems(entry, lookup)
    try:
        node = NodeSettings.model_validate(_with_key(entry, lookup))
    except ValidationError as error:
        problems += [_problem(found) for found in error.errors(include_url=False) if not _is_told(found)]
    else:
        if not problems:
            return node
    return [f"{label}: {problem}" for problem in problems]


def _key_problems(entry: Mapping[str, object], lookup: Lookup) -> list[str]:
    if ("api_key" in entry) == ("api_key_env" in entry):
        return ["give either api_key or api_key_env"]
    if "api_key" in entry:
        return []
    variable = entry["api_key_env"]
    if not isinstance(variable, str) or not _VARIABLE_NAME.fullmatch(variable):  # perhaps the key itself: not shown
        return ["api_key_env: must be the name of a variable"]
    return [] if lookup(variable) else [f"api_key_env={variable}: this variable is not set"]


def _with_key(entry: Mapping[str, object], lookup: Lookup) -> dict[str, object]:
    variable = entry.get("api_key_env")
    key = lookup(variable) if isinstance(variable, str) else None
    return {"api_key": key, **entry} if key else dict(entry)


def _is_told(found: ErrorDetails) -> bool:
    """Whether `_key_problems` says it better."""
    name = found["loc"][0]
    return name == "api_key_env" or (name == "api_key" and found["type"] == "missing")


def _problem(found: ErrorDetails) -> str:
    name = str(found["loc"][0])
    value = _presentable(name, found)
    field = shown(".".join(map(str, found["loc"])))
    return f"{field}{value}: {reason(found, NodeSettings.model_fields.get(name))}"


def _presentable(name: str, found: ErrorDetails) -> str:
    if name not in _SHOWN or found["type"] == "missing":
        return ""
    return f"={shown(public_url(str(found['input'])) if name == 'base_url' else found['input'])}"
