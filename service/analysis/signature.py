"""What pins a model package: one digest over its files, and who has signed that digest."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.analysis.model_package import (
    CARD_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    ModelPackageError,
    file_sha256,
    read_manifest,
)

SIGNATURE_FILE = "signature.json"
PINNED_FILES = (MANIFEST_FILE, MODEL_FILE, CARD_FILE)
"""In the order of the digest; the card may be absent."""
_PURPOSE = "SecondRead model package"


class Signature(BaseModel):
    """``signature.json``: an Ed25519 signature of the package's digest.

    sha256: of the package, see ``package_sha256``.
    public_key, signature: 32 and 64 bytes in Base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    algorithm: Literal["ed25519"] = "ed25519"
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    public_key: str
    signature: str


def package_sha256(folder: Path) -> str:
    """Hex sha256 of the lines that ``sha256sum manifest.json model.onnx model_card.md`` prints.

    Raises ModelPackageError if a file cannot be read, or the manifest is none.
    """
    read_manifest(folder)
    lines = []
    for name in PINNED_FILES:
        path = folder / name
        if name == CARD_FILE and not path.exists():
            continue
        try:
            lines.append(f"{file_sha256(path)}  {name}\n")
        except OSError as error:
            raise ModelPackageError(f"{path} cannot be read: {error.strerror}") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def signed_bytes(sha256: str) -> bytes:
    """What a key signs; its own words, so that no signature for another purpose fits."""
    return f"{_PURPOSE}\n{sha256}\n".encode()


def require_signature(folder: Path, sha256: str, trusted_keys: Sequence[str]) -> str | None:
    """The public key that has signed the package; None for an unsigned one.

    sha256: of the package. trusted_keys: Base64; if there are any, one of them must have signed.
    A signature that is there must fit in any case. Raises ModelPackageError.
    """
    found = _read(folder)
    if found is None:
        if trusted_keys:
            raise ModelPackageError(
                f"{folder} is not signed, and analysis.trusted_keys asks for it: have it signed by "
                "`secondread-model sign`"
            )
        return None
    if trusted_keys and found.public_key not in trusted_keys:
        raise ModelPackageError(
            f"{folder} is signed by {found.public_key}, which is not in analysis.trusted_keys"
        )
    if found.sha256 != sha256 or not _fits(found):
        raise ModelPackageError(
            f"{folder} is not what was signed: a file of it was changed; copy the package again, "
            "or have it signed anew"
        )
    return found.public_key


def _read(folder: Path) -> Signature | None:
    path = folder / SIGNATURE_FILE
    try:
        return Signature.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ModelPackageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValidationError, UnicodeDecodeError):
        raise ModelPackageError(f"{path} is not a signature of ours") from None


def _fits(found: Signature) -> bool:
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(found.public_key, validate=True))
        signature = base64.b64decode(found.signature, validate=True)
        key.verify(signature, signed_bytes(found.sha256))
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True
