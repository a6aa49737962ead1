"""Reconciliation with Razorpay: webhooks, the regular comparison, settlements."""
