"""A pretend payment provider for this machine, and for the tests: `python3 -m provider`."""
