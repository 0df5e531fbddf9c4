"""How a device gets the right to report, without the issuer knowing later whose right it was."""
