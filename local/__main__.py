"""`python -m local`: the same as `mailroom`."""

from local.cli import main

main()
