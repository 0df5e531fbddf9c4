"""What to show: item table, profile, scoring, trend, retrieval, metrics, evaluation, bundle."""

from typing import TYPE_CHECKING

from data.lazy import lazy_names

if TYPE_CHECKING:
    from recsys.catalogue.bundle import Bundle as Bundle
    from recsys.catalogue.bundle import save_bundle as save_bundle
    from recsys.catalogue.content import ContentMap as ContentMap
    from recsys.catalogue.index_files import open_index as open_index
    from recsys.catalogue.live_items import ItemChange as ItemChange
    from recsys.catalogue.live_items import LiveItems as LiveItems
    from recsys.evaluation.arms import Personalized as Personalized
    from recsys.evaluation.evaluation import Evaluation as Evaluation
    from recsys.evaluation.evaluation import compare as compare
    from recsys.evaluation.evaluation import evaluate as evaluate
    from recsys.evaluation.recommender import Recommender as Recommender
    from recsys.model.items import ItemTable as ItemTable
    from recsys.model.profile import Profile as Profile
    from recsys.model.profile import ProfileConfig as ProfileConfig
    from recsys.model.profile import make_profile as make_profile
    from recsys.search.retrieval import ItemIndex as ItemIndex

__getattr__ = lazy_names(
    __name__,
    {
        "Bundle": "recsys.catalogue.bundle",
        "ContentMap": "recsys.catalogue.content",
        "Evaluation": "recsys.evaluation.evaluation",
        "ItemChange": "recsys.catalogue.live_items",
        "ItemIndex": "recsys.search.retrieval",
        "ItemTable": "recsys.model.items",
        "LiveItems": "recsys.catalogue.live_items",
        "Personalized": "recsys.evaluation.arms",
        "Profile": "recsys.model.profile",
        "ProfileConfig": "recsys.model.profile",
        "Recommender": "recsys.evaluation.evaluation",
        "compare": "recsys.evaluation.evaluation",
        "evaluate": "recsys.evaluation.evaluation",
        "make_profile": "recsys.model.profile",
        "open_index": "recsys.catalogue.index_files",
        "save_bundle": "recsys.catalogue.bundle",
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
