"""Command line clients, each doing its normal day through the gate: upload small and large, list, download, sync, delete;
and none of them brings a listed file in."""

import os
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from conftest import LISTED, LISTED_LARGE

LARGE = 12 << 20


class Day:
    """Files to upload, the environment of the tools, and what came of it at the store."""

    def __init__(self, gate, bucket, folder):
        self.gate, self.bucket, self.folder = gate, bucket, folder
        self.files = folder / "files"
        (self.files / "sub").mkdir(parents=True)
        self.payloads = {"small.bin": os.urandom(1000), "sub/a b.bin": os.urandom(70_000), "large.bin": os.urandom(LARGE)}
        for name, payload in self.payloads.items():
            (self.files / name).write_bytes(payload)
        (folder / "listed").write_bytes(LISTED)
        (folder / "listed-large").write_bytes(LISTED_LARGE)
        self.certificate = str(gate.folder / "ca.pem") if gate.tls else None
        # Which roots a tool trusts is said below, and not by whoever runs the tests.
        inherited = {name: value for name, value in os.environ.items() if "CA_BUNDLE" not in name}
        self.environment = dict(
            inherited, HOME=str(folder), AWS_ACCESS_KEY_ID=gate.store.access_key,
            AWS_SECRET_ACCESS_KEY=gate.store.secret_key, AWS_DEFAULT_REGION=gate.store.region, AWS_REGION=gate.store.region,
        )
        if gate.tls:
            # What programs in Go and Rust, and those with libcurl, take for the system's roots.
            self.environment |= {"SSL_CERT_FILE": self.certificate, "CURL_CA_BUNDLE": self.certificate}

    def run(self, *words, check=True, **more):
        done = subprocess.run(
            [str(word) for word in words], env=self.environment | more, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done

    def fails(self, *words, **more):
        done = self.run(*words, check=False, **more)
        assert done.returncode != 0, f"{words} brought a listed file in: {done.stdout}"
        return done

    def object(self, key):
        return self.gate.store.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def keys(self, prefix):
        found = self.gate.store.client().list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return {item["Key"].removeprefix(prefix) for item in found}

    def arrived(self, prefix):
        assert self.keys(prefix) == set(self.payloads)
        for name, payload in self.payloads.items():
            assert self.object(prefix + name) == payload, name

    def came_back(self, folder):
        for name, payload in self.payloads.items():
            assert (folder / name).read_bytes() == payload, name


@pytest.fixture
def day(gate, bucket, tmp_path):
    return Day(gate, bucket, tmp_path)


def test_aws_s3_sync(day):
    bundle = {"AWS_CA_BUNDLE": day.certificate} if day.certificate else {}
    # Left alone, it presigns with version 2 for some regions, which a gate that verifies does not take.
    (day.folder / "aws.ini").write_text("[default]\ns3 =\n    signature_version = s3v4\n    addressing_style = path\n")
    bundle["AWS_CONFIG_FILE"] = str(day.folder / "aws.ini")
    if day.gate.store.name == "rgw" and day.gate.tls:
        bundle["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"  # it takes no trailer from anybody

    def s3(*words, **more):
        return ("aws", "--endpoint-url", day.gate.endpoint, "s3", *words)

    day.run(*s3("sync", "--no-progress", day.files, f"s3://{day.bucket}/sync/"), **bundle)
    day.arrived("sync/")
    day.run(*s3("sync", "--no-progress", f"s3://{day.bucket}/sync/", day.folder / "back"), **bundle)
    day.came_back(day.folder / "back")
    url = day.run(*s3("presign", f"s3://{day.bucket}/sync/small.bin"), **bundle).stdout.strip()
    assert fetch(day, url) == day.payloads["small.bin"]
    for name in ("listed", "listed-large"):
        done = day.fails(*s3("cp", day.folder / name, f"s3://{day.bucket}/sync-{name}"), **bundle)
        assert "AccessDenied" in done.stderr
    day.run(*s3("rm", "--recursive", f"s3://{day.bucket}/sync"), **bundle)
    assert day.keys("sync") == set()


def fetch(day, url):
    import ssl
    context = ssl.create_default_context(cafile=day.certificate) if day.certificate else None
    with urllib.request.urlopen(url, context=context) as answer:
        return answer.read()


def test_rclone(day):
    store = day.gate.store
    kind = {"minio": "Minio", "rgw": "Ceph", "seaweedfs": "SeaweedFS"}.get(store.name, "Other")
    (day.folder / "rclone.conf").write_text(
        f"[gate]\ntype = s3\nprovider = {kind}\nenv_auth = true\nregion = {store.region}\nendpoint = {day.gate.endpoint}\n"
        "upload_cutoff = 5Mi\nchunk_size = 5Mi\n")

    def rclone(*words):
        return ("rclone", "--config", day.folder / "rclone.conf", "--retries", "1", "--low-level-retries", "1", *words)

    at = f"gate:{day.bucket}/rclone"
    day.run(*rclone("sync", day.files, at))
    day.arrived("rclone/")
    day.run(*rclone("check", day.files, at))
    day.run(*rclone("copy", at, day.folder / "back"))
    day.came_back(day.folder / "back")
    (day.files / "small.bin").unlink()
    day.run(*rclone("sync", day.files, at))
    assert day.keys("rclone/") == {"sub/a b.bin", "large.bin"}
    for name in ("listed", "listed-large"):
        done = day.fails(*rclone("copyto", day.folder / name, f"{at}-{name}"))
        assert "403" in done.stderr or "AccessDenied" in done.stderr, done.stderr
    day.run(*rclone("purge", at))
    assert day.keys("rclone") == set()


def test_s3cmd(day):
    store, endpoint = day.gate.store, day.gate.endpoint.split("//")[1]
    (day.folder / "s3cfg").write_text(
        f"[default]\naccess_key = {store.access_key}\nsecret_key = {store.secret_key}\nhost_base = {endpoint}\n"
        f"host_bucket = {endpoint}\nbucket_location = {store.region}\nuse_https = {day.gate.tls}\n"
        f"ca_certs_file = {day.certificate or ''}\nmultipart_chunk_size_mb = 5\nmax_retries = 0\n")

    def s3cmd(*words):
        return ("s3cmd", "-c", day.folder / "s3cfg", *words)

    at = f"s3://{day.bucket}/s3cmd/"
    day.run(*s3cmd("put", "--recursive", f"{day.files}/", at))
    day.arrived("s3cmd/")
    (day.folder / "back").mkdir()
    day.run(*s3cmd("get", "--recursive", at, f"{day.folder / 'back'}/"))
    day.came_back(day.folder / "back")
    for name in ("listed", "listed-large"):
        day.fails(*s3cmd("put", day.folder / name, f"s3://{day.bucket}/s3cmd-{name}"))
    day.run(*s3cmd("del", "--recursive", "--force", at))
    assert day.keys("s3cmd") == set()


def test_mc(day):
    store = day.gate.store
    config = ("mc", "--config-dir", day.folder / "mc", "--quiet")
    if day.certificate:
        roots = day.folder / "mc" / "certs" / "CAs"
        roots.mkdir(parents=True)
        (roots / "gate.crt").write_bytes(Path(day.certificate).read_bytes())
    day.run(*config, "alias", "set", "gate", day.gate.endpoint, store.access_key, store.secret_key, "--api", "S3v4",
            "--path", "on")
    at = f"gate/{day.bucket}/mc"
    day.run(*config, "mirror", day.files, at)
    day.arrived("mc/")
    day.run(*config, "mirror", at, day.folder / "back")
    day.came_back(day.folder / "back")
    day.run(*config, "cp", f"{at}/small.bin", day.folder / "once")
    assert (day.folder / "once").read_bytes() == day.payloads["small.bin"]
    for name in ("listed", "listed-large"):
        done = day.fails(*config, "cp", day.folder / name, f"gate/{day.bucket}/mc-{name}")
        assert "Insufficient permissions" in done.stderr, done.stderr
    day.run(*config, "rm", "--recursive", "--force", at)
    assert day.keys("mc") == set()


def test_restic(day):
    scheme = day.gate.endpoint
    repository = ("restic", "-r", f"s3:{scheme}/{day.bucket}/restic", "-o", "s3.bucket-lookup=path")
    if day.certificate:
        repository += ("--cacert", day.certificate)
    password = {"RESTIC_PASSWORD": "synthetic"}
    day.run(*repository, "init", **password)
    day.run(*repository, "backup", day.files, **password)
    day.run(*repository, "check", "--read-data", **password)
    day.run(*repository, "restore", "latest", "--target", day.folder / "back", **password)
    day.came_back(day.folder / "back" / day.files.relative_to("/"))


def test_s3fs(day):
    if not os.access("/dev/fuse", os.W_OK):
        pytest.fail("s3fs needs /dev/fuse, which cannot be opened here")
    store = day.gate.store
    (day.folder / "password").write_text(f"{store.access_key}:{store.secret_key}")
    (day.folder / "password").chmod(0o600)
    mount = day.folder / "mount"
    mount.mkdir()
    day.run("s3fs", day.bucket, mount, "-o",
            f"passwd_file={day.folder / 'password'},url={day.gate.endpoint},use_path_request_style,endpoint={store.region},"
            "multipart_size=5,retries=1"
            # Its libcurl takes no other roots than the system's.
            + (",no_check_certificate,ssl_verify_hostname=0" if day.gate.tls else ""))
    try:
        (mount / "s3fs-file").write_bytes(day.payloads["small.bin"])
        (mount / "s3fs-large").write_bytes(day.payloads["large.bin"])
        assert day.object("s3fs-file") == day.payloads["small.bin"]
        assert day.object("s3fs-large") == day.payloads["large.bin"]
        assert (mount / "s3fs-large").read_bytes() == day.payloads["large.bin"]
        with pytest.raises(OSError):
            (mount / "s3fs-listed").write_bytes(LISTED)
        (mount / "s3fs-file").unlink()
        assert "s3fs-file" not in day.keys("")
        stored = [day.object(key) for key in day.keys("") if key.startswith("s3fs")]
        assert LISTED not in stored
    finally:
        for _ in range(50):
            if subprocess.run(["umount", str(mount)], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)


def test_the_rust_sdk(day):
    more = {}
    if day.gate.store.name in ("rgw", "garage"):  # they do not take its trailers, from anybody
        more["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    url = day.run(
        os.environ["HASHGATE_SDK_DAY"], day.gate.endpoint, day.bucket, day.files / "large.bin", day.folder / "listed",
        **more).stdout.strip()
    assert "X-Amz-Signature" in url
    assert day.keys("sdk/") == set()
