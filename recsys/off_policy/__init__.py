"""Off-policy estimates: what another policy would have earned, from a log of what was shown with which chance."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from recsys.off_policy.estimate import Estimate as Estimate
    from recsys.off_policy.estimate import compare_policies as compare_policies
    from recsys.off_policy.estimate import estimate_policy as estimate_policy
    from recsys.off_policy.overlap import Overlap as Overlap
    from recsys.off_policy.policies import SlotPolicy as SlotPolicy
    from recsys.off_policy.policies import TargetPolicy as TargetPolicy
    from recsys.off_policy.policy_report import OffPolicyReport as OffPolicyReport
    from recsys.off_policy.policy_report import evaluate_policy as evaluate_policy

__getattr__ = lazy_names(
    __name__,
    {
        "Estimate": "recsys.off_policy.estimate",
        "OffPolicyReport": "recsys.off_policy.policy_report",
        "Overlap": "recsys.off_policy.overlap",
        "SlotPolicy": "recsys.off_policy.policies",
        "TargetPolicy": "recsys.off_policy.policies",
        "compare_policies": "recsys.off_policy.estimate",
        "estimate_policy": "recsys.off_policy.estimate",
        "evaluate_policy": "recsys.off_policy.policy_report",
    },
)

__all__ = [
    "Estimate",
    "OffPolicyReport",
    "Overlap",
    "SlotPolicy",
    "TargetPolicy",
    "compare_policies",
    "estimate_policy",
    "evaluate_policy",
]
