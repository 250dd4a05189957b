/* SPDX-License-Identifier: Apache-2.0 */
/* Tables as they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "appliance/cli/cli.h"
#include "appliance/cli/table.h"

static void same(char *got, const char *want)
{
	if (strcmp(got, want))
		fail_msg("wanted\n%s\ngot\n%s", want, got);
	free(got);
}

static void list(const char *noun, const char *items, struct cli_style style, const char *want)
{
	json_t *json = json_loads(items, 0, NULL);
	char *got;
	size_t size;
	FILE *out = open_memstream(&got, &size);

	assert_non_null(json);
	cli_show_list(out, cli_noun_find(noun), json, &style);
	fclose(out);
	json_decref(json);
	same(got, want);
}

static void one(const char *noun, const char *item, struct cli_style style, const char *want)
{
	json_t *json = json_loads(item, 0, NULL);
	char *got;
	size_t size;
	FILE *out = open_memstream(&got, &size);

	assert_non_null(json);
	cli_show_one(out, cli_noun_find(noun), json, &style);
	fclose(out);
	json_decref(json);
	same(got, want);
}

static void volumes(void **state)
{
	(void)state;
	list("volume",
	     "[{\"name\":\"v1\",\"pool\":\"fast\",\"sizeBytes\":\"10737418240\","
	     "\"status\":{\"allocatedBytes\":\"1048576\",\"vdisk\":\"root1\"}},"
	     "{\"name\":\"longer-name\",\"pool\":\"p\",\"sizeBytes\":1610612736}]",
	     (struct cli_style){0},
	     "NAME         POOL  SIZE  ALLOCATED  VDISK\n"
	     "v1           fast   10G         1M  root1\n"
	     "longer-name  p     1.5G          0  -\n");
}

static void enums_lists_and_times(void **state)
{
	(void)state;
	list("vnic",
	     "[{\"name\":\"w\",\"profile\":\"p\",\"network\":\"n\",\"mac\":\"02:00:00:00:00:01\","
	     "\"ipAddresses\":[\"10.0.0.1\",\"::1\"],\"status\":{\"link\":\"LINK_STATE_UP\",\"host\":\"h1\"}}"
	     ","
	     "{\"name\":\"x\",\"status\":{\"link\":\"LINK_STATE_UNSPECIFIED\"}}]",
	     (struct cli_style){0},
	     "NAME  PROFILE  NETWORK  MAC                IP-ADDRESSES  LINK  HOST\n"
	     "w     p        n        02:00:00:00:00:01  10.0.0.1,::1  up    h1\n"
	     "x     -        -        -                  -             -     -\n");
	list("host",
	     "[{\"name\":\"h1\",\"status\":{\"state\":\"HOST_STATE_CONNECTED\",\"connectedSince\":\"940\","
	     "\"agentVersion\":\"1.0\",\"paths\":[{},{}]}},{\"name\":\"h2\",\"status\":{\"connectedSince\":"
	     "\"0\"}}]",
	     (struct cli_style){.now = 1000},
	     "NAME  STATE      CONNECTED  PATHS  AGENT\n"
	     "h1    connected  1m0s       2      1.0\n"
	     "h2    -          -          0      -\n");
	list("port", "[{\"name\":\"p\",\"mtu\":1500,\"status\":{\"speedMbps\":10000}}]",
	     (struct cli_style){0},
	     "NAME  LINK   SPEED   MTU  MAC  DEVICE\n"
	     "p     -     10Gb/s  1500  -    -\n" +
		     0);
}

static void values_of_the_future(void **state)
{
	(void)state;
	/* A value and a field that this program does not know. */
	list("vnic", "[{\"name\":\"w\",\"novel\":1,\"status\":{\"link\":\"LINK_STATE_TESTING_MODE\"}}]",
	     (struct cli_style){0},
	     "NAME  PROFILE  NETWORK  MAC  IP-ADDRESSES  LINK          HOST\n"
	     "w     -        -        -    -             testing-mode  -\n");
	/* Values of the wrong type. */
	list("volume", "[{\"name\":5,\"pool\":[],\"sizeBytes\":{},\"status\":7},null,3]",
	     (struct cli_style){0},
	     "NAME  POOL  SIZE  ALLOCATED  VDISK\n"
	     "-     -        0          0  -\n"
	     "-     -        0          0  -\n"
	     "-     -        0          0  -\n");
}

static void whole_resource(void **state)
{
	static const char volume[] =
		"{\"name\":\"v\",\"uid\":\"u\",\"revision\":\"7\",\"pool\":\"p\",\"sizeBytes\":\"1048576\","
		"\"status\":{\"allocatedBytes\":\"5\",\"epoch\":\"3\"}}";
	static const char vnic[] = "{\"name\":\"w\",\"status\":{\"link\":\"LINK_STATE_DOWN\",\"counters\":"
				   "{\"rx_frames\":\"5\",\"drop_spoof_mac\":\"2\",\"drop_long\":\"0\"}}}";

	(void)state;
	one("volume", volume, (struct cli_style){0},
	    "name         v\n"
	    "uid          u\n"
	    "revision     7\n"
	    "description  -\n"
	    "pool         p\n"
	    "size         1M (1048576 bytes)\n"
	    "status\n"
	    "  allocated  5\n"
	    "  vdisk      -\n"
	    "  epoch      3\n");
	one("vnic", vnic, (struct cli_style){.counters = true},
	    "name                w\n"
	    "uid                 -\n"
	    "revision            0\n"
	    "description         -\n"
	    "profile             -\n"
	    "network             -\n"
	    "mac                 -\n"
	    "ip-addresses        -\n"
	    "spoof-check         -\n"
	    "mtu                 0\n"
	    "queues              0\n"
	    "frontend            -\n"
	    "tap-name            -\n"
	    "admin-state         -\n"
	    "reliability         -\n"
	    "io-thread           0\n"
	    "status\n"
	    "  link              down\n"
	    "  host              -\n"
	    "  socket-path       -\n"
	    "  counters\n"
	    "    drop_spoof_mac  2\n"
	    "    rx_frames       5\n"
	    "    (at 0)          1 more\n");
	one("host",
	    "{\"name\":\"h\",\"status\":{\"state\":\"HOST_STATE_CONNECTED\",\"paths\":["
	    "{\"local\":\"10.0.0.1:4793\",\"remote\":\"10.0.0.7:40000\",\"state\":\"PATH_STATE_UP\","
	    "\"rttUs\":83,"
	    "\"mtu\":8192,\"lossPpm\":1230,\"sharePermille\":955,\"txPackets\":\"12\"},"
	    "{\"local\":\"10.0.1.1:4793\",\"state\":\"PATH_STATE_SUSPECT\",\"mtu\":1344,\"rxPackets\":\"3\"}]"
	    "}}",
	    (struct cli_style){0},
	    "name                       h\n"
	    "uid                        -\n"
	    "revision                   0\n"
	    "description                -\n"
	    "status\n"
	    "  state                    connected\n"
	    "  certificate-serial       -\n"
	    "  certificate-fingerprint  -\n"
	    "  certificate-not-after    -\n"
	    "  agent-version            -\n"
	    "  session-id               0\n"
	    "  connected-since          -\n"
	    "  paths                    LOCAL          REMOTE          STATE     RT"
	    "T   MTU  TX-PACKETS  RX-PACKETS  RETRANSMITS   LOSS  SHARE\n"
	    "                           10.0.0.1:4793  10.0.0.7:40000  up       83u"
	    "s  8192          12           0            0  0.12%  95.5%\n"
	    "                           10.0.1.1:4793  -               suspect   0u"
	    "s  1344           0           3            0  0.00%   0.0%\n"
	    "  counters                 -\n"
	    "  token-expires            -\n"
	    "  io-threads               -\n");
	one("pool", "{\"name\":\"p\",\"directory\":{\"path\":\"/srv\"},\"status\":{\"volumes\":2}}",
	    (struct cli_style){0},
	    "name         p\n"
	    "uid          -\n"
	    "revision     0\n"
	    "description  -\n"
	    "directory    /srv\n"
	    "status\n"
	    "  capacity   0\n"
	    "  free       0\n"
	    "  allocated  0\n"
	    "  volumes    2\n");
}

static void terminal_is_safe(void **state)
{
	(void)state;
	list("profile", "[{\"name\":\"a\\u001b[31mb\",\"host\":\"x\\ny\\u009bz\\u00e9\"}]",
	     (struct cli_style){0},
	     "NAME     HOST     VNICS  VDISKS\n"
	     "a?[31mb  x?y??z\xc3\xa9  -      -\n");
}

static void colours(void **state)
{
	struct table *t = table_new(2, true);
	char *got;
	size_t size;
	FILE *out = open_memstream(&got, &size);

	(void)state;
	table_add(t, "A");
	table_add(t, "B");
	table_add(t, "up");
	table_add(t, "down");
	table_print(t, out, true);
	table_free(t);
	fclose(out);
	same(got, "\033[1mA\033[0m   \033[1mB\033[0m\n\033[32mup\033[0m  \033[31mdown\033[0m\n");
}

static void counters_of_all(void **state)
{
	json_t *json = json_loads("[{\"scope\":\"vnic/w\",\"name\":\"rx_frames\",\"value\":\"12\"},"
				  "{\"scope\":\"vnic/w\",\"name\":\"tx_frames\"}]",
				  0, NULL);
	struct cli_style style = {0};
	char *got;
	size_t size;
	FILE *out = open_memstream(&got, &size);

	(void)state;
	cli_show_counters(out, json, &style);
	fclose(out);
	json_decref(json);
	same(got, "SCOPE   COUNTER    VALUE\nvnic/w  rx_frames     12\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(volumes),
		cmocka_unit_test(enums_lists_and_times),
		cmocka_unit_test(values_of_the_future),
		cmocka_unit_test(whole_resource),
		cmocka_unit_test(terminal_is_safe),
		cmocka_unit_test(colours),
		cmocka_unit_test(counters_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
