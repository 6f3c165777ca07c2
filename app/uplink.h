/*
 * uplink - the interface by which the server is reached.
 *
 * The tunnel's own packets leave by a socket bound to one interface. Which one, the routing
 * table knows until our routes lead everything into the TUN; from then on it has to be
 * found among the machine's default routes.
 */
#ifndef APP_UPLINK_H
#define APP_UPLINK_H

#include "tun/addr.h"
#include "tun/netcfg.h"

struct uplink {
    char name[IFNAMSIZ]; /* "" when there never was one */
    unsigned mtu_bytes;
};

/*
 * Choose the interface towards `remote` into `u`, which holds the former choice: the one
 * called `wanted`, if not NULL; else the routing table's answer, unless that is the TUN
 * `tun_ifindex`; else the best default route whose link works; else the former one.
 *
 * Returns 0, or QUIC_INVAL (`u` unchanged) when none leads there, or `wanted` is not up.
 */
int uplink_choose(struct uplink *u, struct netcfg *nc, int tun_ifindex,
                  const struct tun_addr *remote, const char *wanted);

#endif
