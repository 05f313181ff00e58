"""`python -m fineseg`."""

from fineseg.cli.main import main

main()
