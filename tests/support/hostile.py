"""Hostile tokens from the lists of RFC 8725 and RFC 7515.

Each is a good token with one fault: without it the service would accept the token.
"""

import base64
import hashlib
import hmac
import json
import re
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, good_claims

Keys = dict[str, SigningKey]
"""A key for each name of an algorithm."""
Forge = Callable[[Keys], str]

HEADER, CLAIMS, SIGNATURE = range(3)
PARTS = ("header", "claims", "signature")
NOW = int(time.time())
DEEP = 9000
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def edited(part: int, edit: Callable[[str], str | bytes]) -> Forge:
    """Edit the JSON text of the header or the claims, and sign the result."""

    def forge(keys: Keys) -> str:
        key = keys["EdDSA"]
        texts: list[str | bytes] = [
            json.dumps({"alg": "EdDSA", "kid": key.kid}),
            json.dumps(good_claims()),
        ]
        texts[part] = edit(str(texts[part]))
        return key.raw_token(*(t.encode() if isinstance(t, str) else t for t in texts))

    return forge


def with_field(name: str, value: str | None) -> Callable[[str], str]:
    """Set a field to a value that is given as JSON text; None removes it."""

    def edit(text: str) -> str:
        fields = {each: json.dumps(old) for each, old in json.loads(text).items() if each != name}
        if value is not None:
            fields[name] = value
        return "{" + ", ".join(f'"{each}": {text}' for each, text in fields.items()) + "}"

    return edit


def signed(
    sign: Callable[[Keys, bytes], bytes], algorithm: str = "EdDSA", kid_of: str | None = None
) -> Forge:
    """Sign a good token in another way; `algorithm` is what its header says."""

    def forge(keys: Keys) -> str:
        header = {"alg": algorithm, "kid": keys[kid_of or algorithm].kid}
        text = ".".join(base64url(json.dumps(part).encode()) for part in (header, good_claims()))
        return f"{text}.{base64url(sign(keys, text.encode()))}"

    return forge


def signature(change: Callable[[bytes], bytes], algorithm: str = "EdDSA") -> Forge:
    """Change the signature of a good token."""
    return signed(lambda keys, text: change(keys[algorithm].sign(text)), algorithm)


def signed_by(by: str, algorithm: str, kid_of: str) -> Forge:
    return signed(lambda keys, text: keys[by].sign(text), algorithm, kid_of)


def pem(key: SigningKey) -> bytes:
    encoded: bytes = key.private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def mac(secret: Callable[[SigningKey], bytes], kid_of: str = "EdDSA", alg: str = "HS256") -> Forge:
    """Sign with HMAC, keyed with what everybody knows."""
    return signed(
        lambda keys, text: hmac.digest(secret(keys[kid_of]), text, f"sha{alg[2:]}"), alg, kid_of
    )


def rsa(algorithm: str, hashing: hashes.HashAlgorithm, scheme: padding.AsymmetricPadding) -> Forge:
    return signed(
        lambda keys, text: keys["RS256"].private.sign(text, scheme, hashing), algorithm, "RS256"
    )


def der(algorithm: str, hashing: hashes.HashAlgorithm) -> Forge:
    return signed(
        lambda keys, text: keys[algorithm].private.sign(text, ec.ECDSA(hashing)), algorithm
    )


def stranger(**fields: Any) -> Forge:
    """Sign with the attacker's key; `THEIRS` is its JWK, and the kid is ours by default."""

    def forge(keys: Keys) -> str:
        key = SigningKey()
        offered = {name: key.jwk if value == "THEIRS" else value for name, value in fields.items()}
        return key.token({"kid": keys["EdDSA"].kid, **offered})

    return forge


def encoded(part: int, change: Callable[[str], str]) -> Forge:
    """Change the base64url text of one part, and sign the first two as they then are."""

    def forge(keys: Keys) -> str:
        # The field and the blanks make sure that there are all kinds of characters to change.
        header = {"alg": "EdDSA", "kid": keys["EdDSA"].kid, "x": "???>>>~~~"}
        texts = [
            json.dumps(each).encode() for each in (header, {**good_claims(), "x": "???>>>~~~"})
        ]
        parts = [base64url(text + b" " * ((1 - len(text)) % 3)) for text in texts]
        if part != SIGNATURE:
            parts[part] = change(parts[part])
        first, second, third = keys["EdDSA"].seal(*parts).split(".")
        return f"{first}.{second}.{change(third) if part == SIGNATURE else third}"

    return forge


def leftover_bits(part: str) -> str:
    """Set one of the bits that the last character has too many (RFC 4648 §3.5)."""
    assert len(part) % 4 in (2, 3)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def standard_alphabet(part: str) -> str:
    return part.replace("-", "+").replace("_", "/")


def inserted(text: str) -> Callable[[str], str]:
    return lambda part: f"{part[:5]}{text}{part[5:]}"


def rewritten(change: Callable[[str, str, str], str]) -> Forge:
    """Put the parts of a good token together in another way."""
    return lambda keys: change(*keys["EdDSA"].token().split("."))


def unsigned(algorithm: str) -> Callable[[str, str, str], str]:
    """Leave the signature out (RFC 7518 §3.6)."""
    header = base64url(json.dumps({"alg": algorithm}).encode())
    return lambda _, claims, __: f"{header}.{claims}."


def constant(text: str) -> Callable[[Any], str]:
    return lambda _: text


def swapped(part: int, algorithm: str = "EdDSA") -> Forge:
    """Put another token's part into a good one, both signed by the same key."""

    def forge(keys: Keys) -> str:
        mine, other = (keys[algorithm].token({"x": each}).split(".") for each in ("mine", "other"))
        mine[part] = other[part]
        return ".".join(mine)

    return forge


def plus_order(signature: bytes) -> bytes:
    """Add the group's order to S: the same point, and another signature (RFC 8032 §5.1.7)."""
    number = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    return signature[:32] + number.to_bytes(32, "little")


def added(field: str | bytes) -> Callable[[str], bytes]:
    """Add a field, as it is, at the end of a JSON object."""
    raw = field if isinstance(field, bytes) else field.encode()
    return lambda text: text[:-1].encode() + b", " + raw + b"}"


NOT_TOKENS: list[str] = [
    *("token", "e30", ".", "..", "....", "." * 17 * 1024, "A" * 40 * 1024),
    base64url(b'{"alg":"dir","enc":"A256GCM"}') + "..YWFhYWFhYWFhYWFh.YWFh.YWFhYWFhYWFh",
]
REWRITTEN: list[Callable[[str, str, str], str]] = [
    lambda h, c, _: f"{h}.{c}",
    lambda _, c, s: f"{c}.{s}",
    lambda h, c, s: f"{h}.{c}.{s}.{s}",
    lambda h, c, s: f"{h}.{c}.{s}.",
    lambda h, c, s: f".{h}.{c}.{s}",
    lambda h, c, s: f"{h}.{c}.{s}.{s}.{s}",
    lambda _, c, s: f".{c}.{s}",
    lambda h, _, s: f"{h}..{s}",
    lambda h, c, _: f"{h}.{c}.",
    lambda h, c, s: json.dumps({"protected": h, "payload": c, "signature": s}),
    lambda h, c, s: f'"{h}.{c}.{s}"',
    lambda h, c, s: f"Bearer {h}.{c}.{s}",
    lambda h, c, s: f"{h}.{c}.{s},{h}.{c}.{s}",
    lambda h, c, s: f"{h}.{c}.{s} {h}.{c}.{s}",
    lambda h, c, s: f"{h}%2E{c}%2E{s}",
    lambda h, c, s: f"{h}.{c}.{s}#",
    # Other claims under the same signature.
    lambda h, c, s: f"{h}.{base64url(base64.urlsafe_b64decode(c + '===').replace(b'3', b'4'))}.{s}",
    *map(unsigned, ("none", "None", "NONE", "nOnE")),
]
NOT_BASE64URL: dict[str, Callable[[str], str]] = {
    "leftover bits": leftover_bits,
    "padding": lambda part: part + "=" * (-len(part) % 4),
    "a lone padding character": lambda part: f"{part}=",
    "a blank": inserted(" "),
    "a tab": inserted("\t"),
    "not ASCII": inserted("é"),
    "full-width letters": inserted("\uff21\uff22"),
    "a zero-width space": inserted("\u200b"),
    "a length that base64 cannot have": lambda part: part[: len(part) // 4 * 4] + "A",
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
    "a NUL in a string": added('"x": "\0"'),
    "a line break in a string": added('"x": "\n"'),
    "a NUL before it": lambda text: f"\0{text}",
    "a byte order mark": lambda text: f"\ufeff{text}",
    **{name: partial(str.encode, encoding=name) for name in ("utf-16", "utf-16-le", "utf-32")},
    **{
        f"{raw!r} in UTF-8": added(b'"x": "' + raw + b'"')
        for raw in (b"\xff", b"\xc0\xae", b"\xed\xa0\x80")
    },
    "17 KiB": added(f'"x": "{"a" * 17 * 1024}"'),
}
NOT_STRINGS = ["null", "1", "true", "1.5", '["EdDSA"]', "[]", '{"a": 1}']
NOT_NUMBERS = ["null", "true", '"9999999999"', '""', "[9999999999]", '{"at": 9999999999}']
NOT_TIMES = ["1e400", "-1e400", "NaN", "9" * 4000, "-" + "9" * 4000]
NOT_YET = [str(NOW + 3600), str(NOW * 1000), "1" + "0" * 300, f"{NOW + 3600}.5"]


def texts(*values: object) -> list[str]:
    return [json.dumps(value) for value in values]


HEADER_FIELDS: dict[str, list[str | None]] = {
    "crit": ['["exp"]', "[]", "null", '["x"]', '["b64"]'],
    "b64": ["true", "false", "null"],
    "typ": [
        *("null", "1", "true", '["JWT"]', '{"JWT": 1}'),
        *texts("JWS", "JOSE", "JWE", "dpop+jwt", "secevent+jwt", "logout+jwt", "kb+jwt"),
        *texts("application/jwt", "JWT ", ""),
    ],
    # All over a good signature.
    "alg": [
        *(None, *NOT_STRINGS),
        *texts("none", "None", "NONE", "nOnE", "", " ", "*", "EdDSA ", "eddsa", "ED25519"),
        *texts("Ed448", "ES256", "ES256K", "RS256", "PS256", "HS256", "RSA1_5", "dir", "ECDH-ES"),
        *texts("A128KW", "EdDSA\0", "\ud800", "__class__"),
    ],
    # Without one, two keys fit.
    "kid": [
        *(None, *NOT_STRINGS),
        *texts("unknown", "", " ", "null", "../../../../../../dev/null", "/dev/null\0.pem", "0"),
        *texts("x' UNION SELECT 'secret' --", "$(id)|`id`;id", "{{7*7}}${7*7}", "k" * 10_000),
        *texts("http://127.0.0.1:1/latest/meta-data", "\ud800", "a\r\nX-Injected: 1"),
    ],
}
CLAIMS_FIELDS: dict[str, list[str | None]] = {
    "sub": [None, *NOT_STRINGS],
    "iss": [
        *(None, *NOT_STRINGS, *texts([ISSUER], {ISSUER: 1})),
        *texts("", "*", "https://attacker.example", f"{ISSUER}/", ISSUER.upper(), f" {ISSUER}"),
        *texts(f"{ISSUER}0", ISSUER[:-1], f"{ISSUER}@attacker.example", f"{ISSUER}\0", "\ud800"),
    ],
    "aud": [
        *(None, "null", "1", "true", *texts({AUDIENCE: 1}, [], [None], [AUDIENCE, 1])),
        *texts([AUDIENCE, None], [[AUDIENCE]], "", "*", "https://other.example", f"{AUDIENCE}/"),
        *texts(AUDIENCE.upper(), f"{AUDIENCE},x", AUDIENCE[:-1], ["https://other.example"]),
        *texts([f"{AUDIENCE}/"], ["\ud800"]),
    ],
    "exp": [
        *(None, *NOT_NUMBERS, *NOT_TIMES, '"2100-01-01T00:00:00Z"'),
        *(str(NOW - 60), str(NOW - 11), "0", "-1", "1e-300", "-1" + "0" * 300),
    ],
    "nbf": [*NOT_NUMBERS, *NOT_TIMES, *NOT_YET],
    "iat": [*NOT_NUMBERS, *NOT_TIMES, *NOT_YET],
    "email": ["1", "true", '["a@example.com"]', '{"address": "a@example.com"}'],
}
SIGNATURES: dict[str, list[Callable[[bytes], bytes]]] = {
    "EdDSA": [
        *(lambda s: s[:-1], lambda s: s[:32], lambda s: s[:1], lambda s: s + b"\0"),
        *(lambda s: b"\0" + s, lambda s: s * 2, lambda s: s[::-1], lambda s: s[32:] + s[:32]),
        *(lambda _: bytes(64), lambda _: b"\1" + bytes(63), lambda _: b"\xff" * 64, plus_order),
        lambda s: base64url(s).encode(),
    ],
    "ES256": [
        *(lambda _: bytes(64), lambda s: bytes(32) + s[32:], lambda s: s[:32] + bytes(32)),
        *(lambda _: (bytes(31) + b"\1") * 2, lambda _: P256_ORDER.to_bytes(32, "big") * 2),
        *(lambda s: s[32:] + s[:32], lambda s: s[:-1], lambda s: s + b"\0"),
        lambda s: b"\0" + s[:32] + b"\0" + s[32:],
    ],
    "ES384": [lambda _: bytes(96)],
    "ES512": [lambda _: bytes(132)],
    "RS256": [
        *(lambda s: bytes(len(s)), lambda s: bytes(len(s) - 1) + b"\1", lambda s: b"\xff" * len(s)),
        *(lambda s: s[:-1], lambda s: b"\0" + s, lambda s: s + b"\0"),
    ],
}
WRONGLY_SIGNED: dict[str, Forge] = {
    "HS256 with the raw public key": mac(lambda key: key.private.public_key().public_bytes_raw()),
    "HS256 with x of the public JWK": mac(lambda key: key.jwk["x"].encode()),
    "HS256 with the public JWK": mac(lambda key: json.dumps(key.jwk).encode()),
    "HS256 with the public PEM": mac(pem),
    "HS256 with the public PEM of RSA": mac(pem, "RS256"),
    "HS384 with the public PEM of RSA": mac(pem, "RS384", "HS384"),
    "HS512 with the public PEM of EC": mac(pem, "ES512", "HS512"),
    "HS256 with n of RSA": mac(lambda key: key.jwk["n"].encode(), "RS256"),
    "HS256 with the kid": mac(lambda key: key.kid.encode()),
    "HS256 with an empty secret": mac(lambda _: b""),
    "HS256 with the word secret": mac(lambda _: b"secret"),
    "RS256 with HMAC of the public PEM": signed(
        lambda keys, text: hmac.digest(pem(keys["RS256"]), text, "sha256"), "RS256"
    ),
    # The key that signs, the algorithm in the header, and the key whose kid it has.
    **{
        f"{by} signs, alg is {algorithm}, kid that of {kid_of}": signed_by(by, algorithm, kid_of)
        for by, algorithm, kid_of in [
            ("ES256", "ES256", "EdDSA"),
            ("EdDSA", "EdDSA", "ES256"),
            ("EdDSA", "EdDSA", "Ed25519"),
            ("ES256", "EdDSA", "ES256"),
            ("ES256", "ES384", "ES256"),
            ("ES384", "ES256", "ES384"),
            ("RS256", "RS256", "ES256"),
        ]
    },
    "RS512 by a key whose alg is RS256": rsa("RS512", hashes.SHA512(), padding.PKCS1v15()),
    "RS256 with SHA-512": rsa("RS256", hashes.SHA512(), padding.PKCS1v15()),
    "RS256 with SHA-1": rsa("RS256", hashes.SHA1(), padding.PKCS1v15()),  # noqa: S303 - an attack
    **{
        f"RSA-PSS as {algorithm}": rsa(
            algorithm, hashes.SHA256(), padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        )
        for algorithm in ("PS256", "RS256")
    },
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
    "kid in the other case": lambda keys: keys["EdDSA"].token(
        {"kid": keys["EdDSA"].kid.swapcase()}
    ),
    "kid with a blank behind it": lambda keys: keys["EdDSA"].token(
        {"kid": f"{keys['EdDSA'].kid} "}
    ),
    "the claims alone": signed(lambda keys, text: keys["EdDSA"].sign(text.split(b".")[1])),
    "the decoded parts": signed(
        lambda keys, text: keys["EdDSA"].sign(
            b".".join(base64.urlsafe_b64decode(each + b"===") for each in text.split(b"."))
        )
    ),
    "a digest": signed(lambda keys, text: keys["EdDSA"].sign(hashlib.sha512(text).digest())),
    **{f"part {part} of another token": swapped(part) for part in range(3)},
    **{f"the claims of another token, {name}": swapped(1, name) for name in ("ES256", "RS256")},
    "ES256 in DER": der("ES256", hashes.SHA256()),
    "ES384 in DER": der("ES384", hashes.SHA384()),
    "ES512 in DER": der("ES512", hashes.SHA512()),
    "ES256 with SHA-512": signed(
        lambda keys, text: keys["ES256"].private.sign(text, ec.ECDSA(hashes.SHA512()))[-64:],
        "ES256",
    ),
}
HOSTILE: dict[str, Forge] = {
    **{f"no token {text:.40}": constant(text) for text in NOT_TOKENS},
    **{f"rewritten {number}": rewritten(change) for number, change in enumerate(REWRITTEN)},
    **{
        f"{PARTS[part]} with {fault}": encoded(part, change)
        for part in (HEADER, CLAIMS, SIGNATURE)
        for fault, change in NOT_BASE64URL.items()
    },
    **{
        f"{PARTS[part]} in the standard alphabet": encoded(part, standard_alphabet)
        for part in (HEADER, CLAIMS)
    },
    **{
        f"{PARTS[part]}: {fault:.40}": edited(part, edit)
        for part in (HEADER, CLAIMS)
        for fault, edit in NOT_JSON_OBJECTS.items()
    },
    "claims: compressed": lambda keys: keys["EdDSA"].raw_token(
        {"alg": "EdDSA", "kid": keys["EdDSA"].kid, "zip": "DEF"},
        zlib.compress(json.dumps(good_claims()).encode()),
    ),
    **{
        # Without the times: the workers of a test run need the same names.
        f"{PARTS[part]}: {name} {number} {re.sub('[0-9]{9,}', '…', f'{value!a:.40}')}": edited(
            part, with_field(name, value)
        )
        for part, table in ((HEADER, HEADER_FIELDS), (CLAIMS, CLAIMS_FIELDS))
        for name, values in table.items()
        for number, value in enumerate(values)
    },
    **{
        f"signature {number} of {algorithm}": signature(change, algorithm)
        for algorithm, changes in SIGNATURES.items()
        for number, change in enumerate(changes)
    },
    **{f"signed: {way}": forge for way, forge in WRONGLY_SIGNED.items()},
}
