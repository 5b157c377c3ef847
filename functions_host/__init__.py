"""Run an Azure Functions app in this process, on Microsoft's Python worker engine, without the Functions host.

`worker` drives the engine, `function_index` reads the app's bindings, and `invoker` runs functions. The triggers are
`timer_listener`, `queue_listener` and `http_server`. `host` starts and stops all of them.
"""

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
