"""Microsoft's Python worker engine, driven from this process instead of by the Functions host."""

from local.engine.engine import Engine, Failure, InvocationResult, new_traceparent
from local.engine.functions import AppNotLoaded, Function, HttpTrigger, QueueOutput, QueueTrigger, TimerTrigger

__all__ = [
    "AppNotLoaded",
    "Engine",
    "Failure",
    "Function",
    "HttpTrigger",
    "InvocationResult",
    "QueueOutput",
    "QueueTrigger",
    "TimerTrigger",
    "new_traceparent",
]
