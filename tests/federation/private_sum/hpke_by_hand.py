"""HPKE base mode (X25519 or X-Wing, HKDF-SHA256, AES-256-GCM) straight from RFC 9180: an oracle."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

X25519_ID, XWING_ID, KDF_ID, AEAD_ID = (n.to_bytes(2, "big") for n in (0x0020, 0x647A, 0x0001, 0x0002))


def extract(salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), key, hashlib.sha256)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    out, block = b"", b""
    for i in range(1, 3):
        block = hmac.digest(key, block + info + bytes([i]), hashlib.sha256)
        out += block
    return out[:length]


def labeled_extract(suite: bytes, salt: bytes, label: bytes, key: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + key)


def labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def x25519_secret(shared: bytes, enc: bytes, public: bytes) -> bytes:
    kem = b"KEM" + X25519_ID
    prk = labeled_extract(kem, b"", b"eae_prk", shared)
    return labeled_expand(kem, prk, b"shared_secret", enc + public, 32)


def key_and_nonce(kem_id: bytes, secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    suite = b"HPKE" + kem_id + KDF_ID + AEAD_ID
    context = b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"")
    context += labeled_extract(suite, b"", b"info_hash", info)
    schedule = labeled_extract(suite, secret, b"secret", b"")
    return (
        labeled_expand(suite, schedule, b"key", context, 32),
        labeled_expand(suite, schedule, b"base_nonce", context, 12),
    )


def seal(seed: bytes, public: bytes, info: bytes, ephemeral: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = key.public_key().public_bytes_raw()
    secret = x25519_secret(key.exchange(X25519PublicKey.from_public_bytes(public)), enc, public)
    aes, nonce = key_and_nonce(X25519_ID, secret, info)
    return enc + AESGCM(aes).encrypt(nonce, seed, b"")


def open_sealed(sealed: bytes, private: bytes, info: bytes) -> bytes:
    key = X25519PrivateKey.from_private_bytes(private)
    enc, ct = sealed[:32], sealed[32:]
    shared = key.exchange(X25519PublicKey.from_public_bytes(enc))
    secret = x25519_secret(shared, enc, key.public_key().public_bytes_raw())
    aes, nonce = key_and_nonce(X25519_ID, secret, info)
    return AESGCM(aes).decrypt(nonce, ct, b"")


def open_hybrid(sealed: bytes, private: bytes, info: bytes) -> bytes:
    """X-Wing: SHA3-256 of both shared secrets, the X25519 ciphertext, the X25519 key and a label."""
    mlkem = MLKEM768PrivateKey.from_seed_bytes(private[:64])
    x25519 = X25519PrivateKey.from_private_bytes(private[64:])
    from_mlkem, enc, ct = sealed[:1088], sealed[1088:1120], sealed[1120:]
    shared = mlkem.decapsulate(from_mlkem) + x25519.exchange(X25519PublicKey.from_public_bytes(enc))
    bound = shared + enc + x25519.public_key().public_bytes_raw() + b"\\.//^\\"
    aes, nonce = key_and_nonce(XWING_ID, hashlib.sha3_256(bound).digest(), info)
    return AESGCM(aes).decrypt(nonce, ct, b"")
