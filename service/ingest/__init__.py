"""Receiving: the storage SCP, durable before it answers Success."""
