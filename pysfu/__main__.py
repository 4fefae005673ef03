"""`python -m pysfu` is the `pysfu` command."""

from pysfu.cli import main

main()
