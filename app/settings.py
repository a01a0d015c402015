"""The settings, read once from the environment. An invalid one is one sentence that names the variable."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from app import CommandError


def setting(default: str, help_text: str, *, at_least: int = 1, at_most: int | None = None) -> Any:
    """A field read from the environment variable of its name in capitals; an integer one lies in the given range."""
    return field(metadata={"default": default, "help": help_text, "at_least": at_least, "at_most": at_most})


_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9_.:\[\]-]+")  # as browsers spell it: any other would never match

UNITS_S = {"second": 1, "minute": 60, "hour": 3600}


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the service. README has them as a table; a test keeps the two equal."""

    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting("5000", "port to listen on; 0 takes a free one", at_least=0, at_most=65535)
    data_dir: Path = setting("data", "folder of the database, the embedded index and their locks")
    database_url: str = setting(
        "", "`sqlite:///FILE` or `postgresql://...`; empty: `DATA_DIR/tweets.db`, which each start migrates"
    )
    redis_url: str = setting(
        "", "`redis://`, `rediss://`, `unix://` or `redis+cluster://`; empty: a private valkey-server in `DATA_DIR`"
    )
    partitions: int = setting("1", "logs and sorted sets of a new database; fixed from then on", at_most=1024)
    max_ancestors: int = setting("1000", "the most ancestors that a tweet may have", at_most=1_000_000)
    workers: int = setting("0", "worker processes; 0: one for each two cores, at most 4", at_least=0, at_most=64)
    threads: int = setting("64", "calls of SQL and Redis that run at once, in each process", at_most=1024)
    queue_limit: int = setting("1024", "writes that may wait; further ones get 503", at_most=1_000_000)
    allow_anonymous_writes: bool = setting("0", "1: take writes from anywhere while there is no token")
    rate_limit: tuple[int, int] | None = setting(
        "", "writes of one token or address, as in `60/minute`; empty: no limit"
    )
    cors_origins: str = setting(
        "", "origins whose pages may read, as in `https://a.example https://b.example`, or `*`; empty: none"
    )
    log: str = setting("text", "`text`, or `json`: one object a line")
    access_log: bool = setting("0", "1: a line of JSON on stderr for each request")
    metrics: bool = setting("0", "1: metrics for Prometheus at /metrics")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read all settings from *environment*; an empty variable counts as left out. Raises CommandError."""
        return cls(**{entry.name: _read(entry, environment) for entry in fields(cls)})


def _read(entry: Any, environment: Mapping[str, str]) -> Any:
    variable = entry.name.upper()
    text = environment.get(variable, "").strip() or entry.metadata["default"]
    try:
        text.encode()
    except UnicodeEncodeError:
        raise CommandError(f"{variable} has bytes that are no text in the encoding of this system.") from None
    if variable.endswith("_URL"):
        _check_password(variable, text)
    if entry.type is int:
        return _integer(variable, text, entry.metadata["at_least"], entry.metadata["at_most"])
    if entry.type is bool:
        return _integer(variable, text, 0, 1) == 1
    if entry.name == "rate_limit":
        return _rate(variable, text)
    if entry.name == "cors_origins" and not all(map(_ORIGIN.fullmatch, text.replace(",", " ").split())):
        raise CommandError(f"{variable} must be origins in small letters, as in https://a.example, and is {text!r}.")
    if entry.name == "log" and text not in ("text", "json"):
        raise CommandError(f"LOG must be text or json, and is {text!r}.")
    return Path(text) if entry.type is Path else text


def _check_password(variable: str, url: str) -> None:
    """Raise CommandError for a password that would be taken for another part of the URL, and shown with that."""
    userinfo, at, _ = url.partition("://")[2].partition("@")
    if url.count("@") > 1 or (at and re.search(r"[/?#\[\]\s]", userinfo)):
        raise CommandError(
            f"{variable} has an @ too many, or a sign in its user or password that ends it: percent-encode them "
            "(@ is %40, / is %2F, ? is %3F, # is %23, % is %25)."
        )


def _rate(variable: str, text: str) -> tuple[int, int] | None:
    """How many calls, and in how many seconds."""
    if not text:
        return None
    calls, unit = text.split("/", 1) if "/" in text else (text, "second")
    if unit not in UNITS_S or not (calls.isascii() and calls.isdigit() and len(calls) <= 6 and int(calls)):
        raise CommandError(f"{variable} must be of the form 60/minute (or /second, /hour), and is {text!r}.")
    return int(calls), UNITS_S[unit]


def _integer(variable: str, text: str, at_least: int, at_most: int | None) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20) or not at_least <= int(text) <= (
        at_most or int(text)
    ):
        bounds = f"from {at_least} to {at_most}" if at_most else f"from {at_least} up"
        raise CommandError(f"{variable} must be a whole number {bounds}, and is {text!r}.")
    return int(text)
