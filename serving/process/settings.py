"""Settings of `ownshelf serve`: an option, else the environment variable OWNSHELF_<NAME>, else a default.

A value that cannot be is one clear error; a variable that is none of ours is named, for it is most often a typo.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from data.errors import ServingError
from serving.http.app import ServiceSettings
from serving.http.cross_origin import CrossOrigin
from serving.http.rates import parse_rate
from serving.http.request_record import AccessLogKind
from serving.shelf.store_watcher import KEEP
from serving.state.state_url import url_of

PREFIX = "OWNSHELF_"
OTHERS = frozenset(
    f"OWNSHELF_{name}" for name in ("HOME", "PASSPHRASE", "SHOP_CREDENTIAL", "API_KEY", "KEY", "SERVICE")
)
"""Variables of other commands."""


class Settings(BaseSettings):
    """All settings of `ownshelf serve` but the bundles."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Processes that share the port.")
    federation: Path | None = Field(
        None, description="A file (TOML) that switches live training rounds on; see docs/federation.md."
    )
    state: str | None = Field(
        None, description="Where API keys are: a folder, or the URL of a database. With --federation: its store."
    )
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM; with --tls-key: HTTPS.")
    tls_key: Path | None = Field(None, description="The certificate's private key, PEM.")
    open: bool = Field(False, description="Answer requests without an API key, also beyond this machine.")
    require_keys: bool = Field(False, description="Do not start without a good API key, on this machine neither.")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins of pages that may ask, by comma, such as https://shop.example."
    )
    rate_limit: str | None = Field(None, description="Requests of one API key, such as 100/second; no limit.")
    max_body_bytes: int = Field(512 * 1024, ge=1_024, le=2**30, description="Of one request.")
    max_depth: int = Field(32, ge=8, le=1_000, description="Nested brackets of a request's JSON.")
    request_timeout_s: float = Field(15.0, gt=0, le=3_600, description="For one request, from its first byte.")
    stop_timeout_s: int = Field(30, ge=1, le=3_600, description="For requests in progress when it is told to stop.")
    drain_s: float = Field(
        1.0, ge=0, le=600, description="From SIGTERM, when /readyz says no, to the last request that is accepted."
    )
    access_log: AccessLogKind = Field("errors", description="A JSON line a request: off, errors or all.")
    log_level: str = Field("warning", pattern="^(debug|info|warning|error)$", description="Of everything else.")
    otel_endpoint: str | None = Field(None, description="OTLP/HTTP address for traces; needs the extra otel.")
    bundle_folder: Path | None = Field(
        None, description="Where bundles are copied to and served from; default: the state's folder, or a passing one."
    )
    objects: str | None = Field(
        None, description="Object store, such as s3://bucket/shop, through which hosts of one state share bundles."
    )
    index_folder: Path | None = Field(None, description="Where built indexes are kept between starts.")
    keep_bundles: int = Field(
        KEEP, ge=0, le=100, description="Bundles answered beside the current one; for older ones a device fetches it."
    )
    recall_floor: float = Field(0.9, ge=0, le=1, description="Of the index, below which /readyz says no.")

    shop: bool = Field(False, description="Serve the demo shop at /shop and the browser SDK at /sdk, for trying out.")

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _by_comma(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        CrossOrigin(value)
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str | None) -> str | None:
        if value is not None:
            parse_rate(value)
        return value

    def state_url(self) -> str | None:
        """Return the URL of the database with the API keys; None when there is none.

        Raises ServingError for two of them.
        """
        if self.federation is not None:
            if self.state is not None:
                raise ServingError("--state: is the federation file's own store with --federation; give none")
            from serving.process.federation_file import FederationFile

            return FederationFile.read(self.federation).url
        return None if self.state is None else url_of(self.state)

    def service(self) -> ServiceSettings:
        """Select what of it the application needs."""
        return ServiceSettings(
            max_body_bytes=self.max_body_bytes,
            max_depth=self.max_depth,
            request_timeout_s=self.request_timeout_s,
            cors_origins=self.cors_origins,
            rate_limit=self.rate_limit,
            workers=self.workers,
            access_log=self.access_log,
            recall_floor=self.recall_floor,
            index_folder=self.index_folder,
            keep_bundles=self.keep_bundles,
            shop=self.shop,
        )


def read_settings(options: Mapping[str, Any]) -> Settings:
    """Read settings of a command's options, those not given (None) from the environment. Raises ServingError."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = str(problem["loc"][0])
        where = f"--{name.replace('_', '-')}" if name in given else PREFIX + name.upper()
        raise ServingError(f"{where}: {problem['msg']}") from None
    except ServingError as error:  # of a validator of ours
        raise ServingError(f"settings: {error}") from None


def variable(name: str) -> str:
    """Name the environment variable of a setting."""
    return PREFIX + name.upper()


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Write a sentence for each OWNSHELF_ variable that nothing reads, in the order of their names."""
    known = {variable(name) for name in Settings.model_fields} | OTHERS
    sentences = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            sentences.append(f"{name}: is no setting" + (f"; is {near[0]} meant?" if near else ""))
    return sentences
