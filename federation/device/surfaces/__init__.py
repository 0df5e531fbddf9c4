"""Every surface of a shop, listed and ranked on the device; pure functions of what its vault holds."""
