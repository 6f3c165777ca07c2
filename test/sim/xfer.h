/*
 * xfer - the workload of the scenarios: streams with known bytes, both ways, and DATAGRAMs.
 *
 * The client opens `streams` bidirectional streams as it is allowed to. On each it sends 8
 * bytes that say how many it wants back, then `up` bytes of a pattern that depends on stream
 * and offset, and FIN. The server checks them and answers with that many bytes of its own
 * pattern and FIN. Every byte is compared where it arrives.
 *
 * DATAGRAMs carry a number and a pattern that follows from it; the receiver marks the number
 * as seen. One that comes twice, or altered, is counted.
 *
 * One struct serves any number of connections of both hosts of a world; the client's are the
 * ones that xfer_client was told.
 */
#ifndef SIM_XFER_H
#define SIM_XFER_H

#include "test/sim/host.h"

#define XFER_CONNS   64
#define XFER_STREAMS 4096 /* per connection */
#define XFER_DGRAMS  65536

struct xfer_stream {
    bool opened, head_done, out_done, in_done, reset;
    uint64_t out, out_want, in, in_want;
    uint8_t head[8];
};

struct xfer_end {
    struct quic_conn *conn;
    bool done, confirmed, closed, established;
    struct quic_close_info close;
    char close_text[256];
    size_t opened, finished; /* streams */
    uint64_t events_writable;
    struct xfer_stream *stream;
};

struct xfer {
    struct sim *sim;
    size_t streams;
    uint64_t up, down; /* bytes on each stream */
    bool close_when_done;
    uint64_t dgrams; /* that the client sends; echoed by the server if dgram_echo */
    size_t dgram_size;
    bool dgram_echo;
    uint64_t dgrams_sent, dgrams_got[2], dgrams_twice, dgrams_bad;
    uint64_t fates[3];  /* told, by enum quic_fate */
    uint64_t fates_bad; /* of an unknown tag, or not in the order that quic.h promises */
    size_t fates_open;  /* tags without QUIC_FATE_ACKED or QUIC_FATE_LOST so far */
    uint64_t bad_bytes; /* pattern mismatches */
    uint64_t bytes[2];  /* stream bytes that arrived in order, [0] at the server */
    ns_t finished_at;
    size_t clients, clients_done; /* connections */
    struct xfer_end end[2 * XFER_CONNS];
    size_t n_ends;
    uint8_t *seen[2];
    uint8_t *told; /* by tag: 1 + the latest fate, 0 none */
};

void xfer_init(struct xfer *x, struct sim *sim);
void xfer_free(struct xfer *x);

/* The applications of both hosts. */
struct sim_app xfer_client_app(struct xfer *x);
struct sim_app xfer_server_app(struct xfer *x);

/* The client connection `conn` takes part. */
struct xfer_end *xfer_client(struct xfer *x, struct quic_conn *conn);
struct xfer_end *xfer_end(struct xfer *x, const struct quic_conn *conn);

/* Take all fates that are there, as every turn of a client does. */
void xfer_fates(struct xfer *x, struct quic_conn *conn);

/* For sim_run: every client has sent and got all. */
bool xfer_done(void *x);
/* Every connection has ended. */
bool xfer_closed(void *x);

#endif
