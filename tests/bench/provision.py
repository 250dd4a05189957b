#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes many VMs through the appliance's API, over one connection: provision.py ADDRESS:PORT ADMIN-DIRECTORY FIRST END

Each has a profile pN, a vNIC nN in network "blue" (MAC 02:0b:00:00:HI:LO) and a vDisk dN of 1 MiB in pool "main".
Prints the seconds that it took.
"""

import http.client
import json
import ssl
import sys
import time

VOLUME = 1 << 20


def main():
    address, admin, first, end = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    context = ssl.create_default_context(cafile=f"{admin}/ca.crt")
    context.check_hostname = False
    context.load_cert_chain(f"{admin}/admin.crt", f"{admin}/admin.key")
    connection = http.client.HTTPSConnection(address, context=context, timeout=60)

    def call(noun, name, **fields):
        kind = noun.lower()
        body = json.dumps({kind: {"name": name, **fields}})
        connection.request("POST", f"/outrigger.v1.{noun}Service/Create{noun}", body,
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            sys.exit(f"create {kind} {name}: {answer.status} {text}")

    start = time.monotonic()
    for i in range(first, end):
        call("Profile", f"p{i}", host="h1")
        call("VNic", f"n{i}", profile=f"p{i}", network="blue", mac=f"02:0b:00:00:{i >> 8:02x}:{i & 255:02x}")
        call("Volume", f"v{i}", pool="main", sizeBytes=str(VOLUME))
        call("VDisk", f"d{i}", profile=f"p{i}", volume=f"v{i}")
    print(f"{time.monotonic() - start:.3f}")


if __name__ == "__main__":
    main()
