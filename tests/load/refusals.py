"""Refusals of three kinds, 5,000 each (1,000 in verify mode): of listed payloads, of listed payloads that are kept as
evidence, and of what policy refuses. Nothing that a client sees or measures tells one from another: a classifier that is trained on status, headers,
body and time of any two kinds, 10,000 refusals, stays at an AUC of 0.55 or less."""

import hashlib
import http.client
import math
import os
import random
import sys
import threading
import time
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

import pyrage

import scratch

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))
from conftest import LISTED, LISTED_SHORT, Gate, stores  # noqa: E402

EACH = {"pass-through": 5_000, "verify": 1_000}
CONNECTIONS, FOLDS, AUC_MAX = 16, 5, 0.55
KINDS = ["match", "kept", "policy"]
PAYLOADS = [LISTED_SHORT, LISTED]  # shorter and longer than the first window
# What stores say among themselves: refused by its head, whatever the payload.
POLICY = {"x-minio-source-mtime": "2026-01-01T00:00:00Z"}


def presigned(gate, bucket):
    """The presigned URL does not sign the header that policy refuses: the kinds are one request but for that, and for the
    name of the bucket."""
    client = gate.client(signature_version="s3v4")
    params = {"Bucket": bucket, "Key": "refused"}
    return client.generate_presigned_url("put_object", Params=params, ExpiresIn=3600).removeprefix(gate.endpoint)


def collect(gate, targets, each):
    """(the kind, what was seen of its refusal), in a random order over several connections."""
    url = urlsplit(gate.endpoint)
    jobs = [(kind, PAYLOADS[n % 2]) for kind in KINDS for n in range(each)]
    random.shuffle(jobs)
    seen, errors, lock = [], [], threading.Lock()
    left = iter(jobs)

    def work():
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        try:
            while True:
                with lock:
                    job = next(left, None)
                if job is None:
                    return
                kind, payload = job
                begin = time.perf_counter()
                connection.request("PUT", targets[kind], body=payload, headers=POLICY if kind == "policy" else {})
                answer = connection.getresponse()
                body = answer.read()
                seconds = time.perf_counter() - begin
                assert answer.status == 403 and b"<Code>AccessDenied</Code>" in body, (answer.status, body)
                with lock:
                    seen.append((kind, features(answer, body, len(payload), seconds)))
        except Exception as error:  # noqa: BLE001: the main thread tells
            with lock:
                errors.append(repr(error))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not errors, errors[0]
    return seen


def features(answer, body, sent, seconds):
    """Numbers of everything that there is to see."""
    names = ",".join(name for name, _ in answer.getheaders())
    lengths = [len(value) for _, value in answer.getheaders()]
    order = int.from_bytes(hashlib.sha256(names.encode()).digest()[:4], "big") / 2**32
    in_slot = seconds % 0.25
    return [
        answer.status, len(lengths), order, sum(lengths), max(lengths), float("close" in (answer.getheader("connection") or "")),
        len(body), body.count(b"<"), seconds, in_slot, math.floor(seconds / 0.25), sent * in_slot, float(sent),
    ]


def stumps(rows, rounds=25):
    """Boosted decision stumps (AdaBoost): any threshold on any feature that helps is found."""
    labels = [1 if is_match else -1 for is_match, _ in rows]
    columns = list(zip(*(seen for _, seen in rows)))
    candidates = []
    for at, column in enumerate(columns):
        values = sorted(column)
        cuts = {values[len(values) * n // 24] for n in range(1, 24)}
        for cut in cuts:
            candidates.append((at, cut, [1 if value > cut else -1 for value in column]))
    weights = [1 / len(rows)] * len(rows)
    model = []
    for _ in range(rounds):
        signed = [weight * label for weight, label in zip(weights, labels)]
        edges = [sum(map(float.__mul__, signed, map(float, side))) for _, _, side in candidates]
        best = max(range(len(candidates)), key=lambda n: abs(edges[n]))
        edge = max(-0.999, min(0.999, edges[best]))
        if abs(edge) < 1e-9:
            break
        vote = 0.5 * math.log((1 + edge) / (1 - edge))
        at, cut, side = candidates[best]
        model.append((at, cut, vote))
        weights = [weight * math.exp(-vote * label * one) for weight, label, one in zip(weights, labels, side)]
        total = sum(weights)
        weights = [weight / total for weight in weights]
    return lambda seen: sum(vote if seen[at] > cut else -vote for at, cut, vote in model)


def area(scored):
    """The area under the curve: how often a match scores higher than a refusal of policy, ties as halves."""
    scored = sorted(scored)
    ranks, at = 0.0, 0
    while at < len(scored):
        end = at
        while end < len(scored) and scored[end][0] == scored[at][0]:
            end += 1
        ranks += (at + 1 + end) / 2 * sum(is_match for _, is_match in scored[at:end])
        at = end
    matches = sum(is_match for _, is_match in scored)
    return (ranks - matches * (matches + 1) / 2) / (matches * (len(scored) - matches))


def cross_validated(seen):
    """Each refusal is judged by a classifier that never saw it."""
    areas = []
    for fold in range(FOLDS):
        model = stumps([row for n, row in enumerate(seen) if n % FOLDS != fold])
        areas.append(area([(model(row[1]), row[0]) for n, row in enumerate(seen) if n % FOLDS == fold]))
    return sum(areas) / FOLDS


def check_classifier():
    """It finds a difference where there is one, also a faint one."""
    faint = [(n % 2 == 0, [random.random() + 0.25 * (n % 2)]) for n in range(2000)]
    assert cross_validated(faint) > 0.6, "the classifier is blind"


def main():
    check_classifier()
    for mode, each in EACH.items():
        store = stores()[0]
        buckets = ["load-" + os.urandom(6).hex() for _ in range(3)]
        ordinary, kept, quarantine = buckets
        for bucket in buckets:
            store.client().create_bucket(Bucket=bucket)
        extra = (
            f"quarantine: {{ bucket: {quarantine}, recipients: [ {pyrage.x25519.Identity.generate().to_public()} ], "
            f"credentials: {{ access_key: {store.access_key}, secret_key: {store.secret_key} }} }}\n"
            # An entry that floods would be kept everywhere.
            f"policy: {{ flood: {{ uploads: 1000000 }}, rules: [ {{ bucket: {kept}, action: quarantine }} ] }}\n")
        gate = Gate(scratch.folder("load"), store, mode, False, extra)
        begin = time.monotonic()
        targets = dict(zip(KINDS, (presigned(gate, bucket) for bucket in (ordinary, kept, ordinary))))
        seen = collect(gate, targets, each)
        seconds = time.monotonic() - begin
        assert gate.metric('hashgate_cases_total{payload="kept"}') == each
        gate.stop()
        mean = {kind: 1000 * sum(row[8] for of, row in seen if of == kind) / each for kind in KINDS}
        print(f"{mode}: {len(seen)} refusals in {seconds:.0f} s; on average " + ", ".join(
            f"{kind} {ms:.1f} ms" for kind, ms in mean.items()))
        for one, other in combinations(KINDS, 2):
            found = cross_validated([(kind == one, row) for kind, row in seen if kind in (one, other)])
            print(f"{mode}: {one} and {other} are told apart with an AUC of {found:.3f}")
            assert found <= AUC_MAX, "refusals can be told apart"


main()
