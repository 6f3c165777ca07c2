/*
 * host - what the program changes on this machine: TUN device, addresses, routes, DNS, NAT.
 *
 * One object for client and server. Everything set through it is taken back by
 * host_close, and what a SIGKILL leaves behind by the next host_open: see app/undo.h.
 * Calls return 0 or an exit status (app/exit.h) and have then told the log why.
 */
#ifndef APP_HOST_H
#define APP_HOST_H

#include "app/dns.h"
#include "app/exit.h"
#include "app/nat.h"
#include "app/undo.h"
#include "masque/prefix.h"
#include "quic/log.h"
#include "tun/netcfg.h"
#include "tun/tun.h"

struct host {
    const struct log *log;
    struct undo *undo;
    struct netcfg *nc;
    struct tun tun;
    struct dns *dns;
    struct nat *nat;
    struct tun_prefix addr[2]; /* on the TUN: IPv4, IPv6; family 0: none */
    bool up, routed;
};

/*
 * Take back leftovers, open the TUN device `tun_name` (down, without addresses), with
 * `offload` for super-packets where the kernel has them.
 * `state_dir` is where the undo journal goes if /run can't be used; NULL: nothing is
 * written to disk, for hosts whose namespace dies with them.
 */
int host_open(struct host *h, const char *tun_name, unsigned mtu_bytes, bool offload,
              const char *state_dir, const struct log *log);

/* Undo everything, close. A host that was never opened is fine. */
void host_close(struct host *h);

/*
 * Give the TUN this address in place of the one of its family. There is no call to take one
 * away: with its last IPv4 address a link loses its IPv4 routes, and packets would leak.
 */
int host_address(struct host *h, const struct ip_prefix *address);

/* Whether it has exactly this one. */
bool host_has_address(const struct host *h, const struct ip_prefix *address);

/* Bring the TUN up; again is fine. */
int host_up(struct host *h);

/* Set the MTU, at least 1280; smaller values are raised to it. */
int host_mtu(struct host *h, size_t mtu_bytes);

/* Send these prefixes ("10.0.0.0/8", ...) into the TUN; none: everything. Once. */
int host_route(struct host *h, char *const *prefixes, size_t n);

/* Use these resolvers (addresses in text). */
int host_dns(struct host *h, char *const *servers, size_t n);

/* The pool's addresses are reached through this machine: NAT, or forwarding alone. */
int host_nat(struct host *h, const struct tun_prefix *pools, size_t n, bool masquerade);

#endif
