"""Which servers the tests may ask for."""

pytest_plugins = [
    "tests.servers.azurite",
    "tests.servers.dovecot",
    "tests.servers.authority",
    "tests.servers.graph",
    "tests.servers.courier",
    "tests.servers.cyrus",
    "tests.servers.mailutils",
    "tests.servers.postfix",
    "tests.servers.wildduck",
    "tests.servers.hoodiecrow",
]
