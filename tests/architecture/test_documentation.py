"""What the documentation says is so: settings, commands, links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.entrypoints.bench import readme
from adapters.entrypoints.bench.catalogue import WORKS
from adapters.entrypoints.bench.figures import from_json
from adapters.redis_cache.stats import COUNTS, HISTOGRAMS, NEAR_TIMED_EVERY
from adapters.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DESCRIBED_IN_WORDS = {name.upper() for name, field in Settings.model_fields.items() if field.default in (None, ())}


def test_everything_the_cache_counts_is_documented_and_nothing_else() -> None:
    page = (ROOT / "docs/caching.md").read_text(encoding="utf-8")
    section = page.partition("## What it counts")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| ", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(COUNTS)
    for name in (*HISTOGRAMS, "breaker_state", "relay_lag_s", "near_entries", "near_bytes"):
        assert f"`{name}`" in section, name
    assert f"one in {NEAR_TIMED_EVERY} is timed" in section


def settings_table() -> dict[str, str]:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \|", (ROOT / "docs/settings.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {name: default.strip("`") for name, default in rows}


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    assert set(settings_table()) == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(set(settings_table()) - DESCRIBED_IN_WORDS))
def test_a_documented_default_is_the_default(name: str) -> None:
    default = Settings.model_fields[name.lower()].default
    shown = str(default).lower() if isinstance(default, bool) else f"{default:g}" if isinstance(default, float) else str(default)
    assert settings_table()[name] == shown


def test_secrets_and_addresses_that_may_hold_them_are_not_shown() -> None:
    for name in ("database_url", "redis_url", *(name for name in Settings.model_fields if "secret" in name)):
        assert SecretStr in getattr(Settings.model_fields[name].annotation, "__args__", ())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def documented_commands() -> list[list[str]]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    words = [found.split() for found in re.findall(r"emg-sessions ((?:[a-z]+ ?)+)", text)]
    names = {
        "process",
        "show",
        "demo",
        "serve",
        "token",
        "worker",
        "db",
        "cache",
        "upgrade",
        "stats",
        "health",
        "warm",
        "inspect",
        "invalidate",
        "bench",
    }
    return [list(command) for command in sorted({tuple(word for word in found if word in names) for found in words}) if command]


@pytest.mark.parametrize("command", documented_commands(), ids=" ".join)
def test_a_documented_command_exists(command: list[str]) -> None:
    program = Path(sys.executable).with_name("emg-sessions")
    result = subprocess.run([program, *command, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr


def test_every_make_target_in_the_readme_and_in_contributing_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)`?(?:  | *#|`)", text)) <= targets
    assert {"demo", "test", "check"} <= targets


def test_the_readme_spells_out_what_make_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in ("--require-hashes", "--no-deps --no-build-isolation", "requirements.lock", "emg-sessions demo", "pytest -n auto"):
        assert words in readme
        assert words in makefile


def test_the_readmes_figures_are_those_of_the_run_that_is_kept() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    report = from_json((ROOT / "docs/bench/report.json").read_bytes())
    assert readme.renewed(text, report) == text
    assert {table.name for table in report.tables} >= set(readme.TABLES)


def test_every_work_of_the_bench_is_documented_and_no_other() -> None:
    page = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8").partition("## What it measures")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {work.name for work in WORKS}


def test_the_lock_pins_with_hashes_and_names_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^[a-z0-9][^ ]*==[^ ]+.*\\$", lock, re.MULTILINE)
    assert len(pins) > 50
    assert "://" not in lock
    assert lock.count("\n    --hash=sha256:") >= len(pins)


def test_the_dataclasses_document_every_public_name() -> None:
    for module in ("domain/ports.py", "domain/analytics.py", "domain/session.py", "domain/errors.py"):
        source = (ROOT / module).read_text(encoding="utf-8")
        undocumented = re.findall(r"^class (\w+)[^\n]*:\n(?!    \"\"\")", source, re.MULTILINE)
        assert undocumented == []
