"""Reporting: reads any collection, changes none but a cache of its own."""
