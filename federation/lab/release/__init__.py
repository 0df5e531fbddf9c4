"""A release before it is served: the gate that judges it, and the card that describes it."""
