"""What a device has said in mode noised: each message is drawn once, kept, and counted before it is sent.

Asked again within its period, for the same bundle and ε, the device sends the same bytes, whatever has become of its
profile meanwhile: fresh noise for each question would average away. Messages of different periods, bundles or ε are
independent draws, and their ε add up over the device's lifetime (basic composition), up to a bound of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from data.errors import BudgetExhausted, ModelError
from federation.device.unknown_fields import Unknown, unknown_fields

DAY_S = 86_400

_DRAW = ("bundle_version", "epsilon", "until", "vector")
_ACCOUNT = ("drawn", "epsilon", "draws")


@dataclass(frozen=True)
class NoisePolicy:
    """The bounds of what a device may say. epsilon: of one message; period_days: how long it is repeated.

    max_epsilon: of a lifetime. The default allows four messages; docs/modes.md measures what averaging them gives.
    """

    epsilon: float = 8.0
    period_days: float = 30.0
    max_epsilon: float = 32.0

    def __post_init__(self) -> None:
        for name in ("epsilon", "period_days", "max_epsilon"):
            if not 0 < getattr(self, name) < np.inf:
                raise ModelError(f"{name}={getattr(self, name)}: must be > 0 and finite")


@dataclass(frozen=True)
class NoiseDraw:
    """One message. until: seconds since 1970-01-01 UTC, when a new one may be drawn. vector: (dim,) float32."""

    bundle_version: str
    epsilon: float
    until: float
    vector: npt.NDArray[np.float32] = field(repr=False)
    unknown: Unknown = field(default_factory=dict, repr=False)

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        return {
            **self.unknown,
            "bundle_version": self.bundle_version,
            "epsilon": self.epsilon,
            "until": self.until,
            "vector": base64.b64encode(self.vector.astype("<f4").tobytes()).decode(),
        }

    @staticmethod
    def decode(stored: dict[str, Any] | list[Any]) -> NoiseDraw:
        """Read the message of encode; format 1 had an array of the four values."""
        if isinstance(stored, list):
            stored = dict(zip(_DRAW, stored, strict=True))
        vector = np.frombuffer(base64.b64decode(stored["vector"]), "<f4")
        unknown = unknown_fields(stored, _DRAW)
        return NoiseDraw(stored["bundle_version"], stored["epsilon"], stored["until"], vector, unknown)


@dataclass(frozen=True)
class NoiseAccount:
    """The vault's record: messages that may still be repeated, and what all that were ever drawn cost together."""

    drawn: int = 0
    epsilon: float = 0.0
    draws: tuple[NoiseDraw, ...] = ()
    unknown: Unknown = field(default_factory=dict, repr=False)

    def held(self, bundle_version: str, epsilon: float, now_s: float) -> NoiseDraw | None:
        """Return the message to repeat, if there is one."""
        for draw in self.draws:
            if (draw.bundle_version, draw.epsilon) == (bundle_version, epsilon) and now_s < draw.until:
                return draw
        return None

    def with_draw(
        self,
        bundle_version: str,
        policy: NoisePolicy,
        now_s: float,
        draw: Callable[[], npt.NDArray[np.float32]],
    ) -> tuple[NoiseAccount, NoiseDraw]:
        """Draw one more message, to be stored before it is sent.

        The account stays itself when one is to be repeated.

        Raises BudgetExhausted when a new message would exceed max_epsilon.
        """
        current = self.held(bundle_version, policy.epsilon, now_s)
        if current is not None:
            return self, current
        after = self.epsilon + policy.epsilon
        if after > policy.max_epsilon * (1 + 1e-12):
            raise BudgetExhausted(
                f"mode noised: epsilon={after:g} over this device's lifetime: must be at most {policy.max_epsilon:g}; "
                "use mode device or cluster"
            )
        fresh = NoiseDraw(bundle_version, policy.epsilon, now_s + policy.period_days * DAY_S, draw())
        still = tuple(message for message in self.draws if now_s < message.until)
        return replace(self, drawn=self.drawn + 1, epsilon=after, draws=(*still, fresh)), fresh

    def encode(self) -> dict[str, Any]:
        """Encode for the vault's JSON."""
        draws = [draw.encode() for draw in self.draws]
        return {**self.unknown, "drawn": self.drawn, "epsilon": self.epsilon, "draws": draws}

    @staticmethod
    def decode(stored: dict[str, Any]) -> NoiseAccount:
        """Read the account of encode."""
        draws = tuple(NoiseDraw.decode(draw) for draw in stored["draws"])
        return NoiseAccount(stored["drawn"], stored["epsilon"], draws, unknown_fields(stored, _ACCOUNT))
