"""10,000 PUTs of 4 KiB over 32 connections: no error, no leaked descriptor, counters that add up exactly."""

import http.client
import os
import threading
import time
from urllib.parse import urlsplit

from gate import descriptors, presign, start

CONNECTIONS, PUTS, SIZE = 32, 10_000, 4096


def main():
    gate = start()
    bucket = "load-" + os.urandom(6).hex()
    gate.client().create_bucket(Bucket=bucket)
    url = urlsplit(gate.endpoint)
    before = descriptors(gate)
    # Signing costs this client more than uploading: each connection overwrites one key.
    targets = [presign(gate, "put_object", bucket, f"k{n}") for n in range(CONNECTIONS)]
    errors, lock = [], threading.Lock()
    left = iter(range(PUTS))

    def work(target):
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        path = target.removeprefix(gate.endpoint)
        while True:
            with lock:
                if next(left, None) is None:
                    break
            try:
                connection.request("PUT", path, body=os.urandom(SIZE))
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {body[:300]}")
            except Exception as error:
                with lock:
                    errors.append(repr(error))
        connection.close()

    begin = time.monotonic()
    threads = [threading.Thread(target=work, args=(target,)) for target in targets]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.monotonic() - begin
    assert not errors, f"{len(errors)} errors, such as {errors[0]}"
    counted = gate.metric('hashgate_requests_total{operation="PutObject",outcome="forwarded"}')
    payload = gate.metric('hashgate_payload_bytes_total{framing="raw"}')
    assert counted == PUTS, counted
    assert payload == PUTS * SIZE, payload
    deadline = time.monotonic() + 30
    while (now := descriptors(gate)) > before:  # connections to the store are kept for a while
        assert time.monotonic() < deadline, f"{before} descriptors before, {now} after"
        time.sleep(0.2)
        gate.metric("hashgate_connections_open")
        gate.client().list_buckets()
    gate.stop()
    print(f"{PUTS} PUTs in {seconds:.1f} s ({PUTS / seconds:.0f} a second), no error, counters exact, descriptors {before} -> {now}")


main()
