"""Storage in a folder, without a server: blobs as plain files; queues, records and leases in a SQLite database."""
