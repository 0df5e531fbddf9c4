"""NAME=VALUE words of options such as --map and --kinds."""

from __future__ import annotations

from data.errors import DataError


def pairs(option: str, entries: list[str] | None) -> dict[str, str]:
    """NAME=VALUE words, several in one argument or one in each.

    What is the log's own may have spaces: columns, which are right of a role in --map, and event words, which are left
    of a kind in --kinds.
    """
    words: list[str] = []
    for entry in entries or []:
        whole = True
        for part in entry.split():
            if words and ("=" not in part if option == "--map" else not whole):
                words[-1] += f" {part}"
            else:
                words.append(part)
            whole = "=" in part
    if wrong := [word for word in words if "=" not in word]:
        raise DataError(f"{option} {wrong[0]}: must be NAME=VALUE")
    return dict(word.split("=", 1) for word in words)
