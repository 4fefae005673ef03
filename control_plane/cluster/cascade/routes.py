"""From which node a track comes here. Pure functions; every node that knows the same decides the same.

Nodes that hold a room are a tree for each home: it feeds at most `fan_out` of them, each of those as many, and so on.
The order is another one for every home, so that no node feeds most in every tree. Where a way is broken the next node
towards the home is asked, then any other node.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence, Set
from typing import Final

# Nodes between which a track passes, home and last one included. More reaches farther, at a hop's delay each.
MAX_ROUTE: Final = 5
FROM_THERE: Final = "it comes from there"
# Seconds for which a better way must have been there when it is taken: longer moves less often, shorter returns sooner.
SETTLED: Final = 5.0


def hops(
    home: str,
    here: str,
    holders: Collection[str],
    broken: Set[str],
    fan_out: int,
    others: Collection[str] = (),
    mute: Set[str] = frozenset(),
) -> list[str]:
    """Nodes to get a track from, best first.

    `holders`: of its room. `broken`: nodes to which no media passes from here. `others`: nodes that hold the room not,
    and could pass it on, best first. `mute`: nodes to which no stream is open, so that they would not hear a request;
    the home need not be asked.
    """
    order = tree(home, holders)
    # Who passes the track on alone is nobody's child.
    ancestors = _ancestors(order, here, fan_out) if here in order else [home]
    below = _descendants(order, here, fan_out)
    rest = [node for node in order if node not in ancestors and node not in below and node != here]
    outside = [node for node in others if node not in order and node != here]
    found = [node for node in (*ancestors, *rest, *outside) if node not in broken]
    return sorted(found, key=lambda node: node in mute and node != home)


def by_readiness(hops: Sequence[str], home: str, via: str | None, ready: str | None) -> list[str]:
    """Puts the node whose answer is there already before all that would have to be asked first.

    `via`: from where the track comes. What comes is not given up for what is worse.
    """
    left = list(hops)
    if ready is None or ready not in left or (via in left and left.index(via) < left.index(ready)):
        return left
    first = next(index for index, hop in enumerate(left) if hop != home)
    left.remove(ready)
    left.insert(first, ready)
    return left


def needs_outside(home: str, here: str, holders: Collection[str], broken: Set[str]) -> bool:
    """Nodes that hold the room not are to be asked, too: a way is broken, or no third node is in the room."""
    return any(node in broken for node in holders) or (here in holders and not {*holders} - {home, here})


def patience(better: str, home: str, *, has_failed: bool) -> float:
    """Seconds until a better way is taken. A way straight from the home that never failed was only late to be made."""
    return 0.0 if better == home and not has_failed else SETTLED


def spare(hops: Sequence[str], home: str, via: str | None, unfit: Set[str]) -> str | None:
    """The node to ask beforehand, for when nothing comes from `via` any more; None: the home, which need not be asked,
    or nobody.

    `unfit`: those that have refused lately.
    """
    found = next((hop for hop in hops if hop != via and hop not in unfit), None)
    return found if found != home else None


def tree(home: str, holders: Iterable[str]) -> list[str]:
    """The home first; who is at i is fed by who is at (i - 1) // fan_out."""
    return [home, *sorted({*holders} - {home}, key=lambda node: _mixed(home, node))]


def refusal(here: str, asker: str, path: Collection[str], route: Collection[str]) -> str | None:
    """Why a node does not pass on a track, None when it does.

    `path`: who waits for it, the asker included. `route`: the nodes through which it comes here, the home first, this
    one excluded; empty while it does not come.
    """
    if here in path:
        return "the way goes in a circle"
    if asker in route or any(node in route for node in path):
        return FROM_THERE
    if len(path) + max(1, len(route)) >= MAX_ROUTE:
        return f"the way has more than {MAX_ROUTE} nodes"
    return None


def _ancestors(order: list[str], node: str, fan_out: int) -> list[str]:
    """From the parent up to the home."""
    found, index = [], order.index(node)
    while index > 0:
        index = (index - 1) // fan_out
        found.append(order[index])
    return found


def _descendants(order: list[str], node: str, fan_out: int) -> set[str]:
    if node not in order:
        return set()
    below = {order.index(node)}
    for index in range(1, len(order)):
        if (index - 1) // fan_out in below:
            below.add(index)
    return {order[index] for index in below} - {node}


def _mixed(home: str, node: str) -> tuple[bytes, str]:
    return hashlib.blake2b(f"{home}\0{node}".encode(), digest_size=8).digest(), node
