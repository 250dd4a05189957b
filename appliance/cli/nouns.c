/* SPDX-License-Identifier: Apache-2.0 */
/* The table of nouns, verbs and options; everything that is said about them is said here. */
#include <string.h>

#include "appliance/cli/cli.h"
#include "proto/api/outrigger.pb-c.h"

#define STANDARD (1u << CLI_LIST | 1u << CLI_SHOW | 1u << CLI_CREATE | 1u << CLI_SET | 1u << CLI_DELETE)
#define MANY	 CLI_NAMES_MAX

const struct cli_verb cli_verbs[CLI_NVERBS] = {
	{CLI_LIST, "list", " ls ", "", "all of them, as a table", 0, 0, false},
	{CLI_SHOW, "show", " get ", "NAME...", "everything about one", 1, MANY, false},
	{CLI_CREATE, "create", " add ", "NAME [--FIELD VALUE]...", "make a new one", 1, 1, true},
	{CLI_SET, "set", " update ", "NAME --FIELD VALUE...", "change fields, while in use", 1, 1, true},
	{CLI_DELETE, "delete", " rm ", "NAME...", "remove it, if nothing refers to it", 1, MANY, false},
	{CLI_MOVE, "move", " ", "NAME --host HOST", "to another host, with all its devices", 1, 1, true},
	{CLI_ENROLL_TOKEN, "enroll-token", " ", "NAME [--ttl SECONDS]",
	 "a one-time token for outrigger-agent enroll", 1, 1, false},
	{CLI_REVOKE, "revoke", " ", "NAME", "take its certificate away; its session ends", 1, 1, false},
};

#define DESCRIPTION                                                                                          \
	{                                                                                                    \
		"description", NULL, "TEXT", "free text"                                                     \
	}

/* ---- host ---- */

static const struct cli_column host_columns[] = {
	{"NAME", "name", false},
	{"STATE", "status.state", false},
	{"CONNECTED", "status.connected_since", false},
	{"PATHS", "status.paths", false},
	{"AGENT", "status.agent_version", false},
	{"CERTIFICATE UNTIL", "status.certificate_not_after", true},
	{"DESCRIPTION", "description", true},
	{0},
};
static const struct cli_field host_fields[] = {DESCRIPTION, {0}};

/* ---- profile ---- */

static const struct cli_column profile_columns[] = {
	{"NAME", "name", false},
	{"HOST", "host", false},
	{"VNICS", "status.vnics", false},
	{"VDISKS", "status.vdisks", false},
	{"LABELS", "labels", true},
	{"DESCRIPTION", "description", true},
	{0},
};
static const struct cli_field profile_fields[] = {
	DESCRIPTION,
	{"host", NULL, "HOST", "the host it is at; \"\" takes it off"},
	{"labels", "label", "KEY=VALUE,...", "your own marks"},
	{0},
};

/* ---- vnic ---- */

static const struct cli_column vnic_columns[] = {
	{"NAME", "name", false},
	{"PROFILE", "profile", false},
	{"NETWORK", "network", false},
	{"MAC", "mac", false},
	{"IP-ADDRESSES", "ip_addresses", false},
	{"LINK", "status.link", false},
	{"HOST", "status.host", false},
	{"MTU", "mtu", true},
	{"QUEUES", "queues", true},
	{"SPOOF-CHECK", "spoof_check", true},
	{"SOCKET", "status.socket_path", true},
	{0},
};
static const struct cli_field vnic_fields[] = {
	DESCRIPTION,
	{"profile", NULL, "PROFILE", "whose it is; required"},
	{"network", NULL, "NETWORK", "what it is plugged into; required"},
	{"mac", NULL, "MAC", "unicast, unique; allotted when not given"},
	{"ip_addresses", "ip", "ADDRESS,...", "it may send from these alone; none: from any"},
	{"spoof_check", NULL, "on|off", "drop other source MACs and addresses (default on)"},
	{"mtu", NULL, "BYTES", "576 to 9000 (default 1500)"},
	{"queues", NULL, "N", "queue pairs, 1 to 8 (default 1)"},
	{"frontend", NULL, "vhost-user|tap", "socket for QEMU, or an interface of the host; fixed"},
	{"tap_name", NULL, "IFNAME", "with frontend tap; default the vNIC's name"},
	{"reliability", NULL, "bounded|none|full", "resending of frames that the fabric lost"},
	{"io_thread", NULL, "N", "of the agent, from 1; 0, or one it lacks: the appliance chooses"},
	{"admin_state", "state", "up|down", "down: its frames are dropped"},
	{0},
};

/* ---- vdisk ---- */

static const struct cli_column vdisk_columns[] = {
	{"NAME", "name", false},
	{"PROFILE", "profile", false},
	{"VOLUME", "volume", false},
	{"READ-ONLY", "read_only", false},
	{"LINK", "status.link", false},
	{"HOST", "status.host", false},
	{"QUEUES", "queues", true},
	{"SERIAL", "serial", true},
	{"SOCKET", "status.socket_path", true},
	{0},
};
static const struct cli_field vdisk_fields[] = {
	DESCRIPTION,
	{"profile", NULL, "PROFILE", "whose it is; required"},
	{"volume", NULL, "VOLUME", "what is on it; required, fixed"},
	{"read_only", NULL, "", "the guest may not write"},
	{"queues", NULL, "N", "1 to 8 (default 1)"},
	{"serial", NULL, "TEXT", "that the guest sees, 20 characters at most"},
	{"io_thread", NULL, "N", "of the agent, from 1; 0, or one it lacks: the appliance chooses"},
	{"admin_state", "state", "up|down", "down: requests wait"},
	{0},
};

/* ---- volume, pool ---- */

static const struct cli_column volume_columns[] = {
	{"NAME", "name", false},
	{"POOL", "pool", false},
	{"SIZE", "size_bytes", false},
	{"ALLOCATED", "status.allocated_bytes", false},
	{"VDISK", "status.vdisk", false},
	{"EPOCH", "status.epoch", true},
	{"DESCRIPTION", "description", true},
	{0},
};
static const struct cli_field volume_fields[] = {
	DESCRIPTION,
	{"pool", NULL, "POOL", "where it is stored; required, fixed"},
	{"size_bytes", NULL, "SIZE", "10G, 512M; required; may grow, never shrink"},
	{0},
};

static const struct cli_column pool_columns[] = {
	{"NAME", "name", false},
	{"SIZE", "status.capacity_bytes", false},
	{"FREE", "status.free_bytes", false},
	{"ALLOCATED", "status.allocated_bytes", false},
	{"VOLUMES", "status.volumes", false},
	{"DIRECTORY", "directory", false},
	{"DESCRIPTION", "description", true},
	{0},
};
static const struct cli_field pool_fields[] = {
	DESCRIPTION,
	{"directory", NULL, "PATH", "raw files in this directory of the appliance"},
	{"memory", NULL, "SIZE", "in memory: gone when the appliance restarts"},
	{0},
};

/* ---- network, uplink, port ---- */

static const struct cli_column network_columns[] = {
	{"NAME", "name", false},	  {"UPLINK", "uplink_group", false},	{"VLAN", "vlan", false},
	{"VNICS", "status.vnics", false}, {"DESCRIPTION", "description", true}, {0},
};
static const struct cli_field network_fields[] = {
	DESCRIPTION,
	{"uplink_group", "uplink", "UPLINK", "the way out; none: private to the appliance's hosts"},
	{"vlan", NULL, "ID", "1 to 4094 on the uplink, 0 untagged (default 0)"},
	{0},
};

static const struct cli_column uplink_columns[] = {
	{"NAME", "name", false},
	{"PORTS", "ports", false},
	{"LINK", "status.link", false},
	{"NETWORKS", "status.networks", false},
	{"DESCRIPTION", "description", true},
	{0},
};
static const struct cli_field uplink_fields[] = {
	DESCRIPTION,
	{"ports", "port", "PORT,...", "its ports; a port is in one uplink at most"},
	{0},
};

static const struct cli_column port_columns[] = {
	{"NAME", "name", false},
	{"LINK", "status.link", false},
	{"SPEED", "status.speed_mbps", false},
	{"MTU", "mtu", false},
	{"MAC", "status.mac", false},
	{"DEVICE", "device", false},
	{"DESCRIPTION", "description", true},
	{0},
};
static const struct cli_field port_fields[] = {
	DESCRIPTION,
	{"device", NULL, "DEVICE", "PCI address or DPDK arguments; required, fixed"},
	{"mtu", NULL, "BYTES", "576 to 9000 (default 1500)"},
	{"admin_state", "state", "up|down", "down: carries nothing"},
	{0},
};

const struct cli_noun cli_nouns[] = {
	{"host", "Host", "Hosts", "host", "hosts", "servers that run an agent",
	 "A host is known by its name before it ever connects. It enrols once, with a one-time\n"
	 "token, and then proves itself by its certificate.",
	 "outriggerctl host create h1 --description \"rack 4, unit 12\"\n"
	 "outriggerctl host enroll-token h1        # then, on h1: outrigger-agent enroll\n"
	 "outriggerctl host list",
	 STANDARD | 1u << CLI_ENROLL_TOKEN | 1u << CLI_REVOKE, &outrigger__v1__host__descriptor, host_columns,
	 host_fields},
	{"profile", "Profile", "Profiles", "profile", "profiles",
	 "I/O identities of servers or virtual machines",
	 "A profile holds the vNICs and vDisks of one server or virtual machine, and moves\n"
	 "between hosts with all of them: same MAC, same disks.",
	 "outriggerctl profile create vm1 --host h1\n"
	 "outriggerctl profile move vm1 --host h2\n"
	 "outriggerctl profile set vm1 --host \"\"   # attached nowhere",
	 STANDARD | 1u << CLI_MOVE, &outrigger__v1__profile__descriptor, profile_columns, profile_fields},
	{"vnic", "VNic", "VNics", "vnic", "vnics", "virtual network interfaces",
	 "A vNIC belongs to a profile and is plugged into a network. On the host of its profile\n"
	 "it is a socket that QEMU connects to (see its socket path in `show`), or a TAP interface.",
	 "outriggerctl vnic create web0 --profile vm1 --network blue --ip 10.0.0.5\n"
	 "outriggerctl vnic set web0 --state down\n"
	 "outriggerctl vnic show web0 --counters   # drop_spoof_mac and its kind among them",
	 STANDARD, &outrigger__v1__vnic__descriptor, vnic_columns, vnic_fields},
	{"vdisk", "VDisk", "VDisks", "vdisk", "vdisks", "virtual disks: a volume given to a profile", NULL,
	 "outriggerctl vdisk create root1 --profile vm1 --volume vol1\n"
	 "outriggerctl vdisk show root1",
	 STANDARD, &outrigger__v1__vdisk__descriptor, vdisk_columns, vdisk_fields},
	{"volume", "Volume", "Volumes", "volume", "volumes", "stored disks", NULL,
	 "outriggerctl volume create vol1 --pool default --size 10G\n"
	 "outriggerctl volume set vol1 --size 20G  # grows while in use",
	 STANDARD, &outrigger__v1__volume__descriptor, volume_columns, volume_fields},
	{"pool", "StoragePool", "StoragePools", "storagePool", "storagePools", "where volumes are stored",
	 NULL,
	 "outriggerctl pool create fast --directory /srv/outrigger/fast\n"
	 "outriggerctl pool create scratch --memory 4G",
	 STANDARD, &outrigger__v1__storage_pool__descriptor, pool_columns, pool_fields},
	{"network", "Network", "Networks", "network", "networks", "layer 2 segments",
	 "A network is a VLAN of an uplink, or, without one, private between the hosts.",
	 "outriggerctl network create blue --uplink lan --vlan 100\n"
	 "outriggerctl network create private1",
	 STANDARD, &outrigger__v1__network__descriptor, network_columns, network_fields},
	{"uplink", "UplinkGroup", "UplinkGroups", "uplinkGroup", "uplinkGroups",
	 "ports that together lead to one outside LAN", NULL,
	 "outriggerctl uplink create lan --ports up0\n"
	 "outriggerctl uplink list",
	 STANDARD, &outrigger__v1__uplink_group__descriptor, uplink_columns, uplink_fields},
	{"port", "Port", "Ports", "port", "ports", "the appliance's Ethernet ports towards the outside", NULL,
	 "outriggerctl port create up0 --device 0000:3b:00.0\n"
	 "outriggerctl port create up0 --device net_af_packet0,iface=eth1",
	 STANDARD, &outrigger__v1__port__descriptor, port_columns, port_fields},
	{0},
};

const struct cli_command cli_commands[] = {
	{"appliance", "", "version, uptime and state of the appliance", "outriggerctl appliance"},
	{"counters", "[PREFIX]", "all counters whose SCOPE/NAME begins so",
	 "outriggerctl counters vnic/web0\n"
	 "outriggerctl counters -o json"},
	{"version", "", "of this program and of the appliance", "outriggerctl version"},
	{"completion", "bash", "completion of nouns, verbs, options and names",
	 "source <(outriggerctl completion bash)"},
	{"help", "[NOUN [VERB]]", "the same as --help", "outriggerctl help vnic create"},
	{0},
};

const struct cli_option cli_options[] = {
	{"--output", "-o", "table|wide|json|name", "how to print (default table); json is the API's own"},
	{"--counters", NULL, NULL, "with show: counters too"},
	{"--revision", NULL, "N", "with set and delete: only if this is the present revision"},
	{"--ttl", NULL, "SECONDS", "with enroll-token: how long it is good for (default 3600)"},
	{"--dry-run", NULL, NULL, "print the request, send nothing"},
	{"--context", NULL, "DIR", "directory with ca.crt, admin.crt, admin.key (or token) and api"},
	{"--api", NULL, "HOST:PORT", "the appliance's API"},
	{"--cert", NULL, "FILE", "client certificate"},
	{"--key", NULL, "FILE", "its key"},
	{"--cacert", NULL, "FILE", "the appliance's CA"},
	{"--token", NULL, "TOKEN", "instead of a certificate; @FILE reads it from a file"},
	{"--server-name", NULL, "NAME", "that the appliance's certificate must have, if not HOST"},
	{"--timeout", NULL, "SECONDS", "for one call (default 30)"},
	{"--no-color", NULL, NULL, "as NO_COLOR in the environment"},
	{"--help", "-h", NULL, "what you are reading"},
	{0},
};

const struct cli_noun *cli_noun_find(const char *word)
{
	for (const struct cli_noun *n = cli_nouns; n->name; n++) {
		size_t len = strlen(n->name);

		if (strncmp(word, n->name, len) == 0 && (word[len] == 0 || strcmp(word + len, "s") == 0))
			return n;
	}
	return NULL;
}

const struct cli_verb *cli_verb_find(const struct cli_noun *n, const char *word)
{
	char spaced[32];

	snprintf(spaced, sizeof spaced, " %s ", word);
	for (const struct cli_verb *v = cli_verbs; v < cli_verbs + CLI_NVERBS; v++)
		if ((n->verbs & 1u << v->id) && (strcmp(v->name, word) == 0 || strstr(v->aliases, spaced)))
			return v;
	return NULL;
}

const struct cli_command *cli_command_find(const char *word)
{
	for (const struct cli_command *c = cli_commands; c->name; c++)
		if (strcmp(c->name, word) == 0)
			return c;
	return NULL;
}
