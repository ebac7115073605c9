"""Payments whose keys are leased while they run, and announced by a relay of its own."""
