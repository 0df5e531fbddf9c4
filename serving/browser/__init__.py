"""What a shopper's browser runs: the SDK's source and bundles, and the demo shop."""
