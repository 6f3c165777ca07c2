/*
 * xtables - the forward policy of the old iptables ("legacy"), read by getsockopt. For tun/ only.
 */
#ifndef TUN_XTABLES_H
#define TUN_XTABLES_H

#include <sys/socket.h>

#include "quic/types.h"

/*
 * Whether the `filter` table of iptables-legacy (AF_INET) or ip6tables-legacy (AF_INET6)
 * exists in this network namespace with a forward policy of DROP; `*named`: a rule mentions
 * the device `tun_name`. A table that nobody uses is not brought to life by asking.
 */
bool xtables_forward_drop(sa_family_t family, const char *tun_name, bool *named);

#endif
