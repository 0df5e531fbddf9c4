"""Event exports of analytics and shop systems: nested records and order lines as flat rows, one event each."""
