"""A simulated Razorpay on this machine; no part of the product."""
