"""The custodian over HTTP."""
