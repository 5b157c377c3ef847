"""Imports for `prepared_process`: the app with what it imports later, when it is used."""

import pkgutil
from importlib import import_module

import functions_host
import mailroom_cli
import shared

for package in (shared, mailroom_cli, functions_host):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
