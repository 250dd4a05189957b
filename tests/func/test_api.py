# SPDX-License-Identifier: Apache-2.0
"""Bad input through the API: each refusal names field and reason, has its exit code, and changes nothing."""

import json
import subprocess

import case
import world as w
from case import expect

USAGE, ABSENT, CONFLICT, INVALID = 2, 3, 4, 5
NOUNS = ("host", "profile", "vnic", "vdisk", "volume", "pool", "network", "uplink", "port")


def setup(world):
    world.start()
    world.ctl("host", "create", "h1")
    world.ctl("profile", "create", "p1", "--host", "h1")
    world.ctl("network", "create", "n1")
    world.ctl("vnic", "create", "v1", "--profile", "p1", "--network", "n1", "--mac", "02:00:5e:00:00:01")
    world.ctl("pool", "create", "small", "--memory", "64M")
    world.ctl("volume", "create", "vol1", "--pool", "small", "--size", "16M")
    world.ctl("vdisk", "create", "d1", "--profile", "p1", "--volume", "vol1")


def everything(world):
    state = {}
    for noun in NOUNS:
        for items in json.loads(world.ctl(noun, "list", "-o", "json")).values():
            if isinstance(items, list):
                state[noun] = [{k: v for k, v in item.items() if k != "status"} for item in items]
    return state


def no(world, status, words, *arguments):
    """The call is refused with this exit status and these words, and nothing has changed."""
    before = everything(world)
    try:
        world.ctl(*arguments)
    except w.ControlError as error:
        expect(error.status == status, f"`{' '.join(arguments)}`: exit status {error.status}, not {status}: {error.text}")
        for word in words:
            expect(word.lower() in error.text.lower(), f"`{' '.join(arguments)}`: no '{word}' in: {error.text.strip()}")
    else:
        raise case.CheckFailed(f"`{' '.join(arguments)}` was not refused")
    expect(everything(world) == before, f"`{' '.join(arguments)}` changed something")


def test_missing_and_bad_names(world):
    no(world, USAGE, [], "vnic", "create")
    no(world, INVALID, ["name"], "network", "create", "Not-A-Name")
    no(world, INVALID, ["name"], "network", "create", "9lives")
    no(world, INVALID, ["name"], "network", "create", "x" * 64)
    no(world, CONFLICT, ["n1"], "network", "create", "n1")
    no(world, ABSENT, ["nobody"], "vnic", "show", "nobody")


def test_duplicate_and_bad_mac(world):
    no(world, CONFLICT, ["mac", "v1"], "vnic", "create", "v2", "--profile", "p1", "--network", "n1", "--mac",
       "02:00:5e:00:00:01")
    no(world, INVALID, ["mac"], "vnic", "create", "v2", "--profile", "p1", "--network", "n1", "--mac", "01:00:5e:00:00:01")
    no(world, INVALID, ["mac"], "vnic", "create", "v2", "--profile", "p1", "--network", "n1", "--mac", "hello")


def test_vlan_out_of_range(world):
    for vlan in ("4095", "70000"):
        no(world, INVALID, ["vlan"], "network", "create", "n2", "--vlan", vlan)


def test_volume_larger_than_its_pool(world):
    no(world, INVALID, ["size", "small"], "volume", "create", "vol2", "--pool", "small", "--size", "1G")
    no(world, INVALID, ["size"], "volume", "create", "vol2", "--pool", "small", "--size", "1000")
    no(world, INVALID, ["size"], "volume", "set", "vol1", "--size", "8M")


def test_references_must_exist_and_cannot_be_pulled_away(world):
    no(world, INVALID, ["network", "nowhere"], "vnic", "create", "v2", "--profile", "p1", "--network", "nowhere")
    no(world, INVALID, ["profile"], "vnic", "create", "v2", "--network", "n1")
    no(world, INVALID, ["v1"], "network", "delete", "n1")
    no(world, INVALID, ["vol1"], "pool", "delete", "small")
    no(world, INVALID, ["p1"], "host", "delete", "h1")


def test_numbers_out_of_range(world):
    no(world, INVALID, ["mtu"], "vnic", "set", "v1", "--mtu", "100")
    no(world, INVALID, ["queues"], "vnic", "set", "v1", "--queues", "9")
    no(world, INVALID, ["ip"], "vnic", "set", "v1", "--ip", "10.0.0.300")


def test_volume_is_given_once(world):
    no(world, CONFLICT, ["vol1", "d1"], "vdisk", "create", "d2", "--profile", "p1", "--volume", "vol1")


def test_compare_and_set(world):
    revision = world.show("network", "n1")["revision"]
    world.ctl("network", "set", "n1", "--description", "first", "--revision", revision)
    no(world, CONFLICT, ["revision"], "network", "set", "n1", "--description", "second", "--revision", revision)


def test_fixed_fields(world):
    no(world, INVALID, ["pool"], "volume", "set", "vol1", "--pool", "other")


def curl(world, *arguments):
    """A stock client on the JSON API; gives (HTTP status, body)."""
    admin = f"{world.directory}/app/admin"
    done = subprocess.run(world.net.inside("app") + ["curl", "-sk", "-w", "\n%{http_code}", *arguments],
                          stdout=subprocess.PIPE, text=True, timeout=90, cwd=admin)
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body


def url(world, method):
    return f"https://{world.bracket('app')}:{w.API_PORT}/outrigger.v1.{method}"


def test_nobody_gets_in_without_a_credential(world):
    status, body = curl(world, "-H", "Content-Type: application/json", "-d", "{}", url(world, "HostService/ListHosts"))
    expect(status == 401 and "unauthenticated" in body, f"HTTP {status}: {body}")


def test_stock_client_with_a_certificate(world):
    credential = ["--cert", "admin.crt", "--key", "admin.key", "-H", "Content-Type: application/json"]
    status, body = curl(world, *credential, "-d", "{}", url(world, "HostService/ListHosts"))
    expect(status == 200 and [host["name"] for host in json.loads(body)["hosts"]] == ["h1"], f"HTTP {status}: {body}")
    for data, code in (('{"nonsense":1}', 400), ("{", 400), ("[]", 400)):
        status, body = curl(world, *credential, "-d", data, url(world, "HostService/ListHosts"))
        expect(status == code and json.loads(body)["code"] == "invalid_argument", f"{data}: HTTP {status}: {body}")
    status, body = curl(world, *credential, "-d", "{}", url(world, "HostService/NoSuchMethod"))
    expect(status in (404, 501) and "unimplemented" in body, f"HTTP {status}: {body}")
    with open(f"{world.directory}/large", "wb") as file:
        file.write(b" " * (6 << 20))
    status, _ = curl(world, *credential, "--data-binary", f"@{world.directory}/large", url(world, "HostService/ListHosts"))
    expect(status in (413, 400, 0), f"6 MiB of body: HTTP {status}")
    expect(world.ctl("host", "list"), "the API is gone after a large body")


if __name__ == "__main__":
    case.main(globals(), case.world_of("api", hosts=()), setup)
