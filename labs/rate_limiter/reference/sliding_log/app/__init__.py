"""A rate limiter that remembers when each admitted request came."""
