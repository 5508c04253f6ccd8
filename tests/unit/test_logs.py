"""What logs may say of an error."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog

from adapters.logs import configure_logs

_SECRET = "geheimpw"


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    """Whatever is configured here."""
    yield
    structlog.reset_defaults()


def connect(password: str) -> None:
    raise OSError(f"no connection with {password}")


def fetch(file_name: str) -> None:
    try:
        connect(_SECRET)
    except OSError as error:
        raise LookupError(f"{file_name} is not there") from error


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_error_is_told_by_classes_and_places_and_nothing_else(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logs("debug", log_format)
    try:
        fetch("Mustermann_Erika.c3d")
    except LookupError as error:
        structlog.get_logger("test").debug("given", exc_info=error)
        structlog.get_logger("test").debug("being handled", exc_info=True)
    told = capsys.readouterr().err
    assert told.count("LookupError tests.unit.test_logs:") == 2
    assert told.count("OSError tests.unit.test_logs:") == 2
    for hidden in (_SECRET, "Mustermann", "Traceback", "password"):
        assert hidden not in told


def test_causes_come_after_what_they_caused(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("debug", "json")
    try:
        fetch("x")
    except LookupError as error:
        structlog.get_logger("test").debug("failed", exc_info=error)
    raised = json.loads(capsys.readouterr().err)["raised"]
    assert [each.split()[0] for each in raised] == ["LookupError", "OSError"]


def test_what_is_no_error_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("debug", "json")
    structlog.get_logger("test").info("calm", exc_info=None)
    assert "raised" not in json.loads(capsys.readouterr().err)
