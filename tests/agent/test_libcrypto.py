"""The agent's signatures by the OpenSSL of its TLS: whatever that says, the ``cryptography`` package says as well."""

import ctypes
import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from doorward_agent.edges.libcrypto import SONAMES, Failed, Libcrypto, found
from doorward_protocol.admission import Verified, judge
from doorward_protocol.envelope import decode
from doorward_protocol.signature import KeyRing, SignatureRefused, SigningKey
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.test_vectors import HELD, by_name, bytes_of, standing_of


def loaded() -> ctypes.CDLL | None:
    """Open what this process's TLS stands on."""
    for soname in SONAMES:
        with suppress(OSError):
            return ctypes.CDLL(soname, mode=os.RTLD_NOLOAD)
    return None


pytestmark = pytest.mark.skipif(loaded() is None, reason="this Python's TLS stands on no libcrypto of its own")
LIBRARY = found()
SEEDS = st.binary(min_size=32, max_size=32)
BIT = st.integers(0, 64 * 8 - 1)


def library() -> Libcrypto:
    assert LIBRARY is not None
    return LIBRARY


def package_says(public: bytes, signature: bytes, data: bytes) -> bool:
    """Ask the other implementation."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except InvalidSignature:
        return False
    return True


def with_bit_turned(raw: bytes, bit: int) -> bytes:
    """Change one bit, counted around."""
    place, within = divmod(bit % (8 * len(raw)), 8)
    return raw[:place] + bytes([raw[place] ^ 1 << within]) + raw[place + 1 :]


@given(SEEDS, st.binary(max_size=300))
def test_libcrypto_when_it_signs_then_bytes_and_key_are_the_packages(seed: bytes, data: bytes) -> None:
    """Ed25519 is deterministic: one seed and one message have one signature."""
    package = Ed25519PrivateKey.from_private_bytes(seed)
    assert library().public_of(seed) == package.public_key().public_bytes_raw()
    assert library().sign(seed, data) == package.sign(data)


@given(SEEDS, st.binary(min_size=1, max_size=300), BIT, st.sampled_from(["public", "signature", "data"]))
def test_libcrypto_when_one_bit_is_turned_then_the_signature_does_not_hold(
    seed: bytes, data: bytes, bit: int, turned: str
) -> None:
    """A change anywhere is seen, and both implementations see it."""
    parts = {"public": library().public_of(seed), "signature": library().sign(seed, data), "data": data}
    assert library().verifies(*parts.values())
    parts[turned] = with_bit_turned(parts[turned], bit)
    assert not library().verifies(*parts.values())
    assert not package_says(*parts.values())


@given(SEEDS, st.binary(min_size=64, max_size=64), st.binary(max_size=50))
def test_libcrypto_when_key_and_signature_are_any_bytes_then_it_says_what_the_package_says(
    public: bytes, signature: bytes, data: bytes
) -> None:
    """Also where the key is no point of the curve."""
    assert library().verifies(public, signature, data) == package_says(public, signature, data)


@pytest.mark.parametrize(("key_bytes", "signature_bytes"), [(0, 64), (31, 64), (33, 64), (32, 0), (32, 63), (32, 65)])
def test_libcrypto_when_a_length_is_wrong_then_nothing_is_read_beyond_it(key_bytes: int, signature_bytes: int) -> None:
    """A signature of 63 or 65 bytes is none, whatever stands in it."""
    seed = bytes(range(32))
    public = (library().public_of(seed) + b"\0")[:key_bytes]
    signature = (library().sign(seed, b"data") + b"\0")[:signature_bytes]
    assert not library().verifies(public, signature, b"data")


def test_libcrypto_when_a_seed_is_too_short_then_it_fails() -> None:
    """It never signs with what it reads behind it."""
    with pytest.raises(Failed):
        library().sign(bytes(31), b"data")


@pytest.mark.threat("broker-forgery", "broker-replay", "broker-late", "broker-retarget", "relay-opens", "worker-signs")
@pytest.mark.parametrize("vector", by_name("orders"))
def test_order_when_judged_by_libcrypto_then_the_answer_is_the_vectors(vector: dict[str, Any]) -> None:
    """Each order of the protocol's vectors is obeyed or refused as with the package."""
    standing = standing_of(vector["judge"])._replace(keys=KeyRing(HELD["grant_keys"], library()))
    verdict = judge(bytes_of(vector), standing)
    if isinstance(verdict, Verified):
        assert vector["expect"] == {"obeyed": True, "repeat": verdict.is_repeat}
    else:
        assert vector["expect"] == {"obeyed": False, "code": verdict.code}


def test_record_when_libcrypto_seals_it_then_the_console_reads_it() -> None:
    """The other side has the package."""
    key = SigningKey.from_raw(bytes(range(32)), library())
    payload = KeyRing([key.public]).verify(decode(key.seal("record", b"{}"), expected="record"))
    assert payload == b"{}"
    assert "***" in repr(key)


def test_refusal_when_it_was_libcryptos_then_no_error_waits_for_the_thread_of_tls() -> None:
    """TLS on the same thread would take an error that is left in the queue for its own."""
    asked = loaded()
    assert asked is not None
    assert not library().verifies(bytes(31), bytes(64), b"data")
    assert asked.ERR_peek_error() == 0


def test_refusal_when_it_is_libcryptos_then_its_code_is_the_packages() -> None:
    """A changed payload is refused with the same word."""
    key = SigningKey.from_raw(bytes(32), library())
    sealed = decode(key.seal("order", b"{}"), expected="order")
    with pytest.raises(SignatureRefused, match="bad-signature"):
        KeyRing([key.public], library()).verify(sealed._replace(payload=b"{ }"))


class Nodding(Libcrypto):
    """A library with which every signature holds."""

    def verifies(self, public_key: bytes, signature: bytes, data: bytes) -> bool:
        return len(public_key + signature + data) > 0


class Other(Libcrypto):
    """A library that computes something else."""

    def sign(self, seed: bytes, data: bytes) -> bytes:
        return super().sign(seed, data + b" ")


@pytest.mark.parametrize("wrong", [Nodding, Other])
def test_libcrypto_when_it_does_not_know_the_known_answer_then_it_is_not_used(wrong: type[Libcrypto]) -> None:
    """Whatever is wrong with a library, it is seen before the first order, and the package is used."""
    assert found(wrong) is None


GROWN = """
from pathlib import Path
from doorward_agent.edges.libcrypto import found
def kib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4
library = found()
public, signature = library.public_of(bytes(32)), library.sign(bytes(32), b"data")
def turn(times):
    for n in range(times):
        assert library.verifies(public, signature, b"data") and not library.verifies(public, signature, b"else")
        library.sign(bytes(32), b"data")
turn(500)
before = kib()
turn(10_000)
print(kib() - before)
"""


def test_libcrypto_when_it_is_used_thousands_of_times_then_it_frees_what_it_took() -> None:
    """A key or context that is kept would be 100 bytes at least, each time: 3 MiB here."""
    done = subprocess.run([sys.executable, "-c", GROWN], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 1024
