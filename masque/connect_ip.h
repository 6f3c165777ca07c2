/*
 * connect_ip - one end of a CONNECT-IP tunnel (RFC 9484), client or server alike.
 *
 * Model. Each end assigns addresses to the other (ADDRESS_ASSIGN) and advertises the
 * ranges it will route (ROUTE_ADVERTISEMENT). That gives four lists:
 *
 *     assigned to us      by the peer   our sources                  } ours
 *     advertised by us    to the peer   sources and hosts behind us  }
 *     assigned to peer    by us         the peer's sources           } theirs
 *     advertised by peer  to us         sources and hosts behind it  }
 *
 * A packet may leave from `ours` to `theirs` and may arrive from `theirs` for `ours`;
 * a range counts for its protocol only, except that ICMP is allowed to all. An ICMP
 * error may come from any host at the side that advertises routes in its family, since
 * routers on the way send them (RFC 9484 7.2.1). So a plain client, which advertises
 * nothing, can send from its assigned addresses alone.
 *
 * Neither link-local nor multicast nor broadcast traffic is forwarded (RFC 9484 7.1);
 * an ICMPv6 echo request to all nodes (ff02::1) is answered here. The hop limit is
 * taken down by one on encapsulation only. Packets with a source route are dropped.
 *
 * Shape. Stream bytes and datagrams go in; stream bytes, verdicts and events are
 * pulled out. Each packet is checked in place, without allocation; the reason of
 * every drop is a verdict with a counter of its own, and the caller may then ask for
 * the ICMP error that belongs to it, at a bounded rate.
 *
 * What is to be sent is kept as state, not as a queue of capsules: however often a list
 * changes before the peer reads, memory stays at one capsule of each type.
 *
 * Quirk. Some servers send IPv4 and IPv6 in two ADDRESS_ASSIGNs and two
 * ROUTE_ADVERTISEMENTs, the IPv6 address with host bits and its pool's prefix length.
 * Where accepted, such a peer is recognized by exactly that: an unasked ADDRESS_ASSIGN
 * of IPv6 entries alone, with host bits, while only IPv4 is assigned. From then on its
 * capsules replace the families they contain, and such an address counts as one host.
 * Towards all others each capsule replaces the last (RFC 9484 4.7).
 */
#ifndef MASQUE_CONNECT_IP_H
#define MASQUE_CONNECT_IP_H

#include "masque/capsule.h"
#include "masque/dgram.h"
#include "masque/icmp.h"
#include "masque/ipcapsule.h"
#include "masque/ippkt.h"
#include "masque/routes.h"

#define CIP_PREFIXES_MAX 64    /* addresses per ADDRESS_ASSIGN, either way */
#define CIP_RANGES_MAX   1024  /* ranges per ROUTE_ADVERTISEMENT, either way */
#define CIP_REQUESTS_MAX 16    /* address requests waiting for an answer, either way */
#define CIP_RATES_MAX    16    /* paths per PATH_RATES, either way */
#define CIP_PACKET_MAX   65535 /* longest inner packet */
#define CIP_MTU_MIN      1280  /* no tunnel may carry less (RFC 9484 7.1) */

/* What became of a packet. Each has its counter, out and in. */
enum cip_verdict {
    CIP_OK,
    CIP_MALFORMED,    /* not one whole IP packet, or no context ID before it */
    CIP_CONTEXT,      /* in: a context that nobody has registered */
    CIP_SOURCE_ROUTE, /* carries a source route */
    CIP_LINK_LOCAL,   /* link-local source or destination */
    CIP_MULTICAST,    /* multicast or broadcast destination */
    CIP_MARTIAN,      /* source or destination that no host can have */
    CIP_SOURCE,       /* source not within what that side may use */
    CIP_NO_ROUTE,     /* destination not within what the other side takes */
    CIP_PROTOCOL,     /* destination is, but not for this protocol */
    CIP_HOP_LIMIT,    /* out: would expire here */
    CIP_TOO_BIG,      /* out: above `room` */
    CIP_ECHO,         /* in: echo request to all nodes: to be answered, not delivered */
    CIP_VERDICTS
};

struct cip_stats {
    uint64_t out[CIP_VERDICTS], in[CIP_VERDICTS]; /* packets; [CIP_OK] are those that passed */
    uint64_t out_bytes, in_bytes;                 /* of inner packets that passed */
    uint64_t answers;                             /* ICMP messages built, both directions */
    uint64_t answers_limited;                     /* not built: rate limit */
    uint64_t capsules;                            /* understood */
};

struct cip_config {
    uint64_t stream_id;             /* the request stream, a multiple of 4 */
    uint64_t hash_seed;             /* for flow hashes: random per process */
    bool split_quirk;               /* recognize peers that split their capsules: see above */
    uint32_t icmp_rate, icmp_burst; /* ICMP per second and at once; 0: 100 and 50 */
};

enum cip_event_type {
    CIP_ADDRESSES, /* what the peer assigned to us has changed: cip_assigned */
    CIP_ROUTES,    /* what the peer advertises has changed: cip_routes */
    CIP_REQUESTED, /* the peer asks for `request`: to be answered by cip_assign or cip_refuse */
    CIP_REFUSED,   /* the peer refused our request `request.request_id` */
    CIP_RATES      /* what the peer wants its paths to carry at most has changed: cip_rates */
};

struct cip_event {
    enum cip_event_type type;
    struct ip_assign request;
};

/* The bytes before a packet in a DATAGRAM frame, and its flow. */
struct cip_head {
    uint8_t b[DGRAM_PREFIX_MAX];
    uint8_t len;
    uint32_t flow; /* flow hash of the packet; 0 from cip_prefix */
};

struct cip {
    struct cip_config cfg;
    struct cip_head head;
    struct ip_addr self[2]; /* IPv4, IPv6; version 0: unknown */
    size_t mtu;             /* of our end of the tunnel; 0: unknown */
    struct icmp_limit limit;
    struct cip_stats stats;
    struct capsule_reader reader;

    struct ip_assign ours[CIP_PREFIXES_MAX], theirs[CIP_PREFIXES_MAX]; /* assigned */
    size_t nours, ntheirs;
    struct routes our_routes, their_routes;
    struct path_rate our_rates[CIP_RATES_MAX];   /* told to the peer, or to be */
    struct path_rate their_rates[CIP_RATES_MAX]; /* told by the peer */
    size_t nour_rates, ntheir_rates;

    struct ip_assign asked[CIP_REQUESTS_MAX];    /* by the peer: not yet pulled or answered */
    struct ip_assign refusing[CIP_REQUESTS_MAX]; /* our refusals to be sent once */
    struct ip_assign asking[CIP_REQUESTS_MAX];   /* our requests to be sent */
    uint64_t refused[CIP_REQUESTS_MAX];          /* our requests that were refused, to report */
    uint64_t open[CIP_REQUESTS_MAX];             /* our requests without an answer */
    size_t nasked, npulled, nrefusing, nasking, nrefused, nopen;
    uint64_t next_request;

    bool split;                                            /* the peer splits its capsules */
    bool addresses_changed, routes_changed, rates_changed; /* events to be pulled */
    bool assign_due, routes_due, rates_due;                /* capsules to be written */
    uint8_t *out;
    size_t out_at, out_n, out_cap; /* bytes out_at..out_n of `out` are yet to be taken */
};

/*
 * Set up one end; nothing is assigned and nothing routed either way.
 *
 * Returns 0, or QUIC_INVAL if `stream_id` is no client-initiated bidirectional stream.
 */
int cip_init(struct cip *c, const struct cip_config *cfg);
void cip_free(struct cip *c);

/*
 * The address of the proxy itself inside the tunnel, which no capsule tells: a server's
 * own, and what its client believes it to be. Version 0 or null for none.
 *
 * ICMP messages made here need a source that Linux takes from outside, so not an
 * address of the host that gets them. Towards the local TUN device that is the first
 * address assigned to the peer, else this one, else the packet's own destination;
 * towards the peer, the first address assigned to us, else this one, else none is made.
 */
void cip_set_self(struct cip *c, const struct ip_addr *v4, const struct ip_addr *v6);

/*
 * The longest packet that our end of the tunnel carries now. The maximum segment sizes that TCP
 * SYNs announce are lowered to it in both directions (ippkt_mss_clamp); 0, the value at
 * first: they are not.
 */
void cip_set_mtu(struct cip *c, size_t mtu);

/* --- the request stream ------------------------------------------------------------ */

/*
 * Take bytes of the request's data stream from the front of `*in`. Call until `in->n`
 * is 0: it stops early behind a DATAGRAM capsule, whose payload (never empty) is then
 * in `*dgram`, to be given to cip_in before the next call; else `*dgram` is empty.
 *
 * Returns 0; an HTTP/3 code to abort the request stream with: MASQUE_H3_MESSAGE_ERROR
 * for a malformed capsule (RFC 9297 3.3), MASQUE_H3_EXCESSIVE_LOAD above one of the
 * bounds; or QUIC_NOMEM.
 */
int cip_recv(struct cip *c, struct span *in, struct span *dgram);

/* The peer's stream ended. Returns 0, or MASQUE_H3_MESSAGE_ERROR within a capsule. */
int cip_recv_end(const struct cip *c);

/*
 * Bytes to be sent on the request stream now, or an empty span; valid until the next
 * call that is not cip_in or cip_out. cip_out_done says how many were taken.
 */
struct span cip_out_bytes(struct cip *c);
void cip_out_done(struct cip *c, size_t n);

/* The next event; false if there is none. */
bool cip_next_event(struct cip *c, struct cip_event *ev);

/* --- what we tell the peer --------------------------------------------------------- */

/*
 * The full list of addresses that the peer has from us; sent as one ADDRESS_ASSIGN,
 * IPv4 first. `request_id` is that of the request an entry answers, or 0.
 *
 * Returns 0; QUIC_INVAL for a prefix with host bits or a bad length, or an entry that
 * means a refusal; QUIC_TOOBIG above CIP_PREFIXES_MAX; QUIC_NOMEM. On error nothing has
 * changed.
 */
int cip_assign(struct cip *c, const struct ip_assign *list, size_t n);

/*
 * Refuse the peer's request `request_id`; goes out once, with the next ADDRESS_ASSIGN
 * (RFC 9484 4.7.2).
 *
 * Returns 0; QUIC_INVAL if no such request is open; QUIC_NOMEM.
 */
int cip_refuse(struct cip *c, uint64_t request_id);

/*
 * The full list of ranges that we route for the peer, in any order; sent in normal
 * order as one ROUTE_ADVERTISEMENT.
 *
 * Returns 0; QUIC_INVAL for a bad range; QUIC_TOOBIG above CIP_RANGES_MAX after
 * normalizing; QUIC_NOMEM. On error nothing has changed.
 */
int cip_advertise(struct cip *c, const struct ip_range *list, size_t n);

/*
 * Ask the peer for addresses: an all-zero one of some length, or a certain one (RFC 9484
 * 4.7.2). `ids`, when not null, gets the request IDs, which cip_assigned and CIP_REFUSED
 * show again.
 *
 * Returns 0; QUIC_INVAL for none or a prefix with host bits; QUIC_BLOCKED while more
 * than CIP_REQUESTS_MAX would be waiting; QUIC_NOMEM. On error nothing has changed.
 */
int cip_request(struct cip *c, const struct ip_prefix *want, size_t n, uint64_t *ids);

/*
 * The full list of what we want to have sent to us at most, by path; sent as one PATH_RATES if
 * it is another than the last, which is none at first. To peers of our own kind only: others may
 * take it for an error, though RFC 9297 3.2 has them skip it.
 *
 * Returns 0; QUIC_INVAL for a path named twice or a rate that can't be written; QUIC_TOOBIG above
 * CIP_RATES_MAX; QUIC_NOMEM. On error nothing has changed.
 */
int cip_tell_rates(struct cip *c, const struct path_rate *list, size_t n);

/* --- what the peer told us --------------------------------------------------------- */

/* The addresses assigned to us, and the ranges the peer routes; valid until cip_recv. */
const struct ip_assign *cip_assigned(const struct cip *c, size_t *n);
const struct ip_range *cip_routes(const struct cip *c, size_t *n);

/* What the peer wants to have sent to it at most, by path; valid until cip_recv. */
const struct path_rate *cip_rates(const struct cip *c, size_t *n);

/* The first address of that family assigned to us; false if there is none. */
bool cip_address(const struct cip *c, uint8_t version, struct ip_addr *out);

/* --- packets ----------------------------------------------------------------------- */

/*
 * Check a packet that is to enter the tunnel, whose checksums are whole unless it is a
 * super-packet, take one from its hop limit, clamp a SYN (cip_set_mtu), and give the
 * bytes that go before it. `unit` is the longest packet that is made of it: `len`, or less for
 * a super-packet that will be cut up. `room` is the longest that fits a DATAGRAM frame behind
 * those bytes.
 *
 * Returns CIP_OK; any other verdict: the packet is unchanged and must not be sent.
 */
enum cip_verdict cip_out(struct cip *c, uint8_t *pkt, size_t len, size_t unit, size_t room,
                         struct cip_head *head);

/*
 * Check an HTTP datagram payload from the peer; `*pkt` is the packet within it, also
 * for the verdicts that cip_reject_in can answer. The bytes must be writable: a SYN is clamped
 * in place (cip_set_mtu).
 *
 * Returns CIP_OK; any other verdict: it must not be delivered.
 */
enum cip_verdict cip_in(struct cip *c, struct span payload, struct span *pkt);

/* The same for a packet that came in a context of its own (masque/bulk.h). */
enum cip_verdict cip_in_packet(struct cip *c, struct span pkt);

/*
 * The ICMP message that `verdict` calls for, into `out` of `size` bytes (ICMP_MAX, or
 * for CIP_ECHO the length of the request, suffice): for a packet refused by cip_out,
 * to be written to where it came from; for one refused by cip_in, to be sent to the
 * peer behind cip_prefix (RFC 9484 7.2.1). `room` is what cip_out was given.
 *
 * Returns its length; 0 if there is none: the verdict has no answer, the RFCs forbid
 * one, no own address of the family is set, or the rate limit is reached.
 */
size_t cip_reject_out(struct cip *c, enum cip_verdict verdict, struct span pkt, size_t room,
                      ns_t now, uint8_t *out, size_t size);
size_t cip_reject_in(struct cip *c, enum cip_verdict verdict, struct span pkt, ns_t now,
                     uint8_t *out, size_t size);

/* The bytes before a packet that this end makes itself; no check, no hop limit. */
const struct cip_head *cip_prefix(const struct cip *c);

/* "no-route", "hop-limit", ...: the name of a verdict's counter. */
const char *cip_verdict_name(enum cip_verdict verdict);

/* Whether every invariant holds; for tests and fuzzers. */
bool cip_check(const struct cip *c);

#endif
