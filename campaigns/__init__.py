"""Campaigns: a list of contacts, dialled at a given pace while there is money."""
