"""What can go wrong around a chat turn, as one branch of the tree in `phase1.exceptions`.

    Phase1Error
    └── ChatError
        ├── DatabaseTimeout       a query did not end in time (also a TimeoutError)
        ├── HistoryLimitError     a history limit that makes no sense (also a ValueError)
        ├── AgentNotBuilt         the factory of a cached agent was cancelled, or asks for its own agent
        └── DeadLetterError       the dead-letter file cannot be read or written, or is no dead-letter file

What the database, the model or the app's own functions raise stays what it is: the app has handlers for it.
"""

from __future__ import annotations

from phase1.exceptions import Phase1Error

__all__ = ["AgentNotBuilt", "ChatError", "DatabaseTimeout", "DeadLetterError", "HistoryLimitError"]


class ChatError(Phase1Error):
    """Root of what the chat helpers raise by themselves."""


class DatabaseTimeout(ChatError, TimeoutError):
    """A query did not end in time. In a thread it may still be running."""


class HistoryLimitError(ChatError, ValueError):
    """A history limit that makes no sense. The text names the value and what is allowed."""


class AgentNotBuilt(ChatError):
    """There is no agent, and nothing of the factory's own says why."""


class DeadLetterError(ChatError):
    """The dead-letter file cannot be read or written. The text names the file and the reason."""
