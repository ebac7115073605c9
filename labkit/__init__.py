"""labkit: backend labs, graded as black boxes on real services."""
