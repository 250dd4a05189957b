/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user messages as they lie on the socket (host byte order; QEMU docs/interop/vhost-user.rst), the
 * split and packed virtqueues and the inflight region as they lie in shared memory (little endian; virtio 1.2
 * sections 2.7 and 2.8, and "Inflight I/O tracking" of the same document). Layouts only.
 */
#ifndef OUTRIGGER_VHOST_PROTO_H
#define OUTRIGGER_VHOST_PROTO_H

#include <assert.h>
#include <stdint.h>

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_LOG_FD = 7,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SEND_RARP = 19,
	VHOST_NET_SET_MTU = 20,
	VHOST_SET_BACKEND_REQ_FD = 21,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
	VHOST_REQUEST_MAX = 64, /* requests from here on are unknown for certain */
};

/* Back-end to front-end, on the channel of SET_BACKEND_REQ_FD. */
#define VHOST_BACKEND_CONFIG_CHANGE 2u

#define VHOST_F_LOG_ALL		  (1ull << 26)
#define VHOST_F_PROTOCOL_FEATURES (1ull << 30)

#define VHOST_PF_MQ	     (1ull << 0)
#define VHOST_PF_LOG_SHMFD   (1ull << 1)
#define VHOST_PF_RARP	     (1ull << 2)
#define VHOST_PF_REPLY_ACK   (1ull << 3)
#define VHOST_PF_MTU	     (1ull << 4)
#define VHOST_PF_BACKEND_REQ (1ull << 5)
#define VHOST_PF_CONFIG	     (1ull << 9)
#define VHOST_PF_INFLIGHT    (1ull << 12)

#define VHOST_FLAG_VERSION_MASK 0x3u
#define VHOST_FLAG_VERSION	0x1u
#define VHOST_FLAG_REPLY	0x4u
#define VHOST_FLAG_NEED_REPLY	0x8u

#define VHOST_REGIONS_MAX 8
#define VHOST_CONFIG_MAX  256
#define VHOST_FDS_MAX	  VHOST_REGIONS_MAX

struct vhost_hdr {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* bytes of payload that follow */
};

struct vhost_region_desc {
	uint64_t gpa; /* guest physical address */
	uint64_t size;
	uint64_t uva;	 /* the front-end's own address of it */
	uint64_t offset; /* into the file */
};

struct vhost_mem_desc {
	uint32_t nregions;
	uint32_t padding;
	struct vhost_region_desc regions[VHOST_REGIONS_MAX];
};

struct vhost_vring_state {
	uint32_t index;
	uint32_t num;
};

struct vhost_vring_addr {
	uint32_t index;
	uint32_t flags; /* VHOST_VRING_F_LOG */
	uint64_t desc_uva;
	uint64_t used_uva;
	uint64_t avail_uva;
	uint64_t log; /* guest-physical address that writes to the used ring are logged at */
};
#define VHOST_VRING_F_LOG 1u

struct vhost_log_desc {
	uint64_t mmap_size;
	uint64_t mmap_offset;
};
#define VHOST_LOG_PAGE 4096u /* bytes of guest memory for each bit */

#define VHOST_VRING_INDEX_MASK 0xffu
#define VHOST_VRING_NOFD       0x100u

struct vhost_config_desc {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t bytes[VHOST_CONFIG_MAX];
};
#define VHOST_CONFIG_HDR 12u

struct vhost_inflight_desc {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t num_queues;
	uint16_t queue_size;
	uint32_t padding; /* QEMU sends it, the document does not name it */
};
#define VHOST_INFLIGHT_MIN 20u

union vhost_payload {
	uint64_t u64;
	struct vhost_vring_state state;
	struct vhost_vring_addr addr;
	struct vhost_mem_desc mem;
	struct vhost_config_desc config;
	struct vhost_inflight_desc inflight;
	struct vhost_log_desc log;
};

#define VHOST_HDR_LEN	  sizeof(struct vhost_hdr)
#define VHOST_PAYLOAD_MAX sizeof(struct vhost_config_desc)
#define VHOST_MSG_MAX	  (VHOST_HDR_LEN + VHOST_PAYLOAD_MAX)

static_assert(sizeof(struct vhost_hdr) == 12, "message header");
static_assert(sizeof(struct vhost_region_desc) == 32, "memory region");
static_assert(sizeof(struct vhost_mem_desc) == 264, "memory table");
static_assert(sizeof(struct vhost_vring_addr) == 40, "ring addresses");
static_assert(sizeof(struct vhost_config_desc) == 268, "configuration");
static_assert(sizeof(struct vhost_inflight_desc) == 24, "inflight description");

/* Split virtqueue, virtio 1.2 section 2.7. */
struct vring_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};
#define VRING_DESC_NEXT	    1u
#define VRING_DESC_WRITE    2u
#define VRING_DESC_INDIRECT 4u

struct vring_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* ring[num] is used_event */
};
#define VRING_AVAIL_NO_INTERRUPT 1u

struct vring_used_elem {
	uint32_t id;
	uint32_t len;
};
struct vring_used {
	uint16_t flags;
	uint16_t idx;
	struct vring_used_elem ring[]; /* the 16 bits after ring[num - 1] are avail_event */
};
#define VRING_USED_NO_NOTIFY 1u

static_assert(sizeof(struct vring_desc) == 16, "descriptor");

/* Packed virtqueue, virtio 1.2 section 2.8. Flags are those of vring_desc and two more. */
struct vring_packed_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t id; /* buffer ID: of the last descriptor of a chain */
	uint16_t flags;
};
#define VRING_DESC_AVAIL (1u << 7)
#define VRING_DESC_USED	 (1u << 15)

/* Event suppression, section 2.8.10: one structure each of the driver and of the device. */
struct vring_packed_event {
	uint16_t off_wrap; /* descriptor offset, bit 15 wrap counter */
	uint16_t flags;
};
#define VRING_EVENT_ENABLE  0u
#define VRING_EVENT_DISABLE 1u
#define VRING_EVENT_DESC    2u
#define VRING_EVENT_MASK    3u

static_assert(sizeof(struct vring_packed_desc) == 16, "packed descriptor");
static_assert(sizeof(struct vring_packed_event) == 4, "packed event suppression");

/* Inflight region of one split queue. */
struct inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
struct inflight_queue {
	uint64_t features;
	uint16_t version; /* 0: never used; 1 */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_desc desc[];
};
#define INFLIGHT_VERSION 1
static_assert(sizeof(struct inflight_desc) == 16, "inflight descriptor");
static_assert(sizeof(struct inflight_queue) == 16, "inflight queue header");

/* Inflight region of one packed queue. */
struct inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;	  /* of the chain, or of the free list */
	uint16_t last;	  /* head alone: last entry of the chain */
	uint16_t num;	  /* head alone: descriptors of the chain */
	uint64_t counter; /* head alone */
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};
struct inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head, old_free_head;
	uint16_t used_idx, old_used_idx;
	uint8_t used_wrap, old_used_wrap;
	uint8_t padding[10];
	struct inflight_packed_desc desc[];
};
static_assert(sizeof(struct inflight_packed_desc) == 32, "packed inflight descriptor");
static_assert(sizeof(struct inflight_packed) == 32, "packed inflight queue header");

#define VIRTIO_NET_F_MRG_RXBUF	(1ull << 15)
#define VIRTIO_RING_F_INDIRECT	(1ull << 28)
#define VIRTIO_RING_F_EVENT_IDX (1ull << 29)
#define VIRTIO_F_VERSION_1	(1ull << 32)
#define VIRTIO_F_RING_PACKED	(1ull << 34)

#endif
