"""Which servers the tests may ask for."""

pytest_plugins = ["tests.servers.azurite", "tests.servers.dovecot", "tests.servers.authority", "tests.servers.graph"]
