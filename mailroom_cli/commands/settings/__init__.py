"""`mailroom settings`: a file to start from, the check of one, and its way into Azure."""
