"""A rate limiter that counts a client's requests from the first one until the window ends."""
