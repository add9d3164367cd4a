"""Hostile tokens from the lists of RFC 8725 and RFC 7515.

Each is a good token with one fault: without it the service would accept the token.
"""

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Callable
from functools import partial
from math import inf, nan
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, good_claims

Keys = dict[str, SigningKey]
"""A key for each name of an algorithm."""
Forge = Callable[[Keys], str]
Sign = Callable[[Keys, bytes], bytes]

HEADER, CLAIMS, SIGNATURE = range(3)
NOW = int(time.time())
DEEP = 9000
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def edited(part: int, edit: Callable[[str], str | bytes]) -> Forge:
    """Edit the JSON text of the header or the claims, and sign the result."""

    def forge(keys: Keys) -> str:
        header = {"alg": "EdDSA", "kid": keys["EdDSA"].kid}
        texts: list[str | bytes] = [json.dumps(header), json.dumps(good_claims())]
        texts[part] = edit(str(texts[part]))
        return keys["EdDSA"].raw_token(*(t.encode() if isinstance(t, str) else t for t in texts))

    return forge


def with_field(name: str, value: Any) -> Callable[[str], str]:
    """Set a field; `...` removes it."""

    def edit(text: str) -> str:
        fields = {**json.loads(text), name: value}
        if value is ...:
            del fields[name]
        # Numbers that are valid JSON, and that Python reads as infinite.
        return json.dumps(fields).replace("Infinity", "1e400")

    return edit


def added(field: str | bytes) -> Callable[[str], bytes]:
    """Add a field, as it is, at the end of a JSON object."""
    raw = field if isinstance(field, bytes) else field.encode()
    return lambda text: text[:-1].encode() + b", " + raw + b"}"


def constant(text: str) -> Callable[[Any], str]:
    return lambda _: text


def encoded(part: int, change: Callable[[str], str]) -> Forge:
    """Change the base64url text of one part, and sign the first two as they then are."""

    def forge(keys: Keys) -> str:
        # The field and the blanks make sure that there are all kinds of characters to change.
        header = {"alg": "EdDSA", "kid": keys["EdDSA"].kid, "x": "???>>>~~~"}
        claims = {**good_claims(), "x": "???>>>~~~"}
        texts = [json.dumps(each).encode() for each in (header, claims)]
        parts = [base64url(text + b" " * ((1 - len(text)) % 3)) for text in texts]
        if part != SIGNATURE:
            parts[part] = change(parts[part])
        parts = keys["EdDSA"].seal(*parts).split(".")
        if part == SIGNATURE:
            parts[part] = change(parts[part])
        return ".".join(parts)

    return forge


def leftover_bits(part: str) -> str:
    """Set one of the bits that the last character has too many (RFC 4648 §3.5)."""
    assert len(part) % 4 in (2, 3)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def inserted(text: str) -> Callable[[str], str]:
    return lambda part: f"{part[:5]}{text}{part[5:]}"


def rewritten(template: str) -> Forge:
    """Put the parts of a good token together in another way."""
    return lambda keys: template.format(*keys["EdDSA"].token().split("."))


def swapped(part: int, algorithm: str) -> Forge:
    """Put another token's part into a good one, both signed by the same key."""

    def forge(keys: Keys) -> str:
        mine, other = (keys[algorithm].token({"x": each}).split(".") for each in ("mine", "other"))
        mine[part] = other[part]
        return ".".join(mine)

    return forge


def signed(algorithm: str, kid_of: str, sign: Sign) -> Forge:
    """Sign a good token in another way; `algorithm` is what its header says."""

    def forge(keys: Keys) -> str:
        header = {"alg": algorithm, "kid": keys[kid_of].kid}
        text = ".".join(base64url(json.dumps(part).encode()) for part in (header, good_claims()))
        return f"{text}.{base64url(sign(keys, text.encode()))}"

    return forge


def signer(by: str, of: Callable[[bytes], bytes] = bytes) -> Sign:
    """Sign with the key of that name, and perhaps something else than the text."""
    return lambda keys, text: keys[by].sign(of(text))


def decoded(text: bytes) -> bytes:
    return b".".join(base64.urlsafe_b64decode(each + b"===") for each in text.split(b"."))


def signature(algorithm: str, change: Callable[[bytes], bytes]) -> Forge:
    """Change the signature of a good token."""
    return signed(algorithm, algorithm, lambda keys, text: change(keys[algorithm].sign(text)))


def mac(algorithm: str, kid_of: str, secret: Callable[[SigningKey], bytes]) -> Forge:
    """Sign with HMAC, keyed with what everybody knows."""
    hashing = f"sha{algorithm[2:]}"
    return signed(
        algorithm, kid_of, lambda keys, text: hmac.digest(secret(keys[kid_of]), text, hashing)
    )


def private(algorithm: str, name: str, *scheme: object) -> Forge:
    """Sign with the private key of that name and another scheme than its own."""
    return signed(algorithm, name, lambda keys, text: keys[name].private.sign(text, *scheme))


def stranger(**fields: Any) -> Forge:
    """Sign with the attacker's key; `THEIRS` is its JWK, and the kid is ours by default."""

    def forge(keys: Keys) -> str:
        key = SigningKey()
        offered = {name: key.jwk if value == "THEIRS" else value for name, value in fields.items()}
        return key.token({"kid": keys["EdDSA"].kid, **offered})

    return forge


def plus_order(signature: bytes) -> bytes:
    """Add the group's order to S: the same point, and another signature (RFC 8032 §5.1.7)."""
    number = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    return signature[:32] + number.to_bytes(32, "little")


NOT_TOKENS: list[str] = [
    *("token", "e30", ".", "..", "....", "." * 17 * 1024, "A" * 40 * 1024),
    base64url(b'{"alg":"dir","enc":"A256GCM"}') + "..YWFhYWFhYWFhYWFh.YWFh.YWFhYWFhYWFh",
]
REWRITTEN: list[str] = [
    *("{0}.{1}", "{1}.{2}", "{0}.{1}.{2}.{2}", "{0}.{1}.{2}.", ".{0}.{1}.{2}", ".{1}.{2}"),
    *("{0}.{1}.{2}.{2}.{2}", "{0}..{2}", "{0}.{1}.", '"{0}.{1}.{2}"', "Bearer {0}.{1}.{2}"),
    *("{0}.{1}.{2},{0}.{1}.{2}", "{0}.{1}.{2} {0}.{1}.{2}", "{0}%2E{1}%2E{2}", "{0}.{1}.{2}#"),
    '{{"protected": "{0}", "payload": "{1}", "signature": "{2}"}}',
    # Without a signature (RFC 7518 §3.6).
    *(
        base64url(json.dumps({"alg": each}).encode()) + ".{1}."
        for each in ("none", "None", "NONE", "nOnE")
    ),
]
NOT_BASE64URL: dict[str, Callable[[str], str]] = {
    "leftover bits": leftover_bits,
    "padding": lambda part: part + "=" * (-len(part) % 4),
    "a lone padding character": lambda part: f"{part}=",
    "a length that base64 cannot have": lambda part: part[: len(part) // 4 * 4] + "A",
    **{f"{text!a} in it": inserted(text) for text in (" ", "\t", "é", "\uff21", "\u200b")},
}
NOT_JSON_OBJECTS: dict[str, Callable[[str], str | bytes]] = {
    "no JSON": lambda _: "EdDSA",
    "a list": lambda text: f"[{text}]",
    **{text: constant(text) for text in ('"sub"', "1", "null", "true", "[" * DEEP)},
    "a comma too many": added('"x": 1,'),
    "a comment": added('"x": 1 /* signed */'),
    "single quotes": added("'x': 1"),
    "trailing data": lambda text: f"{text}{{}}",
    "its fields twice": lambda text: f"{text[:-1]}, {text[1:]}",
    "alg none, then the good one": lambda text: f'{{"alg": "none", "alg": "EdDSA", {text[1:]}',
    "a field twice, once escaped": added('"x": 1, "\\u0078": 2'),
    "a nested field twice": added('"x": [{"y": 1, "y": 2}]'),
    "nested lists": added(f'"x": {"[" * DEEP}'),
    "nested objects": added('"x": ' + '{"a":' * 2000),
    **{number: added(f'"x": {number}') for number in ("NaN", "Infinity", "-Infinity", "9" * 5000)},
    **{f"{raw!a} in a string": added(f'"x": "{raw}"') for raw in ("\0", "\n", "a" * 17 * 1024)},
    **{f"{raw!a} before it": partial(str.__add__, raw) for raw in ("\0", "\ufeff")},
    **{name: partial(str.encode, encoding=name) for name in ("utf-16", "utf-16-le", "utf-32")},
    **{
        f"{raw!r} in UTF-8": added(b'"x": "' + raw + b'"')
        for raw in (b"\xff", b"\xc0\xae", b"\xed\xa0\x80")
    },
}
NOT_STRINGS = [None, 1, True, 1.5, ["EdDSA"], [], {"a": 1}]
NOT_NUMBERS = [
    *(None, True, "9999999999", "", [9999999999], {"at": 9999999999}),
    *(inf, -inf, nan, int("9" * 4000), -int("9" * 4000)),
]
NOT_YET = [NOW + 3600, NOW * 1000, 10**300, NOW + 3600.5]
HEADER_FIELDS: dict[str, list[Any]] = {
    "crit": [["exp"], [], None, ["x"], ["b64"]],
    "b64": [True, False, None],
    "typ": [
        *(None, 1, True, ["JWT"], {"JWT": 1}, "JWS", "JOSE", "JWE", "dpop+jwt", "secevent+jwt"),
        *("logout+jwt", "kb+jwt", "application/jwt", "JWT ", ""),
    ],
    # All over a good signature.
    "alg": [
        *(..., *NOT_STRINGS, "none", "None", "NONE", "nOnE", "", " ", "*", "EdDSA ", "eddsa"),
        *("ED25519", "Ed448", "ES256", "ES256K", "RS256", "PS256", "HS256", "RSA1_5", "dir"),
        *("ECDH-ES", "A128KW", "EdDSA\0", "\ud800", "__class__"),
    ],
    # Without one, two keys fit.
    "kid": [
        *(..., *NOT_STRINGS, "unknown", "", " ", "null", "0", "k" * 10_000, "\ud800"),
        *("../../../../../../dev/null", "/dev/null\0.pem", "x' UNION SELECT 'secret' --"),
        *("$(id)|`id`;id", "{{7*7}}${7*7}", "http://127.0.0.1:1/latest/meta-data"),
        "a\r\nX-Injected: 1",
    ],
}
CLAIMS_FIELDS: dict[str, list[Any]] = {
    "sub": [..., *NOT_STRINGS],
    "iss": [
        *(..., *NOT_STRINGS, [ISSUER], {ISSUER: 1}, "", "*", "https://attacker.example"),
        *(f"{ISSUER}/", ISSUER.upper(), f" {ISSUER}", f"{ISSUER}0", ISSUER[:-1], "\ud800"),
        *(f"{ISSUER}@attacker.example", f"{ISSUER}\0"),
    ],
    "aud": [
        *(..., None, 1, True, {AUDIENCE: 1}, [], [None], [AUDIENCE, 1], [AUDIENCE, None]),
        *([[AUDIENCE]], "", "*", "https://other.example", f"{AUDIENCE}/", AUDIENCE.upper()),
        *(f"{AUDIENCE},x", AUDIENCE[:-1], ["https://other.example"], [f"{AUDIENCE}/"], ["\ud800"]),
    ],
    "exp": [..., *NOT_NUMBERS, "2100-01-01T00:00:00Z", NOW - 60, NOW - 11, 0, -1, -(10**300)],
    "nbf": [*NOT_NUMBERS, *NOT_YET],
    "iat": [*NOT_NUMBERS, *NOT_YET],
    "email": [1, True, ["a@example.com"], {"address": "a@example.com"}],
}
SIGNATURES: list[Callable[[bytes], bytes]] = [
    *(lambda s: s[:-1], lambda s: s[: len(s) // 2], lambda s: s[:1], lambda s: s + b"\0"),
    *(lambda s: b"\0" + s, lambda s: s * 2, lambda s: s[::-1], lambda s: base64url(s).encode()),
    *(lambda s: bytes(len(s)), lambda s: b"\xff" * len(s), lambda s: bytes(len(s) - 1) + b"\1"),
    # Of both halves, which are numbers or points: exchanged, either one zero, both one.
    *(lambda s: s[len(s) // 2 :] + s[: len(s) // 2], lambda s: (bytes(len(s) // 2) + s)[: len(s)]),
    *(
        lambda s: s[: len(s) // 2].ljust(len(s), b"\0"),
        lambda s: b"\1".rjust(len(s) // 2, b"\0") * 2,
    ),
]
OTHER_SIGNATURES: dict[str, list[Callable[[bytes], bytes]]] = {
    "EdDSA": [lambda _: b"\1" + bytes(63), plus_order],
    "ES256": [
        lambda _: P256_ORDER.to_bytes(32, "big") * 2,
        lambda s: b"\0" + s[:32] + b"\0" + s[32:],
    ],
}
SECRETS: dict[str, Callable[[SigningKey], bytes]] = {
    "the public PEM": lambda key: bytes(
        key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "the public JWK": lambda key: json.dumps(key.jwk).encode(),
    "its number": lambda key: str(key.jwk.get("x") or key.jwk["n"]).encode(),
    "the kid": lambda key: key.kid.encode(),
    "an empty secret": lambda _: b"",
}
PSS = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
WRONGLY_SIGNED: dict[str, Forge] = {
    **{
        f"{algorithm} with {name} of {kid_of}": mac(algorithm, kid_of, secret)
        for algorithm, kid_of in [
            *(("HS256", "EdDSA"), ("HS256", "RS256"), ("HS384", "RS384"), ("HS512", "ES512")),
            # The algorithm of the key, and not its signature.
            ("RS256", "RS256"),
        ]
        for name, secret in SECRETS.items()
    },
    # The key that signs, the algorithm in the header, and the key whose kid it has.
    **{
        f"{by} signs, alg is {algorithm}, kid that of {kid_of}": signed(
            algorithm, kid_of, signer(by)
        )
        for by, algorithm, kid_of in [
            *(("ES256", "ES256", "EdDSA"), ("EdDSA", "EdDSA", "ES256")),
            *(("EdDSA", "EdDSA", "Ed25519"), ("ES256", "EdDSA", "ES256")),
            *(("ES256", "ES384", "ES256"), ("ES384", "ES256", "ES384")),
            ("RS256", "RS256", "ES256"),
        ]
    },
    "RS512 by a key whose alg is RS256": private(
        "RS512", "RS256", padding.PKCS1v15(), hashes.SHA512()
    ),
    "SHA-512 as RS256": private("RS256", "RS256", padding.PKCS1v15(), hashes.SHA512()),
    "SHA-1 as RS256": private("RS256", "RS256", padding.PKCS1v15(), hashes.SHA1()),  # noqa: S303
    "RSA-PSS as PS256": private("PS256", "RS256", PSS, hashes.SHA256()),
    "RSA-PSS as RS256": private("RS256", "RS256", PSS, hashes.SHA256()),
    "ES256 in DER": private("ES256", "ES256", ec.ECDSA(hashes.SHA256())),
    "ES512 in DER": private("ES512", "ES512", ec.ECDSA(hashes.SHA512())),
    **{
        f"another key with {offered}": stranger(**offered)
        for offered in (
            *({}, {"kid": "attacker"}, {"kid": None}),
            *({"jwk": "THEIRS"}, {"jwk": "THEIRS", "kid": "a"}, {"jwk": "THEIRS", "kid": None}),
            {"jku": "https://attacker.example/jwks", "kid": "attacker"},
            {"x5u": "https://attacker.example/x5u", "kid": "attacker"},
            {"x5c": ["MIIBszCCAVmgAwIBAgIUQ0E"], "kid": "attacker"},
            {"x5t": "dGh1bWI", "kid": "attacker"},
        )
    },
    "kid in the other case": lambda keys: keys["EdDSA"].token({"kid": keys["EdDSA"].kid.upper()}),
    "kid with a blank": lambda keys: keys["EdDSA"].token({"kid": keys["EdDSA"].kid + " "}),
    "the claims alone": signed("EdDSA", "EdDSA", signer("EdDSA", lambda t: t.split(b".")[1])),
    "a digest": signed("EdDSA", "EdDSA", signer("EdDSA", lambda t: hashlib.sha512(t).digest())),
    "the decoded parts": signed("EdDSA", "EdDSA", signer("EdDSA", decoded)),
    **{
        f"part {part} of another token of {algorithm}": swapped(part, algorithm)
        for part in range(3)
        for algorithm in ("EdDSA", "ES256", "RS256")
    },
}
PARTS = {"header": HEADER, "claims": CLAIMS, "signature": SIGNATURE}
SIGNED_PARTS = {"header": HEADER, "claims": CLAIMS}
HOSTILE: dict[str, Forge] = {
    **{f"no token {text:.40}": constant(text) for text in NOT_TOKENS},
    **{f"rewritten {number}": rewritten(each) for number, each in enumerate(REWRITTEN)},
    **{
        f"{name} with {fault}": encoded(part, change)
        for name, part in PARTS.items()
        for fault, change in NOT_BASE64URL.items()
    },
    **{
        f"{name} in the standard alphabet": encoded(
            part, lambda text: text.replace("-", "+").replace("_", "/")
        )
        for name, part in SIGNED_PARTS.items()
    },
    **{
        f"{name}: {fault:.40}": edited(part, edit)
        for name, part in SIGNED_PARTS.items()
        for fault, edit in NOT_JSON_OBJECTS.items()
    },
    "claims: compressed": lambda keys: keys["EdDSA"].raw_token(
        {"alg": "EdDSA", "kid": keys["EdDSA"].kid, "zip": "DEF"},
        zlib.compress(json.dumps(good_claims()).encode()),
    ),
    **{
        f"{name} of {part}: {number}": edited(part, with_field(name, value))
        for part, table in ((HEADER, HEADER_FIELDS), (CLAIMS, CLAIMS_FIELDS))
        for name, values in table.items()
        for number, value in enumerate(values)
    },
    **{
        f"signature {number} of {algorithm}": signature(algorithm, change)
        for algorithm in ("EdDSA", "ES256", "ES384", "ES512", "RS256")
        for number, change in enumerate([*SIGNATURES, *OTHER_SIGNATURES.get(algorithm, [])])
    },
    **{f"signed: {way}": forge for way, forge in WRONGLY_SIGNED.items()},
}
