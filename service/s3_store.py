"""One bucket of a store that speaks S3: what is put is there whole, or not at all.

Every object goes up in one request, so that no part of one is ever left behind; S3 takes 5 GiB in
one, ten times what ingest takes. The request is signed over the SHA-256 of the body, which the
store compares before it answers. The digest is kept with the object, and compared when it is read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, BinaryIO

import botocore.session
from botocore.config import Config
from botocore.credentials import SharedCredentialProvider
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from service.config import ConfigurationError
from service.sections import SpoolSettings
from service.spool import SpoolFileDamaged, StoreError

_MISSING = "NoSuchKey"
_UNCHANGED = "304"
_CHUNK_BYTES = 1 << 20
_CHECK_SECONDS = 1.5
_ATTEMPTS = 3
_CONNECTIONS = 64


class S3Store:
    """Thread-safe. Raises StoreError where the store does not do what it is asked to.

    settings: bucket, address, credentials. failed: called with the name of each operation that
    failed after all its tries: ``put``, ``get``, ``list``, ``delete``, ``check``.
    Raises ConfigurationError if the credentials' file cannot be used.
    """

    def __init__(self, settings: SpoolSettings, failed: Callable[[str], object]) -> None:
        self._bucket = settings.bucket
        self._prefix = f"{settings.prefix.strip('/')}/".lstrip("/")
        self._failed = failed
        session = botocore.session.Session()
        self._client = _client(session, settings, settings.timeout, _ATTEMPTS)
        self._hasty_client = _client(session, settings, _CHECK_SECONDS, 1)

    def check(self) -> None:
        """Whether it answers, knows us and has the bucket; in a few seconds."""
        with self._asked("check"):
            self._hasty_client.list_objects_v2(Bucket=self._bucket, MaxKeys=1, Prefix=self._prefix)

    def put(self, name: str, content: BinaryIO) -> None:
        """Once it returns, the object is stored as it is. Raises OSError too, of ``content``."""
        digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
        content.seek(0)
        with self._asked("put"):
            self._client.put_object(Metadata={"sha256": digest}, Body=content, **self._named(name))

    def get(self, name: str, target: BinaryIO, unless_md5: str = "") -> bool | None:
        """Write an object to a file. False if there is none; None, and nothing is written, where
        it is still the one of which that MD5 is known. Raises SpoolFileDamaged, and OSError too,
        of ``target``.
        """
        condition = {"IfNoneMatch": f'"{unless_md5}"'} if unless_md5 else {}
        with self._asked("get"):
            try:
                found = self._client.get_object(**self._named(name), **condition)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code == _MISSING:
                    return False
                if code == _UNCHANGED:
                    return None
                raise
            digest = hashlib.sha256()
            for chunk in found["Body"].iter_chunks(_CHUNK_BYTES):
                digest.update(chunk)
                target.write(chunk)
            # Some stores give the name back as Sha256; what others have put there has none.
            told = {key.lower(): value for key, value in found["Metadata"].items()}
            if told.get("sha256", digest.hexdigest()) != digest.hexdigest():
                raise SpoolFileDamaged("the store gives back what was not put there")
        return True

    def written_at(self, name: str) -> datetime:
        """Raises FileNotFoundError where there is no such object."""
        for found in self._listed(name):
            if found["Key"] == self._prefix + name:
                return found["LastModified"]  # type: ignore[no-any-return]
        raise FileNotFoundError

    def names(self, prefix: str) -> Iterator[str]:
        """Of the objects whose names begin so, in order."""
        for found in self._listed(prefix):
            yield found["Key"].removeprefix(self._prefix)

    def remove(self, names: Iterable[str]) -> None:
        """Those that are there."""
        for name in names:
            with self._asked("delete"):
                self._client.delete_object(**self._named(name))

    def _listed(self, prefix: str) -> Iterator[Any]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._asked("list"):
            for page in pages:
                yield from page.get("Contents", ())

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    @contextmanager
    def _asked(self, operation: str) -> Iterator[None]:
        """botocore's words quote addresses and keys: none of them goes on."""
        try:
            yield
        except ClientError as error:
            self._failed(operation)
            raise StoreError(_refusal(error)) from None
        except (BotoCoreError, HTTPClientError) as error:
            self._failed(operation)
            raise StoreError(f"the store does not answer ({type(error).__name__})") from None
        except SpoolFileDamaged:
            self._failed(operation)
            raise


def _refusal(error: ClientError) -> str:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = re.sub(r"\W", "", str(error.response.get("Error", {}).get("Code", "")))[:40]
    return f"the store refuses ({status} {code})" if status < 500 else f"the store fails ({status})"


def _client(session: Any, settings: SpoolSettings, seconds: float, attempts: int) -> Any:
    return session.create_client(
        "s3",
        region_name=settings.region,
        endpoint_url=str(settings.endpoint) if settings.endpoint else None,
        verify=str(settings.ca_file) if settings.ca_file else None,
        **_keys(settings),
        config=Config(
            connect_timeout=seconds,
            read_timeout=seconds,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=_CONNECTIONS,
            # Other stores than Amazon's do not know the checksums that botocore would send.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if settings.endpoint else "auto",
                "payload_signing_enabled": True,
            },
        ),
    )


def _keys(settings: SpoolSettings) -> dict[str, str]:
    """Nothing where botocore is to find its own: a role of the machine or of the pod."""
    if settings.access_key:
        return {
            "aws_access_key_id": settings.access_key,
            "aws_secret_access_key": settings.secret_key.get_secret_value(),
        }
    if settings.credentials_file is None:
        return {}
    found = None
    with suppress(BotoCoreError, OSError, UnicodeDecodeError):
        found = SharedCredentialProvider(os.fspath(settings.credentials_file), "default").load()
    if found is None:
        raise ConfigurationError(
            f"{settings.credentials_file} cannot be used: it holds, under [default],"
            " aws_access_key_id and aws_secret_access_key"
        )
    return {"aws_access_key_id": found.access_key, "aws_secret_access_key": found.secret_key}
