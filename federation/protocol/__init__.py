"""What the parties say to each other: messages, signatures, tokens, transport. Knows no party and no model."""
