"""Bearer tokens: JSON Web Tokens, by a shared secret (HS256) or by the issuer's public keys (JWKS).

The algorithm is never the token's choice: HS256 is tried with the secret alone and the public-key ones with the JWKS alone, so a public key
cannot be passed off as a secret, and `none` is nothing at all.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt

from adapters.expiring import Expiring
from adapters.http.policy import AccessPolicy
from adapters.http.problems import UNAUTHENTICATED, Problem
from domain.access import Role, Viewer
from domain.errors import InvalidSettings, StorageUnavailable

_PUBLIC_KEY_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
_SUPABASE_ROLE: Final = "app_metadata.role"  # Set by the server; users can write their `user_metadata` themselves, so that is never read.


def unauthenticated(reason: str, *, token_given: bool = True) -> Problem:
    """The problem of a request without a token that is good, with what RFC 6750 asks for."""
    challenge = 'Bearer realm="emg-sessions"' + (f', error="invalid_token", error_description="{reason}"' if token_given else "")
    return Problem(UNAUTHENTICATED, reason, headers={"WWW-Authenticate": challenge})


class Tokens:
    """Verifies tokens, and remembers those that were good until they expire, or for `remembered_s_max`."""

    def __init__(self, policy: AccessPolicy, *, clock: Callable[[], float] = time.time) -> None:
        self._policy = policy
        self._clock = clock
        self._published = _PublishedKeys(policy) if policy.jwks_url or policy.jwks_file else None
        self._verified: Expiring[str, Viewer] = Expiring(policy.remembered_tokens_max, clock)

    async def viewer(self, token: str) -> Viewer:
        """Who a token says its bearer is. Raises a Problem with status 401."""
        known = self._verified.get(token)
        if known is not None:
            return known
        claims = await self._claims(token)
        viewer = Viewer(_subject(claims), self._role(claims))
        until_s = min(_expiry_s(claims) + self._policy.leeway_s, self._clock() + self._policy.remembered_s_max)
        self._verified.put(token, viewer, until=until_s)
        return viewer

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > self._policy.token_bytes_max:
            raise unauthenticated("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            key = await self._key(algorithm, header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._policy.audience,
                issuer=self._policy.issuer,
                leeway=self._policy.leeway_s,
                options={"require": ["exp", "sub"], "verify_aud": self._policy.audience is not None},
            )
        except jwt.PyJWTError as error:
            raise unauthenticated(_reason(error)) from None
        except (ValueError, TypeError, OverflowError, RecursionError):  # What only looks like a token.
            raise unauthenticated("the token cannot be read") from None
        return claims

    async def _key(self, algorithm: str, key_id: object) -> Any:
        if algorithm == "HS256" and self._policy.secret is not None:
            return self._policy.secret
        if algorithm in _PUBLIC_KEY_ALGORITHMS and self._published is not None:
            key = await self._published.find(key_id)
            if key is not None and key.algorithm_name == algorithm:
                return key
            raise unauthenticated("the token is signed with an unknown key")
        raise unauthenticated("the token is not signed in a way that is accepted here")

    def _role(self, claims: Mapping[str, Any]) -> Role:
        for path in (self._policy.role_claim, _SUPABASE_ROLE):
            value: object = claims
            for part in path.split("."):
                value = value.get(part) if isinstance(value, Mapping) else None
            for role in Role:
                if value == role.value:
                    return role
        raise unauthenticated("the token names no role of this service")


class _PublishedKeys:
    """The issuer's public keys, from a file or an address.

    Fetched again when they are old or lack the key that is asked for, but once in `jwks_pause_s` at most: whoever makes up key ids does not
    make us a burden to the issuer.
    """

    def __init__(self, policy: AccessPolicy, clock: Callable[[], float] = time.monotonic) -> None:
        self._policy = policy
        self._clock = clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._tried_at_s = float("-inf")
        self._fetching = asyncio.Lock()

    async def find(self, key_id: object) -> jwt.PyJWK | None:
        """The key with this id; where the token names none, the only one there is. Raises StorageUnavailable if there are none at all."""
        if self._is_due(key_id):
            async with self._fetching:
                if self._is_due(key_id):  # Somebody else may have fetched them while we waited.
                    self._tried_at_s = self._clock()
                    self._keys = await asyncio.to_thread(self._fetched) or self._keys
        if not self._keys:
            raise StorageUnavailable("the issuer's keys cannot be had (JWT_JWKS_URL, JWT_JWKS_FILE)")
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id) if isinstance(key_id, str) else None

    def _is_due(self, key_id: object) -> bool:
        age_s = self._clock() - self._tried_at_s
        known = key_id in self._keys if isinstance(key_id, str) else bool(self._keys)
        return age_s > (self._policy.jwks_life_s if known else self._policy.jwks_pause_s)

    def _fetched(self) -> dict[str | None, jwt.PyJWK]:
        try:
            if self._policy.jwks_file is not None:
                document = json.loads(self._policy.jwks_file.read_text("utf-8"))
            else:
                client = jwt.PyJWKClient(self._policy.jwks_url or "", cache_jwk_set=False, timeout=self._policy.jwks_timeout_s)
                document = client.fetch_data()
            return {key.key_id: key for key in jwt.PyJWKSet.from_dict(document).keys}
        except (jwt.PyJWTError, OSError, ValueError, AttributeError, TypeError):
            return {}


def check_keys(policy: AccessPolicy) -> None:
    """Fails at the start, not at the first request, if the file of keys cannot be read."""
    if policy.jwks_file is not None:
        try:
            jwt.PyJWKSet.from_dict(json.loads(policy.jwks_file.read_text("utf-8")))
        except (jwt.PyJWTError, OSError, ValueError, AttributeError, TypeError) as error:
            raise InvalidSettings(f"JWT_JWKS_FILE: there is no JSON Web Key Set in it ({type(error).__name__})") from None


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not subject or len(subject) > 200:
        raise unauthenticated("the token's subject is empty or too long")
    if "\0" in subject or not _is_encodable(subject):
        raise unauthenticated("the token's subject is no text")  # JSON can write what neither PostgreSQL nor UTF-8 can hold.
    return subject


def _is_encodable(text: str) -> bool:
    """Whether a text is whole characters, and no halves of surrogate pairs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _expiry_s(claims: Mapping[str, Any]) -> float:
    try:
        return float(claims["exp"])
    except (ValueError, TypeError, OverflowError):  # PyJWT takes integers of any length.
        raise unauthenticated("the token cannot be read") from None


def _reason(error: jwt.PyJWTError) -> str:
    # PyJWT's own messages may quote the token.
    reasons: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
        (jwt.ExpiredSignatureError, "the token has expired"),
        (jwt.ImmatureSignatureError, "the token is not valid yet"),
        (jwt.MissingRequiredClaimError, "the token lacks a claim; it needs exp and sub, and aud and iss where the service is set up so"),
        (jwt.InvalidAudienceError, "the token is for another audience"),
        (jwt.InvalidIssuerError, "the token comes from another issuer"),
        (jwt.InvalidSignatureError, "the token's signature is wrong"),
    )
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "the token cannot be read")
