"""From scores to a list: rules, diversity, reasons."""
