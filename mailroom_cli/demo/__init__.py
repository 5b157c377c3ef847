"""`mailroom demo`: the main job on an embedded mail server and sample mail."""
