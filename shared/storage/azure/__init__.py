"""Storage in Azure: Blob, Queue and Table Storage."""
