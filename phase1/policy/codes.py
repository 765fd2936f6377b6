"""Which kind of error do a provider's own words name?

Words are compared without case and punctuation: `DeploymentNotFound` and `deployment_not_found` are one.
"""

from __future__ import annotations

import re
from typing import Final

from phase1.policy.kinds import Kind

__all__ = ["kind_in_band", "kind_of_code", "kind_of_type"]

# As a code: OpenAI, Azure, Anthropic, Google, OpenRouter, vLLM.
_CODES: Final[dict[str, Kind]] = {
    "insufficientquota": Kind.NODE_REFUSED,
    "billinghardlimitreached": Kind.NODE_REFUSED,
    "billingnotactive": Kind.NODE_REFUSED,
    "billingerror": Kind.NODE_REFUSED,
    "insufficientcredits": Kind.NODE_REFUSED,
    "invalidapikey": Kind.NODE_REFUSED,
    "incorrectapikey": Kind.NODE_REFUSED,
    "invalidauthentication": Kind.NODE_REFUSED,
    "authenticationerror": Kind.NODE_REFUSED,
    "unauthenticated": Kind.NODE_REFUSED,
    "unauthorized": Kind.NODE_REFUSED,
    "permissionerror": Kind.NODE_REFUSED,
    "permissiondenied": Kind.NODE_REFUSED,
    "accessterminated": Kind.NODE_REFUSED,
    "accountdeactivated": Kind.NODE_REFUSED,
    "ipnotauthorized": Kind.NODE_REFUSED,
    "unsupportedcountryregionterritory": Kind.NODE_REFUSED,
    "modelnotfound": Kind.NODE_REFUSED,
    "deploymentnotfound": Kind.NODE_REFUSED,
    "ratelimitexceeded": Kind.RATE_LIMIT,
    "ratelimitreached": Kind.RATE_LIMIT,
    "ratelimiterror": Kind.RATE_LIMIT,
    "toomanyrequests": Kind.RATE_LIMIT,
    "resourceexhausted": Kind.RATE_LIMIT,
    "contextlengthexceeded": Kind.CONTEXT_LENGTH,
    "contextwindowexceeded": Kind.CONTEXT_LENGTH,
    "contentfilter": Kind.CONTENT_FILTER,
    "contentpolicyviolation": Kind.CONTENT_FILTER,
    "responsibleaipolicyviolation": Kind.CONTENT_FILTER,
    "moderationblocked": Kind.CONTENT_FILTER,
    "servererror": Kind.SERVER_ERROR,
    "internalservererror": Kind.SERVER_ERROR,
    "internalerror": Kind.SERVER_ERROR,
    "engineoverloaded": Kind.SERVER_ERROR,
    "serviceunavailable": Kind.SERVER_ERROR,
}
# As a type: "server_error" may stand beside any status, which then tells more.
_TYPES: Final = {word: kind for word, kind in _CODES.items() if kind is not Kind.SERVER_ERROR}
# Words that only repeat what a status would say: they are heard where there is no status.
_IN_BAND: Final[dict[str, Kind]] = {
    "invalidrequesterror": Kind.CALLER_ERROR,
    "badrequesterror": Kind.CALLER_ERROR,
    "invalidprompt": Kind.CALLER_ERROR,
    "notfounderror": Kind.CALLER_ERROR,
    "requesttoolarge": Kind.CALLER_ERROR,
}


def kind_of_code(code: str | None) -> Kind | None:
    """What `error.code` names, if we know it."""
    return _CODES.get(_squash(code))


def kind_of_type(type_: str | None) -> Kind | None:
    """What `error.type` names, if it tells more than a status would."""
    return _TYPES.get(_squash(type_))


def kind_in_band(code: str | None, type_: str | None) -> Kind:
    """What an error without a status is when neither of the above knows: the server's, unless it blames the caller."""
    return _IN_BAND.get(_squash(code)) or _IN_BAND.get(_squash(type_), Kind.SERVER_ERROR)


def _squash(word: str | None) -> str:
    return re.sub("[^a-z0-9]", "", str(word).lower()) if word else ""
