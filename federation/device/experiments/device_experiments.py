"""`device.experiments`: the shop's experiments as one device takes part in them, in the order of its calls.

`refresh` fetches the definitions; the device's lists then follow its arm by themselves, and `device.mark_shown` exposes
and credits; `report` sends increments to the open windows. `arm`, `expose` and `note` are for what a device does not
make or observe: lists of another program, sessions.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from federation.device.asking.held_device import HeldDevice
from federation.device.delivery import RetryPolicy
from federation.device.experiments.enrolment import arm_for, assigned_arm, expose, is_in, note
from federation.device.experiments.live_arms import why_not_here
from federation.device.experiments.window_report import fetch_definitions, report_window
from federation.device.report import DevicePolicy
from federation.device.reporting import DeviceRandomness, Outcome
from federation.device.timestamps import micros
from federation.device.tokens.issuing import TokenIssuer
from recsys.experiments.definition.arm import Arm
from recsys.experiments.definition.definition import OutcomeEvent, Trigger


@dataclass(frozen=True)
class ExperimentStatus:
    """One running experiment on this device, for its shopper's own eyes.

    arm: None for a device in none of its arms, or in both. takes_part: whether its lists follow an arm now, or would.
    exposed_at: µs since 1970 UTC, None before. window: of the last report, -1 before the first. silent: a report was
    lost, so it says zeros from then on. obstacle: why this device cannot make every arm's list, None where it can.
    """

    experiment_id: str
    version: int
    arm: str | None
    takes_part: bool
    exposed_at: int | None
    window: int
    silent: bool
    obstacle: str | None


class DeviceExperiments:
    """The experiments of one device. Every moment `now` is a datetime or µs since 1970 UTC; None is now."""

    def __init__(self, device: HeldDevice) -> None:
        self._device = device

    def refresh(
        self,
        service: str | httpx.Client,
        *,
        key: str | None = None,
        ca: Path | None = None,
        now: datetime | int | None = None,
    ) -> tuple[str, ...]:
        """Fetch the running experiments and know no others; their ids.

        Whoever comes in by assignment comes in now. Raises ServingError without an answer, DataError for a definition
        that is another one than the one this device is in.
        """
        running = fetch_definitions(self._device, service, key=key, ca=ca)
        expose(self._device, "assignment", None, micros(now))
        return running

    def arm(self, experiment_id: str, now: datetime | int | None = None) -> Arm | None:
        """Find the arm whose settings this device's lists have; None for a shopper who is not in."""
        return arm_for(self._device, experiment_id, micros(now))

    def expose(
        self, trigger: Trigger = "list_shown", surface: str | None = None, now: datetime | int | None = None
    ) -> tuple[str, ...]:
        """Expose the shopper by a list that another program made by `arm`; ids of what the shopper comes into."""
        return expose(self._device, trigger, surface, micros(now))

    def note(
        self,
        event: OutcomeEvent | str,
        value: float = 1.0,
        *,
        item_id: str | None = None,
        now: datetime | int | None = None,
    ) -> bool:
        """Note what the device does not observe by itself, such as a session's seconds; whether consent let it."""
        return note(self._device, event, micros(now), value, item_id=item_id)

    def report(
        self,
        service: str | httpx.Client,
        policy: DevicePolicy,
        issuer: TokenIssuer,
        *,
        key: str | None = None,
        ca: Path | None = None,
        draws: DeviceRandomness | None = None,
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = clock.time,
    ) -> dict[str, Outcome]:
        """Report to the open window of every experiment; what became of each, by id.

        Arguments as of `take_part`; clock: seconds since 1970 UTC. Fetches the list first, so that nothing is said to a
        window that failed.
        """
        self.refresh(service, key=key, ca=ca, now=int(clock() * 1e6))
        outcomes = {}
        for experiment in self._device.state.experiments.definitions:
            outcomes[experiment.id] = report_window(
                self._device,
                service,
                policy,
                experiment.id,
                issuer,
                key=key,
                ca=ca,
                draws=draws,
                retry=retry,
                now=clock,
            )
        return outcomes

    def status(self, now: datetime | int | None = None) -> tuple[ExperimentStatus, ...]:
        """Say how this device stands in every experiment that it knows."""
        state, catalogue, at = self._device.state, self._device.catalogue, micros(now)
        told = []
        for experiment in state.experiments.definitions:
            enrolment, arm = state.experiments.enrolment(experiment), assigned_arm(state, experiment)
            obstacle = None if catalogue is None else why_not_here(experiment, catalogue)
            told.append(
                ExperimentStatus(
                    experiment.id,
                    experiment.version,
                    None if arm is None or experiment.interleaved else arm.name,
                    is_in(state, experiment, catalogue, at),
                    enrolment.exposed_at,
                    enrolment.window,
                    enrolment.left,
                    obstacle,
                )
            )
        return tuple(told)
