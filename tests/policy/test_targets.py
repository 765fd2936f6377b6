"""Is a key found on a list, however it was written there, and is no key kept?"""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phase1.policy.targets import Targets, digests_of


def test_key_and_digest_mean_the_same() -> None:
    """`printf %s user-1 | sha256sum`, in any case."""
    digest = sha256(b"user-1").hexdigest()
    assert digests_of("user-1") == digests_of(f"sha256:{digest}") == digests_of(f" sha256:{digest.upper()} ")


@given(st.lists(st.text(alphabet=st.characters(exclude_characters=","), min_size=1).map(str.strip).filter(bool)))
def test_every_listed_key_is_found(keys: list[str]) -> None:
    """And no other."""
    keys = [key for key in keys if not key.startswith("sha256:")]
    targets = Targets(allowed=digests_of(",".join(keys)) if keys else frozenset())
    assert all(targets.goes_to_pool(key) for key in keys)
    assert targets.goes_to_pool("".join(keys) + "!") is None


def test_lone_surrogates_are_keys_too() -> None:
    """They come from headers and cookies."""
    assert Targets(denied=digests_of("a\udc80b")).goes_to_pool("a\udc80b") is False


def test_repr_shows_no_key() -> None:
    """Numbers only."""
    assert repr(Targets(digests_of("user-1,user-2"), digests_of("user-3"))) == "<Targets 2 allowed, 1 denied>"


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ("", "entry 1 is empty"),
        ("user-1,", "entry 2 is empty"),
        ("sha256:12", "entry 1 must be sha256: and 64 hex digits"),
        ("sha256:" + "g" * 64, "entry 1 must be sha256: and 64 hex digits"),
        ("a," + "x" * 1025, "entry 2 must be at most 1024 characters"),
    ],
)
def test_bad_entry_is_named_by_its_place(listed: str, reason: str) -> None:
    """Not by its text, which may be a user."""
    with pytest.raises(ValueError, match=reason):
        digests_of(listed)
