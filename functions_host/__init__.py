"""Microsoft's Python worker engine, driven from this process instead of by the Functions host."""

from functions_host.function_index import AppNotLoaded, Function, HttpTrigger, QueueOutput, QueueTrigger, TimerTrigger
from functions_host.worker import Engine, InvocationError, InvocationResult, new_traceparent

__all__ = [
    "AppNotLoaded",
    "Engine",
    "Function",
    "HttpTrigger",
    "InvocationError",
    "InvocationResult",
    "QueueOutput",
    "QueueTrigger",
    "TimerTrigger",
    "new_traceparent",
]
