"""What did the operator ask for? The only reader of the environment.

A variable is looked for in the arguments, then in the process's environment, then in the file `.env.phase1` of the
working directory, then it has its default. Names are read in any case, surrounding spaces are dropped, and an empty
value counts as not set, so that python-dotenv, `docker --env-file`, systemd and a shell mean the same by one file.

A value that cannot be honoured is a `ConfigurationError` of one line that lists every problem. Unlike other models of
pydantic, `Settings(...)` raises it too, and without the `ValidationError` as its context: that one holds secrets.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, TypeAlias, TypedDict, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from phase1.exceptions import ConfigurationError
from phase1.nodes import NodeSettings, nodes_from_file, nodes_from_json
from phase1.policy.targets import digests_of
from phase1.validation import (
    MASK,
    canary_key,
    credential,
    http_url,
    in_hundredths,
    key_list,
    log_level,
    lower,
    price_table,
    public_url,
    reason,
    redis_url,
    shown,
    state_name,
    state_url,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

__all__ = [
    "Described",
    "LoadBalanceStrategy",
    "NodeSettings",
    "Settings",
    "Source",
    "limits_of_this_version",
    "pool_requested",
    "strict_start_requested",
]

_ENV_FILE: Final = ".env.phase1"
_OPENAI_BASE_URL: Final = "https://api.openai.com/v1"

_NOT_YET: Final[Mapping[str, tuple[object, ...]]] = {
    "llm_stream_rescue": ("off",),
}
"""Settings whose feature this version lacks, with the values that are true today. The feature deletes its line."""

_POOL_SIZE: Final = "llm_pool_size"
_POOL_SIZE_ALIAS: Final = "openai_api_pool_size"
_PAIRS: Final = (
    ("llm_connect_timeout", "llm_request_deadline", "less than", operator.lt),
    ("chat_history_limit_default", "chat_history_limit_max", "at most", operator.le),
)
_SECRETS: Final = frozenset(
    {
        "llm_nodes",
        "openai_api_key",
        "llm_admin_token",
        "llm_metrics_token",
        "llm_offload_secret",
        "llm_canary_allow",
        "llm_canary_deny",
        "llm_canary_secret",
    }
)
_URLS: Final = frozenset({"openai_base_url", "llm_state_url", "redis_url"})

Source: TypeAlias = Literal["default", "environment", ".env.phase1", "argument"]


class Described(TypedDict):
    """One setting as it may be printed."""

    value: str | float | bool | None
    source: Source


class LoadBalanceStrategy(StrEnum):
    """How a node is picked for a request."""

    ROUND_ROBIN = "round_robin"
    WEIGHTED = "weighted"
    LEAST_BUSY = "least_busy"
    LATENCY = "latency"
    ADAPTIVE = "adaptive"
    STICKY = "sticky"


_Percent: TypeAlias = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), AfterValidator(in_hundredths)]
_Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share: TypeAlias = Annotated[float, Field(ge=0.5, le=0.999, allow_inf_nan=False)]
_Count: TypeAlias = Annotated[int, Field(ge=1)]
_CountOrZero: TypeAlias = Annotated[int, Field(ge=0)]
_CanaryKey: TypeAlias = Annotated[str, AfterValidator(canary_key)]
_HttpUrl: TypeAlias = Annotated[str, AfterValidator(http_url)]
_StateUrl: TypeAlias = Annotated[str, AfterValidator(state_url)]
_StateName: TypeAlias = Annotated[str, AfterValidator(state_name)]
_RedisUrl: TypeAlias = Annotated[SecretStr, AfterValidator(redis_url)]
_Credential: TypeAlias = Annotated[SecretStr, AfterValidator(credential)]
_Token: TypeAlias = Annotated[SecretStr, AfterValidator(token)]
_Keys: TypeAlias = Annotated[SecretStr, AfterValidator(key_list)]
_Prices: TypeAlias = Annotated[str, AfterValidator(price_table)]
_Strategy: TypeAlias = Annotated[LoadBalanceStrategy, BeforeValidator(lower)]
_Rescue: TypeAlias = Annotated[Literal["off", "splice", "restart"], BeforeValidator(lower)]
_Transport: TypeAlias = Annotated[Literal["auto", "aiohttp", "httpx"], BeforeValidator(lower)]
_Access: TypeAlias = Annotated[Literal["auto", "off"], BeforeValidator(lower)]
_OffloadBackend: TypeAlias = Annotated[Literal["memory", "redis", "celery"], BeforeValidator(lower)]
_OnDisconnect: TypeAlias = Annotated[Literal["continue", "cancel"], BeforeValidator(lower)]
_OffloadFallback: TypeAlias = Annotated[Literal["off", "memory"], BeforeValidator(lower)]
_CacheScope: TypeAlias = Annotated[Literal["user", "app"], BeforeValidator(lower)]
_CacheSeconds: TypeAlias = Annotated[int, Field(ge=0, le=600)]
_Level: TypeAlias = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(log_level)]


class Settings(BaseSettings):
    """Every variable as a typed, frozen field; the descriptions are also the text of `.env.phase1.example`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    enable_llm_pool: bool = Field(
        default=False,
        description="The toggle: true sends LLM calls through the pool. Off, the app behaves as before, byte for byte.",
    )
    llm_canary_percent: _Percent = Field(
        default=100.0,
        description="Percent of the keys (users) that go to the pool, 0 to 100 in steps of 0.01; the others stay on the"
        " legacy client. A key stays where it is: a higher percent removes nobody from the pool.",
    )
    llm_canary_key: _CanaryKey = Field(
        default="auto",
        description="Where the sticky key of a request comes from: auto, header:NAME, cookie:NAME, authorization"
        " (hashed) or module:function. Without a key a request is legacy while the percent is below 100.",
    )
    llm_canary_allow: _Keys | None = Field(
        default=None,
        description="Keys that always go to the pool, separated by commas: the key itself, or sha256: and the digest of"
        " it (printf %s KEY | sha256sum). Kill switches and the breaker still win.",
    )
    llm_canary_deny: _Keys | None = Field(
        default=None, description="Keys that never go to the pool, at no percent, written in the same way."
    )
    llm_canary_secret: _Token | None = Field(
        default=None,
        description="Signs the header X-LLM-Canary, with which a tester asks for a route (phase1 tester-header makes"
        " one); 16 characters or more. Not set: the header means nothing.",
    )
    force_legacy_llm: bool = Field(
        default=False, description="true: every request goes to the legacy client; the pool stays warm."
    )
    disable_pool: bool = Field(default=False, description="true: the pool is drained and closed.")
    emergency_mode: bool = Field(
        default=False,
        description="true: legacy only, our background work stops, and the task queue's intake answers 503.",
    )
    llm_failure_threshold: _Count = Field(
        default=3, description="Requests that fail in a row until the pool is switched off for a while; 1 or more."
    )
    llm_pool_size: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="Clients in the pool, each with its own connections; 1 to 1000. OPENAI_API_POOL_SIZE is another"
        " name of it.",
    )
    llm_client_concurrency: _Count = Field(
        default=32,
        description="Requests in flight per client, 1 or more. The pool's capacity is LLM_POOL_SIZE times this.",
    )
    llm_queue_size: _CountOrZero = Field(
        default=1000, description="Requests that may wait for a free slot; 0 or more. One more is refused at once."
    )
    llm_queue_timeout: _Positive = Field(default=30.0, description="Seconds that a request may wait for a free slot.")
    llm_request_deadline: _Positive = Field(
        default=55.0,
        description="Seconds for everything: queue, attempts, failover and the answer (of a stream: its start). Keep it"
        " below the 60 s of a usual load balancer. A timeout that the app gives to the SDK explicitly wins.",
    )
    llm_connect_timeout: _Positive = Field(
        default=5.0, description="Seconds until a connection to a node stands. Less than LLM_REQUEST_DEADLINE."
    )
    llm_first_token_timeout: _Positive = Field(
        default=30.0, description="Seconds until the first token of an answer; keep-alives do not count."
    )
    llm_idle_timeout: _Positive = Field(default=20.0, description="Seconds of silence inside an answer that has begun.")
    llm_stream_floor: _NotNegative = Field(
        default=0.0,
        description="Tokens per second below which a stream is broken off, once it has been below for LLM_IDLE_TIMEOUT"
        " seconds in all; 0: it may trickle. Until providers say more, an event counts as one token, keep-alives as"
        " none.",
    )
    llm_cancel_on_disconnect: bool = Field(
        default=True,
        description="true: when the client of an app request goes away, the call that it waits for is cancelled, and so"
        " is the endpoint at that line. false: the answer is waited for all the same.",
    )
    llm_cache_seconds: _NotNegative = Field(
        default=0.0,
        description="Seconds for which an answer is kept for the same request; 0: none is. In memory, or in the Redis"
        " of LLM_STATE_URL (extra cache), which then holds answers. Streams are never kept.",
    )
    llm_single_flight: bool = Field(
        default=False, description="true: callers who ask the same at the same time share one upstream call."
    )
    llm_cache_scope: _CacheScope = Field(
        default="user",
        description="Who shares answers: user (each user by himself; those that nobody can tell apart, together) or app"
        " (everybody).",
    )
    llm_cache_nondeterministic: bool = Field(
        default=False,
        description="true: also requests whose answers differ from call to call are answered from the cache. false:"
        " only embeddings, moderations, and temperature 0.",
    )
    llm_cache_max_bytes: _Count = Field(
        default=64 * 1024 * 1024,
        description="Bytes of answers that one process keeps in memory; one answer may have a sixteenth of it.",
    )
    llm_cache_max_entries: _Count = Field(
        default=10_000, description="Answers that one process keeps in memory; 1 or more."
    )
    llm_hedge: bool = Field(
        default=False,
        description="true: when a node is late with its first token, a second one in another quota domain is asked too,"
        " and the first answer counts. Only for requests that change nothing, within the budget of retries.",
    )
    llm_hedge_quantile: _Share = Field(
        default=0.95,
        description="When a node is late: the share of its answers that come sooner, 0.5 to 0.999. Used with"
        " LLM_HEDGE.",
    )
    llm_stream_rescue: _Rescue = Field(
        default="off",
        description="What happens when a stream breaks after its first token: off (an error event), splice (another"
        " node goes on) or restart (a restart event).",
    )
    llm_pool_debug: bool = Field(default=False, description="true: every decision about a request is logged.")
    log_level: _Level = Field(
        default="INFO", description="Level of the logger phase1: DEBUG, INFO, WARNING, ERROR or CRITICAL."
    )
    enable_load_balancer: bool = Field(
        default=False,
        description="true: requests are spread over the nodes by LOAD_BALANCE_STRATEGY. false: the least busy one is"
        " asked.",
    )
    load_balance_strategy: _Strategy = Field(
        default=LoadBalanceStrategy.ADAPTIVE,
        description="round_robin, weighted, least_busy, latency, adaptive or sticky. Used with ENABLE_LOAD_BALANCER.",
    )
    llm_nodes: SecretStr | None = Field(
        default=None,
        description="The nodes of the pool, a JSON list of objects: name, base_url, api_key or api_key_env (the name of"
        " a variable), weight, pool_size, models (map), rpm, tpm, region, quota_domain, priority. For a list with"
        " quotation marks, LLM_NODES_FILE is read alike by every tool.",
    )
    llm_nodes_file: Path | None = Field(
        default=None,
        description="Path of a TOML file with one table [[nodes]] per node, of the same fields. It is read again when"
        " it changes. Not together with LLM_NODES.",
    )
    auto_scaling: bool = Field(
        default=False,
        description="true: the number of clients follows the load, between 1 and LLM_POOL_SIZE for each node.",
    )
    pool_cleanup_interval: _Positive = Field(
        default=300.0,
        description="Seconds between two clean-ups: a client that had no call for so long closes its connections.",
    )
    llm_health_check_interval: _Positive = Field(
        default=30.0,
        description="Seconds between two active checks of the nodes' health (GET /models), which cost nothing. Used"
        " with ENABLE_LOAD_BALANCER.",
    )
    openai_api_key: _Credential | None = Field(
        default=None, description="API key of the single node that is used when no list of nodes is given."
    )
    openai_base_url: _HttpUrl | None = Field(
        default=None, description=f"Base URL of the single node. Not set: {_OPENAI_BASE_URL}"
    )
    llm_model: str | None = Field(
        default=None, description="Model of calls that name none (generate_response of the LLM client)."
    )
    openai_rate_limit_requests_per_second: _Positive | None = Field(
        default=None,
        description="Requests per second that are sent with one provider's key, in bursts of one second; more than 0."
        " Others wait for their turn. Not set: no limit of ours.",
    )
    openai_max_retries: _CountOrZero = Field(
        default=2, description="Retries of a request inside the pool, 0 or more; the SDK's own retries are off."
    )
    llm_auto_rollout: bool = Field(
        default=False,
        description="true: the guarded rollout may raise and lower the percent by itself, once phase1 rollout start has"
        " begun it. false: it does not.",
    )
    llm_rollout_file: Path | None = Field(
        default=None,
        description="Path of a TOML file with the steps of the rollout. Not set: the weeks of the migration guide, 1,"
        " 10, 25, 50 and 100 percent; phase1 rollout plan shows them.",
    )
    llm_shadow_percent: _Percent = Field(
        default=0.0,
        description="Percent of the legacy calls of which a copy goes to the pool too, to be compared, 0 to 100; users"
        " get legacy's answer. Chat completions that are not streamed. It costs tokens: needs LLM_SHADOW_BUDGET and"
        " LLM_SHADOW_PRICES.",
    )
    llm_shadow_budget: _Positive | None = Field(
        default=None,
        description="Money that copies may cost per day (UTC) in each worker process, in the currency of"
        " LLM_SHADOW_PRICES; more than 0. Then there are none until the next day.",
    )
    llm_shadow_budget_total: _Positive | None = Field(
        default=None,
        description="Money that copies may cost from the start of a worker process to its end; more than 0. Not set:"
        " only LLM_SHADOW_BUDGET counts.",
    )
    llm_shadow_prices: _Prices | None = Field(
        default=None,
        description="Prices per million tokens, MODEL=INPUT/OUTPUT, separated by commas, * for all other models:"
        " gpt-4o=2.5/10,*=5/15. A model without a price is not copied.",
    )
    llm_shadow_concurrency: _Count = Field(
        default=4,
        description="Copies under way at once in each worker process, 1 or more. One more is dropped, none waits.",
    )
    llm_strict_start: bool = Field(
        default=False,
        description="true: a pool that cannot start stops the app. false: the app starts on the legacy client, loudly.",
    )
    llm_unblock: bool = Field(
        default=True,
        description="true: synchronous SDK calls inside async endpoints do not block the event loop.",
    )
    llm_transport: _Transport = Field(
        default="auto",
        description="HTTP library towards the nodes: aiohttp (the faster one; the extra fast brings it), httpx (the"
        " SDK's own), or auto: aiohttp if it is installed.",
    )
    llm_state_url: _StateUrl = Field(
        default="memory:",
        description="Where several workers agree on percent, kill switch, breaker and rollout: memory: (each by"
        " itself), file:///directory for one host, redis://host:6379/0 for several (extra rollout). What is written"
        " there wins over LLM_CANARY_PERCENT.",
    )
    llm_state_name: _StateName = Field(
        default="phase1",
        description="Name of the app's state in Redis: apps that share a Redis but no rollout need different ones.",
    )
    llm_admin_token: _Token | None = Field(
        default=None,
        description="Bearer token of the admin, debug and metrics pages; 16 characters or more. Not set: only local"
        " callers see them, and the control page is closed.",
    )
    llm_metrics_token: _Token | None = Field(
        default=None, description="Bearer token that opens the metrics pages only; 16 characters or more."
    )
    llm_debug_access: _Access = Field(
        default="auto",
        description="Debug pages: auto (truly local callers, or the right token) or off (they do not exist).",
    )
    llm_metrics_access: _Access = Field(default="auto", description="Metrics pages: auto or off.")
    llm_admin_access: _Access = Field(default="auto", description="Admin pages: auto or off.")
    llm_route_header: bool = Field(
        default=False, description="true: responses say X-LLM-Route: pool, legacy or fallback, once an LLM was asked."
    )
    llm_server_timing: bool = Field(
        default=False,
        description="true: responses say Server-Timing: how long the database (phase1.stage), the LLM and all of it"
        " took until the response began. Browsers show it in their network panel.",
    )
    llm_runtime_dir: Path | None = Field(
        default=None,
        description="Directory in which the workers of one app leave their numbers for each other. Not set: the workers"
        " of uvicorn, gunicorn, hypercorn and granian find a place in the system's temporary directory.",
    )
    use_optimized_chat: bool = Field(
        default=True,
        description="false: chat endpoints with an optimized way (phase1.chat) go their own way all the same.",
    )
    use_optimized_agent: bool = Field(default=True, description="The same for the endpoints of a conversation agent.")
    chat_history_limit_default: _Count = Field(
        default=20,
        description="Entries of history that a prompt gets when the caller names no number; 1 or more.",
    )
    chat_history_limit_max: _Count = Field(
        default=50, description="Entries of history that a prompt gets at most; 1 or more. It bounds the default too."
    )
    redis_url: _RedisUrl | None = Field(
        default=None, description="Redis of the task queue: redis://host:6379/0, rediss://host or unix:///path"
    )
    redis_pool_max_connections: _Count = Field(
        default=50, description="Connections to Redis per process at most; 1 or more."
    )
    llm_offload_backend: _OffloadBackend = Field(
        default="memory",
        description="Where offloaded chats run and are kept: memory (this process), redis (this process, kept in Redis:"
        " any web process can resume them) or celery (worker processes, kept in Redis).",
    )
    llm_offload_secret: _Token | None = Field(
        default=None,
        description="Signs task ids, anonymous users' cookies and queue messages; 16 characters or more, the same in"
        " every web and worker process. Needed by the backends redis and celery.",
    )
    llm_offload_concurrency: _Count = Field(
        default=32, description="Offloaded chats that one process (with celery: one worker) runs at once; 1 or more."
    )
    llm_offload_queue_size: _Count = Field(
        default=1000, description="Offloaded tasks that wait or run at most, over all processes; 1 or more."
    )
    llm_offload_models: str | None = Field(
        default=None,
        description="Models that callers may ask for, separated by commas. Not set: LLM_MODEL and those of the nodes'"
        " models.",
    )
    llm_offload_requests_per_minute: _Count = Field(
        default=60, description="Offloaded tasks that one user may start per minute, a third of them at once."
    )
    llm_offload_tasks_per_user: _Count = Field(
        default=4, description="Offloaded chats of one user that wait or run at most; 1 or more."
    )
    llm_offload_on_disconnect: _OnDisconnect = Field(
        default="continue",
        description="What happens to a chat that nobody has read for 10 seconds: continue or cancel.",
    )
    llm_offload_cache_seconds: _CacheSeconds = Field(
        default=0,
        description="Seconds for which the same question of the same user gets the same answer, 0 to 600; 0: never.",
    )
    llm_offload_fallback: _OffloadFallback = Field(
        default="off",
        description="When Redis is away: off (new chats are refused with 503) or memory (they run in the web process"
        " that took them).",
    )

    _sources: dict[str, Source] = PrivateAttr(default_factory=dict)

    def __init__(self, **arguments: object) -> None:
        """Read the environment; `arguments` (names in lower case) win over it. Raises `ConfigurationError`."""
        written, problems = _collect(arguments)
        try:
            super().__init__(**cast("dict[str, Any]", {name: given.value for name, given in written.items()}))
        except ValidationError as error:
            problems += [_problem(found, written) for found in error.errors(include_url=False)]
        else:
            problems += _contradictions(self, written)
        if problems:  # outside of the handler, so that no ValidationError hangs on
            raise ConfigurationError("; ".join(problems))
        self._sources = {name: given.source for name, given in written.items()}

    @classmethod
    def load(cls, **overrides: object) -> Self:
        """`Settings(**overrides)` under the name that says that the environment is read.

        Raises `ConfigurationError`: one line, every problem, `LLM_POOL_SIZE=0: must be at least 1`, no secret.
        """
        return cls(**overrides)

    def nodes(self) -> tuple[NodeSettings, ...]:
        """The nodes of `LLM_NODES` or `LLM_NODES_FILE`, else the single node `default` of `OPENAI_*`.

        Reads the file and the variables that `api_key_env` names now; raises `ConfigurationError`.
        """
        if self.llm_nodes and self.llm_nodes_file:
            raise ConfigurationError("LLM_NODES and LLM_NODES_FILE: only one of them may be set")
        if self.llm_nodes:
            return nodes_from_json(self.llm_nodes.get_secret_value(), lookup=_variable)
        if self.llm_nodes_file:
            return nodes_from_file(self.llm_nodes_file, lookup=_variable)
        return (self._single_node(),)

    def node_files(self) -> list[Path]:
        """The files that `nodes` depends on; empty for the single node, whose key is a setting."""
        if not (self.llm_nodes or self.llm_nodes_file):
            return []
        return [Path(_ENV_FILE), *([self.llm_nodes_file] if self.llm_nodes_file else [])]

    def _single_node(self) -> NodeSettings:
        if not self.openai_api_key:
            raise ConfigurationError(
                "OPENAI_API_KEY is not set: give the provider's key, or list the nodes in LLM_NODES or LLM_NODES_FILE"
            )
        return NodeSettings(
            name="default", base_url=self.openai_base_url or _OPENAI_BASE_URL, api_key=self.openai_api_key
        )

    def describe(self) -> dict[str, Described]:
        """Every variable with its value and where it came from; secrets as `******`, URLs without credentials."""
        return {
            name.upper(): {"value": _printable(name, getattr(self, name)), "source": self._sources.get(name, "default")}
            for name in type(self).model_fields
        }

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """What differs from the defaults, fit to be printed."""
        for name, field in type(self).model_fields.items():
            if getattr(self, name) != field.default:
                yield name, _printable(name, getattr(self, name))

    @field_validator("*")
    @classmethod
    def _is_available(cls, value: object, info: ValidationInfo) -> object:
        name = str(info.field_name)
        if value in _NOT_YET.get(name, (value,)):
            return value
        raise ValueError(f"not available in this version; allowed: {limits_of_this_version(name)}")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  pydantic-settings passes these by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only `__init__`'s arguments: it has read the other sources already, and knows which value came from where."""
        return (init_settings,)


def strict_start_requested() -> bool:
    """Whether `LLM_STRICT_START` is true; readable even when the other settings are not. Never raises."""
    return _requested("LLM_STRICT_START")


def pool_requested() -> bool:
    """Whether `ENABLE_LLM_POOL` is true; readable even when the other settings are not. Never raises."""
    return _requested("ENABLE_LLM_POOL")


def _requested(variable: str) -> bool:
    try:
        return TypeAdapter(bool).validate_python(_variable(variable))
    except (ConfigurationError, ValidationError):
        return False


def limits_of_this_version(name: str) -> str:
    """What a field is limited to until its feature comes: `auto, httpx`; empty when it is not limited."""
    return ", ".join("not set" if value is None else shown(value) for value in _NOT_YET.get(name, ()))


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was written, under the name that it was written with."""

    name: str
    value: object
    source: Source

    def __str__(self) -> str:
        """`LLM_POOL_SIZE=0`, without what must not be printed."""
        if self.name in _SECRETS:
            return self.name.upper()
        return f"{self.name.upper()}={shown(public_url(_plain(self.value)) if self.name in _URLS else self.value)}"


def _collect(arguments: Mapping[str, object]) -> tuple[dict[str, _Given], list[str]]:
    """Every field that is set anywhere, from the place that wins; and what is wrong with the names."""
    known = {*Settings.model_fields, _POOL_SIZE_ALIAS}
    problems = [f"{name}: unknown setting" for name in arguments if name not in known]
    layers: tuple[tuple[Source, Mapping[str, object]], ...] = (
        (".env.phase1", _file_variables()),
        ("environment", _process_variables()),
        ("argument", arguments),
    )
    written = {
        name: _Given(name, _stripped(value), source)
        for source, values in layers
        for name, value in values.items()
        if name in known
    }
    problems += _resolve_alias(written)
    return {name: given for name, given in written.items() if given.value != ""}, problems


def _resolve_alias(written: dict[str, _Given]) -> list[str]:
    """Leave one pool size: of two names that disagree only an argument wins over the environment."""
    alias = written.pop(_POOL_SIZE_ALIAS, None)
    own = written.get(_POOL_SIZE)
    if alias is None:
        return []
    if own is None or (alias.source == "argument" and own.source != "argument"):
        written[_POOL_SIZE] = alias
        return []
    if (own.source == "argument" and alias.source != "argument") or str(own.value) == str(alias.value):
        return []
    return [f"{own} and {alias}: two names of one setting; set only one of them"]


def _process_variables() -> dict[str, str]:
    return _set(EnvSettingsSource(Settings, case_sensitive=False, env_ignore_empty=True))


def _file_variables() -> dict[str, str]:
    try:
        return _set(
            DotEnvSettingsSource(
                Settings,
                env_file=_ENV_FILE,
                env_file_encoding="utf-8-sig",  # Notepad begins a file with a byte order mark
                case_sensitive=False,
                env_ignore_empty=True,
            )
        )
    except OSError as error:
        raise ConfigurationError(f"{_ENV_FILE}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ConfigurationError(f"{_ENV_FILE}: is not UTF-8 text") from None


def _set(source: EnvSettingsSource) -> dict[str, str]:
    """The variables, names in lower case, that hold more than spaces."""
    return {name: value.strip() for name, value in source.env_vars.items() if value and value.strip()}


def _variable(name: str) -> str | None:
    """One variable by its name: of the process, else of the file."""
    return _process_variables().get(name.lower()) or _file_variables().get(name.lower())


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _problem(found: ErrorDetails, written: Mapping[str, _Given]) -> str:
    name = str(found["loc"][0])
    return f"{written[name]}: {_reason(name, found)}"


def _reason(name: str, found: ErrorDetails) -> str:
    if found["type"] == "literal_error" and name in _NOT_YET:
        return f"not known; allowed: {limits_of_this_version(name)}"
    return reason(found, Settings.model_fields[name])


def _contradictions(settings: Settings, written: Mapping[str, _Given]) -> list[str]:
    """What was written and can never hold. A default that does not fit beside a written value just gives way."""
    return [*_on_both_lists(settings), *_unpaid_shadow(settings, written)] + [
        f"{written[name]}: must be {relation} {limit.upper()}={shown(getattr(settings, limit))}"
        for name, limit, relation, fits in _PAIRS
        if name in written and not fits(getattr(settings, name), getattr(settings, limit))
    ]


def _on_both_lists(settings: Settings) -> list[str]:
    allow, deny = settings.llm_canary_allow, settings.llm_canary_deny
    if allow is None or deny is None:
        return []
    both = len(digests_of(allow.get_secret_value()) & digests_of(deny.get_secret_value()))
    return [f"LLM_CANARY_ALLOW and LLM_CANARY_DENY: keys that are on both lists: {both}"] if both else []


def _unpaid_shadow(settings: Settings, written: Mapping[str, _Given]) -> list[str]:
    needed = [name for name in ("llm_shadow_budget", "llm_shadow_prices") if getattr(settings, name) is None]
    if not settings.llm_shadow_percent or not needed:
        return []
    return [f"{written['llm_shadow_percent']}: needs {' and '.join(name.upper() for name in needed)}"]


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _printable(name: str, value: object) -> str | float | bool | None:
    """A valid value, fit to be printed and to be JSON."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if name in _SECRETS:
        return MASK
    return public_url(_plain(value)) if name in _URLS else str(value)
