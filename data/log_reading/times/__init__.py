"""Times of any notation as microseconds since 1970 UTC."""
