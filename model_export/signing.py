"""Signs a model package, so that a service takes it from those alone whose keys it trusts."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.analysis.model_package import load_model_package
from service.analysis.signature import SIGNATURE_FILE, Signature, package_sha256, signed_bytes


def make_key(path: Path) -> str:
    """Write a new private key (PEM, PKCS #8, readable by its owner alone); returns its public key.

    Raises FileExistsError, or OSError.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(pem)
    return public_key(key)


def public_key(key: Ed25519PrivateKey) -> str:
    """As ``analysis.trusted_keys`` has it: 32 bytes in Base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign_package(folder: Path, key_file: Path) -> Signature:
    """Write the package's ``signature.json`` anew.

    Raises ModelPackageError, ValueError if the file is not a private Ed25519 key, or OSError.
    """
    load_model_package(folder)
    key = _read(key_file)
    sha256 = package_sha256(folder)
    signature = Signature(
        sha256=sha256,
        public_key=public_key(key),
        signature=base64.b64encode(key.sign(signed_bytes(sha256))).decode(),
    )
    (folder / SIGNATURE_FILE).write_text(signature.model_dump_json(indent=2), encoding="utf-8")
    return signature


def _read(key_file: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise ValueError(f"{key_file} is not an unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{key_file} is not an Ed25519 key: `secondread-model keygen` makes one")
    return key
