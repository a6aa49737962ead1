"""Compliance: at what hours, how often and which numbers may be called, and what shows it later."""
