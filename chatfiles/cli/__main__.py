"""``python -m chatfiles.cli``: runs the command where the console script is not installed."""

from chatfiles.cli import main

main()
