"""A rate limiter whose budget flows back evenly."""
