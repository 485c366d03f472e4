"""What quarantine costs: seconds of a processor for each GiB that goes through the gate, with a rule that could quarantine
and without one, in one run, turn by turn. Clean uploads alone: matches are rare."""

import http.client
import os
from pathlib import Path
from urllib.parse import urlsplit

import pyrage

import scratch
from gate import Gate, presign, stores

SIZE, ROUNDS, EACH = 64 << 20, 4, 4


def processor_seconds(gate):
    fields = Path(f"/proc/{gate.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    store = stores()[0]
    bucket = "load-" + os.urandom(6).hex()
    store.client().create_bucket(Bucket=bucket)
    recipient = pyrage.x25519.Identity.generate().to_public()
    section = (
        f"quarantine: {{ bucket: {bucket}, recipients: [ {recipient} ], reserve: 1MiB, "
        f"credentials: {{ access_key: {store.access_key}, secret_key: {store.secret_key} }} }}\n")
    kinds = {
        "no quarantine": "",
        "no rule for this bucket": section + "policy: { rules: [ { bucket: another, action: quarantine } ] }\n",
        "a rule that could quarantine": section + "policy: { on_match: quarantine }\n",
    }
    gates = {
        name: Gate(scratch.folder("load"), store, "pass-through", False, extra)
        for name, extra in kinds.items()}
    body = os.urandom(SIZE)
    spent = dict.fromkeys(gates, 0.0)
    for _ in range(ROUNDS):
        for name, gate in gates.items():
            before = processor_seconds(gate)
            for n in range(EACH):
                target = presign(gate, "put_object", bucket, f"k{n}")
                url = urlsplit(gate.endpoint)
                connection = http.client.HTTPConnection(url.hostname, url.port, timeout=120)
                connection.request("PUT", target.removeprefix(gate.endpoint), body=body)
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                connection.close()
            spent[name] += processor_seconds(gate) - before
    gib = SIZE * ROUNDS * EACH / (1 << 30)
    base = spent["no quarantine"]
    for name, seconds in spent.items():
        print(f"{name:30} {seconds / gib:6.2f} s of a processor a GiB, {seconds / base:5.2f} of the first")
        left = list(Path(gates[name].folder, "state/quarantine/spool").glob("*"))
        assert not left, f"clean uploads left {left}"
        gates[name].stop()
    client = store.client()
    for n in range(EACH):
        client.delete_object(Bucket=bucket, Key=f"k{n}")


main()
