"""How do the engine's bytes become the SDK's objects?

By one validation of the whole body where the SDK looks at each value. It is strict: what it takes as it stands, the
SDK takes as it stands. Whatever it does not take (other providers' unknown values, missing fields, an error, a body
that is no JSON) becomes an httpx response, and the SDK's own code makes of it what it always did.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import openai
from openai._models import FinalRequestOptions
from pydantic import BaseModel, ValidationError

from phase1.doors.http import refusal, transport_error
from phase1.engine.call import Answer, AnswerStream, Call
from phase1.engine.transport.family import httpx
from phase1.exceptions import PoolError, Refused

if TYPE_CHECKING:
    import httpx2

    from phase1.doors.lean.learnt import Learnt
    from phase1.doors.lean.wish import Coded, Resource

__all__ = ["Asked", "events_of", "model_of", "validated"]


@dataclass(slots=True)
class Asked:
    """One call that goes the short way."""

    client: Any
    """The SDK client that makes it."""
    resource: Resource
    learnt: Learnt
    body: bytes
    stream: bool
    coded: Coded | None
    model: str | None

    @property
    def what(self) -> tuple[str, bool]:
        """The name under which its kind is learnt."""
        return self.resource.name, self.stream

    def call(self) -> Call:
        """It, for the engine."""
        learnt = self.learnt
        streams = self.stream
        return Call(  # by position: names would cost twice the time
            "POST",
            learnt.path,
            learnt.headers,
            self.body,
            learnt.timeout,
            streams,
            learnt.credentials,
            streams,
            self.model,
        )

    def request(self) -> httpx2.Request:
        """It, as the SDK's errors show it."""
        learnt = self.learnt
        headers = [*learnt.headers, *learnt.credentials]
        return httpx.Request("POST", learnt.url, headers=headers, content=self.body)

    def raised(self, error: PoolError) -> Exception:
        """What the SDK raises for a failure of the engine."""
        request = self.request()
        if isinstance(error, Refused):
            return self.status_error(refusal(error, request))
        cause = transport_error(error, request)
        kind = openai.APITimeoutError if isinstance(cause, httpx.TimeoutException) else openai.APIConnectionError
        raised = kind(request=request)
        raised.__cause__ = cause
        return raised

    def status_error(self, response: Any) -> Exception:  # noqa: ANN401 - an httpx response
        """What the SDK raises for an answer that is none."""
        return cast("Exception", self.client._make_status_error_from_response(response))  # noqa: SLF001

    def made_by_the_sdk(self, response: Any, stream_class: Any) -> Any:  # noqa: ANN401
        """What the SDK's own code makes of `response`; awaitable if the client is asynchronous."""
        if not response.is_success:
            raise self.status_error(response) from None
        return self.client._process_response(  # noqa: SLF001
            cast_to=self.resource.result,
            options=FinalRequestOptions.construct(  # type: ignore[call-arg]  # an attribute without an annotation
                method="post",
                url=self.learnt.path,
                post_parser=openai.NOT_GIVEN if self.coded is None else self.coded.finish,
            ),
            response=response,
            stream=self.stream,
            stream_cls=stream_class[self.resource.chunk] if self.stream else None,
        )


def model_of(asked: Asked, answer: Answer) -> BaseModel | None:
    """The answer as the SDK's object; `None` = ask the SDK."""
    if answer.status != HTTPStatus.OK or answer.stream is not None or asked.stream:
        return None
    coded = asked.coded
    result = validated(asked.resource.result, answer.body) if coded is None else coded.read(answer.body)
    if result is not None:
        object.__setattr__(result, "_request_id", answer.headers.get("x-request-id"))  # the SDK's `add_request_id`
    return result


def events_of(asked: Asked, answer: Answer) -> AnswerStream | None:
    """The answer's server-sent events, if they were asked for and came."""
    if not asked.stream or answer.stream is None:
        return None
    return answer.stream if (answer.headers.get("content-type") or "").startswith("text/event-stream") else None


def validated(cls: type[BaseModel], data: bytes) -> BaseModel | None:
    """`data` as an object of `cls`, if it is one to the letter."""
    try:
        return cast("BaseModel", cls.__pydantic_validator__.validate_json(data, strict=True))
    except ValidationError:
        return None
