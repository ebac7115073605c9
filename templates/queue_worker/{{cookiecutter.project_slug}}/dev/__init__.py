"""What helps on the way and is no part of the service."""
