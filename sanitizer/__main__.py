"""`python -m sanitizer`."""

from sanitizer.cli import main

main()
