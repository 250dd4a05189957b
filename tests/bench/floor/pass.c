/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "fabric/aead/aead.h"
#include "fabric/base/crc32c.h"
#include "tests/bench/floor/floor.h"

#ifdef HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

enum kind { COPY, CRC, AES };
static enum kind kind;
static uint64_t out_number, in_number;
static struct aead_key *key;

#ifdef HAVE_IPSEC_MB
static IMB_MGR *mb;
static struct gcm_key_data mb_key __attribute__((aligned(64)));
static struct gcm_context_data mb_scratch;
#endif

void pass_init(void)
{
	static const uint8_t secret[AEAD_KEY_LEN] = {1, 2, 3};

	kind = !strcmp(cfg.pass, "aes") ? AES : !strcmp(cfg.pass, "crc") ? CRC : COPY;
	if (kind != AES)
		return;
#ifdef HAVE_IPSEC_MB
	if (aead_gcm_mb()) {
		mb = alloc_mb_mgr(0);
		if (!mb)
			die("libipsec-mb");
		init_mb_mgr_auto(mb, NULL);
		IMB_AES128_GCM_PRE(mb, secret, &mb_key);
		return;
	}
#endif
	key = aead_gcm.create(secret);
	if (!key)
		die("key");
}

static uint32_t tag_len(void)
{
	return kind == AES ? 16 : kind == CRC ? 4 : 0;
}

uint32_t pass_extra(void)
{
	return PASS_HDR + tag_len();
}

/* From memory to memory in one pass where the library can; else copied and then sealed where it is hot. */
static void seal(uint8_t *hdr, const uint8_t *nonce, uint8_t *to, const uint8_t *from, uint32_t len)
{
#ifdef HAVE_IPSEC_MB
	if (mb) {
		IMB_AES128_GCM_ENC(mb, &mb_key, &mb_scratch, to, from, len, nonce, hdr, PASS_HDR, to + len,
				   16);
		return;
	}
#endif
	if (to != from)
		memcpy(to, from, len);
	aead_gcm.seal(key, nonce, hdr, PASS_HDR, to, len, to + len);
}

static bool open_it(const uint8_t *hdr, const uint8_t *nonce, uint8_t *to, const uint8_t *from, uint32_t len)
{
#ifdef HAVE_IPSEC_MB
	if (mb) {
		uint8_t tag[16];

		IMB_AES128_GCM_DEC(mb, &mb_key, &mb_scratch, to, from, len, nonce, hdr, PASS_HDR, tag, 16);
		return !memcmp(tag, from + len, sizeof(tag));
	}
#endif
	memcpy(to, from, len + 16);
	return !aead_gcm.open(key, nonce, hdr, PASS_HDR, to, len, to + len);
}

uint32_t pass_out(uint8_t *to, const uint8_t *from, uint32_t len, uint64_t place)
{
	uint8_t nonce[AEAD_NONCE_LEN] = {0};
	uint32_t crc;

	memcpy(to, &out_number, sizeof(out_number));
	memcpy(to + sizeof(out_number), &place, sizeof(place));
	memcpy(nonce, &out_number, sizeof(out_number));
	out_number++;
	if (kind == AES) {
		seal(to, nonce, to + PASS_HDR, from, len);
	} else {
		if (to + PASS_HDR != from)
			memcpy(to + PASS_HDR, from, len);
		if (kind == CRC) {
			crc = crc32c(0, to, PASS_HDR + len);
			memcpy(to + PASS_HDR + len, &crc, sizeof(crc));
		}
	}
	return len + pass_extra();
}

uint64_t pass_place(const uint8_t *from, uint32_t len)
{
	uint64_t place;

	if (len < pass_extra())
		die("a datagram is too short");
	memcpy(&place, from + sizeof(out_number), sizeof(place));
	return place;
}

uint32_t pass_in(uint8_t *to, const uint8_t *from, uint32_t len)
{
	uint8_t nonce[AEAD_NONCE_LEN] = {0};
	uint32_t crc, data = len - pass_extra();

	if (len < pass_extra())
		die("a datagram is too short");
	memcpy(&in_number, from, sizeof(in_number));
	memcpy(nonce, &in_number, sizeof(in_number));
	if (kind == AES) {
		if (!open_it(from, nonce, to, from + PASS_HDR, data))
			die("a datagram is not what was sent");
		return data;
	}
	if (kind == CRC) {
		memcpy(&crc, from + PASS_HDR + data, sizeof(crc));
		if (crc != crc32c(0, from, PASS_HDR + data))
			die("a datagram is not what was sent");
	}
	memcpy(to, from + PASS_HDR, data);
	return data;
}
