/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging of both daemons: one line per event on standard error, `<N>` priority prefix when
 * run under systemd (JOURNAL_STREAM set), a time stamp otherwise.
 *
 * A message says what was wrong, where, and what to do. Never call it per packet or per
 * request: count there (counter.h) and log the first of a kind from the control thread.
 * Thread-safe (one write(2) per line).
 */
#ifndef OUTRIGGER_BASE_LOG_H
#define OUTRIGGER_BASE_LOG_H

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Program name shown in each line and the most verbose level printed. Call once, before threads. */
void log_init(const char *program, enum log_level level);

/* "error", "warning", "info", "debug". 0 or -EINVAL. */
int log_level_parse(const char *text, enum log_level *out);

void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)   log_msg(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_msg(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_msg(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_DEBUG, __VA_ARGS__)

#endif
