"""Starts the gate before each store of HASHGATE_ORIGINS, in both authentication modes, over http and TLS.

HASHGATE_ORIGINS is a list, separated by blanks, of NAME=ENDPOINT,REGION,ACCESS_KEY,SECRET_KEY.
HASHGATE_BINARY is the gate.
"""

import atexit
import hashlib
import os
import re
import subprocess
import urllib.request
from dataclasses import dataclass

import boto3
import pytest
from botocore.config import Config

LISTED = b"a synthetic payload that stands for a listed one " * 3000  # longer than the first window
LISTED_LARGE = LISTED[:49_999] * 260  # of several parts
LISTED_SHORT = b"a short synthetic payload that stands for a listed one"


@dataclass
class Store:
    name: str
    endpoint: str
    region: str
    access_key: str
    secret_key: str

    def client(self, endpoint=None, verify=None, **config):
        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            verify=verify,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}, **config),
        )


def stores():
    found = []
    for item in os.environ["HASHGATE_ORIGINS"].split():
        name, rest = item.split("=", 1)
        found.append(Store(name, *rest.split(",")))
    assert found, "HASHGATE_ORIGINS names no store"
    return found


class Gate:
    def __init__(self, folder, store, mode, tls, extra="", users=None, proxy=False, credentials=False):
        self.folder, self.store, self.mode, self.tls = folder, store, mode, tls
        lines = [hashlib.sha256(LISTED).hexdigest(), hashlib.md5(LISTED_SHORT).hexdigest()]
        lines.append(hashlib.sha1(LISTED_LARGE).hexdigest())
        (folder / "list").write_text("\n".join(lines) + "\n")
        certificate = ""
        if tls:
            make_certificate(folder)
            certificate = ", tls: { certificate: cert.pem, key: key.pem }"
        if users is None:
            users = f"{{ access_key: {store.access_key}, secret_key: {store.secret_key}, tenant: acme }}"
        users = f", users: [ {users} ]" if mode == "verify" else ""
        own = f", credentials: {{ access_key: {store.access_key}, secret_key: {store.secret_key} }}" if credentials else ""
        (folder / "hashgate.yaml").write_text(
            f"listen: {{ address: '127.0.0.1:0'{certificate}, proxy_protocol: {str(proxy).lower()} }}\n"
            f"admin: {{ address: '127.0.0.1:0' }}\n"
            f"origin: {{ endpoint: '{store.endpoint}', kind: {store.name}, region: {store.region}{own} }}\n"
            f"authentication: {{ mode: {mode}{users} }}\n"
            "lists: [ { name: sample, source: list, category: 'house:test' } ]\n" + extra
        )
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen(
            [os.environ["HASHGATE_BINARY"], "serve", "--config", str(folder / "hashgate.yaml")],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        atexit.register(self.process.kill)
        line = self.process.stdout.readline()
        found = re.search(r"listening on (\S+), admin on (\S+)", line)
        assert found, f"the gate did not start: {(folder / 'log').read_text()}"
        self.endpoint, self.admin = found.groups()

    def client(self, **config):
        return self.store.client(self.endpoint, verify=str(self.folder / "ca.pem") if self.tls else None, **config)

    def metric(self, line):
        with urllib.request.urlopen(self.admin + "/metrics") as answer:
            for text in answer.read().decode().splitlines():
                name, _, value = text.rpartition(" ")
                if name == line:
                    return float(value)
        return 0.0

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0
        self.log.close()


def make_certificate(folder):
    """An authority, ca.pem, which clients trust, and a certificate of it, cert.pem, which the gate shows."""

    def openssl(*words):
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-days", 2, "-keyout", folder / "ca.key", "-out", folder / "ca.pem",
            "-subj", "/CN=an authority of the tests", "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", *new, "-keyout", folder / "key.pem", "-out", folder / "cert.csr", "-subj", "/CN=127.0.0.1")
    (folder / "cert.ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-days", 2, "-in", folder / "cert.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
            "-CAcreateserial", "-extfile", folder / "cert.ext", "-out", folder / "cert.pem")


WAYS = [(store, mode, tls) for store in stores() for mode in ("pass-through", "verify") for tls in (False, True)]


@pytest.fixture(scope="session", params=WAYS, ids=lambda way: f"{way[0].name}-{way[1]}-{'tls' if way[2] else 'http'}")
def gate(request, tmp_path_factory):
    gate = Gate(tmp_path_factory.mktemp("gate"), *request.param)
    yield gate
    gate.stop()


@pytest.fixture(scope="session")
def bucket(gate):
    name = "clients-" + os.urandom(6).hex()
    gate.client().create_bucket(Bucket=name)
    return name
