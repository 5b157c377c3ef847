"""What the Functions host supplies: the clock, the queues and HTTP, around the functions on the worker engine."""
