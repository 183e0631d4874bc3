"""Fetch a file by its address, and keep it only if its SHA-256 is right."""

import gzip
import hashlib
import http.client
import shutil
import urllib.request
import uuid
import zlib
from pathlib import Path

from genjax_models.errors import DataError

SCHEMES = ("http", "https", "file")
TIMEOUT_SECONDS = 60


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, sha256: str, destination: Path, gunzip: bool = False) -> Path:
    """Download `url` to `destination`, and return the path; a file that is there with the right hash is used as it is.

    The file takes its name only when it is complete and its hash is right; what is partial is removed.

    Args:
        url: an http, https or file address.
        sha256: of what is stored, in hexadecimal: with `gunzip`, of the uncompressed content, which is the same
            whoever compressed it.
        destination: where the file goes; its folder is made if need be.
        gunzip: the address holds a gzip file, which is stored uncompressed.

    Raises:
        DataError: another scheme, a file already there with another hash (never overwritten), a failed download, a
            broken gzip file, a wrong hash, or a folder that cannot be written.
    """
    destination = Path(destination)
    if url.partition("://")[0].lower() not in SCHEMES:
        raise DataError(f"{url}: expected an address that starts with {', '.join(s + '://' for s in SCHEMES)}.")
    if destination.exists():
        try:
            found = sha256_of(destination)
        except OSError as error:
            raise DataError(f"{destination}: is there, but cannot be read ({error}). Move it away.") from error
        if found == sha256.lower():
            return destination
        raise DataError(
            f"{destination}: is there with SHA-256 {found}, expected {sha256}; it is left as it is. Move it away to "
            "have it downloaded again."
        )
    by_hand = (
        f"By hand: download it by other means, {'gunzip it, ' if gunzip else ''}and put it at {destination} "
        f"(SHA-256 {sha256})."
    )
    # In the same folder, so that the final rename is atomic; a name of its own, so that two runs do not collide.
    partial = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}.part")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
    except OSError as error:
        raise DataError(
            f"{destination}: cannot be written ({error}). Make the folder writable, or choose another data folder."
        ) from error
    try:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, open(partial, "wb") as file:
                shutil.copyfileobj(gzip.GzipFile(fileobj=response) if gunzip else response, file)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{url}: expected a whole gzip file ({error}). {by_hand}") from error
        # ValueError: an address that urllib cannot parse.
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DataError(f"{url}: the download to {destination} failed ({error}). {by_hand}") from error
        found = sha256_of(partial)
        if found != sha256.lower():
            size = partial.stat().st_size
            raise DataError(
                f"{url}: got {size} bytes with SHA-256 {found}, expected {sha256}; they are not kept. Try again, or "
                f"another address. {by_hand}"
            )
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
    return destination
