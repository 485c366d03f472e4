"""A third-party suite of S3 calls gives the same result through the gate, in both modes, as directly at the store, test by
test. What may differ stands in `explained.txt`, with the reason.

The suite is that of versitygw (Apache-2.0); HASHGATE_CONFORMANCE is the program that `main.go` makes of it. It is written
for another store, so many of its tests fail at any store here, and some crash. That is no matter: what counts is that they
pass in all three ways, or in none. A test that differs is run again, because some depend on the time or on what runs
beside them.

    run.py              every test at every store of HASHGATE_ORIGINS
    run.py NAME...      these tests, and what came of each
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "clients"))
from conftest import Gate, stores  # noqa: E402

SUITE = os.environ["HASHGATE_CONFORMANCE"]
WAYS = ("directly", "pass-through", "verify")
AGAIN = 3
SECONDS_MAX = 600


def run(store, endpoint, names):
    """How each test ended."""
    # The suite's client stumbles over certificates that others bring.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    words = [SUITE, endpoint, store.region, store.access_key, store.secret_key, *names]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=SECONDS_MAX, env=environment)
    lines = (line.split("\t", 1) for line in done.stdout.splitlines() if "\t" in line)
    return {name: plain(said) for name, said in lines}


def plain(said):
    """Without what is another in each run."""
    for pattern, word in (
        (r"127\.0\.0\.1:\d+", "HOST"),
        (r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z| \+0000 UTC)?|\d{8}T\d{6}Z|\w{3}, \d\d \w{3} \d{4} [\d:]+ GMT", "TIME"),
        (r"(RequestID|HostID): [^,]*", "ID"),
        (r"test-bucket-\d+|0x[0-9a-f]+|\b\d{7,}\b", "NAME"),
        (r"(?=\S*\d)[\w+/.-]{20,}={0,2}", "NAME"),
    ):
        said = re.sub(pattern, word, said)
    return said.strip()


def compare(store, endpoints, names):
    """What came of each test in each way."""

    def all_ways(names):
        found = [run(store, endpoint, names) for endpoint in endpoints]
        return {name: [way.get(name, "did not run") for way in found] for name in found[0]}

    results = all_ways(names)
    for _ in range(AGAIN):
        differ = [name for name, ways in results.items() if len(set(ways)) > 1]
        if differ:
            results |= all_ways(differ)
    return results


def explained():
    lines = (Path(__file__).parent / "explained.txt").read_text().splitlines()
    rows = dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))
    return [(re.compile(pattern), reason) for pattern, reason in rows.items()]


def reason_for(name, known):
    return next((reason for pattern, reason in known if pattern.fullmatch(name)), None)


def report(store, results, known):
    """Prints what differs; how many of it nothing explains."""
    passed = [sum(ways[n] == "passed" for ways in results.values()) for n in range(len(WAYS))]
    differ = {name: ways for name, ways in results.items() if len({way == "passed" for way in ways}) > 1}
    in_other_words = [name for name, ways in results.items() if len(set(ways)) > 1 and name not in differ]
    counts = ", ".join(f"{count} {way}" for count, way in zip(passed, WAYS))
    print(f"{store.name}: of {len(results)} tests pass {counts}; {len(in_other_words)} fail everywhere in different words")
    unexplained = 0
    for name, ways in differ.items():
        reason = reason_for(name, known)
        print(f"  {name} differs: {reason or 'and nothing explains it'}")
        if not reason:
            unexplained += 1
            [print(f"    {way}: {said[:600]}") for way, said in zip(WAYS, ways)]
    return unexplained


def main():
    wanted, known, unexplained = sys.argv[1:], explained(), 0
    for store in stores():
        with tempfile.TemporaryDirectory(prefix="hashgate-conformance-") as folder:
            gates = []
            for mode in WAYS[1:]:
                (Path(folder) / mode).mkdir()
                gates.append(Gate(Path(folder) / mode, store, mode, False, credentials=True))
            results = compare(store, [store.endpoint, *(gate.endpoint for gate in gates)], wanted)
            [gate.stop() for gate in gates]
        unexplained += report(store, results, known)
        if wanted:
            [print(f"{name} {way}: {said}") for name in wanted for way, said in zip(WAYS, results[name])]
        else:
            assert len(results) > 600, f"only {len(results)} tests"
    sys.exit(1 if unexplained else 0)


main()
