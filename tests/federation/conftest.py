from __future__ import annotations

from pathlib import Path

import pytest

from federation.device.device import Device
from recsys.catalogue.bundle import Bundle
from tests.shop import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "b", unavailable=(5, 6))


@pytest.fixture
def device(tmp_path: Path, bundle: Bundle) -> Device:
    return Device.create(tmp_path / "home", consent="observe", key_store="file", bundle=bundle)
