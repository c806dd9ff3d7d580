"""Keys between the pool and engines on other machines: CURVE, as ZeroMQ has it (rfc.zeromq.org/spec/26).

The pool knows each engine's public key, and each engine the pool's: who has no key that the other knows learns
nothing and is not heard. Knows files and keys, no sockets.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from zmq.auth import create_certificates, load_certificate

from webapp.settings import SettingInvalid

_POOL, _ENGINE = "pool", "engine"


@dataclass(frozen=True)
class EngineKeys:
    """What an engine has to join a pool with: its own pair, and the pool's public key. All in Z85."""

    public: bytes
    secret: bytes
    pool_public: bytes


def pool_keys(keys_dir: Path) -> tuple[bytes, bytes]:
    """The pool's own pair, public and secret; made at the first call."""
    engines_folder(keys_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    path = keys_dir / f"{_POOL}.key_secret"
    if not path.exists():
        create_certificates(keys_dir, _POOL)
        path.chmod(0o600)
    public, secret = load_certificate(path)
    assert secret is not None
    return public, secret


def engines_folder(keys_dir: Path) -> Path:
    """Where the pool finds the public keys of those who may join, one file each."""
    return keys_dir / "engines"


def create_engine_keys(keys_dir: Path, name: str, *, target: Path) -> None:
    """Let an engine of this name join: writes what its machine needs to the folder `target`. Raises SettingInvalid."""
    if not name.isascii() or not name.replace("-", "").isalnum():
        raise SettingInvalid("NAME", f"must be letters, digits and dashes, not {name!r}")
    os.umask(0o077)
    pool_keys(keys_dir)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    _, secret_file = create_certificates(target, _ENGINE)
    Path(secret_file).chmod(0o600)
    shutil.move(target / f"{_ENGINE}.key", engines_folder(keys_dir) / f"{name}.key")
    shutil.copyfile(keys_dir / f"{_POOL}.key", target / f"{_POOL}.key")


def read_engine_keys(folder: Path) -> EngineKeys:
    """What `create_engine_keys` wrote. Raises SettingInvalid."""
    try:
        public, secret = load_certificate(folder / f"{_ENGINE}.key_secret")
        pool_public, _ = load_certificate(folder / f"{_POOL}.key")
    except (OSError, ValueError) as error:
        raise SettingInvalid("--keys", f"names a folder without an engine's keys: {folder}") from error
    if secret is None:
        raise SettingInvalid("--keys", f"names a folder whose engine key has no secret part: {folder}")
    return EngineKeys(public, secret, pool_public)
