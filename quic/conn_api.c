#include <string.h>

#include "quic/conn.h"

void quic_set_user(struct quic_conn *c, void *user)
{
    c->user = user;
}

void *quic_user(const struct quic_conn *c)
{
    return c->user;
}

const char *quic_alpn(const struct quic_conn *c)
{
    return tls_alpn(c->tls);
}

struct span quic_new_token(const struct quic_conn *c)
{
    return c->server ? (struct span){0} : span_of(c->new_token, c->new_token_len);
}

struct span quic_new_session(const struct quic_conn *c)
{
    return tls_session(c->tls);
}

bool quic_is_resumed(const struct quic_conn *c)
{
    return tls_resumed(c->tls);
}

bool quic_is_server(const struct quic_conn *c)
{
    return c->server;
}

bool quic_is_established(const struct quic_conn *c)
{
    return c->complete && conn_alive(c);
}

void quic_ping(struct quic_conn *c, size_t path)
{
    if (path < c->n_paths && c->path[path].used)
        conn_path_ping(&c->path[path]);
}

int quic_path_cap(struct quic_conn *c, size_t path, uint64_t bps)
{
    if (path >= c->n_paths || !c->path[path].used)
        return QUIC_INVAL;
    c->path[path].cap_bps = bps;
    return 0;
}

void quic_stats(const struct quic_conn *c, struct quic_stats *out)
{
    *out = c->stats;
    out->stream_bytes_sent = c->streams.bytes_sent;
    out->stream_bytes_received = c->streams.bytes_received;
    out->memory_bytes = conn_memory(c);
}

/* ---- streams: those of quic/streams.h while the connection is open -------------------- */

static bool open_for_streams(const struct quic_conn *c)
{
    return c->complete && conn_alive(c);
}

int quic_stream_open(struct quic_conn *c, bool uni, uint64_t *id)
{
    if (!conn_alive(c))
        return QUIC_CLOSED;
    return c->complete ? streams_open(&c->streams, uni, id) : QUIC_BLOCKED;
}

int quic_stream_write(struct quic_conn *c, uint64_t id, struct span data, size_t *taken)
{
    *taken = 0;
    return open_for_streams(c) ? streams_write(&c->streams, id, data, taken) : QUIC_CLOSED;
}

int quic_stream_finish(struct quic_conn *c, uint64_t id)
{
    return open_for_streams(c) ? streams_finish(&c->streams, id) : QUIC_CLOSED;
}

int quic_stream_reset(struct quic_conn *c, uint64_t id, uint64_t code)
{
    return open_for_streams(c) ? streams_reset(&c->streams, id, code) : QUIC_CLOSED;
}

int quic_stream_stop(struct quic_conn *c, uint64_t id, uint64_t code)
{
    return open_for_streams(c) ? streams_stop(&c->streams, id, code) : QUIC_CLOSED;
}

struct span quic_stream_peek(struct quic_conn *c, uint64_t id, bool *fin)
{
    if (fin)
        *fin = false;
    return open_for_streams(c) ? streams_peek(&c->streams, id, fin) : (struct span){0};
}

void quic_stream_consume(struct quic_conn *c, uint64_t id, size_t n)
{
    if (open_for_streams(c))
        streams_consume(&c->streams, id, n);
}
