/*
 * path - one path of a connection: where it runs, and all that is counted per path.
 *
 * A path is a path ID with its packet number spaces, acknowledgements, recovery, pacer, MTU
 * and connection IDs. It runs on one route; a second slot holds another route while that is
 * being probed or validated, or the last valid one while the new one is unproven
 * (RFC 9000 9.3). Path 0 uses all three packet number spaces, others only the application's.
 *
 * Until the peer is known to be at a route's address, no more than three times what came
 * from there is sent there (RFC 9000 8): path_amplification_room.
 *
 * Plain QUIC has one path, open from first to last. With multipath a slot goes
 *
 *     FREE -> AHEAD -> OPEN -> ENDED -> FREE
 *                `---------------^
 *
 * AHEAD: a path ID for which connection IDs are exchanged, without a route; ENDED: abandoned,
 * nothing is sent on it any more, but packets still come in and acknowledgements still count.
 *
 * Invariant: `used` exactly in OPEN, and then route[current] is used; no byte is sent on a
 * route that isn't used.
 */
#ifndef QUIC_PATH_H
#define QUIC_PATH_H

#include "quic/ackrx.h"
#include "quic/cid.h"
#include "quic/mtu.h"
#include "quic/pacer.h"
#include "quic/quic.h"
#include "quic/recovery.h"
#include "quic/validate.h"

#define PATH_ROUTES        3
#define PATH_RESPONSES     4  /* PATH_CHALLENGEs to answer; older ones are forgotten */
#define PATH_AMPLIFICATION 3  /* RFC 9000 8 */
#define PATH_SMALLEST      64 /* with less amplification room than this nothing is built */
#define PATH_ACK_ROOM      96 /* with so much an ACK can be, whatever its numbers and the IDs */

struct path_route {
    bool used, validated;
    struct quic_route route;
    ns_t since;              /* the peer showed up there */
    uint64_t received, sent; /* UDP payload bytes, for the amplification limit */
    uint64_t cid_seq;        /* reserved connection ID to use here, where has_cid */
    bool has_cid;            /* else the path's current one */
    bool reset_due;          /* estimates start over when it is validated (RFC 9000 9.4) */
    bool preferred;          /* the server's preferred address, to go over to once valid */
    bool small;              /* a challenge could not be padded to 1200 bytes */
    struct quic_cid dcid;    /* that the peer used here last */
    struct validate validate;
    uint8_t response[PATH_RESPONSES][8]; /* PATH_RESPONSEs due */
    unsigned n_responses;
};

enum path_phase { PATH_FREE, PATH_AHEAD, PATH_OPEN, PATH_ENDED };

struct quic_path {
    enum path_phase phase;
    bool used;    /* open: may send and has timers */
    bool proven;  /* the peer answered a challenge on it, or it carried the handshake */
    bool standby; /* the peer wishes it used only where no other path is usable */
    uint32_t id;
    struct path_route route[PATH_ROUTES];
    unsigned current;
    struct recovery recovery;
    struct ackrx ack[SPACE_N];
    struct pacer pacer;
    struct mtu mtu;
    struct cid_local ours;        /* IDs that we issue */
    struct cid_remote theirs;     /* IDs that we use */
    uint64_t largest_non_probing; /* RFC 9000 9.3; QUIC_PN_NONE: none */
    uint64_t phase_first_sent;    /* first packet of the current key phase */
    uint64_t phase_first_got;     /* lowest number opened with the current read key */
    bool ping_due;
    bool window_waits;      /* the window was full, and has no room for a train yet */
    uint64_t cap_bps;       /* the pacer's rate is no higher, bits per second; 0: no bound */
    ns_t paced_until;       /* what quic_send held back for the pacer may go then */
    ns_t dgram_paced_until; /* the same of quic_dgram_send; NS_NEVER: nothing */
    ns_t ack_own_at; /* what another path acknowledged is to be acknowledged here too */
    ns_t ack_again_at; /* what was acknowledged here may be told by another path */
    ns_t last_received;
    uint64_t dgram_max; /* as last told by an event */
    uint64_t packets_received, bytes_received, bytes_sent;
};

struct path_config {
    uint32_t id;
    bool validated; /* the route needs no proof: a client's own choice */
    const char *cc;
    ns_t initial_rtt, max_ack_delay; /* our max_ack_delay */
    size_t max_udp_payload;
    const struct rng *rng;
    bool ecn;
};

/*
 * Set up an open path on `route`, or, where that is null, one that is ahead of its opening. The
 * connection ID pools are the caller's to init.
 * Returns 0, or QUIC_INVAL for an unknown congestion controller.
 */
int path_init(struct quic_path *p, const struct path_config *cfg,
              const struct quic_route *route);
void path_free(struct quic_path *p);

/* A path that was ahead runs on `route` from here on. */
void path_open(struct quic_path *p, const struct quic_route *route, bool validated);

/* An open path, or one that was ahead, is over. */
void path_end(struct quic_path *p);

/*
 * Whether a probe timeout has passed without an answer: what isn't needed to find out more had
 * better go elsewhere.
 */
static inline bool path_silent(const struct quic_path *p)
{
    return p->recovery.pto_count > 0;
}

static inline struct path_route *path_current(struct quic_path *p)
{
    return &p->route[p->current];
}

/* The slot of `route`; null if the path doesn't know it. */
struct path_route *path_find(struct quic_path *p, const struct quic_route *route);

/*
 * A slot for a new route: not the current one, nor the last valid one while the current one is
 * unproven. Its connection ID must be released first.
 */
struct path_route *path_spare(struct quic_path *p);

/* A valid route other than `than`; null if there is none. */
struct path_route *path_fallback(struct quic_path *p, const struct path_route *than);

void path_route_set(struct path_route *r, const struct quic_route *route);

/* Bytes that may still be sent to the route's address; SIZE_MAX once it is validated. */
size_t path_amplification_room(const struct path_route *r);

/* The connection ID to put into packets on this route; null if the peer has none for us. */
const struct quic_cid *path_dcid(const struct quic_path *p, const struct path_route *r);

/*
 * A connection ID of the peer's that may be retired now. Not while the path's route is being
 * validated: that of the route before may still be needed to go back, and there are servers
 * that take its end for the path's until they have validated the new one.
 */
bool path_next_retire(const struct quic_path *p, uint64_t *seq);

/* A PATH_CHALLENGE is to be answered on `r`. Returns whether one had to be forgotten. */
bool path_respond(struct path_route *r, const uint8_t data[8]);

/* Something on a route is due now: a challenge or a response. */
bool path_route_due(const struct path_route *r, ns_t now);

/* What congestion control lets out, or the cap if that is less; 0: not paced. */
uint64_t path_pacing_bps(const struct quic_path *p);

/* Set the pacer to that; to be called before asking it. */
void path_pace(struct quic_path *p, ns_t now);

/* The same for `pacer`, which is a copy of the path's. */
void path_pace_copy(const struct quic_path *p, struct pacer *pacer, ns_t now);

/* What a datagram of `size` bytes costs the pacer: a cap is one of whole IP packets. */
static inline size_t path_cost(const struct quic_path *p, size_t size)
{
    if (!p->cap_bps)
        return size;
    return size + quic_ip_udp_bytes(p->route[p->current].route.remote.family == 6);
}

/*
 * Whether the congestion window allows `need` bytes. One that was full allows nothing before it
 * has room for a train of the pacer's, or a sixteenth of itself, if that is less: else each
 * acknowledgement of two packets lets two packets go, one call and one offloaded send each.
 * Acknowledgements are to come by then, since the other fifteen are in flight.
 */
bool path_window(struct quic_path *p, uint64_t need);

/* Bytes that the congestion window allows, in the same sense. */
uint64_t path_window_room(const struct quic_path *p);

/* Whether a datagram of ACKs alone could leave on it now; `least` as in path_deadline. */
bool path_may_ack(const struct quic_path *p, size_t least);

/*
 * The earliest instant at which something of this path is due. What could not leave then for
 * lack of window, of amplification room, or of room among the sent packets (sent_scarce) is left
 * out: it waits for a packet, not for time.
 * ACKs of spaces without a bit in `spaces` (no keys to send with) are left out too. `least` is
 * the amplification room without which no datagram is built.
 */
ns_t path_deadline(const struct quic_path *p, unsigned spaces, size_t least);

#endif
