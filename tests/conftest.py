from hypothesis import settings

from tests.postgres import postgres_cluster, postgres_url

__all__ = ["postgres_cluster", "postgres_url"]

settings.register_profile("suite", deadline=None)  # of an example: machines are shared, time says nothing
settings.load_profile("suite")
