"""Signatures of webhooks: any body, any secret, every way to be wrong."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.signature import is_signed, sign

SECRETS = st.text(min_size=1, max_size=80).filter(lambda text: text.isprintable())
BODIES = st.binary(max_size=500)


@given(BODIES, SECRETS, st.sampled_from(["", "sha256=", "SHA256="]), st.booleans())
def test_what_was_signed_is_signed_in_every_form(body: bytes, secret: str, prefix: str, upper: bool) -> None:
    digits = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert sign(body, secret) == digits
    assert is_signed(body, prefix + (digits.upper() if upper else digits), [secret])


@given(BODIES, BODIES, SECRETS)
def test_another_body_is_not(body: bytes, other: bytes, secret: str) -> None:
    assert is_signed(other, sign(body, secret), [secret]) is (body == other)


@given(BODIES, SECRETS, SECRETS)
def test_another_secret_is_not(body: bytes, secret: str, other: str) -> None:
    assert is_signed(body, sign(body, secret), [other]) is (hmac.digest(other.encode(), body, "sha256").hex() == sign(body, secret))


@given(BODIES, SECRETS, st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_one_digit_is_all_the_difference(body: bytes, secret: str, place: int, digit: str) -> None:
    signature = sign(body, secret)
    changed = signature[:place] + digit + signature[place + 1 :]
    assert is_signed(body, changed, [secret]) is (changed == signature)


@given(BODIES, SECRETS, st.text(max_size=100))
def test_any_other_text_is_no_signature_and_no_error(body: bytes, secret: str, text: str) -> None:
    assert not is_signed(body, text, [secret])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s[:-1], lambda s: s + "0", lambda s: f"md5={s}", lambda s: f"{s[:32]} {s[32:]}", lambda s: f"sha256=sha256={s}",
        lambda s: "", str.swapcase,
    ],
)  # fmt: skip
def test_forms_that_only_look_alike(spoil: object) -> None:
    signature = sign(b"body", "secret")
    spoiled = spoil(signature)  # type: ignore[operator]
    assert is_signed(b"body", spoiled, ["secret"]) is (spoiled.lower() == signature)


def test_no_signature_is_none() -> None:
    assert not is_signed(b"", None, ["secret"])


def test_while_a_secret_is_replaced_both_count() -> None:
    for secret in ("new", "previous"):
        assert is_signed(b"body", sign(b"body", secret), ["new", "previous"])
    assert not is_signed(b"body", sign(b"body", "older"), ["new", "previous"])


def test_without_secrets_nothing_is_signed() -> None:
    assert not is_signed(b"body", sign(b"body", "secret"), [])


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="empty secret"):
        is_signed(b"body", hmac.new(b"", b"body", "sha256").hexdigest(), [""])
