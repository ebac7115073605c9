"""Payments whose keys are locked rows: a repeat waits for the first and gets its answer."""
