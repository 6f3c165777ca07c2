/*
 * validate - one attempt to validate a path (RFC 9000 8.2).
 *
 * PATH_CHALLENGE frames are sent with new random bytes each, the first at once, further
 * ones with a back-off that doubles from one probe timeout, VALIDATE_MAX in all. A
 * PATH_RESPONSE that echoes any of them ends the attempt well; it fails when three times
 * the larger of the probe timeout and that of a new path have passed (8.2.4).
 *
 * Invariant: n <= VALIDATE_MAX; the state leaves PENDING once and for all.
 */
#ifndef QUIC_VALIDATE_H
#define QUIC_VALIDATE_H

#include "quic/types.h"

#define VALIDATE_MAX 6

enum validate_state { VALIDATE_IDLE, VALIDATE_PENDING, VALIDATE_DONE, VALIDATE_FAILED };

struct validate {
    enum validate_state state;
    uint8_t data[VALIDATE_MAX][8];
    ns_t sent[VALIDATE_MAX];
    unsigned n;   /* challenges sent */
    ns_t pto;     /* between the first two */
    ns_t next;    /* when the next challenge is due */
    ns_t give_up; /* when the attempt fails */
    ns_t rtt;     /* between the answered challenge and its answer */
};

/* Nothing is being validated. */
void validate_init(struct validate *v);

/*
 * Begin at `now`. `pto` is the current probe timeout of the path being validated; not
 * less than that of a new path (3 * kInitialRtt) is used for giving up.
 */
void validate_start(struct validate *v, ns_t pto, ns_t now);

/* Give up without a verdict. */
void validate_cancel(struct validate *v);

/* Whether a PATH_CHALLENGE is to be sent now. */
bool validate_due(const struct validate *v, ns_t now);

/* Make the data of the challenge that is sent now. Only when validate_due. */
void validate_challenge(struct validate *v, const struct rng *rng, ns_t now, uint8_t data[8]);

/* The packet with the challenge could not be sent or was lost: one more is due. */
void validate_on_lost(struct validate *v, ns_t now);

/*
 * A PATH_RESPONSE came. Returns whether it answers a challenge of this attempt, which is
 * then VALIDATE_DONE; false changes nothing.
 */
bool validate_on_response(struct validate *v, const uint8_t data[8], ns_t now);

/* When validate_tick or validate_due has something to say; NS_NEVER if never. */
ns_t validate_deadline(const struct validate *v);

/* Time passed. Returns true once, when the attempt has just failed. */
bool validate_tick(struct validate *v, ns_t now);

static inline bool validate_active(const struct validate *v)
{
    return v->state == VALIDATE_PENDING;
}

#endif
