"""The OpenAPI document: it does not change unawares, it describes what is answered, and nothing that it allows breaks the service."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.http.api.service import Service

GOLDEN = Path(__file__).with_name("openapi.json")

WHAT_TO_DO = f"""The OpenAPI document is not the one in {GOLDEN.name}.
If you meant to change the API: renew the file with
    RENEW_OPENAPI=1 pytest tests/http/api/test_openapi.py
look at its diff, raise API_VERSION in adapters/http/app.py (the first number if a client could break), and say so in CHANGELOG.md."""


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, each) for path, methods in document["paths"].items() for method, each in methods.items()]


def test_the_document_is_the_one_that_was_agreed_on(service: Service) -> None:
    document = json.dumps(service.app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    if os.environ.get("RENEW_OPENAPI"):
        GOLDEN.write_text(document, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == document, WHAT_TO_DO


def test_every_operation_is_described_and_every_error_is_a_problem_document(service: Service) -> None:
    document = service.app.openapi()
    for method, path, operation in operations(document):
        name = f"{method} {path}"
        assert operation["summary"], name
        assert len(operation["description"]) > 40, name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), f"{name} {parameter['name']}"
        for status, answer in operation["responses"].items():
            if status[0] in "45":
                assert list(answer["content"]) == ["application/problem+json"], f"{name} {status}"
                assert answer["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}


def test_every_operation_of_the_api_needs_a_token(service: Service) -> None:
    document = service.app.openapi()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for method, path, operation in operations(document):
        if path.startswith("/api/"):
            assert operation["security"] == [{"bearer": []}], f"{method} {path}"
            assert {"401", "503"} <= operation["responses"].keys(), f"{method} {path}"


def test_headers_that_clients_act_on_are_described(service: Service) -> None:
    for method, path, operation in operations(service.app.openapi()):
        for status, answer in operation["responses"].items():
            name, told = f"{method} {path} {status}", answer["headers"].keys()
            assert "X-Request-Id" in told, name
            assert "Retry-After" in told or status not in ("429", "503"), name
            assert "WWW-Authenticate" in told or status != "401" or "security" not in operation, name
            assert "Location" in told or status != "308", name
        assert "500" in operation["responses"], f"{method} {path}"
        assert "requestBody" not in operation or {"408", "413"} <= operation["responses"].keys(), f"{method} {path}"


async def test_the_document_is_served(service: Service) -> None:
    async with service.client() as client:
        assert (await client.get("/openapi.json")).json() == service.app.openapi()
