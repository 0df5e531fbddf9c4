"""What a device's ledger gets back, and what it takes over from another device of the same shopper."""
