"""`ownshelf experiment`: definitions, plans, rehearsals and reports."""
