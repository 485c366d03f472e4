"""What is kept survives: the gate is killed (SIGKILL) again and again under a load with 5 % matches, and its quarantine store
is stopped for a while. Every match that a client was answered for is one case in the quarantine bucket, and opens with the
recipient's key to the very bytes; no clean object is missing; the audit chain verifies.

    quarantine.py kills   HASHGATE_KILLS kills, 1000 where it is not set
    quarantine.py large   a gibibyte (HASHGATE_LARGE_MIB, 1024) in each way: raw, in signed and in unsigned chunks, as a form, in parts
    quarantine.py full    the disk of the state folder is full: uploads are refused, a case is still taken (needs root, for a
                          small file system)
    quarantine.py away    the store is stopped for HASHGATE_AWAY_SECONDS (600) under 10 MB/s of matches

Before the first store of HASHGATE_ORIGINS. Its cases go to a second store of its own for `away`, so that it can be stopped.
"""

import atexit
import base64
import hashlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import botocore.config
import botocore.exceptions
import pyrage
from minio import Minio
from minio.error import S3Error

import scratch

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))
from conftest import stores  # noqa: E402

BINARY = os.environ["HASHGATE_BINARY"]
ORIGINS = Path(__file__).parent.parent / "origins"


def free_port():
    """One that no outgoing connection of this machine is given: what listens there has to come back to it."""
    while True:
        port = random.randrange(18_000, 30_000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


def client(endpoint, store, **more):
    config = botocore.config.Config(
        retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=30, signature_version="s3v4",
        s3={"addressing_style": "path"}, max_pool_connections=32, **more)
    return boto3.client(
        "s3", endpoint_url=endpoint, region_name=store.region, config=config,
        aws_access_key_id=store.access_key, aws_secret_access_key=store.secret_key)


class Keeping:
    """A gate that keeps every match, on a fixed address, so that it can be started again where it was."""

    def __init__(self, store, quarantine_store, listed):
        self.dir = scratch.folder("kept")
        self.store, self.kept_at = store, quarantine_store
        self.identity = pyrage.x25519.Identity.generate()
        self.bucket, self.quarantine = ("load-" + os.urandom(6).hex() for _ in range(2))
        client(store.endpoint, store).create_bucket(Bucket=self.bucket)
        client(quarantine_store.endpoint, quarantine_store).create_bucket(Bucket=self.quarantine)
        self.port, self.admin = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        (self.dir / "listed.txt").write_text("".join(hashlib.sha256(body).hexdigest() + "\n" for body in listed))
        keys = lambda s: f"{{ access_key: {s.access_key}, secret_key: {s.secret_key} }}"  # noqa: E731
        (self.dir / "hashgate.yaml").write_text(f"""
listen: {{ address: '127.0.0.1:{self.port}' }}
admin: {{ address: '127.0.0.1:{self.admin}' }}
state: {{ dir: state }}
origin: {{ endpoint: '{store.endpoint}', kind: {store.name}, region: {store.region}, credentials: {keys(store)} }}
lists: [ {{ name: listed, source: listed.txt }} ]
policy: {{ on_match: quarantine }}
quarantine:
  bucket: {self.quarantine}
  recipients: [ {self.identity.to_public()} ]
  endpoint: {quarantine_store.endpoint}
  region: {quarantine_store.region}
  credentials: {keys(quarantine_store)}
  reserve: 1MiB
  spool: 20GiB
log: {{ level: warn }}
""")
        self.log = open(self.dir / "log", "ab")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [BINARY, "serve", "--config", str(self.dir / "hashgate.yaml")], stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline()
        assert b"listening" in line, f"the gate does not start; its log is {self.dir}/log"
        atexit.register(self.process.kill)

    def kill(self):
        atexit.unregister(self.process.kill)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        atexit.unregister(self.process.kill)
        self.process.terminate()
        assert self.process.wait(60) == 0

    def waiting(self):
        """Cases that the bucket does not have yet."""
        return len(list((self.dir / "state/quarantine/cases").glob("*.kept")))

    def drain(self, seconds):
        deadline = time.monotonic() + seconds
        while self.waiting():
            assert time.monotonic() < deadline, f"{self.waiting()} cases still wait; the log is {self.dir}/log"
            time.sleep(0.1)

    def cases(self):
        """The digest of every case's payload, opened by its recipient; each object of the bucket looked at."""
        s3 = client(self.kept_at.endpoint, self.kept_at)
        keys = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.quarantine):
            keys += [item["Key"] for item in page.get("Contents", [])]
        opened = {}
        for case in {key.split("/")[0] for key in keys} - {"audit"}:  # which has checkpoints of the audit log
            read = lambda name: s3.get_object(Bucket=self.quarantine, Key=f"{case}/{name}")["Body"].read()  # noqa: E731
            envelope = json.loads(pyrage.decrypt(read("manifest.age"), [self.identity]))
            manifest = json.loads(base64.b64decode(envelope["payload"]))
            payload = b"".join(pyrage.decrypt(read(piece["object"]), [self.identity]) for piece in manifest["payload"]["pieces"])
            digest = hashlib.sha256(payload).hexdigest()
            assert manifest["payload"].get("payload_not_kept") or digest == manifest["digests"]["sha256"], case
            opened[case] = (manifest["target"]["key"], manifest["payload"].get("payload_not_kept"), digest)
            expected = {"manifest.age"} | {piece["object"] for piece in manifest["payload"]["pieces"]}
            assert {key.split("/")[1] for key in keys if key.startswith(case + "/")} == expected, case
        return opened

    def verify_audit(self):
        done = subprocess.run(
            [BINARY, "audit", "verify", "--config", str(self.dir / "hashgate.yaml")], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip().splitlines()[-1]


def body(seed):
    """The same for the same number; around the window, where the ways part."""
    rng = random.Random(seed)
    return rng.randbytes(rng.choice([1, 1000, 65_536, 65_537, 300_000]))


def kills():
    store = stores()[0]
    rounds = int(os.environ.get("HASHGATE_KILLS", "1000"))
    listed = [body(-n) for n in range(1, 21)]
    gate = Keeping(store, store, listed)
    stop, lock = threading.Event(), threading.Lock()
    clean, refused, numbers = {}, {}, iter(range(10**9))

    def work():
        s3 = client(gate.endpoint, store)
        while not stop.is_set():
            with lock:
                n = next(numbers)
            # 5 % of all uploads
            is_listed = n % 20 == 7
            data = listed[n // 20 % len(listed)] if is_listed else body(n)
            key = f"k{n}"
            try:
                s3.put_object(Bucket=gate.bucket, Key=key, Body=data)
                assert not is_listed, "a listed upload was taken"
                with lock:
                    clean[key] = hashlib.sha256(data).hexdigest()
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] == "AccessDenied" and is_listed:
                    with lock:
                        refused[key] = hashlib.sha256(data).hexdigest()
            except (botocore.exceptions.BotoCoreError, OSError):
                time.sleep(0.01)  # killed; nobody was answered

    gate.start()
    threads = [threading.Thread(target=work) for _ in range(6)]
    [thread.start() for thread in threads]
    begin = time.monotonic()
    for n in range(rounds):
        time.sleep(random.uniform(0.05, 0.35))
        gate.kill()
        gate.start()
    stop.set()
    [thread.join() for thread in threads]
    gate.drain(120)
    gate.stop()
    opened = gate.cases()
    by_key = {}
    for key, not_kept, digest in opened.values():
        assert not_kept is None, f"{key}: {not_kept}"
        by_key.setdefault(key, []).append(digest)
    for key, digest in refused.items():
        assert by_key.get(key) == [digest], f"{key}: {by_key.get(key)} is not one case of what was sent"
    direct = client(store.endpoint, store)
    for key, digest in clean.items():
        assert hashlib.sha256(direct.get_object(Bucket=gate.bucket, Key=key)["Body"].read()).hexdigest() == digest, key
    for key in by_key:
        try:
            direct.head_object(Bucket=gate.bucket, Key=key)
            raise AssertionError(f"{key} is listed, and in the store")
        except botocore.exceptions.ClientError:
            pass
    left = list((gate.dir / "state/quarantine/spool").iterdir())
    assert not left, left
    print(
        f"{rounds} kills in {time.monotonic() - begin:.0f} s: {len(clean)} clean objects all there, {len(refused)} matches "
        f"answered, each one case that opens ({len(opened)} cases in all); {gate.verify_audit()}")


def away():
    seconds = int(os.environ.get("HASHGATE_AWAY_SECONDS", "600"))
    store = stores()[0]
    folder = scratch.folder("away")
    script = str(ORIGINS / "minio.sh")
    port = free_port()

    def start_second():
        line = subprocess.run([script, "start", str(folder), str(port)], check=True, capture_output=True, text=True).stdout
        endpoint, region, access_key, secret_key = line.strip().split(",")
        return type(store)("minio", endpoint, region, access_key, secret_key)

    second = start_second()
    rate, size = 10 << 20, 1 << 20
    listed = [random.Random(n).randbytes(size) for n in range(16)]
    gate = Keeping(store, second, listed)
    gate.start()
    stop, lock = threading.Event(), threading.Lock()
    counts = {"clean": 0, "refused": 0}
    failures = []

    def matches(sender):
        s3 = client(gate.endpoint, store)
        pace = time.monotonic()
        n = sender
        while not stop.is_set():
            try:
                s3.put_object(Bucket=gate.bucket, Key=f"m{n}", Body=listed[n % len(listed)])
                failures.append("a listed upload was taken")
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "AccessDenied":
                    failures.append(str(error))
                with lock:
                    counts["refused"] += 1
            except Exception as error:
                failures.append(repr(error))
            n += senders
            pace += size / rate * senders
            time.sleep(max(0, pace - time.monotonic()))

    def others():
        s3 = client(gate.endpoint, store)
        while not stop.is_set():
            try:
                s3.put_object(Bucket=gate.bucket, Key="other", Body=os.urandom(100_000))
                with lock:
                    counts["clean"] += 1
            except Exception as error:
                failures.append(repr(error))
            time.sleep(0.02)

    # A refusal waits for the grid: one sender alone would not reach the rate.
    senders = 5
    threads = [threading.Thread(target=matches, args=(n,)) for n in range(senders)] + [threading.Thread(target=others) for _ in range(2)]
    [thread.start() for thread in threads]
    time.sleep(5)
    subprocess.run([script, "stop", str(folder)], check=True)
    time.sleep(seconds)
    backlog = gate.waiting()
    start_second()
    back = time.monotonic()
    time.sleep(5)
    stop.set()
    [thread.join() for thread in threads]
    sent = counts["refused"] * size / (seconds + 10) / (1 << 20)
    gate.drain(600)
    drained = time.monotonic() - back
    # The store's own speed, for the same bytes, without us.
    s3 = client(second.endpoint, second)
    begin = time.monotonic()
    for n in range(64):
        s3.put_object(Bucket=gate.quarantine, Key=f"direct/{n}", Body=listed[n % len(listed)])
    direct = 64 * size / (time.monotonic() - begin) / (1 << 20)
    for n in range(64):
        s3.delete_object(Bucket=gate.quarantine, Key=f"direct/{n}")
    opened = gate.cases()
    gate.stop()
    subprocess.run([script, "stop", str(folder)], check=True)
    assert not failures, f"{len(failures)} failures, such as {failures[0]}"
    assert len(opened) == counts["refused"], (len(opened), counts)
    assert all(not_kept is None for _, not_kept, _ in opened.values())
    print(
        f"away for {seconds} s: {counts['refused']} matches ({sent:.1f} MiB/s), {counts['clean']} uploads of others, no "
        f"failure; a backlog of {backlog} cases of 1 MiB drained in {drained:.0f} s ({backlog * size / drained / (1 << 20):.0f} MiB/s, directly "
        f"{direct:.0f} MiB/s by one connection); every case opens; {gate.verify_audit()}")


def large():
    store = stores()[0]
    mib = int(os.environ.get("HASHGATE_LARGE_MIB", "1024"))
    path = scratch.folder("large") / "payload"
    rng, digest = random.Random(7), hashlib.sha256()
    block = rng.randbytes(1 << 20)
    with open(path, "wb") as file:
        for n in range(mib):
            piece = n.to_bytes(8, "big") + block[8:]
            file.write(piece)
            digest.update(piece)
    gate = Keeping(store, store, [])
    (gate.dir / "listed.txt").write_text(digest.hexdigest() + "\n")
    gate.start()
    minio_host = gate.endpoint.removeprefix("http://")

    def refused(what, call):
        begin = time.monotonic()
        try:
            call()
            raise AssertionError(f"{what}: a listed upload was taken")
        except botocore.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied", f"{what}: {error}"
        except S3Error as error:
            assert error.code == "AccessDenied", f"{what}: {error}"
        except boto3.exceptions.S3UploadFailedError as error:
            assert "AccessDenied" in str(error), f"{what}: {error}"
        print(f"{what}: refused after {time.monotonic() - begin:.1f} s")

    def form():
        s3 = client(gate.endpoint, store)
        post = s3.generate_presigned_post(gate.bucket, "form")
        fields = [word for name, value in post["fields"].items() for word in ("-F", f"{name}={value}")]
        done = subprocess.run(
            ["curl", "-s", "-o", "-", "-w", "%{http_code}", *fields, "-F", f"file=@{path}", post["url"]],
            capture_output=True, text=True, check=True)
        assert done.stdout.endswith("403") and "AccessDenied" in done.stdout, done.stdout
        print("form: refused")

    def raw():
        with open(path, "rb") as file:
            client(gate.endpoint, store, request_checksum_calculation="when_required").put_object(
                Bucket=gate.bucket, Key="raw", Body=file)

    def parts():
        client(gate.endpoint, store).upload_file(str(path), gate.bucket, "parts")

    def signed_chunks():
        # minio-py signs whole bodies only over http; a part size above the size sends it in one request.
        minio = Minio(minio_host, store.access_key, store.secret_key, secure=False, region=store.region)
        minio.fput_object(gate.bucket, "minio", str(path), part_size=mib << 20)

    refused("raw", raw)
    refused("in one part by minio-py", signed_chunks)
    refused("in parts by boto3's transfer manager", parts)
    form()
    gate.drain(600)
    opened = gate.cases()
    gate.stop()
    digests = {key: (not_kept, found) for key, not_kept, found in opened.values()}
    assert digests == dict.fromkeys(["raw", "minio", "parts", "form"], (None, digest.hexdigest())), digests
    print(f"{mib} MiB in {len(digests)} ways: every case opens to the very bytes")


def full():
    if os.geteuid() != 0:
        print("NOT CHECKED: a full disk, because only root may mount a small one")
        return
    store = stores()[0]
    listed = [random.Random(1).randbytes(60_000)]
    gate = Keeping(store, store, listed)
    state = gate.dir / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(state)], check=True)
    try:
        gate.start()
        s3 = client(gate.endpoint, store)
        s3.put_object(Bucket=gate.bucket, Key="before", Body=b"clean")
        filler = state / "filler"

        def fill():
            with open(filler, "ab", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError:
                    pass

        def under_way():
            yield listed[0][:100]
            time.sleep(0.2)
            fill()
            yield listed[0][100:]

        url = s3.generate_presigned_url("put_object", Params={"Bucket": gate.bucket, "Key": "bad"}, ExpiresIn=600)
        connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=60)
        connection.request(
            "PUT", url.removeprefix(gate.endpoint), body=under_way(), headers={"Content-Length": str(len(listed[0]))})
        answer = connection.getresponse()
        assert answer.status == 403, (answer.status, answer.read())
        assert b"AccessDenied" in answer.read()
        gate.drain(60)
        opened = gate.cases()
        assert [key for key, _, _ in opened.values()] == ["bad"], opened
        try:
            s3.put_object(Bucket=gate.bucket, Key="full", Body=b"clean")
            raise AssertionError("an upload was taken while the disk is full")
        except botocore.exceptions.ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503, error
        s3.get_object(Bucket=gate.bucket, Key="before")["Body"].read()
        gate.kill()
        filler.unlink()
        gate.start()
        s3.put_object(Bucket=gate.bucket, Key="after", Body=b"clean")
        assert len(gate.cases()) == 1
        verified = gate.verify_audit()
        gate.stop()
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
    payload_kept = "with" if list(opened.values())[0][1] is None else "without"
    print(f"a full disk: uploads got 503, a match 403 and a case {payload_kept} its payload; downloads went on; {verified}")


{"kills": kills, "large": large, "full": full, "away": away}[sys.argv[1]]()
