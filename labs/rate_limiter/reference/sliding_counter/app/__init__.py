"""A rate limiter that weighs the last window against the current one."""
