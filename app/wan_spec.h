/*
 * wan_spec - the language in which emulated links are described: one order a line.
 *
 *   link NAME NS/DEV NS/DEV [SHAPE]   join two new TUN devices; NS is the name of a network
 *                                     namespace as of `ip netns`, "-" the caller's own
 *   set NAME SHAPE                    change some of its figures, all else stays
 *   cut NAME [up|down]                a silent black hole, in both directions or in one
 *   restore NAME [up|down]            and its end
 *   unplug NAME                       no carrier at either device, and nothing passes
 *   plug NAME                         carrier again
 *   stats                             counters, one line for each link and direction
 *   quit                              end
 *   at TIME [every TIME] ORDER        any order but `link`, TIME after the start, again and again
 *
 * SHAPE is words in any order. `up` (from the first device to the second), `down` and `both`
 * say for which directions the words after them hold; first, both.
 *
 *   rate 50mbit     gbit, mbit, kbit or bit a second, of whole IP packets; 0: unlimited
 *   delay 20ms      one way; s, ms or us
 *   jitter 5ms      the delay varies uniformly by as much to either side: at most `delay`
 *   order, reorder  whether a packet with less delay waits for those before it (the default)
 *   loss 0.5%       the share of packets lost, after they took their time on the line
 *   burst 8         the mean number of packets lost in a row (Gilbert-Elliott); 1: independent
 *   queue 50ms      the drop-tail queue, as time at `rate` or in bytes (64kB, 1500B); 50 ms
 *   mtu 1500        of both devices; only with `link`
 *
 * From # on a line is a comment. Nothing here touches the system.
 */
#ifndef APP_WAN_SPEC_H
#define APP_WAN_SPEC_H

#include <net/if.h>

#include "app/wan.h"

#define WAN_NAME_MAX 32 /* of links and namespaces, with the NUL */

enum wan_verb {
    WAN_NONE, /* an empty line */
    WAN_LINK,
    WAN_SET,
    WAN_CUT,
    WAN_RESTORE,
    WAN_UNPLUG,
    WAN_PLUG,
    WAN_STATS,
    WAN_QUIT
};

struct wan_end {
    char ns[WAN_NAME_MAX]; /* "": the caller's */
    char dev[IFNAMSIZ];
};

/* One line. */
struct wan_order {
    enum wan_verb verb;
    char name[WAN_NAME_MAX];
    bool timed;
    ns_t at, every; /* after the start; every 0: once */
    bool dir[2];    /* cut, restore: which; up is 0 */
    struct wan_end end[2];
    unsigned mtu_bytes;
    char shape[256]; /* link, set: to be read by wan_shape_read */
};

/*
 * Read one line. Returns 0; or QUIC_INVAL with a sentence in `why`. The words of the shape are
 * checked against `wan_shape_default`, too.
 */
int wan_order_read(const char *line, struct wan_order *o, char *why, size_t why_size);

/* A link without a word about it: perfect, queue 50 ms as soon as it has a rate. */
void wan_shape_default(struct wan_shape shape[2]);

/*
 * Change both directions of `shape` as the words say; `mtu_bytes` may be null where no mtu may
 * be given. Returns 0; or QUIC_INVAL with a sentence in `why`, and `shape` is as before.
 */
int wan_shape_read(const char *words, struct wan_shape shape[2], unsigned *mtu_bytes, char *why,
                   size_t why_size);

#endif
