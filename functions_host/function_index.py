"""The app's functions with their triggers and output bindings, read from the worker engine's index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import ConfigurationError, MailroomError

CONNECTION = "AzureWebJobsStorage"
"""The only connection that bindings may name: the app's own storage."""

_SETTING = re.compile(r"%([^%]+)%")


class AppNotLoaded(MailroomError):
    """The app cannot be indexed, or needs a binding that the local host does not support."""


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """A timer trigger.

    Attributes:
        name: the function's parameter.
        schedule: NCRONTAB expression, with app settings resolved.
        run_on_startup: also run once when the host starts.
        use_monitor: keep the timer's status, unless it is due more than once a minute.
    """

    name: str
    schedule: str
    run_on_startup: bool
    use_monitor: bool = True


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """A queue trigger: the queue that the function reads; `name` is the function's parameter."""

    name: str
    queue: str


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """An HTTP trigger.

    Attributes:
        name: the function's parameter.
        route: path without the prefix, with its `{placeholders}`.
        methods: in capitals; empty means all.
        auth_level: `anonymous`, `function` or `admin`.
    """

    name: str
    route: str
    methods: tuple[str, ...]
    auth_level: str


@dataclass(frozen=True, slots=True)
class QueueOutput:
    """A queue output binding; `name` is the function's parameter, or `$return`."""

    name: str
    queue: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the app.

    Attributes:
        name: the name in the app.
        id: the engine's identifier.
        trigger: the trigger that starts it.
        outputs: the queues that it may write to.
    """

    name: str
    id: str
    trigger: TimerTrigger | QueueTrigger | HttpTrigger
    outputs: tuple[QueueOutput, ...] = ()


def read_functions(indexed: Iterable[Any], settings: Mapping[str, str]) -> tuple[Function, ...]:
    """Return the functions that the engine's RpcFunctionMetadata messages describe.

    Args:
        indexed: the response to functions_metadata_request.
        settings: the app settings for the %NAMES% in bindings; names are case-insensitive, as in the Functions host.

    Raises:
        ConfigurationError: settings that bindings name are missing; it lists all of them.
        AppNotLoaded: the local host does not support a binding.
    """
    settings_by_name = {name.upper(): value for name, value in settings.items()}
    errors: list[str] = []
    functions = tuple(_read_function(metadata, settings_by_name, errors) for metadata in indexed)
    if errors:
        raise ConfigurationError(*errors)
    return functions


def _read_function(metadata: Any, settings: Mapping[str, str], errors: list[str]) -> Function:
    triggers: list[TimerTrigger | QueueTrigger | HttpTrigger] = []
    outputs: list[QueueOutput] = []
    for raw in metadata.raw_bindings:
        binding = {
            key: _resolve_settings(value, key, metadata.name, settings, errors) if isinstance(value, str) else value
            for key, value in json.loads(raw).items()
        }
        kind = str(binding["type"])
        if kind in ("queueTrigger", "queue") and binding.get("connection") not in (CONNECTION, "", None):
            raise AppNotLoaded(
                f"function {metadata.name}: a queue binding names the connection {binding['connection']}; the local "
                f"host supports only {CONNECTION}"
            )
        match kind:
            case "timerTrigger":
                triggers.append(
                    TimerTrigger(
                        binding["name"],
                        binding["schedule"],
                        run_on_startup=bool(binding.get("runOnStartup")),
                        use_monitor=bool(binding.get("useMonitor", True)),
                    )
                )
            case "queueTrigger":
                if str(binding.get("dataType") or "string").lower() != "string":
                    raise AppNotLoaded(
                        f"function {metadata.name}: the local host passes queue messages as text, and does not support "
                        f"the data type {binding['dataType']}"
                    )
                triggers.append(QueueTrigger(binding["name"], binding["queueName"]))
            case "httpTrigger":
                triggers.append(_read_http_trigger(metadata.name, binding))
            case "queue":
                outputs.append(QueueOutput(binding["name"], binding["queueName"]))
            case "http":
                pass  # the return value; every HTTP function has one
            case _:
                raise AppNotLoaded(f"function {metadata.name}: the local host does not support {kind} bindings")
    if len(triggers) != 1:
        raise AppNotLoaded(f"function {metadata.name} has {len(triggers)} triggers; it needs exactly one")
    return Function(metadata.name, metadata.function_id, triggers[0], tuple(outputs))


def _read_http_trigger(function: str, binding: Mapping[str, Any]) -> HttpTrigger:
    methods = tuple(str(method).upper() for method in binding.get("methods") or ())
    route = binding.get("route") or function
    return HttpTrigger(binding["name"], route, methods, str(binding.get("authLevel") or "function").lower())


def _resolve_settings(text: str, key: str, function: str, settings: Mapping[str, str], errors: list[str]) -> str:
    def setting_value(match: re.Match[str]) -> str:
        value = settings.get(match[1].upper())
        if not value:
            errors.append(f"{match[1]} is not set; function {function} needs it for its {key}: set {match[1]}")
            return ""
        return value

    return _SETTING.sub(setting_value, text)
