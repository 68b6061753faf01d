"""Ed25519 by the OpenSSL that is in the process anyway, for TLS: an agent that has obeyed an order need hold no second one.

The ``cryptography`` package brings an OpenSSL of its own, 8 MiB once an order was verified. Python's ``ssl`` has loaded the system's;
this opens that very library and never another one (``RTLD_NOLOAD``). Where it is none of those named here, or fails a known answer,
``found`` gives nothing, and its caller takes ``cryptography``. The runner does so always: no door opens on the word of this file alone.
Source: EVP_PKEY_new_raw_public_key(3), EVP_DigestVerify(3), EVP_DigestSign(3), ERR_clear_error(3); ADR 31.
"""

import ctypes
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_void_p
from typing import Final

SONAMES: Final = ("libcrypto.so.3", "libcrypto.so.1.1")
"""OpenSSL 3, and 1.1.1, in which these functions came to be."""
OLDEST: Final = (1, 1, 1)
ED25519: Final = 1087
"""EVP_PKEY_ED25519, obj_mac.h."""
KEY_BYTES, SIGNATURE_BYTES = 32, 64
"""RFC 8032, section 5.1."""
_RAW_KEY: Final = (c_void_p, c_int, c_void_p, c_char_p, c_size_t)
_BEGIN: Final = (c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
_FUNCTIONS: Final = {
    "EVP_PKEY_new_raw_public_key": _RAW_KEY,
    "EVP_PKEY_new_raw_private_key": _RAW_KEY,
    "EVP_PKEY_get_raw_public_key": (c_int, c_void_p, c_char_p, POINTER(c_size_t)),
    "EVP_PKEY_free": (None, c_void_p),
    "EVP_MD_CTX_new": (c_void_p,),
    "EVP_MD_CTX_free": (None, c_void_p),
    "EVP_DigestVerifyInit": _BEGIN,
    "EVP_DigestVerify": (c_int, c_void_p, c_char_p, c_size_t, c_char_p, c_size_t),
    "EVP_DigestSignInit": _BEGIN,
    "EVP_DigestSign": (c_int, c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t),
    "ERR_clear_error": (None,),
}
"""What each gives, then what it takes."""
_SEED: Final = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
_PUBLIC: Final = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
_MESSAGE: Final = b"\x72"
_SIGNATURE: Final = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
"""RFC 8032, section 7.1, test 2."""


class Failed(Exception):
    """The library could not do what it was asked, whatever the message; of a signature that does not hold it is no sign."""


class Libcrypto:
    """``signature.Ed25519`` by a loaded libcrypto."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare what is called; raises AttributeError for a library that lacks a function."""
        self._library = library
        for name, (gives, *takes) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = gives, takes

    def verifies(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        """Tell whether ``signature`` is one of the raw key's over ``data``; whatever else happens (a length, no point of the curve), it is not."""
        try:
            with self._key("public", public_key) as key, self._context() as context:
                begun = self._library.EVP_DigestVerifyInit(context, None, None, None, key)
                return bool(
                    begun == 1
                    and self._library.EVP_DigestVerify(context, signature, len(signature), data, len(data)) == 1
                )
        except Failed:
            return False

    def sign(self, seed: bytes, data: bytes) -> bytes:
        """Sign ``data`` with the key of these 32 secret bytes; raises Failed."""
        made, size = ctypes.create_string_buffer(SIGNATURE_BYTES), c_size_t(SIGNATURE_BYTES)
        with self._key("private", seed) as key, self._context() as context:
            is_begun = self._library.EVP_DigestSignInit(context, None, None, None, key) == 1
            is_done = is_begun and self._library.EVP_DigestSign(context, made, ctypes.byref(size), data, len(data)) == 1
        if not is_done or size.value != SIGNATURE_BYTES:
            raise Failed("not signed")
        return made.raw

    def public_of(self, seed: bytes) -> bytes:
        """Give the raw public half; raises Failed."""
        made, size = ctypes.create_string_buffer(KEY_BYTES), c_size_t(KEY_BYTES)
        with self._key("private", seed) as key:
            is_done = self._library.EVP_PKEY_get_raw_public_key(key, made, ctypes.byref(size)) == 1
        if not is_done or size.value != KEY_BYTES:
            raise Failed("no public half")
        return made.raw

    def knows_its_answer(self) -> bool:
        """Try the RFC's example both ways, and one that is wrong; a library in FIPS mode may have no Ed25519."""
        try:
            is_right = self.public_of(_SEED) == _PUBLIC and self.sign(_SEED, _MESSAGE) == _SIGNATURE
        except Failed:
            return False
        return (
            is_right
            and self.verifies(_PUBLIC, _SIGNATURE, _MESSAGE)
            and not self.verifies(_PUBLIC, _SIGNATURE, _MESSAGE + b"\x00")
        )

    @contextmanager
    def _key(self, half: str, raw: bytes) -> Iterator[int]:
        key = getattr(self._library, f"EVP_PKEY_new_raw_{half}_key")(ED25519, None, raw, len(raw))
        try:
            if not key:
                raise Failed("no key")
            yield key
        finally:
            self._library.EVP_PKEY_free(key)
            self._library.ERR_clear_error()  # TLS on this thread reads the same queue, and would take our error for its own

    @contextmanager
    def _context(self) -> Iterator[int]:
        context = self._library.EVP_MD_CTX_new()
        try:
            if not context:
                raise Failed("no memory")
            yield context
        finally:
            self._library.EVP_MD_CTX_free(context)


def found(made: type[Libcrypto] = Libcrypto) -> Libcrypto | None:
    """Give the libcrypto that this process's TLS stands on, if it can be used."""
    if ssl.OPENSSL_VERSION_INFO[:3] < OLDEST:
        return None
    for soname in SONAMES:
        try:
            library = made(ctypes.CDLL(soname, mode=os.RTLD_NOLOAD | os.RTLD_NOW))
        except (OSError, AttributeError):
            continue
        if library.knows_its_answer():
            return library
    return None
