"""A table of hostile tokens, each with its one fault, from the lists of RFC 8725 and RFC 7515.

All else about them is as it should be: but for the fault, they would be accepted.
"""

import base64
import hashlib
import hmac
import json
import time
import zlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.tokens import AUDIENCE, ISSUER, SigningKey, base64url, good_claims

Keys = dict[str, SigningKey]
"""A key for each name of an algorithm."""
Forge = Callable[[Keys], str]

# What is wrong with a token, as the answer says it.
SHAPE = "The token is not three parts of base64url."
LONG = "The token is longer than 16384 bytes."
HEADER = "The token's header cannot be read: no JSON object."
EXTENSION = "The token's header asks for an extension (crit, b64)."
TYPE = "The token's header names a type (typ) that is no JWT."
ALGORITHM = "The token's header has an alg or a kid that is no string."
SIGNATURE = "The token is not signed by a key of the key set."
CLAIMS = "The token's claims cannot be read: no JSON object."
ISSUED_BY = "The token is of another issuer (iss) than the one expected."
MEANT_FOR = "The token is for another audience (aud) than this service."
EXPIRED = "The token has expired."
EARLY = "The token is not valid yet."
EMAIL = "The token has an email claim that is no string."


def no_string(name: str) -> str:
    return f"The token has no {name} claim, or one that is no string."


def no_number(name: str) -> str:
    return f"The token has no {name} claim, or one that is no number."


def no_time(name: str) -> str:
    return f"The token's {name} claim is no point in time."


def header(algorithm: str = "EdDSA", /, **members: Any) -> Forge:
    """Sign a good token with a header that has these members too."""
    return lambda keys: keys[algorithm].raw_token(
        {"alg": algorithm, "kid": keys[algorithm].kid, **members}, good_claims()
    )


def only_header(spelled: bytes) -> Forge:
    """Sign a good token under a header that is these bytes."""
    return lambda keys: keys["EdDSA"].raw_token(spelled, good_claims())


def claims(**changes: Any) -> Forge:
    """Sign good claims with these changes."""
    return lambda keys: keys["EdDSA"].raw_token(
        {"alg": "EdDSA", "kid": keys["EdDSA"].kid}, {**good_claims(), **changes}
    )


def only_claims(claims: object) -> Forge:
    """Sign claims that are these bytes, or this JSON."""
    return lambda keys: keys["EdDSA"].raw_token({"alg": "EdDSA", "kid": keys["EdDSA"].kid}, claims)


def claim(name: str, spelled: str) -> Forge:
    """Sign good claims with one of them spelled as it is."""

    def forge(keys: Keys) -> str:
        others = json.dumps({each: good for each, good in good_claims().items() if each != name})
        return only_claims(f'{others[:-1]}, "{name}": {spelled}}}'.encode())(keys)

    return forge


def without(name: str) -> Forge:
    """Sign good claims but for one that is missing."""
    return lambda keys: keys["EdDSA"].token(**{name: None})


def in_claims(member: str) -> Forge:
    """Sign good claims with another member at their end, spelled as it is."""

    def forge(keys: Keys) -> str:
        return only_claims(f"{json.dumps(good_claims())[:-1]}, {member}}}".encode())(keys)

    return forge


def in_header(member: str) -> Forge:
    """Sign a good token whose header has another member at its end, spelled as it is."""
    return lambda keys: only_header(
        f'{{"alg": "EdDSA", "kid": "{keys["EdDSA"].kid}", {member}}}'.encode()
    )(keys)


def recoded(part: int, encoding: str, prefix: bytes = b"") -> Forge:
    """Sign a good token with one part in another encoding than UTF-8."""

    def forge(keys: Keys) -> str:
        parts = [{"alg": "EdDSA", "kid": keys["EdDSA"].kid}, good_claims()]
        spelled = [json.dumps(each).encode() for each in parts]
        spelled[part] = prefix + json.dumps(parts[part]).encode(encoding)
        return keys["EdDSA"].raw_token(*spelled)

    return forge


def sealed(sign: Callable[[Keys, bytes], bytes], algorithm: str, kid_of: str) -> Forge:
    """Sign a good token in a way of one's own."""

    def forge(keys: Keys) -> str:
        head = {"alg": algorithm, "kid": keys[kid_of].kid}
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (head, good_claims()))
        return f"{signed}.{base64url(sign(keys, signed.encode()))}"

    return forge


def signature(change: Callable[[bytes], bytes], algorithm: str = "EdDSA") -> Forge:
    """Change the signature of a good token."""
    return sealed(lambda keys, text: change(keys[algorithm].sign(text)), algorithm, algorithm)


def mac(secret: Callable[[SigningKey], bytes], kid_of: str = "EdDSA", bits: int = 256) -> Forge:
    """Sign with HMAC, keyed with what everybody knows."""
    return sealed(
        lambda keys, text: hmac.digest(secret(keys[kid_of]), text, f"sha{bits}"),
        f"HS{bits}",
        kid_of,
    )


def unsigned(algorithm: str) -> Forge:
    """Leave the signature out (RFC 7518 §3.6)."""
    return lambda _: (
        ".".join(
            base64url(json.dumps(part).encode()) for part in ({"alg": algorithm}, good_claims())
        )
        + "."
    )


def pem(key: SigningKey) -> bytes:
    spelled: bytes = key.private.public_key().public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return spelled


def stranger(**members: Any) -> Forge:
    """Sign with a key of the attacker's, under the kid of ours unless another is given."""

    def forge(keys: Keys) -> str:
        key = SigningKey()
        offered = {name: key.jwk if value == "THEIRS" else value for name, value in members.items()}
        return key.token({"kid": keys["EdDSA"].kid, **offered})

    return forge


def spelled(change: Callable[[str], str], part: int) -> Forge:
    """Spell one part of a good token otherwise, and sign it as it is then spelled."""

    def forge(keys: Keys) -> str:
        # The member and the blanks see to it that there are all kinds of characters to change.
        head = {"alg": "EdDSA", "kid": keys["EdDSA"].kid, "x": "???>>>~~~"}
        texts = [json.dumps(each).encode() for each in (head, {**good_claims(), "x": "???>>>~~~"})]
        parts = [base64url(text + b" " * ((1 - len(text)) % 3)) for text in texts]
        if part < 2:
            parts[part] = change(parts[part])
            return keys["EdDSA"].seal(*parts)
        first, second, third = keys["EdDSA"].seal(*parts).split(".")
        return f"{first}.{second}.{change(third)}"

    return forge


def leftover(part: str) -> str:
    """Set one of the bits that the last character has too many (RFC 4648 §3.5)."""
    assert len(part) % 4 in (2, 3)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


def padded(part: str) -> str:
    assert len(part) % 4
    return part + "=" * (-len(part) % 4)


def standard(part: str) -> str:
    changed = part.replace("-", "+").replace("_", "/")
    assert changed != part
    return changed


def inserted(text: str) -> Callable[[str], str]:
    return lambda part: f"{part[:5]}{text}{part[5:]}"


def rewritten(change: Callable[[str, str, str], str]) -> Forge:
    """Put the parts of a good token together in another way."""
    return lambda keys: change(*keys["EdDSA"].token().split("."))


def swapped(part: int, algorithm: str = "EdDSA") -> Forge:
    """Put another token's part into a good one, both signed by the same key."""

    def forge(keys: Keys) -> str:
        mine, other = (keys[algorithm].token({"x": each}).split(".") for each in ("mine", "other"))
        mine[part] = other[part]
        return ".".join(mine)

    return forge


def promoted(keys: Keys) -> str:
    """Change the payload of a good token to another subject, under the signature that it had."""
    first, second, third = keys["EdDSA"].token(sub="1001", email=None).split(".")
    changed = base64.urlsafe_b64decode(second + "===").replace(b"1001", b"1002")
    return f"{first}.{base64url(changed)}.{third}"


def plus_order(signature: bytes) -> bytes:
    """Add the group's order to S: the same point, and another signature (RFC 8032 §5.1.7)."""
    order = 2**252 + 27742317777372353535851937790883648493
    number = int.from_bytes(signature[32:], "little") + order
    return signature[:32] + number.to_bytes(32, "little")


def pss(keys: Keys, text: bytes) -> bytes:
    made: bytes = keys["RS256"].private.sign(
        text, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
    )
    return made


def der(algorithm: str, hashing: hashes.HashAlgorithm) -> Forge:
    def sign(keys: Keys, text: bytes) -> bytes:
        made: bytes = keys[algorithm].private.sign(text, ec.ECDSA(hashing))
        return made

    return sealed(sign, algorithm, algorithm)


DEEP = 9000
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NOW = int(time.time())

HOSTILE: dict[str, dict[str, Forge]] = {
    SHAPE: {
        "one word": lambda _: "token",
        "one part": lambda _: "e30",
        "one dot": lambda _: ".",
        "two dots": lambda _: "..",
        "four dots": lambda _: "....",
        "two parts, header and claims": rewritten(lambda h, c, _: f"{h}.{c}"),
        "two parts, claims and signature": rewritten(lambda _, c, s: f"{c}.{s}"),
        "four parts": rewritten(lambda h, c, s: f"{h}.{c}.{s}.{s}"),
        "a fourth part that is empty": rewritten(lambda h, c, s: f"{h}.{c}.{s}."),
        "a first part that is empty": rewritten(lambda h, c, s: f".{h}.{c}.{s}"),
        "five parts, a JWE": rewritten(lambda h, c, s: f"{h}.{c}.{s}.{s}.{s}"),
        "a JWE with a direct key": lambda _: (
            base64url(b'{"alg":"dir","enc":"A256GCM"}') + "..YWFhYWFhYWFhYWFh.YWFh.YWFhYWFhYWFh"
        ),
        "the header is empty": rewritten(lambda _, c, s: f".{c}.{s}"),
        "the claims are empty (detached)": rewritten(lambda h, _, s: f"{h}..{s}"),
        "the signature is empty": rewritten(lambda h, c, _: f"{h}.{c}."),
        **{
            f"alg {name!r} and no signature": unsigned(name)
            for name in ("none", "None", "NONE", "nOnE")
        },
        "JSON serialisation": rewritten(
            lambda h, c, s: json.dumps({"protected": h, "payload": c, "signature": s})
        ),
        "in quotes": rewritten(lambda h, c, s: f'"{h}.{c}.{s}"'),
        "with the scheme twice": rewritten(lambda h, c, s: f"Bearer {h}.{c}.{s}"),
        "two tokens with a comma": rewritten(lambda h, c, s: f"{h}.{c}.{s},{h}.{c}.{s}"),
        "two tokens with a blank": rewritten(lambda h, c, s: f"{h}.{c}.{s} {h}.{c}.{s}"),
        "percent-encoded dots": rewritten(lambda h, c, s: f"{h}%2E{c}%2E{s}"),
        "a fragment behind it": rewritten(lambda h, c, s: f"{h}.{c}.{s}#"),
        "a letter that is no ASCII": spelled(inserted("é"), 1),
        "full-width letters": spelled(inserted("\uff21\uff22"), 1),
        "a zero-width space": spelled(inserted("\u200b"), 1),
        **{
            f"{fault} in the {name}": spelled(change, part)
            for part, name in enumerate(("header", "claims", "signature"))
            for fault, change in {
                "leftover bits": leftover,
                "padding": padded,
                "a lone padding character": lambda each: f"{each}=",
                "a blank": inserted(" "),
                "a tab": inserted("\t"),
                "a length that base64 cannot have": lambda each: each[: len(each) // 4 * 4] + "A",
            }.items()
        },
        "the standard alphabet in the header": spelled(standard, 0),
        "the standard alphabet in the claims": spelled(standard, 1),
    },
    LONG: {
        "17 KiB of claims": claims(x="a" * 17 * 1024),
        "17 KiB of header": header(x="a" * 17 * 1024),
        "17 KiB of dots": lambda _: "." * 17 * 1024,
        "40 KiB of one letter": lambda _: "A" * 40 * 1024,
    },
    HEADER: {
        "header: no JSON": only_header(b"EdDSA"),
        "header: a list": only_header(b'[{"alg":"EdDSA"}]'),
        "header: a string": only_header(b'"EdDSA"'),
        "header: a number": only_header(b"1"),
        "header: null": only_header(b"null"),
        "header: true": only_header(b"true"),
        "header: a comma too many": in_header('"x": 1,'),
        "header: a comment": in_header('"x": 1 /* signed */'),
        "header: single quotes": in_header("'x': 1"),
        "header: something behind it": lambda keys: only_header(
            json.dumps({"alg": "EdDSA", "kid": keys["EdDSA"].kid}).encode() + b"{}"
        )(keys),
        "header: alg twice": in_header('"alg": "EdDSA"'),
        "header: alg twice, the first none": lambda keys: only_header(
            f'{{"alg": "none", "alg": "EdDSA", "kid": "{keys["EdDSA"].kid}"}}'.encode()
        )(keys),
        "header: kid twice": in_header('"kid": "another"'),
        "header: alg twice, once escaped": in_header('"\\u0061lg": "none"'),
        "header: an unknown member twice": in_header('"x": 1, "x": 2'),
        "header: a member twice further down": in_header('"x": {"y": 1, "y": 2}'),
        "header: nested deeply": in_header(f'"x": {"[" * DEEP}'),
        "header: nothing but brackets": only_header(b"[" * DEEP),
        "header: NaN": in_header('"x": NaN'),
        "header: Infinity": in_header('"x": Infinity'),
        "header: -Infinity": in_header('"x": -Infinity'),
        "header: a number of 5000 digits": in_header(f'"x": {"9" * 5000}'),
        "header: a NUL byte": in_header('"x": "\0"'),
        "header: a line break in a string": in_header('"x": "\n"'),
        "header: a NUL behind it": recoded(0, "utf-8", b"\0"),
        "header: byte order mark": recoded(0, "utf-8", b"\xef\xbb\xbf"),
        "header: UTF-16": recoded(0, "utf-16"),
        "header: UTF-16 without a mark": recoded(0, "utf-16-le"),
        "header: UTF-32": recoded(0, "utf-32"),
        "header: no UTF-8": only_header(b'{"alg": "EdDSA", "x": "\xff"}'),
        "header: UTF-8 longer than need be": only_header(b'{"alg": "EdDSA", "x": "\xc0\xae"}'),
        "header: a surrogate in UTF-8": only_header(b'{"alg": "EdDSA", "x": "\xed\xa0\x80"}'),
    },
    EXTENSION: {
        "crit names exp": header(crit=["exp"], exp=NOW + 900),
        "crit is empty": header(crit=[]),
        "crit is null": header(crit=None),
        "crit names an extension of nobody": header(crit=["x"], x=1),
        "crit and b64": header(crit=["b64"], b64=False),
        "b64 false": header(b64=False),
        "b64 true": header(b64=True),
        "b64 null": header(b64=None),
    },
    TYPE: {
        **{
            f"typ {value!r}": header(typ=value)
            for value in (
                "JWS",
                "JOSE",
                "JWE",
                "dpop+jwt",
                "secevent+jwt",
                "logout+jwt",
                "kb+jwt",
                "application/jwt",
                "JWT ",
                "",
                None,
                1,
                True,
                ["JWT"],
                {"JWT": 1},
            )
        },
    },
    ALGORITHM: {
        "no header at all": only_header(b"{}"),
        "alg missing": lambda keys: keys["EdDSA"].token({"alg": None}),
        **{
            f"alg {value!r}": header(alg=value)
            for value in (None, 1, True, 1.5, ["EdDSA"], [], {"EdDSA": 1})
        },
        **{
            f"kid {value!r}": header(kid=value)
            for value in (None, 1, True, 1.5, ["a"], [], {"a": 1})
        },
    },
    SIGNATURE: {
        **{
            f"alg {value!r} over a good signature": header(alg=value)
            for value in (
                "none",
                "None",
                "NONE",
                "nOnE",
                "",
                " ",
                "*",
                "EdDSA ",
                "eddsa",
                "ED25519",
                "Ed448",
                "ES256",
                "ES256K",
                "RS256",
                "PS256",
                "HS256",
                "RSA1_5",
                "dir",
                "ECDH-ES",
                "A128KW",
                "EdDSA\0",
                "\ud800",
                "__class__",
            )
        },
        "HS256 with the raw public key": mac(
            lambda key: key.private.public_key().public_bytes_raw()
        ),
        "HS256 with x of the public JWK": mac(lambda key: key.jwk["x"].encode()),
        "HS256 with the public JWK": mac(lambda key: json.dumps(key.jwk).encode()),
        "HS256 with the public PEM": mac(pem),
        "HS256 with the public PEM of RSA": mac(pem, "RS256"),
        "HS384 with the public PEM of RSA": mac(pem, "RS384", 384),
        "HS512 with the public PEM of EC": mac(pem, "ES512", 512),
        "HS256 with n of RSA": mac(lambda key: key.jwk["n"].encode(), "RS256"),
        "HS256 with the kid": mac(lambda key: key.kid.encode()),
        "HS256 with an empty secret": mac(lambda _: b""),
        "HS256 with the word secret": mac(lambda _: b"secret"),
        "RS256 with HMAC of the public PEM": sealed(
            lambda keys, text: hmac.digest(pem(keys["RS256"]), text, "sha256"), "RS256", "RS256"
        ),
        "ES256 under the kid of Ed25519": sealed(
            lambda keys, text: keys["ES256"].sign(text), "ES256", "EdDSA"
        ),
        "EdDSA under the kid of P-256": sealed(
            lambda keys, text: keys["EdDSA"].sign(text), "EdDSA", "ES256"
        ),
        "alg EdDSA on a key and signature of P-256": sealed(
            lambda keys, text: keys["ES256"].sign(text), "EdDSA", "ES256"
        ),
        "alg ES384 on a key of P-256": sealed(
            lambda keys, text: keys["ES256"].sign(text), "ES384", "ES256"
        ),
        "alg ES256 on a key of P-384": sealed(
            lambda keys, text: keys["ES384"].sign(text), "ES256", "ES384"
        ),
        "RS256 under the kid of P-256": sealed(
            lambda keys, text: keys["RS256"].sign(text), "RS256", "ES256"
        ),
        "RS512 by a key whose alg is RS256": sealed(
            lambda keys, text: keys["RS256"].private.sign(
                text, padding.PKCS1v15(), hashes.SHA512()
            ),
            "RS512",
            "RS256",
        ),
        "RS256 with SHA-512": sealed(
            lambda keys, text: keys["RS256"].private.sign(
                text, padding.PKCS1v15(), hashes.SHA512()
            ),
            "RS256",
            "RS256",
        ),
        "RS256 with SHA-1": sealed(
            lambda keys, text: keys["RS256"].private.sign(
                text,
                padding.PKCS1v15(),
                hashes.SHA1(),  # noqa: S303 - an attack
            ),
            "RS256",
            "RS256",
        ),
        "RSA-PSS as PS256": sealed(pss, "PS256", "RS256"),
        "RSA-PSS as RS256": sealed(pss, "RS256", "RS256"),
        "another key under our kid": stranger(),
        "another key under a kid of its own": stranger(kid="attacker"),
        "another key and no kid": stranger(kid=None),
        "another key in jwk, under our kid": stranger(jwk="THEIRS"),
        "another key in jwk, under its own kid": stranger(jwk="THEIRS", kid="attacker"),
        "another key in jwk and no kid": stranger(jwk="THEIRS", kid=None),
        "another key at jku": stranger(jku="https://attacker.example/jwks", kid="attacker"),
        "another key at x5u": stranger(x5u="https://attacker.example/x5u", kid="attacker"),
        "another key in x5c": stranger(x5c=["MIIBszCCAVmgAwIBAgIUQ0E"], kid="attacker"),
        "another key by its thumbprint": stranger(x5t="dGh1bWI", kid="attacker"),
        **{
            f"kid {name}": header(kid=value)
            for name, value in {
                "unknown": "unknown",
                "empty": "",
                "blank": " ",
                "null as a word": "null",
                "a path": "../../../../../../dev/null",
                "a path with a NUL": "/dev/null\0.pem",
                "SQL": "x' UNION SELECT 'secret' --",
                "a shell": "$(id)|`id`;id",
                "an address": "http://127.0.0.1:1/latest/meta-data",
                "a template": "{{7*7}}${7*7}",
                "a lone surrogate": "\ud800",
                "of 10,000 letters": "k" * 10_000,
                "an index": "0",
                "a line break": "a\r\nX-Injected: 1",
            }.items()
        },
        "kid in the other case": lambda keys: keys["EdDSA"].token(
            {"kid": keys["EdDSA"].kid.swapcase()}
        ),
        "kid with a blank behind it": lambda keys: keys["EdDSA"].token(
            {"kid": f"{keys['EdDSA'].kid} "}
        ),
        "kid of another of our keys": lambda keys: keys["EdDSA"].token(
            {"kid": keys["Ed25519"].kid}
        ),
        "no kid where two keys fit": lambda keys: keys["EdDSA"].token({"kid": None}),
        "signature cut short": signature(lambda each: each[:-1]),
        "signature cut in half": signature(lambda each: each[:32]),
        "signature of one byte": signature(lambda each: each[:1]),
        "signature with a byte more": signature(lambda each: each + b"\0"),
        "signature with a byte before it": signature(lambda each: b"\0" + each),
        "signature twice": signature(lambda each: each * 2),
        "signature turned round": signature(lambda each: each[::-1]),
        "signature with its halves swapped": signature(lambda each: each[32:] + each[:32]),
        "signature of zeros": signature(lambda _: bytes(64)),
        "signature of the neutral point": signature(lambda _: b"\1" + bytes(63)),
        "signature of ones": signature(lambda _: b"\xff" * 64),
        "signature plus the group's order": signature(plus_order),
        "signature of the claims alone": sealed(
            lambda keys, text: keys["EdDSA"].sign(text.split(b".")[1]), "EdDSA", "EdDSA"
        ),
        "signature of the decoded parts": sealed(
            lambda keys, text: keys["EdDSA"].sign(
                b".".join(base64.urlsafe_b64decode(each + b"===") for each in text.split(b"."))
            ),
            "EdDSA",
            "EdDSA",
        ),
        "signature of a digest": sealed(
            lambda keys, text: keys["EdDSA"].sign(hashlib.sha512(text).digest()), "EdDSA", "EdDSA"
        ),
        "signature in base64 twice": signature(lambda each: base64url(each).encode()),
        "the header of another token": swapped(0),
        "the claims of another token": swapped(1),
        "the signature of another token": swapped(2),
        "the claims of another token, ES256": swapped(1, "ES256"),
        "the claims of another token, RS256": swapped(1, "RS256"),
        "another subject under the same signature": promoted,
        "ES256 in DER": der("ES256", hashes.SHA256()),
        "ES384 in DER": der("ES384", hashes.SHA384()),
        "ES512 in DER": der("ES512", hashes.SHA512()),
        "ES256 with SHA-512": sealed(
            lambda keys, text: keys["ES256"].private.sign(text, ec.ECDSA(hashes.SHA512()))[-64:],
            "ES256",
            "ES256",
        ),
        "ES256 with r = s = 0": signature(lambda _: bytes(64), "ES256"),
        "ES384 with r = s = 0": signature(lambda _: bytes(96), "ES384"),
        "ES512 with r = s = 0": signature(lambda _: bytes(132), "ES512"),
        "ES256 with r = 0": signature(lambda each: bytes(32) + each[32:], "ES256"),
        "ES256 with s = 0": signature(lambda each: each[:32] + bytes(32), "ES256"),
        "ES256 with r = s = 1": signature(lambda _: (bytes(31) + b"\1") * 2, "ES256"),
        "ES256 with r = s = n": signature(lambda _: P256_ORDER.to_bytes(32, "big") * 2, "ES256"),
        "ES256 with r and s swapped": signature(lambda each: each[32:] + each[:32], "ES256"),
        "ES256 cut short": signature(lambda each: each[:-1], "ES256"),
        "ES256 with a byte more": signature(lambda each: each + b"\0", "ES256"),
        "ES256 with zeros before r and s": signature(
            lambda each: b"\0" + each[:32] + b"\0" + each[32:], "ES256"
        ),
        "RS256 of zeros": signature(lambda each: bytes(len(each)), "RS256"),
        "RS256 of one": signature(lambda each: bytes(len(each) - 1) + b"\1", "RS256"),
        "RS256 of ones": signature(lambda each: b"\xff" * len(each), "RS256"),
        "RS256 cut short": signature(lambda each: each[:-1], "RS256"),
        "RS256 with a zero before it": signature(lambda each: b"\0" + each, "RS256"),
        "RS256 with a byte more": signature(lambda each: each + b"\0", "RS256"),
    },
    CLAIMS: {
        "claims: no JSON": only_claims(b"sub=1"),
        "claims: a list": only_claims([good_claims()]),
        "claims: a string": only_claims("sub"),
        "claims: a number": only_claims(1),
        "claims: null": only_claims(None),
        "claims: true": only_claims(True),
        "claims: a token in a token": lambda keys: only_claims(keys["EdDSA"].token().encode())(
            keys
        ),
        "claims: compressed": lambda keys: keys["EdDSA"].raw_token(
            {"alg": "EdDSA", "kid": keys["EdDSA"].kid, "zip": "DEF"},
            zlib.compress(json.dumps(good_claims()).encode()),
        ),
        "claims: a comma too many": in_claims('"x": 1,'),
        "claims: a comment": in_claims('"x": 1 // signed'),
        "claims: something behind them": in_claims('"x": 1}{"y": 1'),
        "claims: sub twice": in_claims('"sub": "1"'),
        "claims: exp twice": in_claims('"exp": 99999999999'),
        "claims: aud twice, once escaped": in_claims(f'"\\u0061ud": "{AUDIENCE}"'),
        "claims: a member twice further down": in_claims('"x": [{"y": 1, "y": 2}]'),
        "claims: nested deeply": in_claims(f'"x": {"[" * DEEP}'),
        "claims: objects nested deeply": in_claims('"x": ' + '{"a":' * 2000),
        "claims: NaN": in_claims('"x": NaN'),
        "claims: Infinity": in_claims('"x": Infinity'),
        "claims: exp is NaN": claim("exp", "NaN"),
        "claims: nbf is NaN": claim("nbf", "NaN"),
        "claims: a number of 5000 digits": in_claims(f'"x": {"9" * 5000}'),
        "claims: a NUL byte": in_claims('"x": "\0"'),
        "claims: byte order mark": recoded(1, "utf-8", b"\xef\xbb\xbf"),
        "claims: UTF-16": recoded(1, "utf-16"),
        "claims: UTF-32": recoded(1, "utf-32"),
        "claims: no UTF-8": only_claims(b'{"sub": "\xff"}'),
        "claims: UTF-8 longer than need be": only_claims(b'{"sub": "\xc0\xae"}'),
        "claims: a surrogate in UTF-8": only_claims(b'{"sub": "\xed\xa0\x80"}'),
    },
    no_string("sub"): {
        "no claims at all": only_claims(b"{}"),
        "sub missing": without("sub"),
        **{
            f"sub {value!r}": claims(sub=value)
            for value in (None, 1, 1.5, True, ["1"], {"id": "1"})
        },
    },
    no_string("iss"): {
        "iss missing": without("iss"),
        **{
            f"iss {value!r}": claims(iss=value)
            for value in (None, 1, True, [ISSUER], [], {ISSUER: 1})
        },
    },
    ISSUED_BY: {
        **{
            f"iss {value!r}": claims(iss=value)
            for value in (
                "",
                "*",
                "https://attacker.example",
                f"{ISSUER}/",
                ISSUER.upper(),
                f" {ISSUER}",
                f"{ISSUER}0",
                ISSUER[:-1],
                f"{ISSUER}@attacker.example",
                f"{ISSUER}\0",
                "\ud800",
            )
        },
    },
    no_string("aud"): {
        "aud missing": without("aud"),
        **{
            f"aud {value!r}": claims(aud=value)
            for value in (
                None,
                1,
                True,
                {AUDIENCE: 1},
                [],
                [None],
                [AUDIENCE, 1],
                [AUDIENCE, None],
                [[AUDIENCE]],
            )
        },
    },
    MEANT_FOR: {
        **{
            f"aud {value!r}": claims(aud=value)
            for value in (
                "",
                "*",
                "https://other.example",
                f"{AUDIENCE}/",
                AUDIENCE.upper(),
                f"{AUDIENCE},x",
                AUDIENCE[:-1],
                ["https://other.example"],
                [f"{AUDIENCE}/"],
                ["\ud800"],
            )
        },
    },
    EXPIRED: {
        f"exp {name}": claims(exp=value)
        for name, value in {
            "a minute ago": NOW - 60,
            "before the leeway": NOW - 11,
            "zero": 0,
            "negative": -1,
            "a small fraction": 1e-300,
            "negative and huge": -(10**300),
        }.items()
    },
    no_number("exp"): {
        "exp missing": without("exp"),
        **{
            f"exp {value!r}": claims(exp=value)
            for value in (
                None,
                True,
                "9999999999",
                "2100-01-01T00:00:00Z",
                "",
                [9999999999],
                {"$date": 9999999999},
            )
        },
    },
    no_time("exp"): {
        "exp 1e400": claim("exp", "1e400"),
        "exp -1e400": claim("exp", "-1e400"),
        "exp of 4000 digits": claims(exp=10**4000),
        "exp of 4000 digits, negative": claims(exp=-(10**4000)),
    },
    EARLY: {
        **{
            f"{name} {when}": claims(**{name: value})
            for name in ("nbf", "iat")
            for when, value in {
                "in a minute": NOW + 3600,
                "in milliseconds": NOW * 1000,
                "far away": 10**300,
                "a fraction of a second too far": NOW + 3600.5,
            }.items()
        },
    },
    **{
        no_number(name): {
            f"{name} {value!r}": claims(**{name: value})
            for value in (None, True, False, "0", "", [1], {"at": 1})
        }
        for name in ("nbf", "iat")
    },
    **{
        no_time(name): {
            f"{name} 1e400": claim(name, "1e400"),
            f"{name} of 4000 digits, negative": claims(**{name: -(10**4000)}),
        }
        for name in ("nbf", "iat")
    },
    EMAIL: {
        f"email {value!r}": claims(email=value)
        for value in (1, True, ["a@example.com"], {"address": "a@example.com"})
    },
}
