"""`ownshelf log`: whether a custodian's public log is one log, as a mirror, a newspaper or a shopper may check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import httpx
import typer

from data.atomic import write_atomically
from data.errors import ServingError
from federation.protocol.log_audit import LogAudit
from federation.protocol.merkle_log import LogHead, LogRefused, leaf_hash, root_of
from federation.protocol.transparency import entries_from_bytes
from federation.protocol.transport import check_address, pinned_context
from federation.storage.key_files import read_public_key
from serving.cli.errors import OneLineErrors
from serving.cli.output import console, print_json

app = typer.Typer(cls=OneLineErrors, no_args_is_help=True, help="A custodian's public log.")
TIMEOUT_S = 30.0
MAX_ENTRIES = 1_000_000


@app.callback()
def log_group() -> None:
    """Check the public log of a custodian."""


@app.command("verify")
def verify_command(
    custodian: Annotated[str, typer.Argument(help="Address of the custodian, or of a mirror of its log.")],
    custodian_key: Annotated[str, typer.Option(help="The custodian's public key: hex, or its file.")],
    seen: Annotated[
        Path | None, typer.Option(help="A head seen before, from here or from others; replaced by the new one.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Believe certificates of this authority (PEM) and no other.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Fetch every entry, and compare them with the signed head, the head that was seen before, and each other."""
    key = read_public_key(custodian_key)
    with httpx.Client(
        base_url=check_address(custodian), verify=pinned_context(ca), timeout=TIMEOUT_S, trust_env=False
    ) as client:
        head = LogHead.from_bytes(_get(client, "/v1/log/head"))
        head.check(key)
        entries = _Entries(key)
        entries.fetch(client, head.size)
    leaves = entries.leaves
    if root_of(leaves) != head.root:
        raise LogRefused(f"log of size {head.size}: its entries are not those of the signed head")
    before = _check_seen(seen, leaves, key)
    if entries.contradiction is not None:
        raise entries.contradiction
    if seen is not None:
        write_atomically(seen, head.to_bytes())
    said = {"size": head.size, "root": head.root.hex(), "at": head.at, "goes_on_from": before, "entries": entries.kinds}
    if as_json:
        print_json(said)
    else:
        console.print(json.dumps(said, indent=1), highlight=False)


def _check_seen(seen: Path | None, leaves: list[bytes], key: bytes) -> int | None:
    """Size of the head seen before. Raises LogRefused for one that the log does not go on from."""
    if seen is None or not seen.exists():
        return None
    old = LogHead.from_bytes(seen.read_bytes())
    old.check(key)
    if old.size > len(leaves) or root_of(leaves[: old.size]) != old.root:
        raise LogRefused(
            f"log of size {len(leaves)}: does not go on from the head of size {old.size} in {seen};"
            " both heads are signed, and together they prove it"
        )
    return old.size


class _Entries:
    """All entries of a log, of which their hashes are kept, and the first that contradicts those before it."""

    def __init__(self, key: bytes) -> None:
        self.leaves: list[bytes] = []
        self.contradiction: LogRefused | None = None
        self._audit = LogAudit(key)

    @property
    def kinds(self) -> dict[str, int]:
        """How many entries there are of each kind."""
        return dict(sorted(self._audit.kinds.items()))

    def fetch(self, client: httpx.Client, size: int) -> None:
        """Fetch so many entries. Raises LogRefused when there are fewer, or too many to look at."""
        if size > MAX_ENTRIES:
            raise LogRefused(f"log of size {size}: must be at most {MAX_ENTRIES}")
        while len(self.leaves) < size:
            entries = entries_from_bytes(_get(client, f"/v1/log/entries?start={len(self.leaves)}"))
            if not entries:
                raise LogRefused(f"log of size {size}: has {len(self.leaves)} entries to show")
            for entry in entries[: size - len(self.leaves)]:
                self.leaves.append(leaf_hash(entry))
                self._look_at(entry)

    def _look_at(self, entry: bytes) -> None:
        try:
            self._audit.add(entry)
        except LogRefused as error:
            self.contradiction = self.contradiction or error


def _get(client: httpx.Client, path: str) -> bytes:
    try:
        response = client.get(path, follow_redirects=False)
    except httpx.HTTPError as error:
        raise ServingError(f"custodian: cannot be asked ({type(error).__name__})") from None
    if response.status_code != 200:
        raise ServingError(f"custodian: status {response.status_code} for {path}")
    return response.content
