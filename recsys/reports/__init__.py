"""Pages and plots as functions of JSON; no figure is computed here."""
