"""Two gates behind a balancer, with the examples of deploy/: an object stays on one of them."""

import io
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from conftest import LISTED, LISTED_LARGE, Gate, stores

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def example(name, gates, port):
    """An example of deploy/ with these gates and this port in the place of its own."""
    text = (DEPLOY / name).read_text()
    for example, gate in zip(("127.0.0.1:9011", "127.0.0.1:9012"), gates):
        assert example in text
        text = text.replace(example, gate.endpoint.split("//")[1])
    return text.replace("127.0.0.1:9000", f"127.0.0.1:{port}")


def haproxy(folder, gates, port):
    (folder / "haproxy.cfg").write_text(example("haproxy.cfg", gates, port))
    return ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]


def nginx(folder, gates, port):
    (folder / "gates.conf").write_text(example("nginx.conf", gates, port))
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; {temporary} include {folder}/gates.conf; }}\n")
    return ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


@pytest.mark.parametrize("balancer", [haproxy, nginx])
def test_an_object_stays_on_one_gate(balancer, tmp_path):
    store, port = stores()[0], free_port()
    gates = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        # Under this setting a gate that did not see an upload begin has to read it back.
        gates.append(Gate(tmp_path / name, store, "pass-through", False, proxy=balancer is haproxy,
                          extra="multipart: { unverifiable: read-back }\n", credentials=True))
    with open(tmp_path / "balancer.log", "w") as log:
        process = subprocess.Popen(balancer(tmp_path, gates, port), stdout=log, stderr=log)
    try:
        endpoint = f"http://127.0.0.1:{port}"
        client = store.client(endpoint)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "balancer.log").read_text()
                time.sleep(0.1)
        bucket = "balanced-" + os.urandom(6).hex()
        client.create_bucket(Bucket=bucket)
        transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
        for n in range(6):
            payload = os.urandom((15 << 20) + n)
            client.upload_fileobj(io.BytesIO(payload), bucket, f"large-{n} +ü", Config=transfer)
            assert store.client().get_object(Bucket=bucket, Key=f"large-{n} +ü")["Body"].read() == payload
            client.put_object(Bucket=bucket, Key=f"small-{n}", Body=b"clean")
        with pytest.raises(Exception, match="AccessDenied"):
            client.upload_fileobj(io.BytesIO(LISTED_LARGE), bucket, "listed", Config=transfer)
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=bucket, Key="listed", Body=LISTED)
        keys = {item["Key"] for item in store.client().list_objects_v2(Bucket=bucket)["Contents"]}
        assert "listed" not in keys and len(keys) == 12

        def completes(how):
            return [gate.metric(f'hashgate_completes_total{{whole="{how}"}}') for gate in gates]

        assert sum(completes("chained")) == 7
        assert sum(completes("unknown")) == 0 and sum(completes("read_back")) == 0
        assert all(requests(gate) > 0 for gate in gates), "one gate had nothing to do"
    finally:
        process.terminate()
        process.wait(30)
        for gate in gates:
            gate.stop()


def requests(gate):
    audit = (gate.folder / "state" / "audit.log").read_text()
    return len(re.findall('"outcome"', audit))
