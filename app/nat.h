/*
 * nat - the server as a NAT gateway of its address pool (`--nat`).
 *
 * Model: nat_start makes one nf_tables table `mqvpn-<tun name>` (see tun/nft.h) and switches
 * forwarding on for the families of the pools; nat_stop takes both back. On a machine that
 * learns its IPv6 default route from router advertisements, forwarding would make it ignore
 * them: accept_ra of such links becomes 2 first, and is restored.
 *
 * A SIGKILL leaves no table on kernels that tie it to the process, and a record in the undo
 * journal for all the rest.
 */
#ifndef APP_NAT_H
#define APP_NAT_H

#include "app/undo.h"
#include "quic/log.h"
#include "quic/types.h"
#include "tun/addr.h"

#define NAT_POOLS_MAX 16

struct nat;

struct nat_cfg {
    const char *tun_name;
    const struct tun_prefix *pools; /* host bits are ignored */
    size_t n_pools;                 /* 1..NAT_POOLS_MAX */
    bool forward_only;              /* switch forwarding on, no table (no `--nat`) */
    bool unowned;                   /* don't tie the table to the process (for tests) */
};

/*
 * Begin. `u` is the process's journal, borrowed until nat_stop. On an error all that was
 * done is taken back.
 *
 * Returns 0, or -errno with a sentence: -EINVAL (no pool, bad name), -EPERM, -EROFS
 * (settings are read-only: container), -EOPNOTSUPP (kernel without nf_tables NAT),
 * -EAFNOSUPPORT (an IPv6 pool, but the machine has IPv6 switched off).
 */
int nat_start(struct nat **out, const struct nat_cfg *cfg, struct undo *u,
              const struct log *log, char *why, size_t why_size);

/* Take everything back, free. NULL is fine. Failures are lines to the log. */
void nat_stop(struct nat *nat);

/* For undo_recover: tables left behind. */
extern const struct undo_kind nat_undo_kind;

#endif
