"""A device's own encrypted file, its key, and the state in it."""

from federation.device.vault.sealed_log import KeyStore, Position
from federation.device.vault.vault import Vault, erase_vault

__all__ = ["KeyStore", "Position", "Vault", "erase_vault"]
