"""Load shedding: how saturated brokers are, what is shed for it, and what that means for a tenant's quotas. Pure."""
