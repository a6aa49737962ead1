"""The routes of admins."""
