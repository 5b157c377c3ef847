"""`python -m mailroom_cli`: the same as `mailroom`."""

from mailroom_cli.main import main

if __name__ == "__main__":  # a worker process imports this module under another name
    main()
