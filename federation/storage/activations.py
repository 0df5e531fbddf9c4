"""Which version is current and which came before it, told by the order of activations; of bundles and releases alike.

`previous` goes back one step, and says so when there is none. It never goes forward again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from data.errors import ServingError

PREVIOUS = "previous"


class NoEarlierVersion(ServingError):
    """There is no version before the current one."""


def path_to_current(activated: Iterable[str], available: Collection[str]) -> list[str]:
    """List the versions that `previous` walks back through, the current one last.

    activated: in order, as stored. To activate a version of the path goes back to it: what came after it is dropped.
    Versions that are not available any more are left out at the end.

    >>> path_to_current("abcb", "abc")
    ['a', 'b']
    """
    path: list[str] = []
    for version in activated:
        if version in path:
            del path[path.index(version) + 1 :]
        else:
            path.append(version)
    return [version for version in path if version in available]


def chosen_version(asked: str, activated: Iterable[str], available: Collection[str]) -> str:
    """Resolve what is to be activated: a version, or `previous`.

    Raises NoEarlierVersion, and ServingError for a version that is not available.
    """
    if asked == PREVIOUS:
        path = path_to_current(activated, available)
        if len(path) < 2:
            raise NoEarlierVersion("version=previous: there is none before the current one")
        return path[-2]
    if asked not in available:
        raise ServingError(f"version={asked}: must be one of {', '.join(sorted(available)) or 'none'}")
    return asked
