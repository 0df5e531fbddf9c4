"""Who is served how well, which items are listed, and whether a new release may replace the old one."""
