"""Settings, from the environment or a .env file. Each part that can be swapped is a Literal here, so that a wrong name fails at the start.

docs/settings.md is the table for users; a test holds it against this file. Only the container and the entrypoints read settings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.errors import InvalidMvc, InvalidSettings
from domain.mvc import parse_mvc

# What is beyond these bounds is a slip of the pen, which would else show as something else: as a machine full of processes, for one.
_DAY_S: Final = 86_400
_COUNT_MAX: Final = 1_000_000
_HOURS_MAX: Final = 87_600
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=_DAY_S)]
SecondsOrNone = Annotated[float, Field(ge=0, le=_DAY_S)]
Milliseconds = Annotated[float, Field(gt=0, le=1000 * _DAY_S)]
MillisecondsOrNone = Annotated[float, Field(ge=0, le=1000 * _DAY_S)]
Megabytes = Annotated[float, Field(gt=0, le=_COUNT_MAX)]
Count = Annotated[int, Field(ge=1, le=_COUNT_MAX)]
_PROCESSES_MAX: Final = 256
_MVC_CHANNELS: Final = "CH1=0.0003,CH2=0.00041"


class Settings(BaseSettings):
    """All settings with their defaults. Fields are the lower-case names of the environment variables."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    # Which adapters.
    storage: Literal["postgres", "memory"] = "postgres"
    cache: Literal["redis", "none"] = "redis"

    # Where. Unset addresses mean embedded servers in DATA_DIR; they are secrets because they may hold passwords.
    database_url: SecretStr | None = None
    redis_url: SecretStr | None = None
    data_dir: Path | None = None

    # Recordings. None: a folder in DATA_DIR; of AWS_…: what the process's environment says, with all the other variables of that name.
    recordings_url: str | None = None
    recording_megabytes_max: Megabytes = 128.0
    recording_leftover_hours: Annotated[float, Field(ge=2, le=_HOURS_MAX)] = 24.0
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str | None = None
    aws_endpoint_url: str | None = None

    # PostgreSQL.
    database_pool_size: Count = 10
    database_pool_wait_s: Seconds = 5.0
    database_connect_timeout_s: Seconds = 5.0
    database_statement_timeout_s: Seconds = 10.0

    # The cache.
    redis_key_prefix: str = "emg_c3d_analyzer"
    default_cache_ttl_hours: Annotated[float, Field(gt=0, le=_HOURS_MAX)] = 24.0
    cache_absent_ttl_s: Seconds = 60.0
    cache_staleness_bound_s: Seconds = 2.0
    enable_redis_compression: bool = True
    cache_codec: Literal["zstd", "gzip", "none"] = "zstd"
    cache_near_trust_s: SecondsOrNone = 1.0
    cache_near_entries_max: Annotated[int, Field(ge=0, le=_COUNT_MAX)] = 1000
    cache_near_megabytes_max: Megabytes = 128.0
    cache_fail_safe_s: SecondsOrNone = 0.0
    cache_sampler_s: SecondsOrNone = 5.0
    cache_partitions: Annotated[int, Field(ge=1, le=64)] | None = None  # 1, or 16 on a cluster.
    redis_command_timeout_ms: Milliseconds = 100.0
    redis_connect_timeout_ms: Milliseconds = 1000.0
    redis_connections_max: Count = 16

    # Trouble on purpose, between store and cache: for demos.
    chaos_latency_ms: MillisecondsOrNone = 0.0
    chaos_failure_rate: Annotated[float, Field(ge=0, le=1)] = 0.0

    # The analysis.
    analysis_processes: Annotated[int, Field(ge=0, le=_PROCESSES_MAX)] = 0
    analysis_timeout_s: Seconds = 120.0
    channels: Annotated[tuple[str, ...], NoDecode] = ()
    mvc_session: PositiveFloat | None = None
    mvc_channels: Annotated[tuple[tuple[Annotated[str, Field(min_length=1)], PositiveFloat], ...], NoDecode] = ()
    mvc_threshold_percent: Annotated[float, Field(gt=0, le=1000)] = 75.0
    duration_threshold_ms: MillisecondsOrNone = 2000.0

    # The processing of recordings that arrive.
    worker_concurrency: Annotated[int, Field(ge=1, le=_PROCESSES_MAX)] = 2
    worker_drain_s: SecondsOrNone = 30.0
    worker_stalled_s: Seconds = 30.0
    processing_attempts_max: Count = 5
    processing_backoff_s: Seconds = 2.0
    processing_backoff_s_max: Seconds = 300.0
    processing_jobs_kept_hours: Annotated[int, Field(ge=1, le=_HOURS_MAX)] = 168

    # Who may ask over HTTP. Without keys this machine alone is served.
    jwt_secret: SecretStr | None = None
    jwt_jwks_url: str | None = None
    jwt_jwks_file: Path | None = None
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    jwt_role_claim: Annotated[str, Field(min_length=1)] = "role"
    jwt_leeway_s: Annotated[float, Field(ge=0, le=120)] = 10.0
    access_trust_s: SecondsOrNone = 5.0

    # The webhook, and uploads.
    webhook_secret: SecretStr | None = None
    webhook_secret_previous: SecretStr | None = None
    webhook_unsigned_allowed: bool = False
    webhook_bucket: str | None = None
    webhook_name_pattern: Annotated[str, Field(min_length=1)] = "*.c3d"
    webhook_patient_pattern: Annotated[str, Field(min_length=1)] = "P[0-9]+"
    uploads_per_minute_max: Count = 60
    body_idle_s_max: Seconds = 15.0
    head_s_max: Seconds = 15.0
    otel_exporter_otlp_endpoint: str | None = None
    worker_metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0

    # Logs, on standard error.
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    log_format: Literal["auto", "text", "json"] = "auto"

    @field_validator("channels", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("mvc_channels", mode="before")
    @classmethod
    def _values_by_channel(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            given = parse_mvc(value)
        except InvalidMvc as error:
            reason = "" if error.found is not None else f" ({error})"
            raise ValueError(f"must look like {_MVC_CHANNELS}{reason}") from None
        if given is not None and given.every_channel is not None:
            raise ValueError(f"must look like {_MVC_CHANNELS}; for every channel there is MVC_SESSION")
        return () if given is None else given.by_channel

    @field_validator("jwt_jwks_url", "otel_exporter_otlp_endpoint", "aws_endpoint_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        address = urlsplit(value)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("must be an https:// or http:// address")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object, info: ValidationInfo) -> object:
        may_be_unset = info.field_name is not None and cls.model_fields[info.field_name].default is None
        return None if value == "" and may_be_unset else value


def load_settings(**given: object) -> Settings:
    """The settings, with those given here going before the environment's. Raises InvalidSettings naming the first that is wrong."""
    try:
        return Settings(**given)  # type: ignore[arg-type]  # checked by pydantic, whose complaints are what we are after
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "the settings"
        shown = "" if name.endswith(("_URL", "_ENDPOINT", "_SECRET", "_SECRET_PREVIOUS")) else f", not {str(first['input'])[:60]!r}"
        complaint = first["msg"].removeprefix("Value error, ")  # pydantic's name for what our own validators say.
        raise InvalidSettings(f"{name}: {complaint[0].lower()}{complaint[1:]}{shown}") from None
