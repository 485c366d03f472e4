"""A large upload by the aws cli with its default concurrency: the whole is known without reading anything back, and the
gate's memory stays within its spool and 128 MiB. HASHGATE_MULTIPART_MIB is the size, 1024 where it is not set."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from gate import start, status

SIZE = int(os.environ.get("HASHGATE_MULTIPART_MIB", "1024")) << 20
SPOOL, REST = 64 << 20, 128 << 20


def main():
    gate = start()
    bucket = "load-" + os.urandom(6).hex()
    gate.client().create_bucket(Bucket=bucket)
    seed = os.urandom(1 << 20)
    env = os.environ | {
        "AWS_ACCESS_KEY_ID": gate.store.access_key, "AWS_SECRET_ACCESS_KEY": gate.store.secret_key,
        "AWS_DEFAULT_REGION": gate.store.region, "AWS_CONFIG_FILE": "/dev/null",
    }
    with tempfile.TemporaryDirectory(prefix="hashgate-load-") as folder:
        path = Path(folder) / "large"
        with open(path, "wb") as file:
            for n in range(SIZE >> 20):
                file.write(n.to_bytes(8, "big") + seed[8:])
        begin = time.monotonic()
        subprocess.run(
            ["aws", "--endpoint-url", gate.endpoint, "s3", "cp", "--no-progress", str(path), f"s3://{bucket}/large"],
            env=env, check=True, capture_output=True)
        seconds = time.monotonic() - begin
        direct = time.monotonic()
        subprocess.run(
            ["aws", "--endpoint-url", gate.store.endpoint, "s3", "cp", "--no-progress", str(path), f"s3://{bucket}/direct"],
            env=env, check=True, capture_output=True)
        direct = time.monotonic() - direct
    peak = status(gate, "VmHWM") << 10
    client = gate.store.client()
    etags = {client.head_object(Bucket=bucket, Key=key)["ETag"] for key in ("large", "direct")}
    chained, unknown = (gate.metric(f'hashgate_completes_total{{whole="{how}"}}') for how in ("chained", "unknown"))
    spooled = gate.metric('hashgate_parts_total{way="spooled"}')
    refused = gate.metric('hashgate_failures_total{reason="part_too_early"}')
    for key in ("large", "direct"):
        client.delete_object(Bucket=bucket, Key=key)
    gate.stop()
    print(
        f"{SIZE >> 20} MiB in parts by the aws cli in {seconds:.0f} s ({direct:.0f} s directly), {spooled:.0f} parts came "
        f"early, {refused:.0f} were told to come again: {peak / (1 << 20):.1f} MiB resident at the peak")
    assert len(etags) == 1, "another object than directly"
    assert (chained, unknown) == (1, 0), "the whole was not known"
    assert peak < SPOOL + REST, "too much memory"


main()
