"""`python -m mailroom_cli`: the same as `mailroom`."""

from mailroom_cli.main import main

main()
