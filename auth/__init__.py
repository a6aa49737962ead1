"""Authentication: passwords, sessions and rate limits, without HTTP."""
