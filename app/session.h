/*
 * session - one peer: a QUIC connection, HTTP/3 on it, one IP tunnel, one queue.
 *
 * Joins the layers and owns what flows between them; knows neither who the peer is nor
 * what addresses it should have, which is the client's and the server's business. The
 * way of a packet out: session_on_tun, queue, session_flush; and in: session_on_udp,
 * straight to the TUN device. Everything else is an event, pulled:
 *
 *     session_on_udp(s, ifindex, dgrams, n, now);      or quic_tick on s->quic
 *     while (session_next_event(s, &ev, now))
 *         ...
 *     session_flush(s, now)                    once per batch
 *
 * A server's session sends by each path no more than its client wants (PATH_RATES).
 *
 * Borrowed for the life of a session: sockets, device, log. Owned: the QUIC connection.
 */
#ifndef APP_SESSION_H
#define APP_SESSION_H

#include "app/hold.h"
#include "app/sender.h"
#include "app/width.h"
#include "h3/h3.h"
#include "masque/connect_ip.h"
#include "quic/quic.h"

#define SESSION_STREAMS_MAX 32               /* streams of one connection, own and peer's */
#define SESSION_STARVED     (20 * NS_PER_MS) /* timers run this late while the socket is full */

#define SESSION_NO_PATH SIZE_MAX

enum session_event_type {
    SESSION_READY,     /* client: the peer's SETTINGS allow an IP tunnel: session_request */
    SESSION_UNFIT,     /* client: they don't: it is no CONNECT-IP server */
    SESSION_REQUEST,   /* server: `fields` ask for something on `stream` */
    SESSION_RESPONSE,  /* client: `fields` answer our request */
    SESSION_ADDRESSES, /* what the peer assigned to us has changed */
    SESSION_ROUTES,    /* what the peer routes has changed */
    SESSION_ASKED,     /* the peer asks for an address: `asked` */
    SESSION_MTU,       /* session_mtu has changed */
    SESSION_PATHS,     /* paths came, went (`gone`: which), or may be opened */
    SESSION_ENDED,     /* the tunnel's stream is over; the connection is not */
    SESSION_CLOSED     /* the connection is closing or gone: quic_close_info */
};

struct session_event {
    enum session_event_type type;
    uint64_t stream;
    const struct h3_field *fields; /* valid until the next session call */
    size_t n;
    struct ip_assign asked;
    size_t gone; /* SESSION_PATHS: index of a path that is over; SESSION_NO_PATH: none is */
};

struct session_cfg {
    const struct socks *socks; /* at least one; may change between calls */
    struct device *device;
    const struct log *log;
    const struct sched *sched;
    uint64_t hash_seed;
    uint64_t grease; /* of the HTTP/3 SETTINGS */
    size_t mtu_max;  /* of the tunnel; 0: what the paths carry */
    struct numbered_cap *cap; /* of numbered flows, for all sessions; null: none */
};

/* Packets that left the way, by reason; what the tunnel itself refuses is in cip.stats. */
struct session_stats {
    uint64_t no_tunnel; /* datagrams and packets while no tunnel is open */
};

/* One stream, to know when the transport has let go of both directions. */
struct session_stream {
    uint64_t id;
    bool recv_done, send_done;
};

struct session {
    struct session_cfg cfg;
    struct quic_conn *quic;
    struct h3_conn *h3;
    struct cip cip;
    struct sender sender;
    struct hold hold;
    struct numbered *numbered; /* null: not agreed upon */
    struct session_stats stats;

    bool open;        /* `cip` is a tunnel on stream `request` */
    uint64_t request; /* the tunnel's stream; on a client from session_request on */
    bool requested;
    bool ready_told, closed_told, ended_told;
    struct width width; /* of the tunnel, as of the last look at the paths */
    ns_t width_at;      /* no need to look before */

    struct session_stream stream[SESSION_STREAMS_MAX];
    size_t streams;
    uint64_t opened[2]; /* streams that we opened: [0] both ways, [1] one way */

    bool reading; /* `read_id` is being fed to h3 */
    uint64_t read_id;
    bool consume_due, consume_fin; /* what the last h3_recv took, to be consumed */
    size_t consume_n;
};

/* Take over `conn`; `s` must not be moved. 0, or QUIC_NOMEM: `conn` stays the caller's then. */
int session_init(struct session *s, struct quic_conn *conn, const struct session_cfg *cfg);
void session_free(struct session *s);

/*
 * Received datagrams of this connection, by the socket of interface `ifindex` (0: the one for
 * all); what they carry for the TUN is delivered to it.
 */
void session_on_udp(struct session *s, uint32_t ifindex, const struct udp_dgram *d, size_t n,
                    ns_t now);

/* Packets read from the TUN device for this peer: checked, queued; refused ones answered. */
void session_on_tun(struct session *s, struct vnet_split *pkts, size_t n, ns_t now);

/* The next event; false if there is none. Call until then after each input. */
bool session_next_event(struct session *s, struct session_event *ev, ns_t now);

/* Send all that may leave now. */
void session_flush(struct session *s, ns_t now);

/* When session_flush has something to do next; quic_deadline comes on top. */
ns_t session_wake(const struct session *s);

/*
 * When quic_tick or session_flush has something to do next. What is overdue only because
 * the socket is full waits for the on_flush that a free train brings.
 */
ns_t session_deadline(const struct session *s, ns_t now);

/*
 * Client, after SESSION_READY: ask for the tunnel. 0, or what h3_request returns.
 */
int session_request(struct session *s, const struct h3_field *fields, size_t n);

/*
 * The tunnel of `stream` is accepted: from now on `cip` lives. `bulk`: both ends have said that
 * they know numbered flows (masque/bulk.h). 0, QUIC_INVAL (one is open already), QUIC_NOMEM, or
 * what cip_init returns.
 */
int session_open(struct session *s, uint64_t stream, bool bulk);

/*
 * Client, with a tunnel open: what the server is to send at most, by path. Nobody is told but a
 * server that knows numbered flows: others may end the tunnel for a capsule that is new to them.
 * As cip_tell_rates.
 */
int session_rates(struct session *s, const struct path_rate *list, size_t n);

/* What the session did, in a few debug lines: packets, drops by reason, path. */
void session_log(const struct session *s, ns_t now);

/* The longest IP packet that should enter the tunnel now (app/width.h), 0 before it is known. */
static inline size_t session_mtu(const struct session *s)
{
    return s->width.mtu;
}

#endif
