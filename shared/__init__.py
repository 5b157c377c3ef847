"""The code that the functions share: configuration, mailboxes, storage, intake, routing and dispatch."""
