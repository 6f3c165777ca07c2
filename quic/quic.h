/*
 * quic - a QUIC version 1 connection without I/O (RFC 9000, 9001, 9002, 9221).
 *
 * A connection is a value that five verbs drive. The caller owns sockets, clock and
 * buffers; nothing here blocks, reads a clock, or calls the caller back, except for
 * random bytes and log lines, whose functions it gave in the configuration.
 *
 *     quic_recv(conn, rx, n, now)         datagrams in
 *     quic_send(conn, path, train, now)   datagrams out: everything due on that path
 *     quic_deadline(conn)                 when to call tick; NS_NEVER if not at all
 *     quic_tick(conn, now)                time passed
 *     quic_next_event(conn, ev)           what happened, until it says false
 *
 * The rhythm of a driver, once per batch and connection:
 *
 *     quic_recv ... ; quic_dgram_recv, quic_next_event and stream calls ... ;
 *     quic_dgram_send ... ; quic_send for each path until it returns <= 0 ;
 *     arm a timer for quic_deadline, and call quic_tick when it fires.
 *
 * Every call may make something due, so after any of them flush by quic_send. Where that
 * returned QUIC_BLOCKED, it goes before quic_dgram_send next time, lest DATAGRAMs without end
 * take all the room there is, and streams and control frames have none.
 * `now` never goes backwards from one call to the next.
 *
 * Paths are named by their index, 0 <= path < quic_path_count(); plain QUIC has one, index 0.
 * With multipath (mp/mp.h) there may be indices without a path: QUIC_INVAL. Codes: 0 is
 * success; negative is local (quic/types.h); a positive result is an error code of RFC 9000
 * 20.1, and the connection is then closing by it already.
 *
 * Memory: what a connection needs is allocated when it is made, or when its peer or its
 * user raises its use (a stream, a larger window, more in flight, the first loss), and goes back
 * when it falls idle; see quic_memory_bound. Sending and receiving in a steady state doesn't
 * allocate, as long as what came for streams and could not be read yet fits STREAMS_KEPT. A failed
 * allocation closes the connection with INTERNAL_ERROR.
 */
#ifndef QUIC_QUIC_H
#define QUIC_QUIC_H

#include <string.h>

#include "quic/log.h"
#include "quic/types.h"

struct quic_conn;
struct quic_ext;  /* quic/ext.h: the seam of the multipath extension */
struct tls_ctx;   /* quic/tls.h */
struct qlog_sink; /* quic/qlog.h */

/* ---- addresses and buffers ---------------------------------------------------------- */

/* An IP address and UDP port. IPv4 uses ip[0..3], the rest is zero. */
struct quic_addr {
    uint8_t family; /* 4, 6, or 0 for none */
    uint8_t ip[16]; /* network order */
    uint16_t port;  /* host order */
};

/* Bytes of an IP header and the UDP header in front of each datagram. */
static inline size_t quic_ip_udp_bytes(bool v6)
{
    return v6 ? 48 : 28;
}

/* Where a datagram comes from and goes to. `local` may be none where the socket knows. */
struct quic_route {
    struct quic_addr local, remote;
    uint32_t ifindex; /* 0: any */
};

static inline bool quic_addr_eq(const struct quic_addr *a, const struct quic_addr *b)
{
    uint64_t x[2], y[2];

    memcpy(x, a->ip, sizeof(x));
    memcpy(y, b->ip, sizeof(y));
    return a->family == b->family && a->port == b->port && x[0] == y[0] && x[1] == y[1];
}

/* Whether both may be the same: what one of them doesn't know about is not compared. */
static inline bool quic_route_eq(const struct quic_route *a, const struct quic_route *b)
{
    if (!quic_addr_eq(&a->remote, &b->remote))
        return false;
    if (a->local.family && b->local.family && !quic_addr_eq(&a->local, &b->local))
        return false;
    return !a->ifindex || !b->ifindex || a->ifindex == b->ifindex;
}

/* "192.0.2.1:443" or "[2001:db8::1]:443" for a person; returns `out`. */
#define QUIC_ADDR_TEXT 56
char *quic_addr_text(const struct quic_addr *a, char out[QUIC_ADDR_TEXT]);

/* One received datagram. Its bytes are decrypted in place: they are clobbered. */
struct quic_rx {
    struct quic_route route;
    uint8_t ecn; /* the two ECN bits of the IP header, 0 if unknown */
    uint8_t *p;
    size_t n;
};

/*
 * The caller's send buffer: datagrams of one route, one after the other, all of
 * `segment` bytes but the last, which may be shorter. Exactly one UDP_SEGMENT send, or
 * `count` plain ones. Empty when `count` is 0; a call adds to what is there already, as
 * long as the route and the sizes allow.
 */
struct quic_train {
    uint8_t *buf;
    size_t cap;       /* bytes at buf, at least 1200; more than 65507 is never used */
    size_t max_count; /* most datagrams: 64 is safe on every kernel with UDP_SEGMENT */
    size_t len;       /* bytes used */
    size_t segment;   /* bytes of every datagram but the last */
    size_t count;     /* datagrams in it */
    struct quic_route route;
    uint8_t ecn; /* ECN bits to send with */
};

/* Empty the train, keeping its buffer and limits. */
static inline void quic_train_reset(struct quic_train *t)
{
    t->len = t->segment = t->count = 0;
    t->ecn = 0;
}

/* The length of datagram `i` of the train. It starts at buf + i * segment. */
static inline size_t quic_train_size(const struct quic_train *t, size_t i)
{
    return i + 1 < t->count ? t->segment : t->len - i * t->segment;
}

/* ---- configuration ------------------------------------------------------------------ */

/*
 * Fill by quic_config_default, then change. Copied when a connection is made; `tls`,
 * `log`, `qlog`, `ext` and what `rng` points to must outlive the connections.
 */
struct quic_config {
    struct tls_ctx *tls; /* ALPN, certificates, verification: quic/tls.h */
    struct rng rng;
    const struct log *log;        /* null: silent */
    const struct qlog_sink *qlog; /* null: no qlog */
    const struct quic_ext *ext;   /* null: plain QUIC */

    const char *cc;  /* congestion control: "cubic" (default), "newreno" or "bbr" */
    ns_t idle;       /* give up after this long without a packet; 0: never (RFC 9000 10.1) */
    ns_t keep_alive; /* PING after this long without one received; 0: off */
    ns_t handshake;  /* give up on a handshake after this long; 0: only `idle` counts */
    ns_t initial_rtt;
    ns_t max_ack_delay;

    /* What the peer may send before it is given more, and how far a window may grow. */
    uint64_t conn_window, conn_window_max;     /* bytes, whole connection */
    uint64_t stream_window, stream_window_max; /* bytes, each stream */
    uint64_t streams_bidi, streams_uni;        /* open at once, by the peer */
    size_t stream_send_buffer;                 /* most bytes unacknowledged per stream */

    uint64_t max_datagram_frame_size; /* that we accept; 0: no DATAGRAM (RFC 9221 3) */
    size_t max_udp_payload;           /* largest datagram that we send, >= 1200 */
    size_t max_paths;                 /* path slots, 1 for plain QUIC */
    uint8_t cid_len;                  /* of connection IDs that we issue: 4 to 20 */
    bool ack_frequency;               /* understand ACK_FREQUENCY, and ask by it */
    bool ecn;                         /* mark what we send ECT(0), where that works */
    uint8_t reset_key[32];            /* makes stateless reset tokens: a kept secret */
    struct quic_addr preferred[2];    /* server: where it had rather be, IPv4 and IPv6, or none */
    bool no_preferred;                /* client: don't follow the server's */
    struct span token;                /* client: of quic_new_token; copied by quic_connect */
    struct span session;              /* client: of quic_new_session; read by quic_connect */
};

/*
 * The longest address validation token that is taken: it has to leave room in an Initial of
 * 1200 bytes. A Retry with a longer one is ignored, and so is a NEW_TOKEN.
 */
#define QUIC_TOKEN_MAX 512

/* Sensible values for a tunnel; `tls` and `rng` are left null, `reset_key` zero. */
void quic_config_default(struct quic_config *cfg);

/* ---- making and ending -------------------------------------------------------------- */

/*
 * A client connection to `route.remote`. The first flight is due at once: call quic_send.
 * `server_name` (a host name or address in text; may be null) is sent as SNI when it is a
 * name, and is what the certificate is checked against.
 *
 * `cfg->token`, from a former connection to the same server, saves both ends the validation
 * of the client's address (RFC 9000 8.1.3). A token that the server doesn't know does no harm.
 *
 * `cfg->session` spares both ends the certificate (TLS 1.3 resumption, without 0-RTT data). It
 * is not used, and does no harm, where it doesn't fit: see tls_set_session.
 *
 * Returns null if an allocation or the TLS set-up fails, or the configuration is absurd.
 */
struct quic_conn *quic_connect(const struct quic_config *cfg, const char *server_name,
                               const struct quic_route *route, ns_t now);

/* Server connections are made by quic/endpoint.h. */

/* Free at once, without a word to the peer. Null is allowed. Detach from an endpoint first. */
void quic_del(struct quic_conn *conn);

/*
 * Close with an application error code: CONNECTION_CLOSE is due, streams are gone, the
 * event QUIC_EV_CLOSED follows. No effect on a connection that is closing already.
 * `reason` is text for the peer's log, cut at 255 bytes; may be empty.
 */
void quic_close(struct quic_conn *conn, uint64_t app_code, const char *reason, ns_t now);

/* Whether the closing or draining time is over too: nothing will happen any more. */
bool quic_is_drained(const struct quic_conn *conn);

/* Any pointer of the user's, kept with the connection. */
void quic_set_user(struct quic_conn *conn, void *user);
void *quic_user(const struct quic_conn *conn);

/* ---- the five verbs ----------------------------------------------------------------- */

/*
 * Take `n` datagrams in. Their buffers must stay until quic_dgram_recv has been called
 * and what it gave is used: received DATAGRAM payloads point into them.
 *
 * Returns 0, also for datagrams that were ignored (see quic_stats), the positive code
 * with which the connection is now closing, or QUIC_CLOSED if it was closed before.
 */
int quic_recv(struct quic_conn *conn, struct quic_rx *rx, size_t n, ns_t now);

/*
 * Add to `train` everything that is due on `path`: acknowledgements, handshake, probes,
 * control frames, stream data. DATAGRAMs are not sent from here.
 *
 * Never sends more than congestion window, pacer and anti-amplification limit allow. To
 * drain, send the train, reset it, and call again while the result is positive.
 *
 * Returns the bytes added (> 0), or
 *   0             nothing is due
 *   QUIC_BLOCKED  something is, but window, pacer or address validation forbid: an
 *                 arriving packet or quic_deadline changes that
 *   QUIC_AGAIN    something is, but `train` has no room or another route: send it first
 *   QUIC_CLOSED   the connection is over and has nothing to say
 *   QUIC_INVAL    there is no such path
 */
int quic_send(struct quic_conn *conn, size_t path, struct quic_train *train, ns_t now);

/* The earliest instant at which quic_tick or quic_send has something to do. */
ns_t quic_deadline(const struct quic_conn *conn);

/*
 * Serve what has expired. Then flush by quic_send. Cheap when nothing has.
 */
void quic_tick(struct quic_conn *conn, ns_t now);

enum quic_event_type {
    QUIC_EV_HANDSHAKE_DONE,  /* both sides have keys, peer authenticated: streams may open */
    QUIC_EV_CONFIRMED,       /* RFC 9001 4.1.2 */
    QUIC_EV_STREAM_OPENED,   /* by the peer: `stream` */
    QUIC_EV_STREAM_READABLE, /* `stream` has bytes or its end */
    QUIC_EV_STREAM_WRITABLE, /* `stream` takes bytes again after a short write */
    QUIC_EV_STREAM_RESET,    /* the peer abandoned its sending: `code` */
    QUIC_EV_STREAM_STOPPED,  /* the peer wants no more of our bytes: `code` */
    QUIC_EV_STREAM_FINISHED, /* everything written was acknowledged, with the end */
    QUIC_EV_STREAMS_ALLOWED, /* the peer raised the limit: quic_stream_open may work again */
    QUIC_EV_DGRAM_MAX,       /* quic_dgram_max of `path` changed */
    QUIC_EV_PATH_ROUTE,      /* `path` moved to another route (NAT rebinding, migration,
                              * preferred address) */
    QUIC_EV_PATH_NEW,        /* `path` came into being (multipath) */
    QUIC_EV_PATH_VALIDATED,  /* the peer answered a challenge on `path` */
    QUIC_EV_PATH_GONE,       /* `path` is over for reason `code`; its index may be used again, as
                              * a later QUIC_EV_PATH_NEW tells */
    QUIC_EV_PATHS_ALLOWED,   /* a path that could not be opened may be now (multipath) */
    QUIC_EV_EVENTS_LOST,     /* the queue overflowed: look at every stream that is open */
    QUIC_EV_CLOSED           /* always the last: see quic_close_info */
};

struct quic_event {
    enum quic_event_type type;
    uint64_t stream;
    uint64_t code;
    size_t path;
};

/* The oldest event. False if there is none. Events are bounded and coalesced. */
bool quic_next_event(struct quic_conn *conn, struct quic_event *ev);

/* How a connection ended. */
enum quic_close_kind {
    QUIC_CLOSE_NONE,      /* it has not */
    QUIC_CLOSE_LOCAL,     /* we found an error, or quic_close was called */
    QUIC_CLOSE_PEER,      /* CONNECTION_CLOSE came */
    QUIC_CLOSE_IDLE,      /* nothing heard for the idle time */
    QUIC_CLOSE_HANDSHAKE, /* no answer, or not to the end, within the handshake time */
    QUIC_CLOSE_RESET,     /* stateless reset: the peer has forgotten us */
    QUIC_CLOSE_VERSION    /* the peer speaks no version of ours */
};

struct quic_close_info {
    enum quic_close_kind kind;
    bool app;            /* `code` is the application's, not RFC 9000 20.1 */
    uint64_t code;       /* 0x100 + TLS alert for a failed TLS handshake */
    uint64_t frame_type; /* that caused it, or 0 */
    const char *text;    /* for a person; never null; lives as long as the connection */
};

void quic_close_info(const struct quic_conn *conn, struct quic_close_info *out);

/* ---- DATAGRAM (RFC 9221) ------------------------------------------------------------ */

/*
 * One packet to send as one DATAGRAM frame: the payload is `head` and then `p`. Where the
 * writable bytes before p are enough for the head and 64 more, p is not copied, but read once, by
 * the cipher: what stands there is written over for that time and put back.
 */
struct quic_dgram {
    uint8_t *p;
    size_t n;         /* bytes at p */
    size_t headroom;  /* writable bytes before p */
    uint64_t tag;     /* comes back in quic_dgram_fate; 0: fate not wanted */
    struct span head; /* bytes from elsewhere that go first, or empty */
};
#define QUIC_DGRAM_HEAD_MAX 320 /* longest head */

/*
 * Seal as many of the `n` packets as possible into `train`, one per QUIC packet, in
 * order: as fit the congestion window, the pacer and the train, whose datagrams are all
 * of equal size but the last. A packet larger than the train's first, or the one after a
 * shorter one, ends the train: send it and call again with the rest. A due
 * acknowledgement rides along where the packet has room. The payload is not changed.
 *
 * Returns how many were taken (> 0), or
 *   QUIC_BLOCKED  window or pacer say wait, see quic_deadline and quic_path_view; or something
 *                 goes first (the end of the handshake, an MTU probe): call quic_send
 *   QUIC_AGAIN    the first doesn't fit this train: send the train first
 *   QUIC_TOOBIG   the first can't be sent on this path now: larger than quic_dgram_max
 *   QUIC_INVAL    the handshake isn't done, the peer takes no DATAGRAM, or the first's head is
 *                 longer than QUIC_DGRAM_HEAD_MAX
 *   QUIC_CLOSED   the connection is closing
 */
int quic_dgram_send(struct quic_conn *conn, size_t path, struct quic_train *train,
                    struct quic_dgram *pkts, size_t n, ns_t now);

/*
 * The caller has nothing more to send on `path` at `now`: no DATAGRAM waits anywhere. Where
 * the connection has nothing either and might send, congestion control does not take the
 * rate from here on for the path's. To be called when quic_send has nothing left.
 */
void quic_app_limited(struct quic_conn *c, size_t path, ns_t now);

/*
 * The largest payload that quic_dgram_send takes on `path` now: 0 before the handshake
 * is done, or if the peer takes none. It follows the path MTU; it never exceeds what
 * fits a packet with the longest packet number and connection ID in use.
 */
size_t quic_dgram_max(const struct quic_conn *conn, size_t path);

/* One received DATAGRAM. */
struct quic_dgram_rx {
    uint8_t *p; /* inside the buffer given to quic_recv: mutable, the caller's */
    size_t n;
    size_t path;
    ns_t time; /* the `now` of its quic_recv */
};

/*
 * Take received DATAGRAMs, oldest first, at most `max` of them. Call it after every
 * batch given to quic_recv and before its buffers are used again: what isn't taken by
 * the next quic_recv is forgotten, and so is what exceeds QUIC_DGRAM_RX_MAX in one call.
 *
 * Returns how many were put to `out`.
 */
#define QUIC_DGRAM_RX_MAX 256
size_t quic_dgram_recv(struct quic_conn *conn, struct quic_dgram_rx *out, size_t max);

/* What became of a DATAGRAM. */
enum quic_fate {
    QUIC_FATE_ACKED,   /* its packet was acknowledged; whether it was taken nobody knows */
    QUIC_FATE_LOST,    /* declared lost, or not acknowledged when the connection ended */
    QUIC_FATE_SPURIOUS /* acknowledged after all, after its QUIC_FATE_LOST */
};

struct quic_dgram_fate {
    uint64_t tag;
    size_t path;
    enum quic_fate fate;
};

/*
 * Take fates of tagged DATAGRAMs, oldest first, at most `max`. Each gets QUIC_FATE_ACKED or
 * QUIC_FATE_LOST once, and perhaps QUIC_FATE_SPURIOUS after the latter, also when its path
 * moves and, after the close, when the connection has ended before it was known.
 *
 * The ring is bounded: when the user doesn't take them, the oldest are overwritten, which
 * quic_stats.drop_fate counts. Those of a connection that has ended need no place in it.
 *
 * Returns how many were put to `out`.
 */
size_t quic_dgram_fates(struct quic_conn *conn, struct quic_dgram_fate *out, size_t max);

/* ---- streams ------------------------------------------------------------------------ */

/* Stream ID bits (RFC 9000 2.1). */
static inline bool quic_stream_by_server(uint64_t id)
{
    return id & 1;
}

static inline bool quic_stream_is_uni(uint64_t id)
{
    return id & 2;
}

/*
 * Open a stream. Its number is in `*id`.
 * Returns 0, QUIC_BLOCKED at the peer's limit (QUIC_EV_STREAMS_ALLOWED tells of more, also
 * of the first), QUIC_NOMEM, or QUIC_CLOSED.
 */
int quic_stream_open(struct quic_conn *conn, bool uni, uint64_t *id);

/*
 * Queue bytes (copied). `*taken` says how many were: fewer than given when the buffer
 * limit is reached; QUIC_EV_STREAM_WRITABLE then follows.
 * Returns 0 (also with *taken 0 for empty data), QUIC_BLOCKED if none was taken,
 * QUIC_NOMEM, QUIC_CLOSED if the stream can't be written (finished, reset, stopped,
 * unknown, or the connection is closing), QUIC_INVAL for the peer's unidirectional stream.
 */
int quic_stream_write(struct quic_conn *conn, uint64_t id, struct span data, size_t *taken);

/* No more bytes follow. Returns 0, or QUIC_CLOSED/QUIC_INVAL as quic_stream_write. */
int quic_stream_finish(struct quic_conn *conn, uint64_t id);

/* Abandon sending with an application code. Returns 0, QUIC_CLOSED or QUIC_INVAL. */
int quic_stream_reset(struct quic_conn *conn, uint64_t id, uint64_t code);

/*
 * Want no more of the peer's bytes: STOP_SENDING. What has arrived is dropped and
 * nothing is readable any more. Returns 0, QUIC_CLOSED or QUIC_INVAL.
 */
int quic_stream_stop(struct quic_conn *conn, uint64_t id, uint64_t code);

/*
 * The next readable bytes in order, valid until the next call on this connection.
 * `*fin` (may be null) is set if the stream ends right after them. There may be more
 * behind them: consume and peek again. Empty if there are none.
 */
struct span quic_stream_peek(struct quic_conn *conn, uint64_t id, bool *fin);

/*
 * Consume `n` bytes of what peek gave; this opens the flow-control window. A stream
 * whose end has been peeked must be consumed by `n` too (0 if empty) to be over.
 */
void quic_stream_consume(struct quic_conn *conn, uint64_t id, size_t n);

/* ---- views -------------------------------------------------------------------------- */

size_t quic_path_count(const struct quic_conn *conn);

/* The ID of a path; 0 where there is none of that index, too. */
uint32_t quic_path_id(const struct quic_conn *conn, size_t path);

/* A plain snapshot for schedulers, statistics and people. */
struct quic_path_view {
    bool usable;    /* application data may be sent on it: open, and proven to reach the peer */
    bool validated; /* the peer's address is proven (RFC 9000 8) */
    uint32_t id;    /* path ID, 0 for plain QUIC */
    struct quic_route route;
    ns_t srtt, rttvar, min_rtt, latest_rtt; /* srtt is the initial guess before a sample */
    bool has_rtt;                           /* whether there was a sample */
    size_t mtu_bytes;                       /* largest UDP payload */
    size_t dgram_max_bytes;                 /* as quic_dgram_max */
    uint64_t cwnd_bytes, in_flight_bytes;
    uint64_t pacing_bps;   /* bits per second, with cap_bps observed; 0: not paced */
    uint64_t cap_bps;      /* of quic_path_cap; 0: none */
    uint64_t delivery_bps; /* that arrived lately, as far as we filled it; 0: unknown */
    size_t room_bytes;   /* UDP payload bytes that may leave right now */
    ns_t next_send;      /* when the pacer next allows; NS_NEVER: only after an ACK */
    unsigned pto_count;  /* probe timeouts in a row */
    ns_t waiting;        /* for news of what is in flight: since the last, or since it was sent */
    ns_t reached; /* when the newest packet was sent of which is known that it arrived; or
                          * the first in flight now */
    ns_t oldest;         /* since the first was sent of what no news has passed over; 0: none */
    ns_t last_received;  /* the instant of the last authenticated packet */
    uint64_t packets_sent, packets_received, packets_lost, packets_spurious;
    uint64_t bytes_sent, bytes_received; /* UDP payload */
    bool silent;         /* a probe timeout has passed and nothing answered since */
    bool standby;        /* the peer wishes it used only where no other path is usable */
    bool ramping;        /* its controller has yet to find out what it carries */
    bool app_limited;    /* the application has sent less lately than was allowed */
    bool held_back;      /* the controller sends less than the path carries, to measure it */
    bool ecn;            /* the path is known to carry ECN marks (RFC 9000 13.4) */
    uint64_t packets_ce; /* of ours that met congestion on the way, as the peer reports */
};

/* Over which path acknowledgements go, where there is more than one. */
enum quic_acks {
    QUIC_ACKS_OWN,    /* the path that they are about */
    QUIC_ACKS_FASTEST /* the one of the shortest round trip, and each max_ack_delay their own */
};
void quic_set_acks(struct quic_conn *conn, enum quic_acks acks);

/* Returns 0, or QUIC_INVAL if there is no such path. */
int quic_path_view(const struct quic_conn *conn, size_t path, ns_t now,
                   struct quic_path_view *out);

/* One counter per reason for which something was dropped, and the like. */
struct quic_stats {
    uint64_t drop_parse;     /* no packet to be seen in the bytes */
    uint64_t drop_cid;       /* a destination connection ID that isn't ours */
    uint64_t drop_version;   /* a version that isn't this connection's */
    uint64_t drop_keys;      /* for a level whose keys are gone or not there yet */
    uint64_t drop_crypt;     /* authentication failed */
    uint64_t drop_duplicate; /* packet number seen before */
    uint64_t drop_small;     /* an Initial in a datagram below 1200 bytes */
    uint64_t drop_dgram;     /* DATAGRAMs beyond QUIC_DGRAM_RX_MAX, or not taken */
    uint64_t drop_fate;      /* fates overwritten, or not told for lack of memory */
    uint64_t buffered;       /* packets kept until their keys came */
    uint64_t dgrams_sent, dgrams_received;
    uint64_t key_updates;            /* both ours and the peer's */
    uint64_t path_responses_dropped; /* PATH_CHALLENGEs too many to answer */
    uint64_t stream_bytes_sent, stream_bytes_received;
    size_t memory_bytes; /* on the heap, without what libssl and an extension hold */
};

void quic_stats(const struct quic_conn *conn, struct quic_stats *out);

/*
 * The most that quic_stats can ever say as memory_bytes for a connection with `cfg`, whatever
 * its peer does, while at most `own_streams` streams of the user's are open. Where it comes
 * from: packets that are not yet settled (SENT_MAX_APP, SENT_MAX_HANDSHAKE), the handshake
 * (CONN_CRYPTO_*), the windows and stream counts of `cfg`, and small change. libssl comes on
 * top, with some 20 kB.
 *
 * Few come near: an idle connection holds about 12 kB, and CONN_TRIM after a busy time it is
 * idle again.
 */
size_t quic_memory_bound(const struct quic_config *cfg, size_t own_streams);

/* The application protocol agreed on; "" before. Lives as long as the connection. */
const char *quic_alpn(const struct quic_conn *conn);

/*
 * The latest token that the server gave for a future connection (NEW_TOKEN, RFC 9000 19.7), at
 * most QUIC_TOKEN_MAX bytes; empty if none. Valid until the next call on the connection.
 *
 * Whoever keeps it gives it only to a server of the same name, and should use it once: on the
 * way, it links the connection that uses it to another one that does (8.1.3).
 */
struct span quic_new_token(const struct quic_conn *conn);

/*
 * The latest TLS session, for quic_config.session of one future connection to the same server;
 * empty while the server has given none. It is secret. Valid until the next call on the
 * connection. tls_session says more.
 */
struct span quic_new_session(const struct quic_conn *conn);

/* Whether the handshake is complete, and took up a former session. */
bool quic_is_resumed(const struct quic_conn *conn);

bool quic_is_server(const struct quic_conn *conn);
bool quic_is_established(const struct quic_conn *conn); /* handshake complete, not closing */

/* Ask for an immediate PING on `path`: a round trip for liveness or measuring. On one from which
 * nothing came back it may pass the congestion window, as a probe: not to be asked for often. */
void quic_ping(struct quic_conn *conn, size_t path);

/*
 * Have `path` send no more than `bps` bits per second of whole IP packets (the UDP payload and 28
 * or 48 bytes each), whatever congestion control would allow; 0: no bound, as a path begins.
 * Over every period of length t at most
 *
 *     bytes sent  <=  2 * burst + packet + bps * t / 8
 *
 * with the burst of quic/pacer.h: 10 packets, or what the rate carries in 1 to 2 ms if that is
 * more. Only this end's sending is bounded. What may not wait (acknowledgements, probes, path
 * challenges) is sent and charged, so that what follows waits; the bound holds while that alone
 * stays below the rate.
 *
 * It stays with the path for its life, on whatever route. Returns 0, or QUIC_INVAL if there is no
 * such path.
 */
int quic_path_cap(struct quic_conn *conn, size_t path, uint64_t bps);

/*
 * The interface of `path` carries datagrams of up to `max` bytes: its MTU is searched up to there,
 * instead of quic_config.max_udp_payload. Returns 0, or QUIC_INVAL if there is no such path.
 */
int quic_path_mtu_max(struct quic_conn *conn, size_t path, size_t max, ns_t now);

/* Start a key update (RFC 9001 6). Returns 0 or QUIC_BLOCKED if it is not allowed yet. */
int quic_key_update(struct quic_conn *conn);

/*
 * The client's socket changed (another network, a new local port): use `route` for
 * `path` from now on; it is validated by the way (RFC 9000 9).
 * Returns 0, QUIC_INVAL (no such path, a server, migration disabled by the peer), or
 * QUIC_BLOCKED before the handshake is confirmed or without an unused connection ID.
 */
int quic_path_move(struct quic_conn *conn, size_t path, const struct quic_route *route,
                   ns_t now);

#endif
