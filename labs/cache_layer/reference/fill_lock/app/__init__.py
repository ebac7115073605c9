"""A products API whose cache is filled under a lock and checked by a generation."""
