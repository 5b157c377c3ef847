"""Blob, Queue and Table Storage."""
