"""Which runs this user began: a run from elsewhere may name files that its author, not the user, has chosen."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from offramp.data.array_cache import default_cache_dir
from offramp.files.safe_files import read_file, write_atomically

_KEY_FILE = "run_key"
_KEY_BYTES = 32


def signature(settings: str) -> str | None:
    """Sign the settings of a run with a key that only this user has.

    Args:
        settings: The settings, as YAML text.

    Returns:
        The HMAC (RFC 2104) with SHA-256, as hexadecimal digits; None where no key can be kept.
    """
    key = _key()
    return None if key is None else hmac.new(key, settings.encode(), hashlib.sha256).hexdigest()


def is_signed(settings: str, signed: str | None) -> bool:
    """Whether this user signed the settings of a run.

    Args:
        settings: The settings, as YAML text.
        signed: The signature that the record holds; None = none.

    Returns:
        True where it is the one that `signature` makes.
    """
    ours = signature(settings)
    return ours is not None and signed is not None and hmac.compare_digest(ours.encode(), signed.encode())


def _key() -> bytes | None:
    """The key in the user's cache folder; it is made where there is none."""
    path = default_cache_dir() / _KEY_FILE
    try:
        return _read(path) or _make(path)
    except OSError:
        return None


def _read(path: Path) -> bytes | None:
    try:
        key = read_file(path, limit=_KEY_BYTES, follow_links=False)
    except FileNotFoundError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _make(path: Path) -> bytes | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    write_atomically(draft, secrets.token_bytes(_KEY_BYTES))
    try:
        draft.chmod(0o600)
        # Linking fails where another process was first: all processes use the same key.
        if _read(path) is None:
            path.unlink(missing_ok=True)
            os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return _read(path)
