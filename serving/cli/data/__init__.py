"""Commands that read and change what a shop brings: ingest, inspect, dataset, catalogue."""
