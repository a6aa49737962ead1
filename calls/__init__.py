"""Calls: placed, followed while they last, ended once."""
