"""The frame of a multipart upload."""

from __future__ import annotations

from email.message import Message


def unwrapped(data: bytes, content_type: str) -> bytes:
    """Return a document without the multipart frame that it was uploaded in, if there is one.

    Args:
        data: The stored bytes.
        content_type: Their content type.

    Returns:
        The first part of a `multipart/form-data` body, or the data unchanged.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or boundary is None:
        return data
    # Split by hand: the parsers of the standard library change line endings of binary parts.
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    start = data.find(delimiter)
    begin = data.find(b"\r\n\r\n", start)
    end = data.find(b"\r\n" + delimiter, begin + 2)
    return data[begin + 4 : end] if -1 not in {start, begin, end} else data
