"""A Profile does not leave by accident: not by printing, logging, pickling, copying or formatting."""

from __future__ import annotations

import copy
import logging
import multiprocessing.reduction
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO, StringIO

import numpy as np
import pytest

from recsys.model.profile import Profile

SECRET = 0.12345678


@dataclass(frozen=True)
class Holder:
    profile: Profile


@pytest.fixture
def profile() -> Profile:
    return Profile(np.full(3, SECRET, dtype=np.float32), "3f2a")


@pytest.mark.parametrize("form", [repr, str, "{}".format, "{0!r}".format, lambda one: f"{Holder(one)} {[one]}"])
def test_it_prints_its_size_and_bundle_and_no_value(profile: Profile, form: Callable[[Profile], str]) -> None:
    assert "Profile(dim=3, bundle_version='3f2a')" in form(profile)
    assert "0.123" not in form(profile)


def test_a_log_line_holds_no_value(profile: Profile) -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    record = logging.LogRecord("device", logging.ERROR, __file__, 1, "made %s", (profile,), None)
    handler.emit(record)
    assert stream.getvalue() == "made Profile(dim=3, bundle_version='3f2a')\n"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_protocol_pickles_it(profile: Profile, protocol: int) -> None:
    with pytest.raises(TypeError, match="stays on its device"):
        pickle.dumps(profile, protocol)
    with pytest.raises(TypeError, match="stays on its device"):
        pickle.dumps({"state": [Holder(profile)]}, protocol)


def test_no_process_pool_sends_it(profile: Profile) -> None:
    with pytest.raises(TypeError, match="stays on its device"):
        multiprocessing.reduction.ForkingPickler(BytesIO()).dump(profile)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: copy.deepcopy([one])])
def test_copies_are_refused_because_nothing_needs_one(profile: Profile, copied: Callable[[Profile], object]) -> None:
    with pytest.raises(TypeError, match="stays on its device"):
        copied(profile)


def test_turning_a_dataclass_into_a_dict_does_not_carry_it_along(profile: Profile) -> None:
    with pytest.raises(TypeError, match="stays on its device"):
        asdict(Holder(profile))


def test_it_has_no_dict_to_serialize(profile: Profile) -> None:
    with pytest.raises(TypeError):
        vars(profile)


def test_its_vector_is_a_copy_of_what_it_was_made_from_and_read_only() -> None:
    made_from = np.ones(2, dtype=np.float32)
    profile = Profile(made_from, "v")
    made_from[0] = 9.0
    assert profile.vector.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        profile.vector[0] = 2.0
    with pytest.raises(AttributeError):
        profile.vector = made_from  # type: ignore[misc]
