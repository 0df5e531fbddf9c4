"""What to show: item table, profile, scoring, trend, retrieval, metrics, evaluation, bundle."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from recsys.arms import Personalized as Personalized
    from recsys.bundle import Bundle as Bundle
    from recsys.bundle import save_bundle as save_bundle
    from recsys.content import ContentMap as ContentMap
    from recsys.evaluation import Evaluation as Evaluation
    from recsys.evaluation import Recommender as Recommender
    from recsys.evaluation import compare as compare
    from recsys.evaluation import evaluate as evaluate
    from recsys.index_files import open_index as open_index
    from recsys.items import ItemTable as ItemTable
    from recsys.live import ItemChange as ItemChange
    from recsys.live import LiveItems as LiveItems
    from recsys.profile import Profile as Profile
    from recsys.profile import ProfileConfig as ProfileConfig
    from recsys.profile import make_profile as make_profile
    from recsys.retrieval import ItemIndex as ItemIndex

__getattr__ = lazy_names(
    __name__,
    {
        "Bundle": "recsys.bundle",
        "ContentMap": "recsys.content",
        "Evaluation": "recsys.evaluation",
        "ItemChange": "recsys.live",
        "ItemIndex": "recsys.retrieval",
        "ItemTable": "recsys.items",
        "LiveItems": "recsys.live",
        "Personalized": "recsys.arms",
        "Profile": "recsys.profile",
        "ProfileConfig": "recsys.profile",
        "Recommender": "recsys.evaluation",
        "compare": "recsys.evaluation",
        "evaluate": "recsys.evaluation",
        "make_profile": "recsys.profile",
        "open_index": "recsys.index_files",
        "save_bundle": "recsys.bundle",
    },
)

__all__ = [
    "Bundle",
    "ContentMap",
    "Evaluation",
    "ItemChange",
    "ItemIndex",
    "ItemTable",
    "LiveItems",
    "Personalized",
    "Profile",
    "ProfileConfig",
    "Recommender",
    "compare",
    "evaluate",
    "make_profile",
    "open_index",
    "save_bundle",
]
