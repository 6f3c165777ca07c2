/*
 * paths - the life of a path ID (RFC 10069 3), as a table of states and events.
 *
 * Every path ID up to our own limit that is not over yet has one of these. IDs are consumed
 * once and for ever; when one is over its place is taken by the next higher one, so that the
 * peer can never make us hold more of them than there are places.
 *
 *     AHEAD     connection IDs are exchanged, nothing was sent
 *     OPENING   open, and not proven by an answered challenge
 *     OPEN
 *     LEAVING   we said PATH_ABANDON; the peer has not
 *     LEFT      both have: kept for 3 PTO after the peer's, so that late packets are known
 *     OVER
 *
 * An event gives the next state and what is to be done, as bits for the caller; time and the
 * frames are the caller's. What can't happen in a state changes nothing.
 */
#ifndef MP_PATHS_H
#define MP_PATHS_H

#include "quic/types.h"

enum mp_state {
    MP_NONE,
    MP_AHEAD,
    MP_OPENING,
    MP_OPEN,
    MP_LEAVING,
    MP_LEFT,
    MP_OVER,
    MP_STATES
};

enum mp_event {
    MP_EV_OPENED,    /* we sent on it, or the peer did */
    MP_EV_PROVEN,    /* a challenge was answered */
    MP_EV_FAILED,    /* none was */
    MP_EV_ABANDON,   /* the user wants to */
    MP_EV_ABANDONED, /* the peer's PATH_ABANDON came */
    MP_EV_EXPIRED,   /* kept for long enough, and our PATH_ABANDON has arrived */
    MP_EVENTS
};

/* What to do. */
enum {
    MP_DO_SAY = 0x01,  /* PATH_ABANDON is to be sent, until it is acknowledged */
    MP_DO_STOP = 0x02, /* nothing more is sent on the path; the peer's IDs are gone */
    MP_DO_KEEP = 0x04, /* the time of keeping begins */
    MP_DO_GONE = 0x08, /* tell the user that it is over */
    MP_DO_DROP = 0x10  /* forget it */
};

/*
 * The state after `event` in `state`; what to do to *todo. Where the event has no meaning the
 * state stays and *todo is 0.
 */
enum mp_state mp_path_step(enum mp_state state, enum mp_event event, unsigned *todo);

/* Whether packets may be sent on it. */
static inline bool mp_state_open(enum mp_state s)
{
    return s == MP_OPENING || s == MP_OPEN;
}

/*
 * The status of one path in one direction: the peer's wish (`backup`), and up to which sequence
 * number it is known (RFC 10069 4.3).
 */
struct mp_status {
    bool backup;
    uint64_t next; /* the lowest sequence number that is news */
};

/* A status frame came. Returns whether it was news. */
bool mp_status_take(struct mp_status *s, uint64_t seq, bool backup);

#endif
