"""Opening a source: whatever file, list of files or frame comes, as one lazy frame of raw columns with line numbers."""
