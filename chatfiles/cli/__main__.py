"""``python -m chatfiles.cli``: the console script where it is not installed."""

from chatfiles.cli import main

main()
