"""``python -m fptkit``."""

from fptkit.cli.main import main

main()
