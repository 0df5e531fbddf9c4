"""`ownshelf device`: a shopper's device on the command line."""
