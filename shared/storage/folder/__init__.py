"""A storage without servers: blobs as plain files, queues, records and leases in one SQLite file."""
