"""Configuration: mlspine.toml, then MLSPINE_SECTION__KEY, then the command line, into frozen sections.

No file means all defaults. Every problem of every source is reported at once, with its file and key path.
A text value written as `env:NAME` or `file:PATH` is a secret kept elsewhere; it is looked up here, and shown
by its reference only.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec

from mlspine.core.errors import Invalid, closest
from mlspine.core.types import Struct

FILE_NAME = "mlspine.toml"
ENVIRONMENT_PREFIX = "MLSPINE_"
DEFAULT = "default"

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
ProcessCount = Annotated[int, msgspec.Meta(ge=1, le=64)] | Literal["auto"]
PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
ShareOrNone = Annotated[float, msgspec.Meta(ge=0, le=1)]
_PASSWORD_IN_URL = re.compile(r"(\w://[^:/@\s]*):.*@")
# Profiles are kept per hour of event time, so a window is made of whole hours.
WindowSeconds = Annotated[int, msgspec.Meta(ge=3600, multiple_of=3600)]


class ServingConfig(Struct, frozen=True, kw_only=True):
    """The inference processes: where they listen, how many they are, and what one request may cost."""

    host: str = "127.0.0.1"
    port: Port = 8080
    grpc_port: Port | None = None  # where the v2 protocol is answered over gRPC too (extra `grpc`); none: nowhere
    processes: ProcessCount = "auto"  # that share the port; "auto": by CPUs and memory, see core/machine.py
    deadline_s: PositiveFloat = 10.0  # a request not answered by then gets 503
    max_body_bytes: PositiveInt = 64 * 1024 * 1024  # larger bodies get 413
    max_queue_rows: PositiveInt = 100_000  # rows waiting for the model; beyond it requests get 503
    runtime: Literal["auto", "native", "onnx"] = "auto"  # how models run: whatever is fastest and agrees, or one of two
    worker_memory_bytes: PositiveInt = 4_000_000_000  # a model process that holds more is started again
    http: Literal["own", "asgi"] = "own"  # own: HTTP/1.1 of our own; asgi: uvicorn, several times slower
    max_connections: PositiveInt = 20_000  # clients connected to one inference process; more get 503 (http = "own")


class ControlConfig(Struct, frozen=True, kw_only=True):
    """The control process: API and scheduler."""

    host: str = "127.0.0.1"
    port: Port = 8081
    names: tuple[str, ...] = ()  # host names under which a proxy on this machine passes requests on
    max_release_bytes: PositiveInt = 10_000_000_000  # a larger release or file is not taken from a client
    mlflow_ui: str = ""  # folder of MLflow's pages, its server/js/build; "": that of the mlflow installed beside us


class LogConfig(Struct, frozen=True, kw_only=True):
    """The prediction log: how long rows are kept, and how late labels may come."""

    retention_days: PositiveInt = 30  # wide request rows older than this are deleted ...
    retention_bytes: PositiveInt = 10_000_000_000  # ... and the oldest ones beyond this size
    ingest_every_s: PositiveFloat = 1.0  # from spool to Parquet and profiles
    label_delay_days: PositiveFloat = 90.0  # labels are waited for, and outcome rows kept, this long


class MonitoringConfig(Struct, frozen=True, kw_only=True):
    """When windows are judged, how many false alarms are tolerated, and who is told."""

    window_s: WindowSeconds = 3600  # a window is judged after this much event time, if it has min_rows
    min_rows: PositiveInt = 500  # a smaller window waits and grows
    budget_per_30_days: PositiveFloat = 1.0  # tolerated false WARNINGs per workspace
    notify: tuple[str, ...] = ()  # webhook URLs, "command:PROGRAM ARGUMENTS", or Apprise URLs (extra `alerts`)
    deadman_url: str = ""  # asked for (GET) while this machine is well; whoever watches it notices the silence
    deadman_every_s: PositiveFloat = 30.0
    error_rate: Share = 0.01  # alert when more than this share of answers failed in 5 minutes
    latency_p99_s: PositiveFloat | None = None  # alert when the 99th percentile is above it; none: twice that at ship
    on_critical: Literal["ask", "fallback"] = "ask"  # what a CRITICAL that may switch traffic does by itself
    watch_s: NotNegative = 1800.0  # after a switch to a newer release a breach brings back the one before; 0: off
    watch_share: ShareOrNone = 0.2  # of the requests are then asked of both, and compared; 0: none
    watch_disagreement: Share = 0.5  # mean difference of their answers that is taken at most, as a share of 0 to 1


class FeedsConfig(Struct, frozen=True, kw_only=True):
    """How often declared sources are looked at."""

    labels_every_s: PositiveFloat = 3600.0  # label feeds are pulled
    source_every_s: PositiveFloat = 3600.0  # sources of fresh rows are checked
    requests_every_s: PositiveFloat = 300.0  # the flow and the ranges of requests are checked


class RegistryConfig(Struct, frozen=True, kw_only=True):
    """What the promotion gate decides over beside the stage Production."""

    gated_aliases: tuple[str, ...] = ("champion", "production")  # moving one of these asks the gate


class StoreConfig(Struct, frozen=True, kw_only=True):
    """Where the store is: in the workspace (both empty), or shared between machines (both set)."""

    database: str = ""  # postgresql://USER@HOST/DATABASE; a password by PGPASSWORD, or all of it as env:NAME
    blobs: str = ""  # s3://BUCKET/PREFIX
    endpoint: str = ""  # URL of the S3-compatible storage when it is not AWS
    cache_bytes: PositiveInt = 2_000_000_000  # copies of its files on this machine; the oldest go beyond it


class AdvisorConfig(Struct, frozen=True, kw_only=True):
    """What the adviser may look at beyond the workspace."""

    cluster_metrics: str = ""  # URL of a Prometheus that watches a cluster, e.g. http://prometheus:9090


class CostConfig(Struct, frozen=True, kw_only=True):
    """Prices, so that CPU time becomes money; none: CPU time only."""

    per_cpu_hour: PositiveFloat | None = None  # what one CPU of this machine costs for an hour
    currency: str = "USD"
    managed_per_hour: PositiveFloat | None = None  # what a managed endpoint would cost for an hour ...
    managed_per_million: PositiveFloat | None = None  # ... and for a million predictions


class Setting(NamedTuple):
    """One effective value as `mlspine config` prints it, and where it came from."""

    key: str
    value: str
    origin: str


class Config(Struct, frozen=True, kw_only=True):
    """The effective configuration; each service receives only its own section."""

    serving: ServingConfig = ServingConfig()
    control: ControlConfig = ControlConfig()
    log: LogConfig = LogConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    feeds: FeedsConfig = FeedsConfig()
    registry: RegistryConfig = RegistryConfig()
    store: StoreConfig = StoreConfig()
    advisor: AdvisorConfig = AdvisorConfig()
    cost: CostConfig = CostConfig()
    settings: tuple[Setting, ...] = ()


SECTIONS: dict[str, type[Struct]] = {
    "serving": ServingConfig,
    "control": ControlConfig,
    "log": LogConfig,
    "monitoring": MonitoringConfig,
    "feeds": FeedsConfig,
    "registry": RegistryConfig,
    "store": StoreConfig,
    "advisor": AdvisorConfig,
    "cost": CostConfig,
}


def load_config(
    start: Path | str | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, str] | None = None,
) -> Config:
    """The configuration that holds at `start` (default: the current directory).

    environment: variables to read, those of the process by default. overrides: "section.key" -> text, from
    the command line; they win. Raises Invalid listing every problem of every source.
    """
    variables = os.environ if environment is None else environment
    problems: list[str] = []
    given = [
        *_from_file(find_file(Path.cwd() if start is None else Path(start)), problems),
        *_from_environment(variables),
        *(_Given(key, text, "command line", text=True) for key, text in (overrides or {}).items()),
    ]
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    shown: dict[str, Setting] = {}
    for each in given:
        _take(each, values, shown, problems, variables)
    if problems:
        raise Invalid(
            f"the configuration has {len(problems)} problem{'s' if len(problems) > 1 else ''}",
            details=problems,
            hint="mend them; every setting and its default: mlspine config",
        )
    config = msgspec.convert(values, type=Config)
    return msgspec.structs.replace(config, settings=tuple(_settings(config, shown)))


def find_file(start: Path) -> Path | None:
    """The nearest mlspine.toml in `start` or above it."""
    start = start.resolve()
    return next((file for folder in (start, *start.parents) if (file := folder / FILE_NAME).is_file()), None)


def explain(config: Config) -> list[Setting]:
    """Every setting with its effective value and where it came from; secrets by their reference."""
    return list(config.settings)


# ---------------------------------------------------------------- sources


class _Given(NamedTuple):
    key: str  # "section.key"
    value: Any
    origin: str
    text: bool  # written as text: "9000" may mean a number
    folder: Path | None = None  # what a relative file:PATH is relative to


def _from_file(path: Path | None, problems: list[str]) -> Iterator[_Given]:
    if path is None:
        return
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        problems.append(f"{path}: {exc}")
        return
    for section, content in document.items():
        if isinstance(content, dict):
            for key, value in content.items():
                yield _Given(f"{section}.{key}", value, str(path), text=False, folder=path.parent)
        else:
            problems.append(f"{path}: {section}: a key stands outside any section{_did_you_mean_key(section)}")


def _from_environment(variables: Mapping[str, str]) -> Iterator[_Given]:
    for name in sorted(variables):
        # MLSPINE_WORKSPACE and the like are no settings: only names with "__" are.
        if name.startswith(ENVIRONMENT_PREFIX) and "__" in name:
            section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).partition("__")
            yield _Given(f"{section.lower()}.{key.lower()}", variables[name], name, text=True)


# ---------------------------------------------------------------- one value


def _take(
    given: _Given,
    values: dict[str, dict[str, Any]],
    shown: dict[str, Setting],
    problems: list[str],
    variables: Mapping[str, str],
) -> None:
    """Check one given value and put it where it belongs, or say what is wrong with it."""
    section, _, key = given.key.partition(".")
    unknown = _unknown(section, key)
    if unknown:
        problems.append(f"{given.origin}: {given.key}: {unknown}")
        return
    kind = get_type_hints(SECTIONS[section], include_extras=True)[key]
    try:
        written = _written(given, kind)
        values[section][key] = msgspec.convert(
            _resolve(written, given.folder, variables), type=kind, strict=not given.text
        )
    except (msgspec.ValidationError, ValueError, OSError) as exc:
        problems.append(f"{given.origin}: {given.key} = {given.value!r}: {exc}")
        return
    shown[given.key] = Setting(given.key, _show(written), given.origin)


def _written(given: _Given, kind: Any) -> Any:
    """Text from outside the file as its kind is meant: a list by commas or as a JSON array, none by ""."""
    if given.text and kind == tuple[str, ...]:
        if given.value.lstrip().startswith("["):
            return msgspec.json.decode(given.value)
        return tuple(part.strip() for part in given.value.split(",") if part.strip())
    if given.text and given.value == "" and kind is not str:
        return None
    return given.value


def _resolve(value: Any, folder: Path | None, variables: Mapping[str, str]) -> Any:
    """The value with env:NAME and file:PATH looked up."""
    if isinstance(value, list | tuple):
        return [_resolve(each, folder, variables) for each in value]
    if isinstance(value, str) and value.startswith("env:"):
        name = value.removeprefix("env:")
        if name not in variables:
            raise ValueError(f"the environment has no variable {name}")
        return variables[name]
    if isinstance(value, str) and value.startswith("file:"):
        path = Path(value.removeprefix("file:")).expanduser()
        return ((folder or Path.cwd()) / path).read_text(encoding="utf-8").strip()
    return value


def _unknown(section: str, key: str) -> str:
    """Why `section.key` is no setting, with the nearest that is; "" when it is one."""
    if section not in SECTIONS:
        return f"no such section{_did_you_mean(section, SECTIONS) or _did_you_mean_key(key)}"
    known = SECTIONS[section].__struct_fields__
    if key not in known:
        return f"no such setting{_did_you_mean(key, known) or _did_you_mean_key(key)}"
    return ""


def _did_you_mean(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = closest(word, known)
    return f"; did you mean {near}?" if near else ""


def _did_you_mean_key(key: str) -> str:
    """The nearest setting of any section."""
    all_keys = {field: name for name, kind in SECTIONS.items() for field in kind.__struct_fields__}
    near = closest(key, all_keys)
    return f"; did you mean {all_keys[near]}.{near}?" if near else f"; sections are {', '.join(SECTIONS)}"


# ---------------------------------------------------------------- showing


def _settings(config: Config, shown: Mapping[str, Setting]) -> Iterator[Setting]:
    for section, kind in SECTIONS.items():
        values = getattr(config, section)
        for field in kind.__struct_fields__:
            key = f"{section}.{field}"
            yield shown.get(key) or Setting(key, _show(getattr(values, field)), DEFAULT)


def _show(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_show, value)) or "none"
    return _PASSWORD_IN_URL.sub(r"\1:***@", str(value))
