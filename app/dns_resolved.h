/*
 * dns_resolved - the name servers of a link told to systemd-resolved. For dns*.c only.
 *
 * Runs `resolvectl` directly, without a shell, and waits at most RESOLVED_WAIT_MS for it.
 */
#ifndef APP_DNS_RESOLVED_H
#define APP_DNS_RESOLVED_H

#include "app/dns.h"

#define RESOLVED_WAIT_MS 5000
#define RESOLVED_PATH    256 /* longest path of the program with its NUL */

/*
 * Whether resolved serves this machine: its directory is there, cfg->path is a link into it
 * or names its stub (127.0.0.53), and the program exists; its path goes to `program`.
 */
bool resolved_serves(const struct dns_cfg *cfg, char program[RESOLVED_PATH]);

/*
 * Set the servers for the link, all names through it. Returns 0; -EIO (it failed: its own
 * words are in the sentence), -ETIMEDOUT (it was ended), -errno (it could not be run).
 * On an error the link is as before.
 */
int resolved_apply(const char *program, const struct dns_cfg *cfg, char *why, size_t why_size);

/* Forget what was set for the link. Errors as above. */
int resolved_revert(const char *program, const char *tun_name, char *why, size_t why_size);

#endif
