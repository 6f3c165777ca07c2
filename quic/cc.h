/*
 * cc - congestion control of one path: how many bytes may be in flight (RFC 9002 7).
 *
 * A table of verbs and their state in one embedded struct. Loss recovery reports what
 * happened, once per acknowledgement and once per batch of losses, and reads `cwnd`.
 * A controller knows nothing of packets: only bytes and instants. One that works by a model
 * of the path (BBR) gets more: a delivery rate sample with each acknowledgement, each lost
 * packet, and the end of idle times.
 *
 * Common to all controllers: a congestion event is answered once per round trip. It
 * starts a recovery period at its instant; packets sent before then neither grow the
 * window nor shrink it again (7.3.2). Slow start is with HyStart++ (hystart below); BBR has
 * neither, and answers events by its own rounds.
 *
 * Invariant: cwnd >= 2 * mss; ssthresh >= 2 * mss.
 */
#ifndef QUIC_CC_H
#define QUIC_CC_H

#include "quic/cc_bbr.h"
#include "quic/rate.h"
#include "quic/types.h"

/* One acknowledgement. */
struct cc_ack {
    ns_t now;
    uint64_t bytes;     /* newly acknowledged bytes that were in flight */
    uint64_t growing;   /* of those: sent after the recovery period began */
    ns_t sent_time;     /* of the newest newly acknowledged packet */
    ns_t rtt;           /* the sample of this acknowledgement; 0 for none */
    ns_t smoothed;      /* smoothed round-trip time */
    bool cwnd_limited;  /* the window was in use; else it must not grow (RFC 9002 7.8) */
    uint64_t in_flight; /* bytes, after this acknowledgement */
    uint64_t peak;      /* most bytes in flight in this round trip and the last */
    const struct rate_sample *rate; /* null: none */
};

/* One lost packet. */
struct cc_lost {
    ns_t now;
    uint64_t pn; /* to tell a run of lost packets from several */
    uint64_t bytes;
    uint64_t in_flight; /* bytes when it was sent, itself included */
    uint64_t lost;      /* bytes declared lost since it was sent, itself included */
    uint64_t delivered; /* bytes delivered on the path so far */
    bool app_limited;   /* it was sent in such a phase */
};

/* One congestion event: packets lost, or the CE count rose. */
struct cc_loss {
    ns_t now;
    ns_t sent_time;   /* of the newest lost packet, or of the one that reported CE */
    uint64_t bytes;   /* lost */
    uint32_t packets; /* lost; 0 for ECN */
};

/*
 * HyStart++ (RFC 9406): leave slow start when the round's smallest RTT rises, by way of
 * Conservative Slow Start, which turns back if the rise was none. A round ends when a
 * packet sent after its beginning is acknowledged.
 *
 * A round of one who had nothing more to send proves nothing: such a sender fills no queue,
 * and if the round-trip time rises, others are the cause, such as the bulk that flows the other
 * way and delays the acknowledgements. It gives no baseline and does not count in CSS.
 */
struct hystart {
    ns_t round_start;             /* packets sent from here on end the round */
    ns_t last_min, this_min;      /* smallest RTT of the last and the current round */
    ns_t css_baseline;            /* NS_NEVER outside of CSS */
    uint32_t samples, css_rounds; /* in this round; rounds of CSS begun */
    bool app_limited;             /* something acknowledged in this round was sent so */
    bool on;                      /* only in the first slow start */
};

/* The CUBIC function of one congestion avoidance stage (RFC 9438 4.1.2). */
struct cubic_stage {
    uint64_t cwnd_prior, w_max; /* bytes */
    double w_est;               /* bytes */
    double k;                   /* seconds */
    ns_t epoch;                 /* its start; NS_NEVER: not begun */
};

struct cc_cubic {
    struct cubic_stage now;
    double fraction;    /* of a byte, carried over to the next acknowledgement */
    ns_t limited_since; /* the window was not in use since then; NS_NEVER: it is */
};

struct cc_newreno {
    uint64_t acked; /* bytes towards the next increase */
};

/* A congestion event by losses, and what there was before it (RFC 9438 4.9.2). */
struct cc_event {
    ns_t from;        /* packets sent until then belong to earlier events; 0: there are none */
    uint32_t packets; /* lost in it and not known to be spurious */
    bool hystart;     /* HyStart++ was on */
    uint64_t cwnd, ssthresh;
    struct cubic_stage cubic;
};

struct cc;

struct cc_ops {
    const char *name;
    void (*init)(struct cc *cc);
    void (*on_ack)(struct cc *cc, const struct cc_ack *ack);
    void (*on_congestion)(struct cc *cc, bool ecn);
    void (*on_persistent)(struct cc *cc);
    /* Every loss of the event, the last one, was spurious. */
    void (*on_undo)(struct cc *cc, const struct cc_event *before);
    /* Of a controller with a model of the path; null for the others. */
    void (*on_lost)(struct cc *cc, const struct cc_lost *lost);
    void (*on_restart)(struct cc *cc, ns_t now, bool app_limited);
    uint64_t (*pacing_bps)(const struct cc *cc);
    bool random; /* wants cc_seed */
};

struct cc {
    const struct cc_ops *ops;
    uint64_t mss;           /* max_datagram_size, bytes */
    uint64_t cwnd;          /* congestion window, bytes */
    uint64_t ssthresh;      /* UINT64_MAX until the first event */
    ns_t recovery_start;    /* of the latest recovery period */
    bool recovered_once;    /* whether there was a recovery period at all */
    struct cc_event event[2]; /* the latest that can be undone, and the one before it */
    unsigned events;          /* of these */
    uint64_t random;          /* state of the generator */
    uint64_t quantum;         /* bytes to send at once; 0: the pacer's own choice */
    bool holds_back;          /* sends less than it might, so that samples are app-limited */
    struct hystart hystart;
    union {
        struct cc_cubic cubic;
        struct cc_newreno newreno;
        struct cc_bbr bbr;
    } u;
};

extern const struct cc_ops cc_cubic_ops, cc_newreno_ops, cc_bbr_ops;

/* Whether it has yet to find out what the path carries: slow start, or BBR's Startup. */
static inline bool cc_ramping(const struct cc *cc)
{
    return cc->ops == &cc_bbr_ops ? cc->u.bbr.state == BBR_STARTUP : cc->cwnd < cc->ssthresh;
}

/*
 * Start in slow start with the window of RFC 9002 7.2 for datagrams of `mss` bytes.
 * `name` is "cubic", "newreno" or "bbr"; null is "cubic".
 * Returns 0, or QUIC_INVAL for an unknown name or mss below 1200 (then nothing is set).
 */
int cc_init(struct cc *cc, const char *name, size_t mss);

/* Seed the generator of whoever chooses at random. Without it, all paths choose alike. */
void cc_seed(struct cc *cc, uint64_t seed);

/* Window and threshold as before the event, unless the window is no smaller: then false. */
static inline bool cc_restore(struct cc *cc, const struct cc_event *before)
{
    if (cc->cwnd >= before->cwnd)
        return false;
    cc->cwnd = before->cwnd;
    cc->ssthresh = before->ssthresh;
    return true;
}

/* The next number of that generator, in [0, 1). */
double cc_random(struct cc *cc);

/* The path MTU changed. A window that is still the initial one follows. */
void cc_set_mss(struct cc *cc, size_t mss);

/* Packets were acknowledged. */
void cc_on_ack(struct cc *cc, const struct cc_ack *ack);

/* Packets were lost: a congestion event unless the newest was sent before recovery. */
void cc_on_loss(struct cc *cc, const struct cc_loss *loss);

/* One packet was lost; to be told before the cc_on_loss that it is part of. */
static inline void cc_on_lost(struct cc *cc, const struct cc_lost *lost)
{
    if (cc->ops->on_lost)
        cc->ops->on_lost(cc, lost);
}

/* A packet is about to leave while none is in flight. */
static inline void cc_on_restart(struct cc *cc, ns_t now, bool app_limited)
{
    if (cc->ops->on_restart)
        cc->ops->on_restart(cc, now, app_limited);
}

/* The peer's CE count rose. */
void cc_on_ecn(struct cc *cc, const struct cc_loss *ce);

/* Persistent congestion: down to the minimum window, slow start (RFC 9002 7.6.2). */
void cc_on_persistent(struct cc *cc);

/*
 * A packet sent at `sent_time` that had been declared lost was acknowledged after all.
 * When that holds for all losses of the latest event, its reduction is taken back; and then
 * that of the one before, if it holds for that as well: of two in a row, the second often comes
 * before the first one's packets.
 */
void cc_on_spurious(struct cc *cc, ns_t sent_time);

/* Whether a packet sent at `sent_time` belongs to the recovery period (or before). */
static inline bool cc_in_recovery(const struct cc *cc, ns_t sent_time)
{
    return cc->recovered_once && sent_time <= cc->recovery_start;
}

static inline bool cc_in_slow_start(const struct cc *cc)
{
    return cc->cwnd < cc->ssthresh;
}

/* The congestion window in bytes. */
static inline uint64_t cc_cwnd(const struct cc *cc)
{
    return cc->cwnd;
}

/*
 * The rate to pace at, in bits per second: twice the window per `smoothed` in slow start,
 * else 5/4 of it (RFC 9002 7.7), or what a controller with a model of the path says. 0 if
 * `smoothed` is 0: not paced.
 */
uint64_t cc_pacing_bps(const struct cc *cc, ns_t smoothed);

/* Smallest and initial window for the datagram size, in bytes (RFC 9002 7.2). */
uint64_t cc_min_window(const struct cc *cc);
uint64_t cc_initial_window(size_t mss);

/* HyStart++, for the controllers: what an acknowledgement does to slow start. */
void hystart_init(struct hystart *h);
void hystart_on_ack(struct cc *cc, const struct cc_ack *ack);

/* Whether the invariant holds: for tests. */
bool cc_check(const struct cc *cc);

#endif
