"""Mutation testing: one change in a money module, and whether a test notices."""
