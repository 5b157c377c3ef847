"""What indexing found, as the local host wants it: functions, their triggers and their outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import ConfigurationError, MailroomError

CONNECTION = "AzureWebJobsStorage"
"""The only storage that bindings may name: the app's own."""

_SETTING = re.compile(r"%([^%]+)%")


class AppNotLoaded(MailroomError):
    """The app could not be indexed, or asks for what the local host does not supply."""


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """A clock.

    Attributes:
        name: the function's parameter.
        schedule: NCRONTAB, settings resolved.
        run_on_startup: run once when the host starts, too.
    """

    name: str
    schedule: str
    run_on_startup: bool


@dataclass(frozen=True, slots=True)
class QueueTrigger:
    """A queue to take messages from; `name` is the function's parameter."""

    name: str
    queue: str


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """A route.

    Attributes:
        name: the function's parameter.
        route: without the prefix, `{placeholders}` included.
        methods: in capitals; empty means all.
        auth_level: `anonymous`, `function` or `admin`.
    """

    name: str
    route: str
    methods: tuple[str, ...]
    auth_level: str


@dataclass(frozen=True, slots=True)
class QueueOutput:
    """A queue to put messages on; `name` is the function's parameter, or `$return`."""

    name: str
    queue: str


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app.

    Attributes:
        name: as the app names it.
        id: as the engine knows it.
        trigger: what starts it.
        outputs: the queues that it may put messages on.
    """

    name: str
    id: str
    trigger: TimerTrigger | QueueTrigger | HttpTrigger
    outputs: tuple[QueueOutput, ...] = ()


def read_functions(indexed: Iterable[Any], settings: Mapping[str, str]) -> tuple[Function, ...]:
    """Read the engine's RpcFunctionMetadata messages.

    Args:
        indexed: as functions_metadata_request answers.
        settings: the app settings, for the %NAMES% in bindings; looked up without case, as the host does.

    Raises:
        ConfigurationError: settings that bindings name are missing; all of them at once.
        AppNotLoaded: a binding that the local host does not supply.
    """
    known = {name.upper(): value for name, value in settings.items()}
    faults: list[str] = []
    functions = tuple(_function(metadata, known, faults) for metadata in indexed)
    if faults:
        raise ConfigurationError(*faults)
    return functions


def _function(metadata: Any, settings: Mapping[str, str], faults: list[str]) -> Function:
    triggers: list[TimerTrigger | QueueTrigger | HttpTrigger] = []
    outputs: list[QueueOutput] = []
    for raw in metadata.raw_bindings:
        written = json.loads(raw)
        binding = {
            key: _resolved(value, key, metadata.name, settings, faults) if isinstance(value, str) else value
            for key, value in written.items()
        }
        kind = str(binding["type"])
        if kind in ("queueTrigger", "queue") and binding.get("connection") not in (CONNECTION, "", None):
            raise AppNotLoaded(
                f"function {metadata.name}: a queue binding names the connection {binding['connection']}; the local "
                f"host has {CONNECTION} alone"
            )
        match kind:
            case "timerTrigger":
                triggers.append(TimerTrigger(binding["name"], binding["schedule"], bool(binding.get("runOnStartup"))))
            case "queueTrigger":
                triggers.append(QueueTrigger(binding["name"], binding["queueName"]))
            case "httpTrigger":
                triggers.append(_http(metadata.name, binding))
            case "queue":
                outputs.append(QueueOutput(binding["name"], binding["queueName"]))
            case "http":
                pass  # the return value, which every HTTP function has
            case _:
                raise AppNotLoaded(f"function {metadata.name}: the local host does not supply {kind} bindings")
    if len(triggers) != 1:
        raise AppNotLoaded(f"function {metadata.name} has {len(triggers)} triggers; it needs one")
    return Function(metadata.name, metadata.function_id, triggers[0], tuple(outputs))


def _http(function: str, binding: Mapping[str, Any]) -> HttpTrigger:
    methods = tuple(str(method).upper() for method in binding.get("methods") or ())
    route = binding.get("route") or function
    return HttpTrigger(binding["name"], route, methods, str(binding.get("authLevel") or "function").lower())


def _resolved(text: str, key: str, function: str, settings: Mapping[str, str], faults: list[str]) -> str:
    def value(match: re.Match[str]) -> str:
        found = settings.get(match[1].upper())
        if not found:
            faults.append(f"{match[1]} is not set, and function {function} takes its {key} from it: set it")
            return ""
        return found

    return _SETTING.sub(value, text)
