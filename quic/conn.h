/*
 * conn - the inside of a connection: an assembly of parts.
 *
 * Who does what:
 *     conn.c        creation, end, tick, deadline, events
 *     conn_tls.c    handshake order: TLS mailbox, secrets to keys, transport parameters,
 *                   discarding keys
 *     conn_keys.c   the 1-RTT key generations (RFC 9001 6)
 *     conn_fate.c   verdicts of recovery to the owners of frames
 *     conn_early.c  handshake data repeated before its probe timeout
 *     conn_acks.c   ACK frequency, both ways
 *     conn_path.c   routes of a path: migration, validation, views
 *     conn_paths.c  path slots, for an extension; which path speaks for the connection
 *     conn_api.c    stream calls and small readers
 *     conn_memory.c what is on the heap, and its bound
 *     rx.c, rx_frame.c   datagram to packets, packet to frames
 *     tx.c, build.c      what is due, into packets
 *     dgram.c       the fast path of DATAGRAM
 *     conn_qlog.c   what a qlog trace tells of it
 *
 * State: HANDSHAKE -> OPEN (handshake complete) -> CLOSING or DRAINING -> DRAINED. The close
 * state is written by conn_close alone, which conn_fail and quic_close call; the first cause
 * stays.
 *
 * Every verb stores its `now`, so that inner functions need not pass it on; it is never read
 * before a verb has set it.
 *
 * Limits: CONN_HELD packets wait for keys; CONN_EVENTS events; crypto data per level as
 * CONN_CRYPTO_MAX; CONN_FATES fates.
 */
#ifndef QUIC_CONN_H
#define QUIC_CONN_H

#include "quic/ackfreq.h"
#include "quic/aead.h"
#include "quic/errors.h"
#include "quic/ext.h"
#include "quic/path.h"
#include "quic/quic.h"
#include "quic/rbuf.h"
#include "quic/sbuf.h"
#include "quic/streams.h"
#include "quic/tls.h"
#include "quic/token.h"
#include "quic/tparam.h"

#define CONN_EVENTS        64    /* a power of two */
#define CONN_FATES         1024  /* a power of two */
#define CONN_HELD          8     /* packets that wait for keys */
#define CONN_HELD_BYTES    2048  /* longest of them */
#define CONN_CRYPTO_MAX    65536 /* bytes of CRYPTO per level that may wait (RFC 9000 7.5) */
#define CONN_CRYPTO_LATE   16384 /* the same after the handshake: session tickets */
#define CONN_CRYPTO_TX     (1 << 18) /* and that we send: certificates have a size */
#define CONN_TEXT          256
#define CONN_CID_LIMIT     4 /* active_connection_id_limit that we declare, per path */
#define CONN_TPARAMS       1024
#define CONN_ACK_EXPONENT  3
#define CONN_RECORD_ACK    0x0fff         /* record kind: PATH_ACK, over another path */
#define CONN_ACKFREQ_PATHS 8              /* that are looked at for ACK_FREQUENCY */
#define CONN_HUSH_PTOS     2 /* in a row: what is in flight goes over another path, if any */
#define CONN_TRIM          (5 * NS_PER_S) /* without a packet: memory of busy times goes back */

enum conn_state { CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSING, CONN_DRAINING, CONN_DRAINED };

/* Served by quic_tick in this order. NS_NEVER: off. */
enum conn_timer {
    CONN_TIMER_CLOSE,      /* end of closing or draining */
    CONN_TIMER_IDLE,       /* RFC 9000 10.1 */
    CONN_TIMER_HANDSHAKE,  /* patience for the handshake */
    CONN_TIMER_KEEP_ALIVE, /* a PING is due */
    CONN_TIMER_OLD_KEYS,   /* the previous read keys go */
    CONN_TIMER_TRIM,       /* memory that an idle connection doesn't need goes */
    CONN_TIMER_N
};

/* Whether a server is still routed to by conn_initial_dcid, and who knows. */
enum conn_odcid { CONN_ODCID_NONE, CONN_ODCID_ADDED, CONN_ODCID_LIVE, CONN_ODCID_REMOVED };

/* A packet that came before its keys. */
struct conn_held {
    uint8_t *p;
    size_t n;
    struct quic_route route;
    uint8_t ecn;
    ns_t time;
    bool done; /* processed: freed at the next batch, DATAGRAMs may point into it */
};

struct conn_keys {
    struct aead rx[LEVEL_N], tx[LEVEL_N];
    struct aead rx_next, rx_prev; /* 1-RTT: made ahead; kept for late packets */
    bool rx_phase, tx_phase;      /* Key Phase bit of rx[LEVEL_APP], tx[LEVEL_APP] */
    bool phase_acked;             /* a packet of the current write phase was acknowledged */
    ns_t not_before;              /* next update of our own (RFC 9001 6.5) */
    uint64_t failed;              /* packets that did not open, all keys together */
    unsigned discarded;           /* FRAME_AT bits of levels that are over */
};

struct conn_crypto {
    struct sbuf tx;
    struct rbuf rx;
};

struct quic_conn {
    struct quic_config cfg;
    bool server;
    enum conn_state state;
    ns_t now;
    void *user;
    size_t endpoint_slot, endpoint_heap; /* the endpoint's, SIZE_MAX while detached */
    ns_t endpoint_at;                    /* deadline as the endpoint knows it */
    uint8_t reset_key[32];
    uint64_t grease; /* random: whose turn it is to have no QUIC bit */

    struct tls *tls;
    struct conn_keys keys;
    struct conn_crypto crypto[SPACE_N];
    bool complete, confirmed;  /* RFC 9001 4.1 */
    bool handshake_sent;       /* a Handshake packet was sent */
    bool got_packet;           /* client: anything authentic came from the server */
    bool got_handshake_ack;    /* client: the server has seen our address (RFC 9002 A.6) */
    unsigned early;            /* times that handshake data was repeated early */
    ns_t early_at;             /* not again before */
    bool done_due, done_acked; /* HANDSHAKE_DONE is to be sent; was acknowledged */
    struct tparams local, peer;
    bool has_peer;
    bool preferred_taken; /* client: it went over to the preferred address */
    struct quic_cid original_dcid; /* of the client's first Initial */
    struct quic_cid peer_scid;     /* of the peer's first Initial, where has_peer_scid */
    struct quic_cid retry_scid;    /* of a Retry, where has_retry */
    bool has_peer_scid, has_retry;
    enum conn_odcid original_dcid_event; /* server: packets may still come to it */
    uint8_t *token;                      /* client: in its Initials */
    size_t token_len;
    uint8_t *new_token; /* for a future connection: the latest one that came, or ours to send */
    size_t new_token_len;
    bool new_token_due;         /* NEW_TOKEN is to be sent */
    uint64_t new_tokens;        /* given by us: only the latest is sent again */
    struct token_key token_key; /* server: of the endpoint, where has_token_key */
    bool has_token_key;
    const struct frame_row *ext_rows;
    size_t n_ext_rows;
    void *ext;
    bool ext_news; /* connection IDs changed since the extension looked */
    enum quic_acks acks;

    struct ackfreq ackfreq; /* what we ask of the peer's acknowledgements */
    uint64_t ackfreq_got;   /* sequence numbers of ACK_FREQUENCY below are obsolete */
    bool acks_asked;        /* the peer has asked for this, on all paths: */
    struct {
        uint64_t threshold, reordering;
        ns_t delay;
    } ack_ask;

    struct streams streams;
    struct quic_path *path;
    size_t n_paths; /* slots in use: [0, n_paths) */
    size_t rx_path; /* that the latest packet came on */

    ns_t timer[CONN_TIMER_N];
    ns_t idle;               /* negotiated; 0: none */
    bool heard;              /* in this batch: the idle timer is to be restarted */
    bool eliciting_since_rx; /* sent an ack-eliciting packet since the last one received */

    struct quic_close_info close;
    char close_text[CONN_TEXT];
    bool close_due, close_told;
    unsigned close_got, close_answer_at; /* packets since; answer at powers of two */

    struct quic_event event[CONN_EVENTS];
    unsigned event_first, event_n;
    bool events_lost;

    struct quic_dgram_rx *dgram; /* QUIC_DGRAM_RX_MAX, allocated with the first to come */
    size_t dgram_first, dgram_n;
    struct quic_dgram_fate *fate; /* CONN_FATES, allocated with the first tag */
    size_t fate_first, fate_n;
    size_t fate_path; /* after the end: where the walk over what has no fate is */
    uint64_t fate_pn;

    struct conn_held held[CONN_HELD];
    size_t n_held;
    bool held_ready; /* new read keys: look at them */

    struct quic_stats stats;
    struct conn_qlog *qlog; /* null: off */
};

/* ---- conn.c -------------------------------------------------------------------------- */

/* What the endpoint knows of a client before there is a connection. */
struct conn_admit {
    bool validated;                /* by a token: the address is the client's */
    bool has_retry;                /* by that of a Retry; `original_dcid` is what it answered */
    struct quic_cid original_dcid; /* else that of the Initial at hand */
    const struct token_key *key;   /* copied: for a NEW_TOKEN; null: none is sent */
};

/*
 * A server connection for a client whose first Initial had this header and came on `route`.
 * The datagram itself is then given to quic_recv. A null `admit` is one of zeros. Returns null
 * as quic_connect.
 */
struct quic_conn *conn_accept(const struct quic_config *cfg, const struct quic_route *route,
                              const struct packet_head *initial, const struct conn_admit *admit,
                              ns_t now);

/* The destination ID that Initial keys come from: of the first Initial, or of the Retry. */
static inline const struct quic_cid *conn_initial_dcid(const struct quic_conn *c)
{
    return c->has_retry ? &c->retry_scid : &c->original_dcid;
}

/* Replace `*to` by a copy of `token`. False without memory: `*to` is as it was. */
bool conn_keep_token(struct span token, uint8_t **to, size_t *len);

/*
 * Close because of an error: `code` of RFC 9000 20.1, caused by a frame of `frame_type` (0 if
 * by none), with text for a person. No effect once closing.
 */
void conn_fail(struct quic_conn *c, uint64_t code, uint64_t frame_type, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Enter the closing (`tell`: CONNECTION_CLOSE is due) or the draining state. */
void conn_close(struct quic_conn *c, const struct quic_close_info *why, bool tell);

/* Over at once: nobody to tell, nothing to wait for. */
void conn_vanish(struct quic_conn *c, enum quic_close_kind kind, const char *text);

static inline bool conn_alive(const struct quic_conn *c)
{
    return c->state < CONN_CLOSING;
}

/* The least amplification room to build a datagram at all: in the handshake a whole one. */
static inline size_t conn_least(const struct quic_conn *c)
{
    return c->complete ? PATH_SMALLEST : QUIC_MIN_DATAGRAM;
}

/* Queue an event; a repeat of one that is still queued is merged with it. */
void conn_event(struct quic_conn *c, enum quic_event_type type, size_t path, uint64_t stream,
                uint64_t code);

/* The longest probe timeout of all paths that are proven. */
ns_t conn_pto(const struct quic_conn *c);

/* The longest smoothed round-trip time of the paths, 0 before there was a sample. */
ns_t conn_rtt(const struct quic_conn *c);

/* Restart the idle and keep-alive timers. */
void conn_restart_idle(struct quic_conn *c);

/* Tell recovery of every path what it has to know. */
void conn_tell_recovery(struct quic_conn *c);

/* cid_gen_fn: a connection ID of the configured length, with its token. */
int conn_make_cid(void *conn, struct quic_cid *cid, uint8_t token[CID_RESET_TOKEN]);

/* The next change of our connection IDs, for the endpoint's table. */
bool conn_cid_event(struct quic_conn *c, struct cid_event *out);

/* conn_path_by_cid for any other path than that of the call before. */
struct quic_path *conn_path_search(struct quic_conn *c, struct span dcid,
                                   const struct quic_cid **id);

/*
 * The path whose connection ID `dcid` is, and our copy of the ID to *id; null if it isn't ours.
 * Quick where it is that of the call before.
 */
static inline struct quic_path *conn_path_by_cid(struct quic_conn *c, struct span dcid,
                                                 const struct quic_cid **id)
{
    struct quic_path *p = &c->path[c->rx_path];
    *id = p->used ? cid_local_match(&p->ours, dcid) : NULL;
    return *id ? p : conn_path_search(c, dcid, id);
}

static inline size_t conn_path_index(const struct quic_conn *c, const struct quic_path *p)
{
    return (size_t)(p - c->path);
}

/* ---- conn_tls.c ---------------------------------------------------------------------- */

/* Make the TLS object with our transport parameters. 0, QUIC_NOMEM or QUIC_INVAL. */
int conn_tls_start(struct quic_conn *c, const char *server_name);

/* Initial keys from the client's first DCID or a Retry. 0 or QUIC_NOMEM. */
int conn_initial_keys(struct quic_conn *c, const struct quic_cid *dcid);

/* Feed what is readable, let TLS run, take what came out. Fails the connection on error. */
void conn_tls_run(struct quic_conn *c);

/* Forget the keys and the state of a level (RFC 9001 4.9). */
void conn_discard(struct quic_conn *c, enum quic_level level);

/* The handshake is confirmed (RFC 9001 4.1.2). */
void conn_confirm(struct quic_conn *c);

/* Server: a token for a future connection from `addr`, which is proven (RFC 9000 8.1.3). */
void conn_issue_token(struct quic_conn *c, const struct quic_addr *addr);

/* ---- conn_keys.c --------------------------------------------------------------------- */

/*
 * Open a 1-RTT packet whose header is unmasked: chooses the key generation, follows the
 * peer's update. `*late` is set if it was the previous generation's. Returns 0, QUIC_DROP,
 * or an error code.
 */
int keys_open_app(struct quic_conn *c, struct quic_path *p, uint64_t pn, bool phase,
                  struct span head, uint8_t *payload, size_t n, bool *late);

/* Packet `pn` of our own on path `p` was acknowledged. */
void keys_acked(struct quic_conn *c, const struct quic_path *p, uint64_t pn);

/* Update the keys ourselves if that is due and allowed, or end the connection in time. */
void keys_check_limits(struct quic_conn *c);

/* Make the generation after the current read keys. 0 or QUIC_NOMEM. */
int keys_prepare(struct quic_conn *c);

void keys_drop_old(struct quic_conn *c);
void keys_free(struct quic_conn *c);

/* ---- conn_fate.c --------------------------------------------------------------------- */

/* Act upon every verdict that is ready on path `p`. */
void conn_verdicts(struct quic_conn *c, struct quic_path *p);

/* Queue again what the probes asked for are to carry. */
void conn_probe(struct quic_conn *c, struct quic_path *p);

/* The same for one more probe of `space`, with what the first one carried. */
void conn_probe_more(struct quic_conn *c, struct quic_path *p, enum quic_space space);

/* ---- conn_early.c -------------------------------------------------------------------- */

/* An Initial or Handshake packet came that asks for an answer and says nothing new. */
void conn_early_repeat(struct quic_conn *c);

/* A packet of `level` came that can't be read yet: what comes before it is missing. */
void conn_early_missing(struct quic_conn *c, enum quic_level level);

/* ---- conn_memory.c ------------------------------------------------------------------- */

/* Bytes on the heap, the connection itself included; without libssl's and the extension's. */
size_t conn_memory(const struct quic_conn *c);

/* Nothing has happened for CONN_TRIM: give back what can be had again when it is needed. */
void conn_trim(struct quic_conn *c);

/* ---- conn_acks.c --------------------------------------------------------------------- */

/* The least max_ack_delay that a peer may ask of us: the timer's granularity. */
#define CONN_MIN_ACK_DELAY NS_PER_MS

/* Our min_ack_delay parameter, TPARAM_NO_ACK_FREQUENCY without the extension. */
uint64_t conn_min_ack_delay_us(const struct quic_conn *c);

/* The peer's parameters are known. */
void conn_acks_start(struct quic_conn *c);

/* Something of the application space was acknowledged: look whether to ask for other ACKs. */
void conn_acks_update(struct quic_conn *c);

/* The type of a frame that asks for an ACK and says nothing: IMMEDIATE_ACK if it may, or PING. */
uint64_t conn_ping_type(const struct quic_conn *c, enum quic_level level);

/* ACK_FREQUENCY and IMMEDIATE_ACK came on path `p`. 0, or the error code the peer deserves. */
int conn_on_ack_frequency(struct quic_conn *c, const struct frame *f);
int conn_on_immediate_ack(struct quic_conn *c, struct quic_path *p);

/*
 * Acknowledgements of the application space go by the connection's policy (enum quic_acks): in
 * PATH_ACK frames where an extension was negotiated, those of ended paths over another.
 *
 * Whether a packet on `p` is due for them; whether those of `p` itself ride along with one
 * that is sent anyway; when they are due that no path's own deadline tells of.
 */
bool conn_acks_due(const struct quic_conn *c, const struct quic_path *p);
bool conn_acks_ride(const struct quic_conn *c, const struct quic_path *p);
ns_t conn_acks_deadline(const struct quic_conn *c);

/* The path ID that acknowledgements of `p` name, ACKRX_NO_PATH for plain ACK frames. */
uint64_t conn_ack_id(const struct quic_conn *c, const struct quic_path *p);

struct build;
/* Write those that belong into the 1-RTT packet at hand. */
void conn_acks_write(struct build *b);

/* ---- conn_path.c --------------------------------------------------------------------- */

/*
 * An authentic packet came on path `p` by `route`, `pn` in its application space: follow the
 * peer if that is a migration. `dcid` is what it was sent to.
 */
void conn_path_follow(struct quic_conn *c, struct quic_path *p, struct path_route *r,
                      uint64_t pn, bool probing, const struct quic_cid *dcid);

/*
 * The slot of the route that a datagram came by, made if it is new and may be. Null: the
 * datagram is to be dropped.
 */
struct path_route *conn_path_route(struct quic_conn *c, struct quic_path *p,
                                   const struct quic_route *route, const struct quic_cid *dcid);

int conn_on_path_response(struct quic_conn *c, struct quic_path *p, const uint8_t data[8]);

/* Client, confirmed: see whether the server's preferred address works (RFC 9000 9.6). */
void conn_path_preferred(struct quic_conn *c);

/* Route timers. */
void conn_path_tick(struct quic_conn *c, struct quic_path *p);

/* Tell of a changed quic_dgram_max, adapt to a changed MTU. */
void conn_path_mtu(struct quic_conn *c, struct quic_path *p);

/* ---- conn_paths.c -------------------------------------------------------------------- */

/* path_init by the connection's configuration, for a path with this ID. */
int conn_path_init(struct quic_conn *c, struct quic_path *p, uint32_t id,
                   const struct quic_route *route, bool validated);

/*
 * A slot for path ID `id`, ahead of its opening, with empty pools of connection IDs. Null where
 * none is free; one that was dropped is so only when its IDs have left the endpoint's table.
 */
struct quic_path *conn_path_reserve(struct quic_conn *c, uint32_t id);

/* Open a path that was ahead on `route`, and begin to validate it. */
void conn_path_start(struct quic_conn *c, struct quic_path *p, const struct quic_route *route);

/* The peer has answered a challenge on the path's route for the first time. */
void conn_path_proven(struct quic_conn *c, struct quic_path *p);

/* Nothing more is sent on `p`, open or ahead; the peer's connection IDs are gone. */
void conn_path_end(struct quic_conn *c, struct quic_path *p);

/* What is in flight on `p` is lost; congestion control hears nothing. */
void conn_path_lose(struct quic_conn *c, struct quic_path *p);

/* Forget an ended path; its slot becomes free. */
void conn_path_drop(struct quic_conn *c, struct quic_path *p);

/* The usable path of the best rank and of these the one with the shortest RTT; null: none. */
struct quic_path *conn_path_best(const struct quic_conn *c);

/* Whether streams and control frames may go over `p`: no other path ranks higher. */
bool conn_path_speaks(const struct quic_conn *c, const struct quic_path *p);

/* The path for CONNECTION_CLOSE: the best one, or else any that is open; null: none. */
struct quic_path *conn_path_voice(const struct quic_conn *c);

/* Ask for a PING on `p`; on a silent one for a probe, which a full window does not hold back. */
void conn_path_ping(struct quic_path *p);

/* Tell its MTU of an outage, if one is certain, CONN_HUSH_PTOS in a row, or `over` by now. */
void conn_path_outage(struct quic_path *p, bool over);

/* A probe timeout passed on `p`: where that says it is silent, its load goes elsewhere. */
void conn_path_hush(struct quic_conn *c, struct quic_path *p);

/* ---- rx.c, rx_frame.c ---------------------------------------------------------------- */

/* A path that was silent for so long, and is not, is asked at once whether it goes on. */
#define CONN_SIGN_AFTER (300 * NS_PER_MS)

/* What a frame handler may want to know about the packet it is in. */
struct rx_packet {
    struct quic_path *path;
    struct path_route *route;
    enum quic_level level;
    enum quic_space space;
    uint64_t pn;
    const struct quic_cid *dcid; /* ours, that it was sent to */
    uint8_t *payload;
    bool eliciting, probing; /* found so far: `probing` until a frame is not */
    bool crypto;             /* there was a CRYPTO frame */
    bool fresh;              /* with bytes that had not come before */
    bool late;               /* opened with the previous key generation */
    bool sign;               /* the first one after CONN_SIGN_AFTER without any */
};

/*
 * All frames of a packet's payload. 0; the error code, and the connection is failed then; or
 * QUIC_DROP: the packet must not be acknowledged.
 */
int rx_frames(struct quic_conn *c, struct rx_packet *pkt, uint8_t *p, size_t n);

/* An ACK frame for `space` of path `p`; `late` as in rx_packet. 0, or the error code. */
int rx_ack(struct quic_conn *c, struct quic_path *p, enum quic_space space,
           const struct frame_ack *ack, bool late);

/* Process what was held for keys that are there now. */
void rx_held(struct quic_conn *c);
void rx_free_held(struct quic_conn *c, bool all);

#endif
