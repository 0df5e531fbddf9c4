"""An experiment as it is written down: arms, metrics, looks, layout of its sums. Public, of no shopper."""
