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
# RFC 8032 §7.1, test 3.
PUBLIC = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
SIGNATURE = (
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67"
    "f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


def test_the_example_of_rfc_8037_verifies_under_its_key_alone() -> None:
    for _ in range(2):
        eddsa.register()
    for name in eddsa.ALGORITHMS:
        assert isinstance(jwk.construct(RFC_JWK, name), Ed25519Key)
    key = Ed25519Key(RFC_JWK, "EdDSA")
    assert jws.verify(RFC_TOKEN, key, ["EdDSA"]) == b"Example of Ed25519 signing"
    with pytest.raises(JWSError):
        jws.verify(RFC_TOKEN, Ed25519Key(SigningKey().jwk, "EdDSA"), ["EdDSA"])


# The points of order 1, 2, 4 and 8; then those with y >= p that are of small order.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def test_a_vector_of_rfc_8032_verifies() -> None:
    key = Ed25519Key({**RFC_JWK, "x": base64url(bytes.fromhex(PUBLIC))}, "Ed25519")
    message, signature = bytes.fromhex("af82"), bytes.fromhex(SIGNATURE)
    assert key.verify(message, signature)
    assert not key.verify(message + b"\0", signature)
    for wrong in (signature[:-1], b""):
        assert not key.verify(message, wrong)


@pytest.mark.parametrize(
    ("changes", "algorithm"),
    [
        *(({"kty": kty}, "EdDSA") for kty in ("EC", None)),
        *(({"crv": crv}, "EdDSA") for crv in ("Ed448", "X25519", None)),
        *(({}, algorithm) for algorithm in ("ES256", "none", "eddsa")),
        *(({"x": base64url(bytes(length))}, "EdDSA") for length in (0, 3, 31, 33)),
        ({"x": "é"}, "EdDSA"),
        *(({"x": base64url(bytes.fromhex(point))}, "EdDSA") for point in SMALL_ORDER),
        # Not canonical: y = p + 18, of whatever order.
        ({"x": base64url(b"\xff" * 31 + b"\x7f")}, "EdDSA"),
    ],
)
def test_another_kind_of_key_is_refused(changes: dict[str, Any], algorithm: str) -> None:
    with pytest.raises((JWKError, ValueError)):
        Ed25519Key({**RFC_JWK, **changes}, algorithm)
