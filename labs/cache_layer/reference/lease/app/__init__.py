"""A products API whose cache hands out a lease with every miss."""
