"""`mailroom settings`: write a file to start from, check a file, and write a script that sets it up in Azure."""
