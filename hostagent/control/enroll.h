/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `outrigger-agent enroll`: makes a key, asks the appliance with a one-time token (fabric/chan/token.h) for a
 * certificate, and stores both. The key never leaves this host; the token is told to nobody but a server
 * whose certificate is of the CA that the token names.
 *
 * STATE/host.key (0600), STATE/ca.crt, STATE/host.crt: each is there whole or not at all, host.crt last.
 * Blocks, for seconds at most; touches no event loop.
 */
#ifndef OUTRIGGER_HOSTAGENT_ENROLL_H
#define OUTRIGGER_HOSTAGENT_ENROLL_H

#define ENROLL_API_PORT 7443

/* appliance: ADDRESS[:PORT] or [ADDRESS]:PORT of its API. Logs one line, what was done or what is wrong and
 * what to do. The exit status: 0, or 1. */
int agent_enroll(const char *appliance, const char *token, const char *state_dir);

#endif
