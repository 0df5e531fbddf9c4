"""Where a party keeps what is durable: databases, their migrations, and key files. Knows no party."""
