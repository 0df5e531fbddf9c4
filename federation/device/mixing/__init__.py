"""What a device says in rounds of the mix."""
