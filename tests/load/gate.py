"""Starts the gate before the first store of HASHGATE_ORIGINS, for the load tests."""

import sys
from pathlib import Path

import scratch

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))
from conftest import Gate, stores  # noqa: E402


def start():
    store = stores()[0]
    return Gate(scratch.folder("load"), store, "pass-through", False)


def presign(gate, method, bucket, key):
    client = gate.client(signature_version="s3v4")
    return client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600)


def descriptors(gate):
    return len(list(Path(f"/proc/{gate.process.pid}/fd").iterdir()))


def status(gate, field):
    """A field of /proc/PID/status, in KiB."""
    for line in Path(f"/proc/{gate.process.pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0])
    raise KeyError(field)
