#include "app/base.h"

#include <signal.h>
#include <string.h>

#define TUN_MTU_DEFAULT 1400

int base_open(struct base *b, const struct config *config, const struct ring_ops *ops,
              void *ctx, const struct log *log)
{
    struct ring_cfg ring = {
        .kind = (enum ring_kind)config->io, .ops = *ops, .ctx = ctx, .log = log};
    char why[WHY_SIZE] = "";
    int rc = host_open(&b->host, config->tun_name,
                       config->mtu ? (unsigned)config->mtu : TUN_MTU_DEFAULT, !config->offload,
                       config->state_dir, log);

    if (rc)
        return rc;
    if (ring_new(&ring, &b->ring, why, sizeof(why))) {
        LOG_AT(log, LOG_ERROR, "%s", why);
        return EXIT_INTERNAL;
    }
    if (device_open(&b->device, b->ring, &b->host.tun, NULL) ||
        ring_signal_add(b->ring, SIGINT) || ring_signal_add(b->ring, SIGTERM) ||
        ring_signal_add(b->ring, SIGHUP))
        return EXIT_INTERNAL;
    return 0;
}

void base_close(struct base *b)
{
    control_close(b->control);
    status_rates_free(&b->rates);
    ring_free(b->ring);
    device_close(&b->device);
    host_close(&b->host);
}

void base_answer(struct base *b, const struct config *config, control_fn *fn, void *ctx,
                 const struct log *log)
{
    char why[WHY_SIZE] = "";

    b->started = ring_clock();
    if (config->state_dir && /* a demo leaves no trace */
        control_open(&b->control, b->ring, CONTROL_DIR, b->host.tun.name, fn, ctx, why,
                     sizeof(why)))
        LOG_AT(log, LOG_INFO, "mqvpn status will find nothing: %s", why);
}

struct status_self base_self(const struct base *b, const char *role)
{
    return (struct status_self){.role = role,
                                .tun = b->host.tun.name,
                                .mtu_bytes = b->host.tun.mtu_bytes,
                                .addr = b->host.addr,
                                .started = b->started};
}
