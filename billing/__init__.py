"""Billing: what a call costs, who may place it, and the money that is held for it."""
