"""64 uploads of 256 MiB at once: the gate stays under 128 MiB of resident memory."""

import http.client
import os
import threading
import time
from urllib.parse import urlsplit

from gate import presign, start, status

UPLOADS, SIZE, LIMIT_KIB = 64, 256 << 20, 128 << 10


def main():
    gate = start()
    bucket = "load-" + os.urandom(6).hex()
    gate.client().create_bucket(Bucket=bucket)
    url = urlsplit(gate.endpoint)
    piece = os.urandom(1 << 20)
    targets = [presign(gate, "put_object", bucket, f"big{n}") for n in range(UPLOADS)]
    errors = []

    def upload(target):
        try:
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=900)
            connection.putrequest("PUT", target.removeprefix(gate.endpoint))
            connection.putheader("Content-Length", str(SIZE))
            connection.endheaders()
            for _ in range(SIZE // len(piece)):
                connection.send(piece)
            answer = connection.getresponse()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {answer.read()[:300]}")
            connection.close()
        except Exception as error:
            errors.append(repr(error))

    begin = time.monotonic()
    threads = [threading.Thread(target=upload, args=(target,)) for target in targets]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.monotonic() - begin
    peak = status(gate, "VmHWM")
    client = gate.store.client()
    for n in range(UPLOADS):
        client.delete_object(Bucket=bucket, Key=f"big{n}")
    gate.stop()
    assert not errors, f"{len(errors)} errors, such as {errors[0]}"
    print(f"{UPLOADS} uploads of {SIZE >> 20} MiB at once in {seconds:.0f} s: {peak / 1024:.1f} MiB resident at the peak")
    assert peak < LIMIT_KIB, f"more than {LIMIT_KIB >> 10} MiB"


main()
