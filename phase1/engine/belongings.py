"""At which account is what a call speaks of?

With one account there is nothing to ask. With several (nodes with other keys, or of other providers) what is kept at an
account goes to the first one of the configuration; a thing that was seen before, to the account that has it; and one
that nobody here has seen (another worker made it), from one account to the next until one knows it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from phase1.engine.attempt import Attempt
from phase1.engine.call import Call
from phase1.engine.node import Node
from phase1.engine.picker import Tiers
from phase1.policy.belongings import is_kept, made, named

__all__ = ["Belongings"]

_MOST = 10_000
"""Names that are remembered; the ones that were not used for the longest time are forgotten."""

_Account = tuple[str, str]


class Belongings:
    """What is known of the accounts of `nodes`."""

    __slots__ = ("_owners", "several")

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._owners: OrderedDict[str, _Account] = OrderedDict()
        self.several = False
        """Whether there is more than one account."""
        self.renew(nodes)

    def renew(self, nodes: Sequence[Node]) -> None:
        """There are other nodes from now on."""
        self.several = len({_account(node) for node in nodes}) > 1

    def tiers(self, call: Call, tiers: Tiers) -> tuple[Tiers, bool]:
        """Who is to be asked, one account after the other, and whether it is a search; `tiers`: who has the model."""
        names = named(call.path, call.body)
        if not (names or is_kept(call.path)):
            return tiers, False
        accounts: dict[_Account, list[Node]] = {}
        for tier in tiers:
            for node in tier:
                accounts.setdefault(_account(node), []).append(node)
        for name in names:
            if (owner := self._owners.get(name)) in accounts:
                self._owners.move_to_end(name)
                return (tuple(accounts[owner]),), False
        return tuple(map(tuple, accounts.values())), bool(names)

    def note(self, call: Call, node: Node, attempt: Attempt) -> None:
        """`node` has answered: what the answer tells of is there, and so is what the call has named."""
        told = b"".join(attempt.stream.begun) if attempt.stream is not None else attempt.body
        name, account = made(call.path, told), _account(node)
        for each in [*named(call.path, call.body), *([name] if name else [])]:
            self._owners[each] = account
            self._owners.move_to_end(each)
        while len(self._owners) > _MOST:
            self._owners.popitem(last=False)


def _account(node: Node) -> _Account:
    """A key is known to one provider; without keys of their own nodes speak with the caller's."""
    return node.server, node.spec.api_key
