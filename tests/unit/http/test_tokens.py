"""Tokens by an issuer's public keys, and what is remembered of good ones. Forged ones are in tests/http/api/test_access.py."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adapters.http.policy import AccessPolicy
from adapters.http.problems import Problem
from adapters.http.tokens import Tokens
from domain.access import Role, Viewer
from domain.errors import InvalidSettings

SECRET = "a secret of the tests, of thirty-two bytes and more"
CLAIMS = {"sub": "somebody", "role": "admin"}


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def published(path: Path, **keys: Any) -> Path:
    described = []
    for name, key in keys.items():
        algorithm = jwt.get_algorithm_by_name("ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256")
        described.append({**json.loads(algorithm.to_jwk(key.public_key())), "kid": name})
    path.write_text(json.dumps({"keys": described}), "utf-8")
    return path


def signed(key: Any, algorithm: str, kid: str | None, **claims: Any) -> str:
    return jwt.encode(CLAIMS | {"exp": time.time() + 600} | claims, key, algorithm, headers={} if kid is None else {"kid": kid})


async def reason(tokens: Tokens, token: str) -> str:
    with pytest.raises(Problem) as raised:
        await tokens.viewer(token)
    assert raised.value.kind.status == 401
    return str(raised.value.detail)


async def test_keys_of_several_kinds_are_found_by_their_id(tmp_path: Path) -> None:
    first, second = rsa_key(), ec.generate_private_key(ec.SECP256R1())
    tokens = Tokens(AccessPolicy(jwks_file=published(tmp_path / "keys.json", first=first, second=second)))
    for token in (signed(first, "RS256", "first"), signed(second, "ES256", "second")):
        assert await tokens.viewer(token) == Viewer("somebody", Role.ADMIN)
    assert await reason(tokens, signed(first, "RS256", "third")) == "the token is signed with an unknown key"
    assert await reason(tokens, signed(first, "RS256", None)) == "the token is signed with an unknown key"
    assert await reason(tokens, signed(rsa_key(), "RS256", "first")) == "the token's signature is wrong"


async def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    """The old trick: HS256, signed with the public key as if it were a shared secret."""
    key = rsa_key()
    path = published(tmp_path / "keys.json", first=key)
    parts = [{"alg": "HS256", "kid": "first"}, CLAIMS | {"exp": time.time() + 600}]
    signed_part = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
    signature = hmac.digest(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), signed_part.encode(), "sha256")
    forged = f"{signed_part}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    assert "not signed in a way" in await reason(Tokens(AccessPolicy(jwks_file=path)), forged)
    assert "signature is wrong" in await reason(Tokens(AccessPolicy(jwks_file=path, secret=SECRET)), forged)


async def test_a_new_key_is_found_after_a_pause_and_made_up_ids_do_not_ask_each_time(tmp_path: Path) -> None:
    first, second = rsa_key(), rsa_key()
    path = published(tmp_path / "keys.json", first=first)
    tokens = Tokens(AccessPolicy(jwks_file=path, jwks_pause_s=0.05))
    await tokens.viewer(signed(first, "RS256", "first"))
    published(path, first=first, second=second)
    deadline = time.monotonic() + 10
    while True:
        try:
            await tokens.viewer(signed(second, "RS256", "second"))
        except Problem:
            assert time.monotonic() < deadline
        else:
            break


async def test_audience_and_issuer_are_asked_for_where_they_are_set() -> None:
    tokens = Tokens(AccessPolicy(secret=SECRET, audience="authenticated", issuer="https://issuer.example"))
    good = {"aud": "authenticated", "iss": "https://issuer.example"}
    assert await tokens.viewer(signed(SECRET, "HS256", None, **good)) == Viewer("somebody", Role.ADMIN)
    assert "audience" in await reason(tokens, signed(SECRET, "HS256", None, **good | {"aud": "others"}))
    assert "issuer" in await reason(tokens, signed(SECRET, "HS256", None, **good | {"iss": "https://evil.example"}))
    assert "lacks a claim" in await reason(tokens, signed(SECRET, "HS256", None, iss=good["iss"]))


async def test_the_role_is_read_where_the_setting_says() -> None:
    tokens = Tokens(AccessPolicy(secret=SECRET, role_claim="realm.emg.role"))
    assert (await tokens.viewer(signed(SECRET, "HS256", None, role="x", realm={"emg": {"role": "researcher"}}))).role is Role.RESEARCHER


async def test_a_good_token_is_remembered_until_it_expires_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = time.time()
    tokens = Tokens(AccessPolicy(secret=SECRET, remembered_s_max=1000.0, leeway_s=0.0), clock=lambda: now_s)
    token = signed(SECRET, "HS256", None, exp=now_s + 100)
    await tokens.viewer(token)
    monkeypatch.setattr(jwt, "decode", None)  # Whoever looks at a signature now fails.
    now_s += 99
    await tokens.viewer(token)
    now_s += 2
    assert await reason(tokens, token) == "the token cannot be read"


WRONG = [
    {"secret": "short"},
    {"jwks_url": "ftp://x"},
    {"jwks_url": "https://x", "jwks_file": Path("y")},
    {"secret": SECRET, "leeway_s": 1e9},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_policy_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=r"^JWT_"):
        AccessPolicy(**wrong)


def test_a_secret_is_in_no_representation() -> None:
    assert SECRET not in repr(AccessPolicy(secret=SECRET))


@pytest.mark.parametrize("odd", [{"exp": 10**400}, {"sub": "some\0body"}, {"sub": "some\ud800body"}, {"exp": True}, {"sub": ["somebody"]}])
async def test_a_token_that_is_signed_well_and_odd_is_refused(odd: dict[str, Any]) -> None:
    tokens = Tokens(AccessPolicy(secret=SECRET))
    assert await reason(tokens, jwt.encode(CLAIMS | {"exp": time.time() + 600} | odd, SECRET, "HS256"))
