"""The HTTP service: guard, hot path, OpenAPI; its resources are one folder further."""
