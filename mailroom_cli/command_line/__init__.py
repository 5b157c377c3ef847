"""Options and arguments of every subcommand. The modules in `commands/` do the work.

Each function imports its modules itself: importing all of them takes longer than most commands run.
"""
