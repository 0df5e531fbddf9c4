"""A device's own encrypted file, and its key."""

from federation.device.vault.sealed_log import KeyStore, Position
from federation.device.vault.vault import Vault, erase_vault

__all__ = ["KeyStore", "Position", "Vault", "erase_vault"]
