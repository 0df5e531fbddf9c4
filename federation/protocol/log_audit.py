"""What a custodian's log must not say: whoever holds all entries sees whether they contradict each other.

Two files of one version, an answer to a task that was never signed, a second answer to a block, or an answer to a block
that the custodian has stated never to answer. Entries of kinds that this program does not know are counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from data.errors import FederationError
from federation.private_sum.encoding import Reader
from federation.protocol.merkle_log import LogRefused
from federation.protocol.messages import MAX_TASK_BYTES, Purpose, Task
from federation.protocol.no_answer import NoAnswer
from federation.protocol.transparency import EntryKind

MAX_FIELDS = 8


@dataclass
class LogAudit:
    """The entries of one log, in order. public_key: the custodian's. kinds: how many of each were read."""

    public_key: bytes
    kinds: Counter[str] = field(default_factory=Counter)
    _files: dict[tuple[bytes, ...], bytes] = field(default_factory=dict)
    _blocks: dict[bytes, int] = field(default_factory=dict)
    _answered: set[tuple[bytes, int]] = field(default_factory=set)
    _closed: dict[bytes, frozenset[int]] = field(default_factory=dict)

    def add(self, entry: bytes) -> None:
        """Read the next entry. Raises LogRefused for one that contradicts what is before it."""
        kind, *fields = _fields(entry)
        name = kind.decode("ascii", "replace")
        position = self.kinds.total()
        known = name in {known.value for known in EntryKind}
        self.kinds[name if known else "unknown"] += 1
        try:
            if name in (EntryKind.BUNDLE, EntryKind.CLUSTERS):
                self._add_file(name, *fields)
            elif name == EntryKind.TASK:
                self._add_task(*fields)
            elif name == EntryKind.ANSWER:
                self._add_answer(*fields)
            elif name == EntryKind.NO_ANSWER:
                self._add_no_answer(*fields)
        except (FederationError, TypeError) as error:
            raise LogRefused(f"entry {position} ({name}): {error}") from None

    def _add_file(self, kind: str, *fields: bytes) -> None:
        *named, digest = fields
        if self._files.setdefault((kind.encode(), *named), digest) != digest:
            raise LogRefused(f"{kind} {named[-1].decode('ascii', 'replace')}: has two hashes")

    def _add_task(self, content: bytes) -> None:
        task = Task.from_bytes(content)
        if not task.is_signed_by(self.public_key):
            raise LogRefused(f"task_id={task.task_id}: is not signed by the custodian")
        named = (EntryKind.BUNDLE.encode(), task.purpose.value, task.bundle_version.encode("ascii"))
        if task.purpose is Purpose.TRAINING and self._files.get(named) != task.bundle_hash:
            raise LogRefused(f"task_id={task.task_id}: is for another bundle than the log has under its version")
        self._blocks[task.hash] = len(task.blocks)

    def _add_answer(self, task_hash: bytes, block_bytes: bytes, _: bytes) -> None:
        block = int.from_bytes(block_bytes, "little")
        self._check_block(task_hash, block)
        if (task_hash, block) in self._answered:
            raise LogRefused(f"block {block} of task {task_hash.hex()[:16]}…: is answered twice")
        if task_hash in self._closed:
            raise LogRefused(f"block {block} of task {task_hash.hex()[:16]}…: is answered after its round was closed")
        self._answered.add((task_hash, block))

    def _add_no_answer(self, content: bytes) -> None:
        statement = NoAnswer.from_bytes(content)
        statement.check(self.public_key)
        task_hash = statement.task_hash
        if self._closed.setdefault(task_hash, frozenset(statement.blocks)) != frozenset(statement.blocks):
            raise LogRefused(f"task {task_hash.hex()[:16]}…: is said to be unanswered in two ways")
        for block in statement.blocks:
            self._check_block(task_hash, block)
            if (task_hash, block) in self._answered:
                raise LogRefused(f"block {block} of task {task_hash.hex()[:16]}…: is answered, and said not to be")

    def _check_block(self, task_hash: bytes, block: int) -> None:
        if not 0 <= block < self._blocks.get(task_hash, 0):
            raise LogRefused(f"block {block} of task {task_hash.hex()[:16]}…: was never signed")


def _fields(entry: bytes) -> list[bytes]:
    """Read an entry's fields: at least its kind."""
    read = Reader(memoryview(entry), LogRefused)
    fields = [read.field("kind", 0, MAX_TASK_BYTES)]
    while read.at < len(read.data) and len(fields) < MAX_FIELDS:
        fields.append(read.field("field", 0, MAX_TASK_BYTES))
    read.end()
    return fields
