"""`python -m local`: the same as `mailroom`."""

from mailroom_cli.main import main

main()
