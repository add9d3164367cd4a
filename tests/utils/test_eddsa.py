"""Tests of the Ed25519 key class."""

from typing import Any

import pytest
from jose import jwk, jws
from jose.exceptions import JWKError, JWSError

from tests.support.tokens import SigningKey, base64url
from utils import eddsa
from utils.eddsa import Ed25519Key

# RFC 8037, appendix A.
RFC_JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
RFC_TOKEN = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    ".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)


def test_the_example_of_rfc_8037_verifies() -> None:
    eddsa.register()
    key = Ed25519Key(RFC_JWK, "EdDSA")
    assert jws.verify(RFC_TOKEN, key, ["EdDSA"]) == b"Example of Ed25519 signing"


def test_the_example_of_rfc_8037_does_not_verify_under_another_key() -> None:
    with pytest.raises(JWSError):
        jws.verify(RFC_TOKEN, Ed25519Key(SigningKey().jwk, "EdDSA"), ["EdDSA"])


# RFC 8032 §7.1, tests 1 to 3: public key, message, signature.
@pytest.mark.parametrize(
    ("public", "message", "signature"),
    [
        (
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e"
                "39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            (
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f"
                "3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
        (
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            (
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67"
                "f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
            ),
        ),
    ],
)
def test_the_vectors_of_rfc_8032_verify(public: str, message: str, signature: str) -> None:
    entry = {"kty": "OKP", "crv": "Ed25519", "x": base64url(bytes.fromhex(public))}
    key = Ed25519Key(entry, "Ed25519")
    raw, signed = bytes.fromhex(message), bytes.fromhex(signature)
    assert key.verify(raw, signed)
    assert not key.verify(raw + b"\0", signed)
    assert not key.verify(raw, signed[:-1])
    assert not key.verify(raw, b"")


@pytest.mark.parametrize(
    ("changes", "algorithm"),
    [
        ({"kty": "EC"}, "EdDSA"),
        ({"kty": None}, "EdDSA"),
        ({"crv": "Ed448"}, "EdDSA"),
        ({"crv": "X25519"}, "EdDSA"),
        ({"crv": None}, "EdDSA"),
        ({}, "ES256"),
        ({}, "none"),
        ({}, "eddsa"),
    ],
)
def test_another_kind_of_key_is_refused(changes: dict[str, Any], algorithm: str) -> None:
    with pytest.raises(JWKError):
        Ed25519Key({**RFC_JWK, **changes}, algorithm)


@pytest.mark.parametrize("x", ["", "AAAA", base64url(bytes(31)), base64url(bytes(33)), "é"])
def test_a_key_of_another_length_is_refused(x: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Ed25519Key({**RFC_JWK, "x": x}, "EdDSA")


def test_registering_twice_changes_nothing() -> None:
    for _ in range(2):
        eddsa.register()
        for name in eddsa.ALGORITHMS:
            assert isinstance(jwk.construct(RFC_JWK, name), Ed25519Key)
