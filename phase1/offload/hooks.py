"""What does only the app know? Whose request it is, what the model is to see, and who goes first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from starlette.requests import Request

    from phase1.offload.bodies import ChatBody

__all__ = ["Hooks"]

_Said: TypeAlias = Sequence[Mapping[str, str]]

FEEDBACK_PROMPT = (
    "You are a coach. Read the conversation above and give its user short, concrete feedback:"
    " what went well, what could be better, and one thing to try next time."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """`phase1.install(app, offload=Hooks(user=current_user_id))`. Each may be a plain or an async function.

    `user(request)`: the user's id; default: the sticky key of the app (`user_key`, `LLM_CANARY_KEY`), else a signed
    cookie. `messages(request, body, history)`: the messages for the model; default: `history` (what was said in the
    session so far) and `body.message`. `priority(request)`: 0, the first, to 9; default 6. `feedback`: what is asked
    after a session for `POST …/chat/feedback`.
    """

    user: Callable[[Request], str | Awaitable[str | None] | None] | None = None
    messages: Callable[[Request, ChatBody, _Said], _Said | Awaitable[_Said]] | None = None
    priority: Callable[[Request], int | Awaitable[int]] | None = None
    feedback: str = FEEDBACK_PROMPT
