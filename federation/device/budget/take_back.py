"""A device takes back what a report cost, where the custodian signs that it never answered its block and never will.

Every device asks for the same statements, whatever it has reported. What the proof of such a report told is not taken
back, and a report is not made twice for one task. A custodian that signs this and answers all the same would have a
device spend more than its ledger says: hence the bounds.
"""

from __future__ import annotations

import random
from dataclasses import replace

import httpx

from data.errors import FederationError, ServingError
from federation.device.asking.logged_clusters import LogFollower
from federation.device.delivery import RetryPolicy, fetch_no_answers
from federation.device.ledger import LedgerEntry, Participation
from federation.device.report import DevicePolicy
from federation.device.state import DeviceState
from federation.protocol.no_answer import NoAnswer

ASKED_FOR_S = 30 * 86_400
"""A report older than this is not asked for any more: no custodian leaves a round open so long."""


def take_back(
    device: LogFollower, client: httpx.Client, policy: DevicePolicy, retry: RetryPolicy, chance: random.Random, at: int
) -> int:
    """Ask for the custodian's statements and take back what they allow; how many reports that were.

    Nothing is asked when no report could be taken back. What cannot be fetched or is not signed stays spent.
    """
    if not any(_may_return(entry, at) for entry in device.state.participation.entries):
        return 0
    try:
        statements = fetch_no_answers(client, replace(retry, attempts=1), chance)
    except (FederationError, ServingError):
        return 0
    before = len(device.state.participation.returned)
    after = device.change(lambda state: with_budget_back(state, statements, policy, at))
    return len(after.participation.returned) - before


def with_budget_back(state: DeviceState, statements: list[NoAnswer], policy: DevicePolicy, at: int) -> DeviceState:
    """Return the state with each report taken back that a signed statement is about; itself when there is none."""
    account = state.participation
    for statement in statements:
        account = _with_one_back(account, statement, policy, at)
    return state if account is state.participation else replace(state, participation=account)


def _with_one_back(account: Participation, statement: NoAnswer, policy: DevicePolicy, at: int) -> Participation:
    entry = next((entry for entry in account.entries if entry.task_hash == statement.task_hash), None)
    if entry is None or not _may_return(entry, at) or entry.block not in statement.blocks:
        return account
    pending = account.pending
    if pending is not None and pending.task_hash == entry.task_hash:
        return account  # its report may still be sent
    lately = sum(abs(other.at - entry.at) <= policy.period_s for other in account.returned)
    if lately >= policy.max_returned_per_period or len(account.returned) >= policy.max_participations:
        return account
    try:
        statement.check(policy.custodian_key)
    except FederationError:
        return account
    back = replace(entry, returned=True)
    return replace(account, entries=tuple(back if other is entry else other for other in account.entries))


def _may_return(entry: LedgerEntry, at: int) -> bool:
    return entry.block is not None and not entry.returned and abs(at - entry.at) <= ASKED_FOR_S
