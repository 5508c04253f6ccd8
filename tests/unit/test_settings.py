"""Settings: defaults, and errors that name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.settings import Settings, load_settings
from domain.errors import InvalidSettings

NUMBERS = sorted(
    name for name, field in Settings.model_fields.items() if isinstance(field.default, int | float) and not isinstance(field.default, bool)
)
CHOICES = ["storage", "cache", "log_level", "log_format"]
MAY_BE_ZERO = {
    "cache_fail_safe_s", "cache_near_entries_max", "cache_near_trust_s", "cache_sampler_s", "chaos_latency_ms", "chaos_failure_rate",
    "analysis_processes", "duration_threshold_ms", "worker_drain_s", "worker_metrics_port", "jwt_leeway_s", "access_trust_s",
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No .env and none of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_those_that_are_documented() -> None:
    settings = load_settings()
    assert (settings.storage, settings.cache) == ("postgres", "redis")
    assert (settings.default_cache_ttl_hours, settings.redis_key_prefix, settings.enable_redis_compression) == (
        24.0,
        "emg_c3d_analyzer",
        True,
    )
    assert (settings.database_url, settings.redis_url, settings.data_dir) == (None, None, None)


def test_the_environment_is_read_and_what_is_given_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE", "memory")
    monkeypatch.setenv("DEFAULT_CACHE_TTL_HOURS", "1.5")
    monkeypatch.setenv("ENABLE_REDIS_COMPRESSION", "false")
    settings = load_settings()
    assert (settings.storage, settings.default_cache_ttl_hours, settings.enable_redis_compression) == ("memory", 1.5, False)
    assert load_settings(storage="postgres").storage == "postgres"


def test_a_file_of_settings_is_read_and_the_environment_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("STORAGE=memory\nCACHE=none\nUNKNOWN_TO_US=1\n", "utf-8")
    monkeypatch.setenv("CACHE", "redis")
    settings = load_settings()
    assert (settings.storage, settings.cache) == ("memory", "redis")


@pytest.mark.parametrize("name", CHOICES)
def test_a_wrong_choice_names_its_setting_and_what_was_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "sqlite")
    with pytest.raises(InvalidSettings, match=f"^{name.upper()}: .*sqlite"):
        load_settings()


@pytest.mark.parametrize("value", ["-1", "much", "", "inf", "-inf", "nan", "99999999999999999999"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range_names_its_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name.upper(), value)
    with pytest.raises(InvalidSettings, match=f"^{name.upper()}: "):
        load_settings()


@pytest.mark.parametrize("name", NUMBERS)
def test_zero_is_a_value_for_few_numbers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "0")
    if name in MAY_BE_ZERO:
        assert getattr(load_settings(), name) == 0
    else:
        with pytest.raises(InvalidSettings, match=f"^{name.upper()}: "):
            load_settings()


@pytest.mark.parametrize("name", ["database_url", "redis_url", "data_dir"])
def test_an_empty_address_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "")
    assert getattr(load_settings(), name) is None


def test_addresses_are_not_shown() -> None:
    settings = load_settings(database_url="postgresql://u:hunter2@h/d", redis_url="redis://u:hunter2@h")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump())


def test_a_wrong_address_is_not_repeated() -> None:
    with pytest.raises(InvalidSettings, match=r"^DATABASE_URL: ") as caught:
        load_settings(database_url=["hunter2"])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [("", {}), ("CH1=0.0003", {"CH1": 0.0003}), (" left biceps = 3e-4,CH2=1,, a=b=2 ", {"left biceps": 3e-4, "CH2": 1.0, "a=b": 2.0})],
)
def test_maximum_contractions_are_given_by_channel(monkeypatch: pytest.MonkeyPatch, text: str, values: dict[str, float]) -> None:
    monkeypatch.setenv("MVC_CHANNELS", text)
    assert load_settings().mvc_channels == tuple(sorted(values.items()))


@pytest.mark.parametrize("text", ["CH1", "0.0003", "CH1=", "CH1=0", "CH1=-1", "CH1=nan", "CH1=inf", "=1", "CH1=1,CH1=2"])
def test_maximum_contractions_that_make_no_sense_are_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MVC_CHANNELS", text)
    with pytest.raises(InvalidSettings, match=r"^MVC_CHANNELS: "):
        load_settings()


@pytest.mark.parametrize(("text", "channels"), [("", ()), ("CH1", ("CH1",)), ("CH1, CH*,,Ü ", ("CH1", "CH*", "Ü"))])
def test_channels_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, text: str, channels: tuple[str, ...]) -> None:
    monkeypatch.setenv("CHANNELS", text)
    assert load_settings().channels == channels


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().storage = "memory"
