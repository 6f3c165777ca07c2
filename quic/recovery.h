/*
 * recovery - loss detection and congestion control of one path (RFC 9002).
 *
 * A path has up to three packet number spaces; each keeps its sent packets, round-trip
 * time and congestion control are common. What happened to packets comes back as
 * *verdicts* that the caller pulls and acts upon: nothing here calls up.
 *
 * Sending one packet:
 *
 *     pn = recovery_next_pn(r, space);
 *     sent_begin(&r->space[space].sent, pn);
 *     sent_record_add(&r->space[space].sent, &rec); ...
 *     recovery_on_sent(r, space, &proto);           or sent_abort(...)
 *
 * After recovery_on_ack, and after recovery_on_timeout returned RECOVERY_LOSS:
 *
 *     while (recovery_next_verdict(r, &v)) ...;     all of them
 *     recovery_verdicts_done(r, now);
 *
 * Cost per packet is constant: an acknowledgement is compared with the set of numbers
 * that are acknowledged already, so that a range repeated in a thousand ACK frames is
 * walked once; and loss detection stops at the first packet that isn't lost, since send
 * times never decrease with the packet number.
 *
 * A lost packet stays for RECOVERY_KEEP_PTO probe timeouts to notice that it was late
 * rather than lost (VERDICT_SPURIOUS). The thresholds of loss detection grow by that
 * (reorder.h), and congestion control takes its answer back.
 *
 * Invariant: bytes_in_flight is the sum of bytes over all packets that are IN_FLIGHT and
 * neither ACKED nor LOST, in all spaces (recovery_check); every verdict is given once.
 */
#ifndef QUIC_RECOVERY_H
#define QUIC_RECOVERY_H

#include "quic/cc.h"
#include "quic/ecn.h"
#include "quic/frame.h"
#include "quic/packet.h"
#include "quic/ranges.h"
#include "quic/rate.h"
#include "quic/reorder.h"
#include "quic/rtt.h"
#include "quic/sent.h"
#include "quic/types.h"

#define RECOVERY_PERSISTENT       3 /* kPersistentCongestionThreshold, 7.6.1 */
#define RECOVERY_KEEP_PTO         3 /* how long a lost packet is remembered */
#define RECOVERY_PROBES           2 /* packets per probe timeout, 6.2.4 */
#define RECOVERY_NO_PN            UINT64_MAX

enum verdict_fate {
    VERDICT_ACKED,
    VERDICT_LOST,
    VERDICT_SPURIOUS, /* acknowledged after VERDICT_LOST had been given */
    VERDICT_PROBE     /* still in flight: send its content again as a probe */
};

/* What became of one packet. Pointers are valid until the next call on the recovery. */
struct verdict {
    enum verdict_fate fate;
    enum quic_space space;
    uint64_t pn;
    const struct sent_packet *pkt;
    const struct sent_record *rec; /* pkt->n_rec records; null if none */
    size_t n;                      /* = pkt->n_rec */
};

/* What recovery_on_timeout found. */
enum recovery_event {
    RECOVERY_NONE, /* it was too early, or the round-trip time has grown meanwhile */
    RECOVERY_LOSS, /* packets were declared lost: pull the verdicts */
    RECOVERY_PTO   /* send probes: see recovery_probes */
};

struct recovery_config {
    const char *cc;        /* "cubic", "newreno", "bbr"; null: cubic */
    size_t max_datagram;   /* bytes, >= 1200 */
    ns_t initial_rtt;      /* 0: 333 ms */
    const struct rng *rng; /* which packet numbers to skip; null: skip none */
    bool ecn;              /* mark packets ECT(0) as long as that works */
};

/* What recovery has to know about the connection (RFC 9002 A.8). */
struct recovery_state {
    bool server;
    bool handshake_keys;         /* has keys for sending Handshake packets */
    bool peer_validated;         /* client: a Handshake ACK came; a server is always so */
    bool confirmed;              /* handshake confirmed (RFC 9001 4.1.2) */
    bool at_amplification_limit; /* server: can't send before more was received */
    ns_t max_ack_delay;          /* the peer's, applied to the application space */
};

struct recovery_space {
    struct sent sent;
    struct ranges acked;    /* numbers >= sent.base that are acknowledged */
    uint64_t largest_acked; /* RECOVERY_NO_PN: none */
    uint64_t scan;          /* no packet below is outstanding, if below largest_acked */
    uint64_t probe_cursor;  /* next packet whose content goes into a probe */
    uint64_t next_skip;     /* the next number to pass over */
    uint64_t eliciting;     /* ack-eliciting packets outstanding */
    ns_t loss_time;         /* when the packet at `scan` is lost; NS_NEVER: none waits */
    ns_t last_eliciting;    /* send time of the newest ack-eliciting packet */
    ns_t unanswered;        /* since when nothing was acknowledged, though something was sent */
    ns_t lost_run;          /* send time of the first of an unbroken run of losses */
    ns_t acked_sent_time;   /* newest send time among acknowledged packets */
    uint32_t probes;        /* ack-eliciting packets to send regardless of the window */
    bool any_acked, discarded;
};

/* A run of packet numbers that get a verdict each. */
struct verdict_run {
    uint64_t start, end;
};

struct recovery {
    struct recovery_space space[SPACE_N];
    struct rtt rtt;
    struct cc cc;
    struct recovery_state state;
    const struct rng *rng;
    uint64_t bytes_in_flight;
    unsigned pto_count;
    struct reorder reorder; /* the thresholds of loss detection */
    ns_t touched;    /* instant of the latest event: the anti-deadlock PTO starts here */
    ns_t path_since; /* packets sent before belong to an earlier route */
    ns_t initial_rtt;
    struct ecn ecn;
    uint64_t packets_ce; /* that the peer reported, and that were believed */

    /* Whether the window is in use: the most in flight in this round trip and the last. */
    uint64_t round_peak, last_peak;
    ns_t round_start;

    struct rate rate;
    uint64_t delivery_bps; /* the latest sample, bits per second; 0 before there was one */

    uint64_t packets_sent, packets_lost, packets_spurious, bytes_sent, bytes_lost;

    /* Verdicts to be pulled: runs [0, n_acked_runs) are acknowledged, the others lost. */
    struct verdict_run *runs;
    uint32_t n_runs, cap_runs, n_acked_runs, run;
    uint64_t run_pn;
    enum quic_space verdict_space;
    ns_t trim_at;
};

/* Returns 0, or QUIC_INVAL for an unknown controller or a datagram size below 1200. */
int recovery_init(struct recovery *r, const struct recovery_config *cfg);
void recovery_free(struct recovery *r);

/* The connection's state changed (handshake progress, validation, amplification). */
void recovery_set_state(struct recovery *r, const struct recovery_state *st, ns_t now);

/*
 * The packet number to use for the next packet of `space`. Now and then one is passed
 * over, so that acknowledging what never was sent gives a cheat away (RFC 9000 21.4).
 * Asking again without sending gives the same number.
 */
uint64_t recovery_next_pn(struct recovery *r, enum quic_space space);

/*
 * Commit the packet of the open transaction in `space`: `pkt` is filled as sent.h says,
 * pkt->time is now. An ack-eliciting one uses up a probe of the space, if any is asked for.
 */
void recovery_on_sent(struct recovery *r, enum quic_space space, const struct sent_packet *pkt);

/*
 * An ACK frame for `space` arrived at `now`. `ack_delay` is decoded (ns). The frame must
 * have passed ack_check.
 *
 * Returns 0, with verdicts to pull; or QUIC_PROTOCOL_VIOLATION if it acknowledges a
 * packet that was never sent. An ACK for a discarded space is ignored. If memory is
 * lacking, the lower ranges are left for a later ACK frame to repeat.
 */
int recovery_on_ack(struct recovery *r, enum quic_space space, const struct frame_ack *ack,
                    ns_t ack_delay, ns_t now);

/* The next verdict: acknowledged ones first, then lost ones. False when there is none. */
bool recovery_next_verdict(struct recovery *r, struct verdict *v);

/* All verdicts have been acted upon: forget what is settled. */
void recovery_verdicts_done(struct recovery *r, ns_t now);

/* When recovery_on_timeout has something to do; NS_NEVER if never. */
ns_t recovery_deadline(const struct recovery *r);

/*
 * The deadline may have passed (RFC 9002 A.9). On RECOVERY_PTO the back-off has doubled
 * and `probes` of one or more spaces ask for ack-eliciting packets, which neither window
 * nor pacer may hold back: new data, or what recovery_next_probe names, or a PING.
 */
enum recovery_event recovery_on_timeout(struct recovery *r, ns_t now);

/* How many probe packets `space` has yet to send. */
static inline uint32_t recovery_probes(const struct recovery *r, enum quic_space space)
{
    return r->space[space].probes;
}

/* Ask for one probe: a PING on demand. */
void recovery_ask_probe(struct recovery *r, enum quic_space space);

/*
 * Ask for probes of Initial and Handshake before their timeout (RFC 9002 6.2.3): as many as
 * a probe timeout would ask for, in each space that has something in flight which was sent
 * `since` or before. The back-off stays. Returns whether any was asked for.
 */
bool recovery_probe_early(struct recovery *r, ns_t since);

/*
 * The oldest packet in flight of `space` whose content was not yet named since the last
 * PTO, with fate VERDICT_PROBE. Its records are to be queued again as if lost; it stays
 * in flight. False if there is none: send a PING then.
 */
bool recovery_next_probe(struct recovery *r, enum quic_space space, struct verdict *v);

/* Let recovery_next_probe begin with the oldest packet again: to probe with it once more. */
void recovery_rewind_probe(struct recovery *r, enum quic_space space);

/*
 * The keys of Initial or Handshake are gone (RFC 9002 6.4, A.11), or the path is: forget
 * its packets without verdicts. Sending in the space is over.
 */
void recovery_discard_space(struct recovery *r, enum quic_space space, ns_t now);

/*
 * A Retry came, or 0-RTT was rejected: forget what was sent in `space`, without verdicts;
 * numbering goes on (RFC 9002 6.3, RFC 9000 17.2.5.3).
 */
void recovery_restart_space(struct recovery *r, enum quic_space space, ns_t now);

/*
 * The path moved to another route: RTT and congestion control start over; packets sent
 * before don't count in the new estimates (RFC 9000 9.4).
 */
void recovery_reset_path(struct recovery *r, ns_t now);

/* Declare every packet in flight in the application space lost: the path is abandoned.
 * Verdicts are to be pulled; congestion control hears nothing. */
void recovery_lose_all(struct recovery *r, ns_t now);

/* The path MTU is now `max_datagram` bytes. */
void recovery_set_mtu(struct recovery *r, size_t max_datagram);

/* Bytes that the congestion window still allows (0 when full). */
static inline uint64_t recovery_room(const struct recovery *r)
{
    return r->cc.cwnd > r->bytes_in_flight ? r->cc.cwnd - r->bytes_in_flight : 0;
}

/*
 * The sender has nothing more to send at present, though neither the pacer nor an empty
 * amplification allowance holds it back: delivery rates measured from here on say nothing
 * about the path, until what is in flight is gone. Without effect while the window is full.
 */
void recovery_app_limited(struct recovery *r);

/* The probe timeout of the application space without back-off (RFC 9002 6.2.1). */
ns_t recovery_pto(const struct recovery *r);

/* Bits per second to pace at; 0 before there is an RTT sample. */
uint64_t recovery_pacing_bps(const struct recovery *r);

/*
 * ECN bits to send the next packet with (ecn.h). They change by an acknowledgement, a timeout,
 * another route, and by sending: to be asked for each datagram.
 */
static inline uint8_t recovery_ecn_mark(const struct recovery *r)
{
    return ecn_mark(&r->ecn);
}

/* The path runs on another route: whether that carries ECN marks is to be tested. */
static inline void recovery_ecn_restart(struct recovery *r)
{
    ecn_restart(&r->ecn);
}

/* Whether no ack-eliciting packet is in flight, in any space. */
static inline bool recovery_idle(const struct recovery *r)
{
    return r->space[SPACE_INITIAL].eliciting + r->space[SPACE_HANDSHAKE].eliciting +
               r->space[SPACE_APP].eliciting ==
           0;
}

/*
 * When the first packet was sent of those in flight above the largest one acknowledged, which
 * are not lost unless their path is; NS_NEVER: there is none. Cheap unless many were given up
 * at once.
 */
ns_t recovery_oldest(const struct recovery *r);

/* The number to give packet.h's pn_len as largest_acked. */
static inline uint64_t recovery_largest_acked(const struct recovery *r, enum quic_space space)
{
    return r->space[space].largest_acked;
}

/* Nothing was sent or acknowledged for long: give back what isn't needed now. */
void recovery_release(struct recovery *r, ns_t now);

/* Bytes on the heap. */
size_t recovery_memory(const struct recovery *r);

/* Whether the invariant holds, by recounting: for tests. */
bool recovery_check(const struct recovery *r);

#endif
