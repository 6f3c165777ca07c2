/*
 * codel - controlled delay (RFC 8289): when a queue has been too long for too long.
 *
 * Model: the time that packets spend in the queue is looked at as they leave. While its least
 * value over an interval stays above a target, the queue is a standing one, and its senders are
 * told: by one packet dropped or marked, then another after interval / sqrt(2), / sqrt(3) ...,
 * until one leaves that did not wait that long. A burst that drains within an interval is left
 * alone.
 *
 * Limits: no clock of its own; two instants and two counters.
 */
#ifndef SCHED_CODEL_H
#define SCHED_CODEL_H

#include "quic/types.h"

#define CODEL_INTERVAL (100 * NS_PER_MS)

/* All zero: a queue that never was too long. */
struct codel {
    ns_t above_until; /* when it will have been above the target for an interval; 0: it isn't */
    ns_t drop_next;
    uint32_t count, last_count; /* signals in this phase, and when the last one began */
    bool dropping;
};

/*
 * Whether the packet that is about to leave, having waited for `sojourn`, is to be dropped or
 * marked. `last`: nothing waits behind it, so that it must not be (RFC 8289 5.4). When it was
 * dropped, ask again for the next one.
 */
bool codel_due(struct codel *c, ns_t sojourn, ns_t target, bool last, ns_t now);

#endif
