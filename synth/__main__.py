"""`python -m synth` is the command `spiritsafe`, for where no script is installed."""

from synth.cli import main

main()
