"""Where a party keeps what is durable: databases and key files. Knows no party."""
