"""minio-users.py ENDPOINT ACCESS_KEY SECRET_KEY: adds two users with fewer rights, and prints them.

`reader` may download, `writer` may also upload; neither may administer. Runs in the clients' Python environment.
"""

import sys
from urllib.parse import urlsplit

from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin

endpoint, access_key, secret_key = sys.argv[1:]
url = urlsplit(endpoint)
admin = MinioAdmin(endpoint=url.netloc, credentials=StaticProvider(access_key, secret_key), secure=url.scheme == "https")
for name, policy in [("reader", "readonly"), ("writer", "readwrite")]:
    admin.user_add(name, name + "secret")
    admin.policy_set(policy, user=name)
print("reader=readersecret writer=writersecret")
