"""What the functions share: settings, mail, routing, mailboxes, storage, and the way in and out."""
