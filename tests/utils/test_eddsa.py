"""Tests of the Ed25519 key class."""

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
    "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "00" * 32, "00" * 31 + "80",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "01" + "00" * 30 + "80", "ec" + "ff" * 31, "ed" + "ff" * 30 + "7f", "ed" + "ff" * 31,
    "ee" + "ff" * 30 + "7f", "ee" + "ff" * 31,
]  # fmt: skip


@pytest.mark.parametrize(
    "point",
    # The last is not canonical: y = p + 18, of whatever order.
    [*map(bytes.fromhex, SMALL_ORDER), b"\xff" * 31 + b"\x7f"],
    ids=bytes.hex,
)
def test_a_key_of_small_order_or_in_another_encoding_is_refused(point: bytes) -> None:
    with pytest.raises(JWKError):
        Ed25519Key({**RFC_JWK, "x": base64url(point)}, "EdDSA")
