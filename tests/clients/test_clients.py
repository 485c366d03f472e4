"""Real clients doing their normal day through the gate, and failing to bring in what is listed."""

import gzip
import io
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from conftest import LISTED, LISTED_LARGE, LISTED_SHORT, Gate
from minio import Minio
from minio.error import S3Error

SIZES = [0, 1, 8191, 65536, 65537, 5 * 1024 * 1024 + 1]


def clean(size):
    return os.urandom(size)


def absent(store, bucket, key):
    with pytest.raises(ClientError) as error:
        store.client().head_object(Bucket=bucket, Key=key)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


def refused(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response = error.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert response["Error"]["Code"] == "AccessDenied"


def takes_trailers(gate):
    """Ceph RGW 16 refuses every trailer mode, which is boto3's way over TLS; the gate passes its word on."""
    return not (gate.store.name == "rgw" and gate.tls)


def config(gate):
    return {} if takes_trailers(gate) else {"request_checksum_calculation": "when_required"}


@pytest.mark.parametrize("size", SIZES)
def test_a_clean_upload_is_stored_byte_for_byte_with_the_etag_of_a_direct_one(gate, bucket, size):
    payload = clean(size)
    through = gate.client(**config(gate)).put_object(Bucket=bucket, Key=f"clean-{size}", Body=payload)
    direct = gate.store.client(**config(gate)).put_object(Bucket=bucket, Key=f"direct-{size}", Body=payload)
    assert through["ETag"] == direct["ETag"]
    assert gate.store.client().get_object(Bucket=bucket, Key=f"clean-{size}")["Body"].read() == payload
    assert gate.client().get_object(Bucket=bucket, Key=f"clean-{size}")["Body"].read() == payload


@pytest.mark.parametrize("payload", [LISTED, LISTED_SHORT], ids=["long", "short"])
def test_a_listed_upload_is_refused_and_the_older_object_stays(gate, bucket, payload):
    client = gate.client(**config(gate))
    refused(client.put_object, Bucket=bucket, Key="listed", Body=payload)
    assert absent(gate.store, bucket, "listed")
    old = gate.store.client(**config(gate)).put_object(Bucket=bucket, Key="older", Body=b"older")
    refused(client.put_object, Bucket=bucket, Key="older", Body=payload)
    head = gate.store.client().get_object(Bucket=bucket, Key="older")
    assert (head["ETag"], head["Body"].read()) == (old["ETag"], b"older")


def test_a_versioned_bucket_gets_no_version(gate, bucket):
    if gate.store.name == "garage":
        return  # it has no versions
    name, client = bucket + "-versions", gate.client(**config(gate))
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    refused(client.put_object, Bucket=name, Key="k", Body=LISTED)
    client.put_object(Bucket=name, Key="k", Body=b"clean")
    versions = gate.store.client().list_object_versions(Bucket=name)
    assert len(versions["Versions"]) == 1 and "DeleteMarkers" not in versions


def test_presigned_urls(gate, bucket):
    import ssl
    context = ssl.create_default_context(cafile=str(gate.folder / "ca.pem")) if gate.tls else None
    client = gate.client(signature_version="s3v4")

    def put(payload):
        url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "presigned"})
        request = urllib.request.Request(url, data=payload, method="PUT")
        request.add_unredirected_header("Content-Type", "")
        return urllib.request.urlopen(request, context=context).status

    assert put(b"clean") == 200
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "presigned"})
    assert urllib.request.urlopen(url, context=context).read() == b"clean"
    with pytest.raises(urllib.error.HTTPError) as error:
        put(LISTED)
    assert error.value.code == 403
    assert gate.store.client().get_object(Bucket=bucket, Key="presigned")["Body"].read() == b"clean"


def test_parts(gate, bucket):
    client = gate.client(**config(gate))
    upload = client.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    where = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    refused(client.upload_part, **where, PartNumber=1, Body=LISTED)
    assert "Parts" not in gate.store.client().list_parts(**where)
    part = client.upload_part(**where, PartNumber=1, Body=clean(5 << 20))
    # What came past the gate was, for it, never sent.
    other = gate.store.client().upload_part(**where, PartNumber=2, Body=b"end")
    both = [{"PartNumber": 1, "ETag": part["ETag"]}, {"PartNumber": 2, "ETag": other["ETag"]}]
    with pytest.raises(ClientError) as error:
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": both})
    assert error.value.response["Error"]["Code"] == "InvalidPart"
    client.upload_part(**where, PartNumber=2, Body=b"end")
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": both})
    assert gate.store.client().head_object(Bucket=bucket, Key="parts")["ContentLength"] == (5 << 20) + 3


def test_the_transfer_manager(gate, bucket):
    """boto3 splits and sends parts side by side; a listed whole of them is refused, any other arrives."""
    from boto3.s3.transfer import TransferConfig
    transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    client = gate.client(**config(gate))
    payload = clean((12 << 20) + 5)
    client.upload_fileobj(io.BytesIO(payload), bucket, "managed", Config=transfer)
    back = io.BytesIO()
    client.download_fileobj(bucket, "managed", back)
    assert back.getvalue() == payload
    with pytest.raises(Exception) as error:
        client.upload_fileobj(io.BytesIO(LISTED_LARGE), bucket, "managed-listed", Config=transfer)
    assert "AccessDenied" in str(error.value)
    assert absent(gate.store, bucket, "managed-listed")


def test_a_compressed_file_in_parts(gate, bucket):
    """Said to be so, or not: its readers may decode it, or unpack it. (Level 0 keeps it long enough for parts.)"""
    from boto3.s3.transfer import TransferConfig
    transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    client = gate.client(**config(gate))
    for said in ({"ContentEncoding": "gzip"}, {}):
        with pytest.raises(Exception) as error:
            listed = io.BytesIO(gzip.compress(LISTED_LARGE, 0))
            client.upload_fileobj(listed, bucket, "listed.gz", Config=transfer, ExtraArgs=said)
        assert "AccessDenied" in str(error.value)
        assert absent(gate.store, bucket, "listed.gz")
        payload = gzip.compress(clean(12 << 20))
        client.upload_fileobj(io.BytesIO(payload), bucket, "clean.gz", Config=transfer, ExtraArgs=said)
        stored = gate.store.client().get_object(Bucket=bucket, Key="clean.gz")
        assert stored["Body"].read() == payload
        assert stored.get("ContentEncoding", "") == said.get("ContentEncoding", "")


def test_an_ordinary_day(gate, bucket):
    client = gate.client(**config(gate))
    for key in ["day/plain", "day/a b+c", "day/ünïcode/%41", "day//double"]:
        if "//" in key and gate.store.name in ("minio", "seaweedfs"):
            continue  # MinIO itself refuses this name, SeaweedFS itself stores it under another
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert gate.store.client().get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    ranged = client.get_object(Bucket=bucket, Key="day/plain", Range="bytes=4-8")
    assert (ranged["ResponseMetadata"]["HTTPStatusCode"], ranged["Body"].read()) == (206, b"plain")
    client.copy_object(Bucket=bucket, Key="day/copy", CopySource={"Bucket": bucket, "Key": "day/plain"})
    if gate.store.name != "garage":  # it has no tags
        client.put_object_tagging(Bucket=bucket, Key="day/copy", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
        assert client.get_object_tagging(Bucket=bucket, Key="day/copy")["TagSet"] == [{"Key": "a", "Value": "b"}]
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket, Prefix="day/")["Contents"]]
    assert {"day/plain", "day/copy", "day/a b+c"} <= set(keys)
    client.delete_object(Bucket=bucket, Key="day/copy")
    assert absent(gate.store, bucket, "day/copy")
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys if key != "day/copy"]})
    assert "Contents" not in client.list_objects_v2(Bucket=bucket, Prefix="day/")


def test_aws_cli(gate, bucket, tmp_path):
    environment = dict(
        os.environ, AWS_ACCESS_KEY_ID=gate.store.access_key, AWS_SECRET_ACCESS_KEY=gate.store.secret_key,
        AWS_DEFAULT_REGION=gate.store.region, AWS_MAX_ATTEMPTS="1",
    )
    if gate.tls:
        environment["AWS_CA_BUNDLE"] = str(gate.folder / "ca.pem")
    if not takes_trailers(gate):
        environment["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"

    def aws(*words):
        program = Path(sys.executable).with_name("aws")
        call = [str(program), "--endpoint-url", gate.endpoint, *words]
        return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120)

    payload = clean(300_000)
    (tmp_path / "clean").write_bytes(payload)
    (tmp_path / "listed").write_bytes(LISTED)
    done = aws("s3", "cp", str(tmp_path / "clean"), f"s3://{bucket}/cli/clean")
    assert done.returncode == 0, done.stderr
    done = aws("s3", "cp", str(tmp_path / "listed"), f"s3://{bucket}/cli/listed")
    assert done.returncode == 1 and "AccessDenied" in done.stderr, done.stderr
    assert absent(gate.store, bucket, "cli/listed")
    listing = aws("s3", "ls", f"s3://{bucket}/cli/").stdout
    assert "clean" in listing and "listed" not in listing
    done = aws("s3", "cp", f"s3://{bucket}/cli/clean", str(tmp_path / "back"))
    assert done.returncode == 0 and (tmp_path / "back").read_bytes() == payload, done.stderr
    assert aws("s3", "rm", f"s3://{bucket}/cli/clean").returncode == 0
    assert absent(gate.store, bucket, "cli/clean")


def test_minio_py_with_signed_chunks(gate, bucket):
    if gate.tls:
        import urllib3
        pool = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=str(gate.folder / "ca.pem"))
    else:
        pool = None
    client = Minio(
        gate.endpoint.split("//")[1], access_key=gate.store.access_key, secret_key=gate.store.secret_key,
        secure=gate.tls, region=gate.store.region, http_client=pool,
    )
    payload = clean(200_000)
    client.put_object(bucket_name=bucket, object_name="py", data=io.BytesIO(payload), length=len(payload))
    assert gate.store.client().get_object(Bucket=bucket, Key="py")["Body"].read() == payload
    with pytest.raises(S3Error) as error:
        client.put_object(bucket_name=bucket, object_name="py-listed", data=io.BytesIO(LISTED), length=len(LISTED))
    assert error.value.code == "AccessDenied"
    assert absent(gate.store, bucket, "py-listed")


def test_rights_at_the_store_stay_what_they_are(gate, bucket, tmp_path):
    """Two users with different rights at MinIO have exactly those through a gate that verifies them."""
    if gate.store.name != "minio" or gate.mode != "verify" or gate.tls:
        return  # one gate of its own, before the one store whose users can be made here
    store = gate.store
    subprocess.run(
        [sys.executable, Path(__file__).parent.parent / "origins" / "minio-users.py",
         store.endpoint, store.access_key, store.secret_key], check=True)
    users = ", ".join(f"{{ access_key: {name}, secret_key: {name}secret }}" for name in ("reader", "writer"))
    other = Gate(tmp_path, store, "verify", False, users=users)
    try:
        store.client().put_object(Bucket=bucket, Key="there", Body=b"there")
        for name, may_write in [("reader", False), ("writer", True)]:
            user = replace(store, access_key=name, secret_key=name + "secret")
            for endpoint in (store.endpoint, other.endpoint):
                client = user.client(endpoint)
                assert client.get_object(Bucket=bucket, Key="there")["Body"].read() == b"there"
                for size in (100, 200_000):
                    put = {"Bucket": bucket, "Key": f"{name}-{size}", "Body": clean(size)}
                    if may_write:
                        client.put_object(**put)
                        client.delete_object(Bucket=bucket, Key=put["Key"])
                    else:
                        refused(client.put_object, **put)
                        assert absent(store, bucket, put["Key"])
                        refused(client.delete_object, Bucket=bucket, Key="there")
            refused(user.client(other.endpoint).put_object, Bucket=bucket, Key="listed", Body=LISTED)
            assert absent(store, bucket, "listed")
        # Whom the gate does not know, it does not ask the store about.
        with pytest.raises(ClientError) as error:
            store.client(other.endpoint).get_object(Bucket=bucket, Key="there")
        assert error.value.response["Error"]["Code"] == "InvalidAccessKeyId"
    finally:
        other.stop()


def test_nothing_listed_was_written_down(gate, bucket):
    import hashlib
    digests = [hashlib.new(name, payload).hexdigest() for name in ("md5", "sha1", "sha256") for payload in (LISTED, LISTED_SHORT)]
    with pytest.raises(ClientError):
        gate.client(**config(gate)).put_object(Bucket=bucket, Key=f"x/{digests[-2].upper()}.jpg", Body=LISTED)
    written = (gate.folder / "log").read_text() + (gate.folder / "state" / "audit.log").read_text()
    written += urllib.request.urlopen(gate.admin + "/metrics").read().decode()
    assert "[digest]" in written and gate.store.secret_key not in written
    for digest in digests:
        assert digest not in written.lower()
