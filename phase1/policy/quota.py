"""May this quota domain be asked now, and if not, when?

A domain is what shares one provider's limits: an organisation's key and a model, or what `quota_domain` says. It has
one rest after 429s (`cooldown`) and up to three token buckets: requests per second of ours, requests per minute and
tokens per minute, configured or learnt from the upstream's headers. A call books its estimate of tokens and settles
with what the answer says it used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from phase1.policy.bucket import TokenBucket
from phase1.policy.cooldown import Cooldown
from phase1.policy.ratelimits import Allowance, Field, requests_allowed, tokens_allowed

__all__ = ["Limits", "QuotaDomain", "Quotas"]

_MINUTE = 60.0
_MANY = 1000
_LOOK_EVERY = 0.05
_SCARCE = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """What is configured: requests per second, requests and tokens per minute; `None` = not limited by us."""

    rps: float | None = None
    rpm: int | None = None
    tpm: int | None = None


class QuotaDomain:
    """One domain's rest and buckets. `now` is a monotonic clock, in seconds."""

    __slots__ = ("_configured_requests", "_configured_tokens", "_look_at", "_pace", "_requests", "_tokens", "cooldown")

    def __init__(self, limits: Limits, *, pace: TokenBucket | None, now: float) -> None:
        self.cooldown = Cooldown()
        self._pace = pace
        self._requests = _per_minute(limits.rpm, now)
        self._tokens = _per_minute(limits.tpm, now)
        self._configured_requests = limits.rpm is not None
        self._configured_tokens = limits.tpm is not None
        self._look_at = 0.0

    @property
    def counts_tokens(self) -> bool:
        """Whether there is a limit of tokens, so that an estimate is needed."""
        return self._tokens is not None

    def free(self, now: float, *, tokens: float = 1.0) -> bool:
        """Whether a request of that many tokens can be sent at once."""
        if self.cooldown.until > now:
            return False
        pace, requests, bucket = self._pace, self._requests, self._tokens
        return (
            (pace is None or not pace.wait(1.0, now))
            and (requests is None or not requests.wait(1.0, now))
            and (bucket is None or not bucket.wait(tokens, now))
        )

    def try_book(self, now: float, *, tokens: float = 1.0) -> bool:
        """Book a request of that many tokens, if it can be sent at once."""
        if not self.free(now, tokens=tokens):
            return False
        if self._pace is not None:
            self._pace.level -= 1.0
        if self._requests is not None:
            self._requests.level -= 1.0
        if self._tokens is not None:
            self._tokens.level -= tokens
        return True

    def wait(self, now: float, *, tokens: float = 1.0) -> float:
        """Seconds until a request of that many tokens can be sent."""
        waits = [bucket.wait(amount, now) for bucket, amount in self._bookings(tokens)]
        return max(self.cooldown.rests(now), *waits) if waits else self.cooldown.rests(now)

    def book(self, now: float, *, tokens: float = 1.0) -> None:
        """Book a request; it may be sent after what `wait` has said just before."""
        for bucket, amount in self._bookings(tokens):
            bucket.take(amount, now)

    def give_back(self, *, tokens: float = 1.0) -> None:
        """Give back the booking of a request that was not sent."""
        for bucket, amount in self._bookings(tokens):
            bucket.give(amount)

    def settle(self, *, booked: float, used: float) -> None:
        """Correct the booking of a request that has used other tokens than were booked."""
        if self._tokens is not None:
            self._tokens.give(booked - used)

    def learn(self, field: Field, now: float) -> None:
        """Take limits from an answer's header fields. What is configured is only ever found to be used up further.

        They are looked at twenty times a second, and at every answer when a tenth or less is left: in between our own
        bookings are counted, and what others have used meanwhile is found out soon enough.
        """
        if now < self._look_at:
            return
        plenty = False
        if (requests := requests_allowed(field)) is not None:
            self._requests = _learnt(self._requests, requests, now, keep_limit=self._configured_requests)
            plenty = requests.remaining > requests.limit * _SCARCE
        if (tokens := tokens_allowed(field)) is not None:
            self._tokens = _learnt(self._tokens, tokens, now, keep_limit=self._configured_tokens)
            plenty = tokens.remaining > tokens.limit * _SCARCE and (requests is None or plenty)
        if plenty:
            self._look_at = now + _LOOK_EVERY

    def _bookings(self, tokens: float) -> list[tuple[TokenBucket, float]]:
        bookings = []
        if self._pace is not None:
            bookings.append((self._pace, 1.0))
        if self._requests is not None:
            bookings.append((self._requests, 1.0))
        if self._tokens is not None:
            bookings.append((self._tokens, tokens))
        return bookings


def _per_minute(limit: int | None, now: float) -> TokenBucket | None:
    return None if limit is None else TokenBucket(capacity=limit, per_second=limit / _MINUTE, now=now)


def _learnt(bucket: TokenBucket | None, found: Allowance, now: float, *, keep_limit: bool) -> TokenBucket:
    if bucket is None:
        bucket = TokenBucket(capacity=found.limit, per_second=found.per_second, now=now)
    bucket.refill(now)
    if not keep_limit:
        bucket.capacity, bucket.per_second = found.limit, found.per_second
    bucket.level = min(bucket.level, found.remaining)
    return bucket


class Quotas:
    """The domains of one pool, made when they are first asked for."""

    __slots__ = ("_clock", "_domains", "_paces")

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._domains: dict[tuple[str, str], QuotaDomain] = {}
        self._paces: dict[str, TokenBucket] = {}

    def domain(self, account: str, model: str, limits: Limits) -> QuotaDomain:
        """The domain of `model` for one account; all models of an account share its requests per second."""
        key = (account, model)
        domain = self._domains.get(key)
        if domain is None:
            if len(self._domains) >= _MANY:
                self._forget()
            domain = self._domains[key] = QuotaDomain(limits, pace=self._pace(account, limits.rps), now=self._clock())
        return domain

    def cooling_for(self, account: str) -> float:
        """Seconds until the last of the account's domains has had its rest."""
        now, domains = self._clock(), tuple(self._domains.items())
        return max((domain.cooldown.rests(now) for (owner, _), domain in domains if owner == account), default=0.0)

    def cooling(self) -> bool:
        """Whether any domain rests."""
        now = self._clock()
        return any(domain.cooldown.until > now for domain in tuple(self._domains.values()))

    def _pace(self, account: str, rps: float | None) -> TokenBucket | None:
        if rps is None:
            return None
        pace = self._paces.get(account)
        if pace is None:
            pace = self._paces[account] = TokenBucket(capacity=max(1.0, rps), per_second=rps, now=self._clock())
        return pace

    def _forget(self) -> None:
        """Drop what is over: accounts and models may come with requests."""
        now = self._clock()
        self._domains = {key: domain for key, domain in self._domains.items() if domain.cooldown.until > now}
        accounts = {account for account, _ in self._domains}
        self._paces = {account: pace for account, pace in self._paces.items() if account in accounts}
