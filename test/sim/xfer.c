#include "test/sim/xfer.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 4096

static uint8_t pattern(uint64_t stream, bool server, uint64_t off)
{
    uint64_t v = (off + 1) * 0x9e3779b97f4a7c15u + stream * 0xff51afd7ed558ccdu + server;
    return (uint8_t)(v >> 37);
}

void xfer_init(struct xfer *x, struct sim *sim)
{
    memset(x, 0, sizeof(*x));
    x->sim = sim;
    for (int i = 0; i < 2; i++)
        if (!(x->seen[i] = calloc(XFER_DGRAMS, 1)))
            abort();
    if (!(x->told = calloc(XFER_DGRAMS + 1, 1)))
        abort();
}

void xfer_free(struct xfer *x)
{
    for (size_t i = 0; i < x->n_ends; i++)
        free(x->end[i].stream);
    for (int i = 0; i < 2; i++)
        free(x->seen[i]);
    free(x->told);
}

static struct xfer_end *add(struct xfer *x, struct quic_conn *conn)
{
    if (x->n_ends == ARRAY_LEN(x->end))
        abort();
    struct xfer_end *end = &x->end[x->n_ends++];
    end->conn = conn;
    end->stream = calloc(XFER_STREAMS, sizeof(*end->stream));
    if (!end->stream)
        abort();
    return end;
}

struct xfer_end *xfer_client(struct xfer *x, struct quic_conn *conn)
{
    x->clients++;
    return add(x, conn);
}

struct xfer_end *xfer_end(struct xfer *x, const struct quic_conn *conn)
{
    for (size_t i = 0; i < x->n_ends; i++)
        if (x->end[i].conn == conn)
            return &x->end[i];
    abort();
}

static struct xfer_stream *stream_of(struct xfer_end *end, uint64_t id)
{
    if (id / 4 >= XFER_STREAMS)
        abort();
    return &end->stream[id / 4];
}

/* Write what is wanted and fits. */
static void produce(struct xfer_end *end, uint64_t id, bool server)
{
    struct xfer_stream *s = stream_of(end, id);
    uint8_t buf[CHUNK];
    while (s->opened && !s->out_done) {
        size_t n = 0, taken = 0;
        uint64_t head = server ? 0 : 8;
        while (n < CHUNK && s->out + n < head) {
            buf[n] = s->head[s->out + n];
            n++;
        }
        while (n < CHUNK && s->out + n < head + s->out_want) {
            buf[n] = pattern(id, server, s->out + n - head);
            n++;
        }
        if (n == 0) {
            s->out_done = quic_stream_finish(end->conn, id) == 0;
            return;
        }
        if (quic_stream_write(end->conn, id, span_of(buf, n), &taken) != 0)
            return;
        s->out += taken;
        if (taken < n)
            return;
    }
}

static void take(struct xfer *x, struct xfer_end *end, struct xfer_stream *s, uint64_t id,
                 bool server, struct span data)
{
    uint64_t head = server ? 8 : 0;
    for (size_t i = 0; i < data.n; i++, s->in++) {
        if (s->in < head)
            s->head[s->in] = data.p[i];
        else if (data.p[i] != pattern(id, !server, s->in - head))
            x->bad_bytes++;
    }
    x->bytes[!server] += data.n;
    if (server && !s->head_done && s->in >= 8) {
        s->head_done = s->opened = true;
        for (int i = 0; i < 8; i++)
            s->out_want = s->out_want << 8 | s->head[i];
        produce(end, id, true);
    }
}

static void consume(struct xfer *x, struct xfer_end *end, uint64_t id, bool server)
{
    struct xfer_stream *s = stream_of(end, id);
    for (;;) {
        bool fin = false;
        struct span data = quic_stream_peek(end->conn, id, &fin);
        if (data.n == 0 && !fin)
            return;
        take(x, end, s, id, server, data);
        quic_stream_consume(end->conn, id, data.n);
        if (fin) {
            if (!s->in_done)
                end->finished++;
            s->in_done = true;
            if (!server && s->in != x->down)
                x->bad_bytes++;
            if (server && s->in != 8 + x->up)
                x->bad_bytes++;
            return;
        }
    }
}

static void open_streams(struct xfer *x, struct xfer_end *end)
{
    while (end->opened < x->streams) {
        uint64_t id;
        if (quic_stream_open(end->conn, false, &id) != 0)
            return;
        struct xfer_stream *s = stream_of(end, id);
        s->opened = true;
        s->out_want = x->up;
        for (int i = 0; i < 8; i++)
            s->head[i] = (uint8_t)(x->down >> (8 * (7 - i)));
        end->opened++;
        produce(end, id, false);
    }
}

static void event(struct xfer *x, struct quic_conn *conn, const struct quic_event *ev,
                  bool server)
{
    struct xfer_end *end = xfer_end(x, conn);
    switch (ev->type) {
    case QUIC_EV_HANDSHAKE_DONE:
        end->established = true;
        break;
    case QUIC_EV_CONFIRMED:
        end->confirmed = true;
        break;
    case QUIC_EV_STREAM_OPENED:
    case QUIC_EV_STREAM_READABLE:
        consume(x, end, ev->stream, server);
        break;
    case QUIC_EV_STREAM_WRITABLE:
        end->events_writable++;
        produce(end, ev->stream, server);
        break;
    case QUIC_EV_STREAM_RESET:
        stream_of(end, ev->stream)->reset = true;
        break;
    case QUIC_EV_CLOSED:
        end->closed = true;
        quic_close_info(conn, &end->close);
        strncpy(end->close_text, end->close.text, sizeof(end->close_text) - 1);
        end->close.text = end->close_text;
        break;
    default:
        break;
    }
}

static void client_event(struct sim_host *host, struct quic_conn *conn,
                         const struct quic_event *ev)
{
    event(host->app.ctx, conn, ev, false);
}

static void server_event(struct sim_host *host, struct quic_conn *conn,
                         const struct quic_event *ev)
{
    event(host->app.ctx, conn, ev, true);
}

static void server_accepted(struct sim_host *host, struct quic_conn *conn)
{
    add(host->app.ctx, conn);
}

/* ---- DATAGRAMs ----------------------------------------------------------------------- */

static void dgram_fill(uint8_t *p, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n; i++)
        p[i] = i < 8 ? (uint8_t)(number >> (8 * i)) : pattern(number, false, i);
}

static void send_dgrams(struct xfer *x, struct sim_host *host, struct xfer_end *end)
{
    uint8_t buf[2048];
    if (x->dgram_size > sizeof(buf))
        abort();
    while (x->dgrams_sent < x->dgrams) {
        dgram_fill(buf, x->dgram_size, x->dgrams_sent);
        int r =
            sim_host_dgram(host, end->conn, span_of(buf, x->dgram_size), x->dgrams_sent + 1);
        if (r <= 0)
            return;
        x->dgrams_sent++;
        x->fates_open++;
    }
}

static void dgram(struct xfer *x, struct sim_host *host, struct quic_conn *conn,
                  const struct quic_dgram_rx *d, bool server)
{
    uint64_t number = 0;
    uint8_t want[2048];
    for (size_t i = 0; i < 8 && i < d->n; i++)
        number |= (uint64_t)d->p[i] << (8 * i);
    if (d->n < 8 || d->n > sizeof(want) || number >= XFER_DGRAMS) {
        x->dgrams_bad++;
        return;
    }
    dgram_fill(want, d->n, number);
    x->dgrams_bad += memcmp(want, d->p, d->n) != 0;
    x->dgrams_twice += x->seen[!server][number];
    x->seen[!server][number] = 1;
    x->dgrams_got[!server]++;
    if (server && x->dgram_echo)
        sim_host_dgram(host, conn, span_of(d->p, d->n), 0);
}

static void client_dgram(struct sim_host *host, struct quic_conn *conn,
                         const struct quic_dgram_rx *d)
{
    dgram(host->app.ctx, host, conn, d, false);
}

static void server_dgram(struct sim_host *host, struct quic_conn *conn,
                         const struct quic_dgram_rx *d)
{
    dgram(host->app.ctx, host, conn, d, true);
}

/* ---- turns --------------------------------------------------------------------------- */

static void take_fate(struct xfer *x, const struct quic_dgram_fate *f)
{
    if (f->tag == 0 || f->tag > x->dgrams_sent || f->path != 0 || f->fate >= 3) {
        x->fates_bad++;
        return;
    }
    x->fates_bad += x->told[f->tag] != (f->fate == QUIC_FATE_SPURIOUS ? 1 + QUIC_FATE_LOST : 0);
    x->told[f->tag] = (uint8_t)(1 + f->fate);
    x->fates[f->fate]++;
    x->fates_open -= f->fate != QUIC_FATE_SPURIOUS;
}

void xfer_fates(struct xfer *x, struct quic_conn *conn)
{
    struct quic_dgram_fate fate[64];
    size_t n;
    while ((n = quic_dgram_fates(conn, fate, ARRAY_LEN(fate))))
        for (size_t i = 0; i < n; i++)
            take_fate(x, &fate[i]);
}

static void client_turn(struct sim_host *host, struct quic_conn *conn)
{
    struct xfer *x = host->app.ctx;
    struct xfer_end *end = xfer_end(x, conn);
    if (end->closed || !end->established)
        return;
    open_streams(x, end);
    send_dgrams(x, host, end);
    xfer_fates(x, conn);
    if (!end->done && end->finished >= x->streams && x->dgrams_sent >= x->dgrams) {
        end->done = true;
        x->clients_done++;
        x->finished_at = host->node.sim->now;
        if (x->close_when_done)
            quic_close(conn, 0, "done", host->node.sim->now);
    }
}

static void freed(struct sim_host *host, struct quic_conn *conn)
{
    xfer_end(host->app.ctx, conn)->conn = NULL;
}

struct sim_app xfer_client_app(struct xfer *x)
{
    return (struct sim_app){.ctx = x,
                            .event = client_event,
                            .dgram = client_dgram,
                            .turn = client_turn,
                            .freed = freed};
}

struct sim_app xfer_server_app(struct xfer *x)
{
    return (struct sim_app){.ctx = x,
                            .accepted = server_accepted,
                            .event = server_event,
                            .dgram = server_dgram,
                            .freed = freed};
}

bool xfer_done(void *ctx)
{
    struct xfer *x = ctx;
    return x->clients_done == x->clients;
}

bool xfer_closed(void *ctx)
{
    struct xfer *x = ctx;
    for (size_t i = 0; i < x->n_ends; i++)
        if (!x->end[i].closed)
            return false;
    return x->n_ends > 0;
}
