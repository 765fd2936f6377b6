"""Which keys has the operator listed? `LLM_CANARY_ALLOW` and `LLM_CANARY_DENY` as the policy has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phase1.policy.targets import Targets, digests_of

if TYPE_CHECKING:
    from pydantic import SecretStr

    from phase1.settings import Settings

__all__ = ["targets_of"]


def targets_of(settings: Settings) -> Targets | None:
    """`None` when no key is listed: then nobody looks."""
    allow, deny = settings.llm_canary_allow, settings.llm_canary_deny
    return Targets(_digests(allow), _digests(deny)) if allow or deny else None


def _digests(listed: SecretStr | None) -> frozenset[bytes]:
    return digests_of(listed.get_secret_value()) if listed is not None else frozenset()
