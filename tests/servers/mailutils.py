"""GNU Mailutils' imap4d and pop3d (Debian 12: 3.15), with mbox files and accounts in password files of a domain."""
