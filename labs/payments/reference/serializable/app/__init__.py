"""Payments without a lock: serializable transactions decide, and the provider knows its own keys."""
