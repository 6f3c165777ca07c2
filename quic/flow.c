#include "quic/flow.h"

#include "quic/errors.h"
#include "quic/wire.h"

void flow_tx_init(struct flow_tx *f, uint64_t limit)
{
    *f = (struct flow_tx){.limit = limit, .blocked_at = FLOW_NOT_BLOCKED};
}

void flow_tx_use(struct flow_tx *f, uint64_t n)
{
    f->used += n;
}

bool flow_tx_raise(struct flow_tx *f, uint64_t limit)
{
    if (limit <= f->limit)
        return false;
    f->limit = limit;
    return true;
}

bool flow_tx_blocked(const struct flow_tx *f)
{
    return f->used == f->limit && f->blocked_at != f->limit;
}

void flow_tx_blocked_sent(struct flow_tx *f)
{
    f->blocked_at = f->limit;
}

void flow_tx_blocked_lost(struct flow_tx *f, uint64_t limit)
{
    if (f->blocked_at == limit)
        f->blocked_at = FLOW_NOT_BLOCKED;
}

void flow_rx_init(struct flow_rx *f, uint64_t window, uint64_t window_max)
{
    *f = (struct flow_rx){.limit = window,
                          .window = window,
                          .window_max = window_max < window ? window : window_max};
}

int flow_rx_receive(struct flow_rx *f, uint64_t n)
{
    if (n > f->limit - f->received)
        return QUIC_FLOW_CONTROL_ERROR;
    f->received += n;
    return 0;
}

void flow_rx_consume(struct flow_rx *f, uint64_t n)
{
    f->consumed += n;
}

/* The highest limit that may be given now. */
static uint64_t target(const struct flow_rx *f)
{
    return f->consumed > VARINT_MAX - f->window ? VARINT_MAX : f->consumed + f->window;
}

bool flow_rx_due(const struct flow_rx *f)
{
    uint64_t to = target(f);

    return f->resend || (to > f->limit && to - f->limit >= f->window / 4 + 1);
}

uint64_t flow_rx_update(struct flow_rx *f, ns_t now, ns_t rtt)
{
    uint64_t to = target(f);

    /* At the pace since the last raise, does the window last for two round trips? */
    if (rtt && f->raised && to > f->limit &&
        (double)(now - f->raised) * (double)f->window <
            2 * (double)rtt * (double)(to - f->limit)) {
        f->window = f->window > f->window_max / 2 ? f->window_max : f->window * 2;
        to = target(f);
    }
    if (to > f->limit) {
        f->limit = to;
        f->raised = now;
    }
    f->resend = false;
    return f->limit;
}

void flow_rx_lost(struct flow_rx *f, uint64_t limit)
{
    if (limit == f->limit)
        f->resend = true;
}
