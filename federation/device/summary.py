"""Everything a device stores, for its shopper's own eyes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from federation.device.cluster_ledger import ClusterPolicy
from federation.device.outcome_log import Enrolment
from federation.device.state import DeviceState, Event
from federation.device.timestamps import iso

LEDGER_DELTA = 1e-6


def _show_interleaving(enrolment: Enrolment) -> dict[str, Any]:
    """Show an experiment that interleaves: sessions won and lost, and whose picks the last list had."""
    summary: dict[str, Any] = {}
    if enrolment.tally is not None:
        summary["sessions"] = {"won": enrolment.tally.wins, "lost": enrolment.tally.losses}
    if enrolment.open_list is not None:
        summary["open_list"] = dict(zip(("incumbent", "challenger"), map(list, enrolment.open_list.picks), strict=True))
    return summary


def _event(event: Event) -> dict[str, Any]:
    """Show one event, with what a newer program noted of it, if anything."""
    unknown = {name: json.loads(value) for name, value in event.unknown}
    time, kind = iso(event.time), event.kind.name.lower()
    seen = {"price": event.price, "available": event.available}
    shown = {name: value for name, value in seen.items() if value is not None}
    return {**unknown, "time": time, "item_id": event.item_id, "kind": kind, "quantity": event.quantity, **shown}


def show_state(state: DeviceState) -> dict[str, Any]:
    """Show what the vault holds.

    participations_returned: reports that the custodian never answered, and so cost nothing but their proofs.
    epsilon: of the private sums, at δ = 1e-6; None once a sum had no noise. noised_epsilon: of the messages of mode
    noised, by basic composition; another guarantee of other messages, so the two are not one number.
    cluster_answers: made in a lifetime of mode cluster, and how many the default bound leaves.
    experiments: id, when the shopper was exposed, the last window reported; the notes are what experiments may count.
    """
    spent, pending = state.participation.epsilon(LEDGER_DELTA), state.participation.pending
    return {
        "own_rows": 0 if state.own_rows is None else len(state.own_rows.item_ids),
        "participations": state.participation.count_since(0),
        "participations_returned": len(state.participation.returned),
        "epsilon": spent if np.isfinite(spent) else None,
        "noised_messages": state.noise.drawn,
        "noised_epsilon": state.noise.epsilon,
        "cluster_answers": state.named.answered,
        "cluster_answers_left": max(ClusterPolicy.max_answers - state.named.answered, 0),
        "unsent_report_bytes": 0 if pending is None else len(pending.report),
        "experiments": [
            {
                "experiment_id": enrolment.experiment_id,
                "exposed_at": None if enrolment.exposed_at is None else iso(enrolment.exposed_at),
                "window": enrolment.window,
                **_show_interleaving(enrolment),
            }
            for enrolment in state.experiments.enrolments
        ],
        "experiment_notes": [
            {"time": iso(note.time), "event": str(note.event), "value": note.value, "item_id": note.item_id}
            for note in state.experiments.notes
        ],
        "events": [_event(event) for event in state.events],
        **({"of_a_newer_program": dict(state.unknown)} if state.unknown else {}),
    }
