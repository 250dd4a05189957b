/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packet protection that fails the run when a key seals a number that is not higher than its last, or for
 * another SPI: no nonce is ever used twice. Behind it stands the production code.
 */
#ifndef OUTRIGGER_SIM_NONCE_H
#define OUTRIGGER_SIM_NONCE_H

#include "fabric/aead/aead.h"
#include "tests/sim/sim.h"

extern const struct aead_ops nonce_crc, nonce_gcm;
/* The world that fails. */
void nonce_world(struct sim *s);

#endif
