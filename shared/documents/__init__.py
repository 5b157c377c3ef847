"""The JSON documents that consumers read: their types and published schemas, their paths, and what writes them."""
