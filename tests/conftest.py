"""Shared settings."""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from lambda_star.calibration.table import Table
from tests import tables

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("fast", deadline=None, derandomize=True, max_examples=5)
settings.register_profile("nightly", deadline=None, derandomize=True, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while tests are collected: imports leave little, and are looked through again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Take what the imports made out of every later garbage collection, of which trainers ask for many."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def table() -> Table:
    return Table.from_rows(tables.rows())


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    return tables.write_csv(tmp_path / "rows.csv", tables.rows())
