"""A large upload by the aws cli with its default concurrency, and one in gzip of a quarter of its size: the whole is known
without reading anything back, and the gate's memory stays within its spool and 128 MiB. HASHGATE_MULTIPART_MIB is the
size, 1024 where it is not set."""

import gzip
import os
import subprocess
import tempfile
import time
from pathlib import Path

from gate import start, status

SIZE = int(os.environ.get("HASHGATE_MULTIPART_MIB", "1024")) << 20
SPOOL, REST = 64 << 20, 128 << 20


def plain(path):
    seed = os.urandom(1 << 20)
    with open(path, "wb") as file:
        for n in range(SIZE >> 20):
            file.write(n.to_bytes(8, "big") + seed[8:])


def compressed(path):
    """Text that packs to about half."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for n in range(SIZE >> 21):
            file.write(os.urandom(1 << 19).hex().encode())


def copy(gate, endpoint, path, target):
    env = os.environ | {
        "AWS_ACCESS_KEY_ID": gate.store.access_key, "AWS_SECRET_ACCESS_KEY": gate.store.secret_key,
        "AWS_DEFAULT_REGION": gate.store.region, "AWS_CONFIG_FILE": "/dev/null",
    }
    begin = time.monotonic()
    subprocess.run(
        ["aws", "--endpoint-url", endpoint, "s3", "cp", "--no-progress", str(path), f"s3://{target}"],
        env=env, check=True, capture_output=True)
    return time.monotonic() - begin


def measure(kind):
    gate = start()
    bucket = "load-" + os.urandom(6).hex()
    client = gate.store.client()
    client.create_bucket(Bucket=bucket)
    with tempfile.TemporaryDirectory(prefix="hashgate-load-") as folder:
        path = Path(folder) / "large"
        kind(path)
        size = path.stat().st_size >> 20
        through = copy(gate, gate.endpoint, path, f"{bucket}/large")
        direct = copy(gate, gate.store.endpoint, path, f"{bucket}/direct")
    peak = status(gate, "VmHWM") << 10
    etags = {client.head_object(Bucket=bucket, Key=key)["ETag"] for key in ("large", "direct")}
    chained, unknown = (gate.metric(f'hashgate_completes_total{{whole="{how}"}}') for how in ("chained", "unknown"))
    spooled = gate.metric('hashgate_parts_total{way="spooled"}')
    refused = gate.metric('hashgate_failures_total{reason="part_too_early"}')
    decoded = gate.metric('hashgate_decoded_total{result="decoded"}')
    for key in ("large", "direct"):
        client.delete_object(Bucket=bucket, Key=key)
    gate.stop()
    print(
        f"{size} MiB, {kind.__name__}, in parts by the aws cli in {through:.0f} s ({direct:.0f} s directly), {spooled:.0f} "
        f"parts came early, {refused:.0f} were told to come again: {peak / (1 << 20):.1f} MiB resident at the peak")
    assert len(etags) == 1, "another object than directly"
    assert (chained, unknown) == (1, 0), "the whole was not known"
    assert decoded == (1 if kind is compressed else 0), "it was not decoded"
    assert peak < SPOOL + REST, "too much memory"


measure(plain)
measure(compressed)
