"""What reading a damaged archive can raise; the standard library lists it nowhere."""

import lzma
import tarfile
import zipfile
import zlib

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # a flipped bit can claim that a member is encrypted
    NotImplementedError,  # or packed in an unknown way
)
"""Raised by `zipfile` and `tarfile` for an archive that is damaged, or of another kind."""
