"""A real S3 server for the tests of a module, and a bucket of its own for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.monitoring.metrics import Metrics
from service.s3_spool import S3Spool
from service.spool_opening import open_spool
from tests.conftest import running
from tests.s3.server import S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(S3Server(tmp_path_factory.mktemp("swift"))) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return s3.make_bucket()


@pytest.fixture
def open_host(s3: S3Server, bucket: str, tmp_path: Path) -> Callable[..., S3Spool]:
    """``open_host("a")``: the spool as a host sees it that shares no disk with the others."""

    def open_as(name: str, metrics: Metrics | None = None, **section: object) -> S3Spool:
        spool = open_spool(s3.settings(bucket, tmp_path / name, spool=section), metrics)
        assert isinstance(spool, S3Spool)
        spool.prepare()
        return spool

    return open_as
