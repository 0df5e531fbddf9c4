"""What one device of a shopper has said at which cost, carried to another in an export.

A device that takes over a history will speak of it too; what the first has said of it counts for both. So the merged
device has the union: of reports by themselves, each counted once however often exports are exchanged; in mode cluster
the answer that was given first is repeated here; of noised messages the dearer account, and all that may be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from data.errors import ServingError
from federation.device.cluster_ledger import ClusterAccount
from federation.device.ledger import LedgerEntry
from federation.device.noise_ledger import NoiseAccount
from federation.device.state import DeviceState, Event, decode_events, encode_events, merge


@dataclass(frozen=True)
class DeviceExport:
    """A history, and what was said of it. reports: to training rounds; experiments: one entry each."""

    events: tuple[Event, ...] = field(repr=False)
    reports: tuple[LedgerEntry, ...] = ()
    experiments: tuple[LedgerEntry, ...] = ()
    named: ClusterAccount = field(default_factory=ClusterAccount, repr=False)
    noise: NoiseAccount = field(default_factory=NoiseAccount, repr=False)

    @staticmethod
    def of(state: DeviceState) -> DeviceExport:
        """Take what another device of the shopper must know of this one."""
        account = state.participation
        reports, experiments = (
            (*account.entries, *account.imported),
            (*account.experiments, *account.imported_experiments),
        )
        return DeviceExport(state.events, reports, experiments, replace(state.named, pinned=()), state.noise)

    def encode(self) -> bytes:
        """Encode the content of an export: a program of before reads its events."""
        spent = {
            "reports": [entry.encode() for entry in self.reports],
            "experiments": [entry.encode() for entry in self.experiments],
            "named": self.named.encode(),
            "noise": self.noise.encode(),
        }
        return json.dumps({**json.loads(encode_events(self.events)), "spent": spent}).encode()

    @staticmethod
    def decode(content: bytes) -> DeviceExport:
        """Decode the content of encode, and of an export of before, which says nothing of what was spent."""
        events = decode_events(content)
        spent = json.loads(content).get("spent")
        if spent is None:
            return DeviceExport(events)
        try:
            reports, experiments = (
                tuple(LedgerEntry.decode(entry) for entry in spent[name]) for name in ("reports", "experiments")
            )
            named, noise = ClusterAccount.decode(spent["named"]), NoiseAccount.decode(spent["noise"])
        except (KeyError, TypeError, ValueError) as error:
            raise ServingError(f"export: what was spent cannot be read ({type(error).__name__})") from None
        return DeviceExport(events, reports, experiments, named, noise)

    def merged_into(self, state: DeviceState) -> DeviceState:
        """Return the state with this export's history and costs too."""
        account = state.participation
        return replace(
            state,
            events=merge(state.events, self.events),
            participation=replace(
                account,
                imported=_united(account.entries, account.imported, self.reports),
                imported_experiments=_united(account.experiments, account.imported_experiments, self.experiments),
            ),
            named=_first_named(state.named, self.named),
            noise=_dearer(state.noise, self.noise),
        )


def _united(
    own: Iterable[LedgerEntry], imported: tuple[LedgerEntry, ...], theirs: Iterable[LedgerEntry]
) -> tuple[LedgerEntry, ...]:
    """Unite entries of other devices, without our own that have come back; one taken back anywhere is taken back."""
    ours = {_key(entry) for entry in own}
    united = {_key(entry): entry for entry in imported}
    for entry in theirs:
        held = united.get(_key(entry))
        if _key(entry) not in ours and (held is None or entry.returned):
            united[_key(entry)] = entry
    return tuple(united.values())


def _key(entry: LedgerEntry) -> tuple[bytes, int, int | None]:
    return entry.task_hash, entry.at, entry.block


def _first_named(ours: ClusterAccount, theirs: ClusterAccount) -> ClusterAccount:
    """Repeat what was named first; the larger number of answers counts."""
    answered = max(ours.answered, theirs.answered)
    last = ours.last
    if theirs.last is not None and (last is None or theirs.last.at < last.at):
        last = theirs.last
    return replace(ours, answered=answered, last=last)


def _dearer(ours: NoiseAccount, theirs: NoiseAccount) -> NoiseAccount:
    known = {(draw.bundle_version, draw.epsilon, draw.until) for draw in ours.draws}
    fresh = [draw for draw in theirs.draws if (draw.bundle_version, draw.epsilon, draw.until) not in known]
    draws = (*ours.draws, *fresh)
    epsilon = max(ours.epsilon, theirs.epsilon, sum(draw.epsilon for draw in draws))
    return replace(ours, drawn=max(ours.drawn, theirs.drawn, len(draws)), epsilon=epsilon, draws=draws)
